package rowstore

import (
	"fmt"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Spec describes a table.
type Spec struct {
	Name string
	Cols []vector.Field
	// NKey columns at the front are the unique key; with none the table has at most one row.
	NKey int
	// NPrefix columns at the front can be looked up with Rows; with none Rows returns all rows.
	NPrefix int
	// Weighted tables are Z-sets: the column behind the key is the BIGINT weight. One more may follow, the
	// eviction column: it has the value of the last Add.
	Weighted bool
	// EvictColumn is the column whose native integer Evict compares, -1 for none.
	EvictColumn int
}

// Validate reports the first thing in s that no table can have.
func (s Spec) Validate() error {
	n := len(s.Cols)
	switch {
	case n == 0:
		return fmt.Errorf("state %q has no columns", s.Name)
	case s.NKey < 0 || s.NKey > n || s.NPrefix < 0 || s.NPrefix > s.NKey:
		return fmt.Errorf("state %q: %d prefix and %d key columns of %d", s.Name, s.NPrefix, s.NKey, n)
	case s.Weighted && (s.NKey >= n || s.NKey < n-2 || s.Cols[s.NKey].Type.Kind != vector.Int64):
		return fmt.Errorf("state %q is weighted: behind its key must be a BIGINT and at most one more column", s.Name)
	case s.Weighted && s.NKey == n-2 && s.EvictColumn != n-1:
		return fmt.Errorf("state %q is weighted: the column behind its weight must be the one to evict by", s.Name)
	case s.EvictColumn < -1 || s.EvictColumn >= n || s.Weighted && s.EvictColumn == s.NKey:
		return fmt.Errorf("state %q: no column %d to evict by", s.Name, s.EvictColumn)
	case s.EvictColumn >= 0 && !evictable(s.Cols[s.EvictColumn].Type.Kind):
		f := s.Cols[s.EvictColumn]
		return fmt.Errorf("state %q cannot be evicted by %q of type %s: it is not a date, timestamp or integer", s.Name, f.Name, f.Type)
	}
	for _, f := range s.Cols {
		if f.Type.Bytes() == 0 && !f.Type.IsNested() {
			return fmt.Errorf("state %q column %q has no storable type (%s)", s.Name, f.Name, f.Type)
		}
	}
	return nil
}

// A Table is keyed state. See the package comment. It is not safe for concurrent use.
type Table struct {
	spec  Spec
	lay   layout
	types []vector.Type
	// columns is 0, 1, 2 …: its beginnings are the key's and the prefix's columns.
	columns []int
	linked  bool // prefix rows are linked through the slots: 0 < NPrefix < NKey
	schema  uint64

	mem    extents
	blocks blockList
	arena  arena
	keys   *index // by key
	prefix *index // by prefix, to the first row of its list; nil unless linked
	order  timeOrder
	sparse []uint32 // blocks that lost rows since the last compaction

	undo  undoLog
	snap  snapshot
	since since
	kept  int      // KeptRows
	dead  [][]text // held by a snapshot that has ended; freed bit by bit
	// change caches what Delta and DeltaDigest have gathered, until the next change.
	change *change

	// partRows bounds how many rows are looked up before they are changed. Tests make it small.
	partRows int
	// collide clears bits of every hash. Tests set it, to make different keys meet in the index.
	collide uint64

	absent  slot // a row of NULLs, for keys that are not there
	scratch scratch
	getBuf  buffer
	rowsBuf buffer
	keyBuf  buffer
}

// scratch is memory reused between calls.
type scratch struct {
	ids        []rowID
	ptrs       []slot
	hash       []uint64
	prefixHash []uint64
	found      []bool
	bad        []bool
}

// New returns an empty table. Close frees its memory.
func New(spec Spec) (*Table, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("create state table: %w", err)
	}
	t := &Table{spec: spec, linked: spec.NPrefix > 0 && spec.NPrefix < spec.NKey, keys: newIndex(), partRows: vector.Size}
	for i, f := range spec.Cols {
		t.columns = append(t.columns, i)
		t.types = append(t.types, f.Type)
	}
	t.lay = newLayout(spec.Cols, t.linked)
	if t.linked {
		t.prefix = newIndex()
	}
	t.schema = schemaHash(spec, t.types)
	t.blocks.init(t.lay.size)
	t.absent = unsafe.Pointer(unsafe.SliceData(make([]uint64, t.lay.size/8)))
	for i := range t.lay.nullsLen {
		*(*uint8)(unsafe.Add(t.absent, t.lay.nulls+i)) = 0xff
	}
	return t, nil
}

// Close frees all memory. Chunks that the table returned are invalid afterwards.
func (t *Table) Close() {
	t.keys.close()
	if t.linked {
		t.prefix.close()
	}
	t.arena.close()
	t.mem.close()
	*t = Table{}
}

// Len returns the number of rows.
func (t *Table) Len() int { return t.keys.n }

// Stats are sizes of a table, in bytes but for Rows.
type Stats struct {
	Rows int64
	// Bytes is all memory mapped for rows, texts, index and time order.
	Bytes int64
	// RowBytes is what blocks of rows take, holes included.
	RowBytes int64
	// ArenaBytes is what texts in use take; ArenaWaste is freed memory that waits for texts of its size.
	ArenaBytes, ArenaWaste int64
	IndexBytes             int64
	OrderBytes             int64
}

// Stats returns the table's sizes.
func (t *Table) Stats() Stats {
	s := Stats{
		Rows:       int64(t.keys.n),
		RowBytes:   int64(t.blocks.used()) * int64(t.blocks.bytes),
		ArenaBytes: int64(t.arena.used),
		ArenaWaste: int64(t.arena.waste),
		IndexBytes: int64(t.keys.mapped),
		OrderBytes: int64(t.order.bytes()),
	}
	if t.linked {
		s.IndexBytes += int64(t.prefix.mapped)
	}
	s.Bytes = int64(t.mem.mapped) + int64(t.arena.mem.mapped+t.arena.hugeN) + s.IndexBytes + s.OrderBytes
	return s
}

// schemaHash identifies the layout of encoded rows, so that a delta or snapshot of another table is
// refused instead of misread. It is stable across processes.
func schemaHash(s Spec, types []vector.Type) uint64 {
	b := vector.AppendTypes(nil, types)
	b = append(b, byte(s.NKey), byte(s.NKey>>8))
	if s.Weighted {
		b = append(b, 1)
	}
	v := vector.New(vector.Of(vector.Blob), 1)
	v.PutStr(0, b)
	var h [1]uint64
	vector.HashRows(&vector.Chunk{N: 1, Cols: []vector.Vector{v}, Keep: []any{b}}, []int{0}, h[:])
	return h[0]
}

// An InvariantError says that the table was asked for, or found itself in, an impossible state. It is
// what the table panics with.
type InvariantError struct{ Message string }

func (e *InvariantError) Error() string { return "rowstore: " + e.Message }

func invariant(format string, args ...any) {
	panic(&InvariantError{fmt.Sprintf(format, args...)})
}

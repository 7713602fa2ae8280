package decode

import (
	"encoding/binary"
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

// maxRawBytes is how much of a bad row is kept.
const maxRawBytes = 64 << 10

// firstRows is the capacity of a builder's first chunk; it doubles up to vector.Size, so that a batch of
// a few rows does not allocate for thousands.
const firstRows = 64

// PadBytes is how many readable bytes a block must have after its last row: decoders load words.
const PadBytes = 64

// Bad is a row that could not be decoded.
type Bad struct {
	Offset int64
	Reason string
	Raw    []byte
}

// A Builder collects decoded rows into chunks of the declared columns, _w if rows have weights, and _seq.
type Builder struct {
	// MaxRows bounds rows and bad rows together, 0 for no bound. Once reached, Full is true.
	MaxRows int64
	// MaxBad bounds the bad rows likewise, 0 for no bound.
	MaxBad int
	// Bad holds the rows refused so far.
	Bad []Bad

	cols    []*column // the declared ones, then the weight
	weights *column   // the last of cols, nil when rows have no weight
	key     []int     // columns that must not be NULL
	seq     []byte
	row     int // rows in the open chunk
	cap     int
	first   bool
	nested  bool
	chunks  []*vector.Chunk
	rows    int64
	seqTop  int64 // partition ordinal, shifted

	arena   *vector.Arena
	block   []byte
	usesBuf bool // a string of the open chunk may point into block
	keep    []any
	shared  bool   // a chunk, open or closed, keeps block
	slab    []byte // where messages are copied to
	slabAt  int
}

// NewBuilder returns an empty builder for the declared columns.
func NewBuilder(fields []vector.Field) *Builder {
	b := &Builder{first: true}
	for _, f := range fields {
		c := newColumn(f.Name, f.Type)
		b.cols = append(b.cols, c)
		b.nested = b.nested || f.Type.IsNested()
	}
	return b
}

// NewChangeBuilder returns an empty builder for rows with weights. The columns of the primary key, if there
// is one, must not be NULL.
func NewChangeBuilder(fields []vector.Field, key []int) *Builder {
	b := NewBuilder(fields)
	b.weights = newColumn(WeightField, vector.Of(vector.Int64))
	b.weights.class = classWeight
	b.cols = append(b.cols, b.weights)
	b.key = key
	return b
}

// Partition sets what the rows that follow belong to; seqBase is vector order's high part, the _seq of
// offset 0.
func (b *Builder) Partition(seqBase int64) { b.seqTop = seqBase }

// Rows is the number of rows decoded so far, bad ones not included.
func (b *Builder) Rows() int64 { return b.rows }

// Full reports whether MaxRows or MaxBad is reached.
func (b *Builder) Full() bool {
	return b.MaxRows > 0 && b.rows+int64(len(b.Bad)) >= b.MaxRows || b.MaxBad > 0 && len(b.Bad) >= b.MaxBad
}

// begin makes room for one more row.
func (b *Builder) begin() { b.reserve(1) }

// reserve makes room for n more rows, one or two, that will be in the same chunk.
func (b *Builder) reserve(n int) {
	if b.row+n <= b.cap {
		if b.nested {
			b.mark()
		}
		return
	}
	if b.cap == vector.Size {
		b.flush()
	}
	switch {
	case !b.first:
		b.cap = vector.Size
	case b.cap == 0:
		b.cap = firstRows
	default:
		b.cap *= 2
	}
	for _, c := range b.cols {
		c.resize(b.cap)
	}
	seq := make([]byte, b.cap*8)
	copy(seq, b.seq)
	b.seq = seq
	b.mark()
}

func (b *Builder) mark() {
	for _, c := range b.cols {
		c.setMark()
	}
}

// insert accepts the row just written as an insert.
func (b *Builder) insert(offset int64) {
	if b.weights != nil {
		b.weights.put64(b.row, 1)
	}
	b.commit(offset)
}

// nullKey returns why a row's key will not do, or "".
func (b *Builder) nullKey(row int) string {
	for _, k := range b.key {
		if b.cols[k].isNull(row) {
			return "column " + b.cols[k].name + ": a column of the PRIMARY KEY is NULL or missing"
		}
	}
	return ""
}

// commit accepts the row just written, its weight too.
func (b *Builder) commit(offset int64) {
	binary.LittleEndian.PutUint64(b.seq[b.row*8:], uint64(b.seqTop|offset))
	b.row++
	b.rows++
}

// reject takes back the row being written and records why.
func (b *Builder) reject(offset int64, reason string, raw []byte) {
	b.rejectRows(1, offset, reason, raw)
}

// rejectRows takes back what was written since reserve(n) and records why.
func (b *Builder) rejectRows(n int, offset int64, reason string, raw []byte) {
	b.undo(b.row, b.row+n)
	b.AddBad(offset, reason, raw)
}

// undo takes back rows.
func (b *Builder) undo(from, to int) {
	for _, c := range b.cols {
		c.undoRange(from, to)
	}
}

// AddBad records a row that was refused before it could be decoded.
func (b *Builder) AddBad(offset int64, reason string, raw []byte) {
	if len(raw) > maxRawBytes {
		raw = raw[:maxRawBytes]
	}
	b.Bad = append(b.Bad, Bad{Offset: offset, Reason: reason, Raw: append([]byte(nil), raw...)})
}

// open starts a block. Strings may point into it until closeBlock.
func (b *Builder) open(block []byte) {
	b.block, b.usesBuf, b.shared = block, false, false
}

// closeBlock ends a block and reports whether any chunk refers to it; if not, the caller may reuse it.
func (b *Builder) closeBlock() (shared bool) {
	if b.usesBuf {
		b.keep = append(b.keep, b.block)
		b.usesBuf, b.shared = false, true
	}
	b.block = nil
	return b.shared
}

// copy returns bytes that live as long as the open chunk.
func (b *Builder) copy(s []byte) []byte {
	if b.arena == nil {
		b.arena = new(vector.Arena)
		b.keep = append(b.keep, b.arena)
	}
	return b.arena.Copy(s)
}

// flush closes the open chunk.
func (b *Builder) flush() {
	if b.row == 0 {
		return
	}
	if b.usesBuf {
		b.keep = append(b.keep, b.block)
		b.usesBuf, b.shared = false, true
	}
	c := &vector.Chunk{N: b.row, Cols: make([]vector.Vector, 0, len(b.cols)+1), Keep: b.keep}
	for _, col := range b.cols {
		c.Cols = append(c.Cols, col.take(b.row))
	}
	c.Cols = append(c.Cols, vector.Vector{Type: vector.Of(vector.Int64), Data: b.seq[:b.row*8]})
	b.chunks = append(b.chunks, c)
	b.seq, b.row, b.cap, b.first = nil, 0, 0, false
	b.keep, b.arena = nil, nil
}

// Finish returns all chunks; the builder is then empty.
func (b *Builder) Finish() []*vector.Chunk {
	b.flush()
	out := b.chunks
	b.chunks = nil
	return out
}

// Check refuses columns that a format cannot carry, naming each.
func Check(format string, fields []vector.Field) []error {
	var errs []error
	for _, f := range fields {
		if why := unsupported(format, f.Type); why != "" {
			errs = append(errs, fmt.Errorf("column %s: %s cannot be read from %s: %s", f.Name, f.Type, format, why))
		}
	}
	return errs
}

func unsupported(format string, t vector.Type) string {
	switch t.Kind {
	case vector.Bit, vector.Bignum, vector.Null, vector.Invalid:
		return "declare it VARCHAR and cast it in the query"
	}
	if t.IsNested() && format == "csv" {
		return "declare it VARCHAR and cast it in the query"
	}
	for _, c := range t.ChildTypes() {
		if why := unsupported(format, c); why != "" {
			return why
		}
	}
	return ""
}

package postgres

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A version is the table as the ingest log has it: by key a hash of the row, or by row how often it is there.
// Keys and rows are encoded as chunks of one row.
type version struct {
	columns []vector.Field
	key     []int // nil: a multiset of whole rows
	rows    map[string]*stored
	refresh int64 // the number of the refresh that runs
}

type stored struct {
	sum   xxh3.Uint128
	count int64
	// now is what the refresh with number at has found so far.
	now, at int64
}

func newVersion(columns []vector.Field, key []int) *version {
	return &version{columns: columns, key: key, rows: map[string]*stored{}}
}

// A change is a row on its way to the log.
type change struct {
	row    string // encoded; only the key for a key that is gone
	weight int64
	gone   bool
}

// encode appends row i of some columns of a chunk as a chunk of one row.
func encode(dst []byte, c *vector.Chunk, i int, columns []int) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, 1), uint64(len(columns)))
	for _, col := range columns {
		dst = vector.AppendValue(dst, &c.Cols[col], i)
	}
	return dst
}

func (v *version) all() []int {
	out := make([]int, len(v.columns))
	for i := range out {
		out[i] = i
	}
	return out
}

// apply takes over what the log says, at a start.
func (v *version) apply(c *vector.Chunk) {
	all := v.all()
	weights := &c.Cols[len(v.columns)]
	var row, key []byte
	for i := range c.N {
		w := weights.I64(i)
		row = encode(row[:0], c, i, all)
		if v.key == nil {
			v.add(string(row), w)
			continue
		}
		if key = encode(key[:0], c, i, v.key); w < 0 {
			delete(v.rows, string(key))
			continue
		}
		v.rows[string(key)] = &stored{sum: xxh3.Hash128(row), count: 1}
	}
}

// add counts a row of a multiset.
func (v *version) add(row string, w int64) {
	s := v.rows[row]
	if s == nil {
		s = &stored{}
		v.rows[row] = s
	}
	if s.count += w; s.count == 0 {
		delete(v.rows, row)
	}
}

// A diff is a refresh on its way. Nothing of the version but the marks of what was seen changes before the
// log has the changes, so that a refresh can be given up at any moment.
type diff struct {
	v     *version
	all   []int
	fresh map[string]*stored // what the version does not have
	ups   []change           // with a key: rows that are new or changed
	keys  []string           // of ups
	sums  []xxh3.Uint128
	buf   []byte
}

func (v *version) diff() *diff {
	v.refresh++
	return &diff{v: v, all: v.all(), fresh: map[string]*stored{}}
}

// add takes a chunk of the table's rows.
func (d *diff) add(c *vector.Chunk) error {
	for i := range c.N {
		d.buf = encode(d.buf[:0], c, i, d.all)
		at := string(d.buf)
		if d.v.key != nil {
			at = string(encode(nil, c, i, d.v.key))
		}
		s := d.v.rows[at]
		if s == nil {
			if s = d.fresh[at]; s == nil {
				s = &stored{}
				d.fresh[at] = s
			}
		}
		if s.at != d.v.refresh {
			s.at, s.now = d.v.refresh, 0
		}
		s.now++
		if d.v.key == nil {
			continue
		}
		if s.now > 1 {
			return fmt.Errorf("two rows have the declared PRIMARY KEY (%s), one of them %s\nHint: declare a key that is unique there, or none", d.keyNames(), describe(c, i, d.v.key))
		}
		if sum := xxh3.Hash128(d.buf); s.count == 0 || sum != s.sum {
			d.ups, d.keys, d.sums = append(d.ups, change{row: string(d.buf), weight: 1}), append(d.keys, at), append(d.sums, sum)
		}
	}
	return nil
}

func (d *diff) keyNames() string {
	var names []string
	for _, k := range d.v.key {
		names = append(names, d.v.columns[k].Name)
	}
	return strings.Join(names, ", ")
}

func describe(c *vector.Chunk, i int, columns []int) string {
	var parts []string
	for _, col := range columns {
		if c.Cols[col].IsNull(i) {
			parts = append(parts, "NULL")
			continue
		}
		parts = append(parts, vector.Text(&c.Cols[col], i))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// changes lists what to append: deletes first, so that a prefix of them is a table, too.
func (d *diff) changes() []change {
	var out []change
	for row, s := range d.v.rows {
		now := s.now
		if s.at != d.v.refresh {
			now = 0
		}
		switch {
		case d.v.key != nil && now == 0:
			out = append(out, change{row: row, weight: -1, gone: true})
		case d.v.key == nil && now != s.count:
			out = append(out, change{row: row, weight: now - s.count})
		}
	}
	if d.v.key == nil {
		for row, s := range d.fresh {
			out = append(out, change{row: row, weight: s.now})
		}
	}
	// Why sorted: maps have no order, and a log is easier to look at with one.
	slices.SortFunc(out, func(a, b change) int {
		if (a.weight < 0) != (b.weight < 0) {
			return int(a.weight>>63) - int(b.weight>>63)
		}
		return strings.Compare(a.row, b.row)
	})
	return append(out, d.ups...)
}

// done makes the version what was appended.
func (d *diff) done(changes []change) {
	for _, c := range changes {
		switch {
		case c.gone:
			delete(d.v.rows, c.row)
		case d.v.key == nil:
			d.v.add(c.row, c.weight)
		}
	}
	for i, key := range d.keys {
		d.v.rows[key] = &stored{sum: d.sums[i], count: 1}
	}
}

// entries encodes changes as entries of the log: chunks of the declared columns and _w.
func (v *version) entries(changes []change) ([]ingestlog.Entry, error) {
	var out []ingestlog.Entry
	for part := range slices.Chunk(changes, vector.Size) {
		c, err := v.chunk(part)
		if err != nil {
			return nil, err
		}
		body := vector.AppendChunk(nil, c)
		if len(body) > ingestlog.MaxEntryBytes {
			return nil, fmt.Errorf("%d rows take %d bytes, and %d are allowed\nHint: select fewer or shorter columns", c.N, len(body), ingestlog.MaxEntryBytes)
		}
		out = append(out, ingestlog.Entry{Rows: int64(c.N), Body: body})
	}
	return out, nil
}

// chunk decodes changes into one chunk.
func (v *version) chunk(changes []change) (*vector.Chunk, error) {
	readers := make([]*vector.ValueReader, len(v.columns))
	types := make([]vector.Type, len(v.columns))
	for i, c := range v.columns {
		readers[i], types[i] = vector.NewValueReader(c.Type), c.Type
	}
	weights := vector.New(vector.Of(vector.Int64), len(changes))
	var keep [][]byte // texts lie in it
	for n, ch := range changes {
		weights.PutI64(n, ch.weight)
		columns := v.all()
		if ch.gone {
			columns = v.key
		}
		var have []vector.Type
		for _, col := range columns {
			have = append(have, types[col])
		}
		row, _, err := vector.DecodeChunk(have, []byte(ch.row))
		if err != nil {
			return nil, fmt.Errorf("decode a row: %w", err)
		}
		for i, r := range readers {
			at := slices.Index(columns, i)
			if at < 0 {
				r.AppendNull()
				continue
			}
			value := vector.AppendValue(nil, &row.Cols[at], 0)
			keep = append(keep, value)
			if err := r.Append(value); err != nil {
				return nil, fmt.Errorf("decode a row: %w", err)
			}
		}
	}
	c := &vector.Chunk{N: len(changes), Keep: []any{keep}}
	for _, r := range readers {
		c.Cols = append(c.Cols, r.Out)
	}
	c.Cols = append(c.Cols, weights)
	return c, nil
}

package postgres

import (
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// encoder turns an output's delta into COPY BINARY, straight from the vectors into one reused buffer.
//
// A row of COPY BINARY is the number of fields (2 bytes) and per field its length (4 bytes, -1 for NULL)
// and value. Ours begin with epoch, batch, weight and, for a multiset, the hash of the row:
//
//	| n | 8 epoch | 8 batch | 8 weight | [16 hash] | columns … |
//	  2   4+8       4+8       4+8         4+16
type encoder struct {
	t    *target
	head []byte // a row up to the columns, with epoch and batch filled in
	buf  []byte
	// exact are columns whose encoding tells equal values apart, or different ones not: their part of the
	// hash comes from exactHash.
	exact []int
	extra []byte
}

const (
	headEpoch  = 2 + 4
	headBatch  = headEpoch + 8 + 4
	headWeight = headBatch + 8 + 4
	headHash   = headWeight + 8 + 4
)

var copySignature = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

func newEncoder(t *target) *encoder {
	e := &encoder{t: t}
	fields := len(t.stagingColumns())
	e.head = be.AppendUint16(nil, uint16(fields))
	for range 3 {
		e.head = append(e.head, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	if t.output.Mode == planner.Multiset {
		e.head = append(append(e.head, 0, 0, 0, 16), make([]byte, 16)...)
		for i, c := range t.columns {
			if c.typ.Kind == vector.Interval || c.lossy && !c.typ.IsNested() {
				e.exact = append(e.exact, i)
			}
		}
	}
	return e
}

// delta is a delta on its way into the staging table: an io.Reader of COPY BINARY.
type delta struct {
	enc    *encoder
	chunks []*vector.Chunk
	off    int // of the unread part of enc.buf
	state  copyState

	// rows are the rows written, minus those of them that delete.
	rows, minus int64
	err         error
}

type copyState int

const (
	copyHeader copyState = iota
	copyRows
	copyEnd
)

func (e *encoder) delta(epoch, batch int64, chunks []*vector.Chunk) *delta {
	be.PutUint64(e.head[headEpoch:], uint64(epoch))
	be.PutUint64(e.head[headBatch:], uint64(batch))
	return &delta{enc: e, chunks: chunks}
}

// Read implements io.Reader; it encodes a chunk whenever the buffer is drained.
func (d *delta) Read(p []byte) (int, error) {
	e := d.enc
	for d.off == len(e.buf) || d.state == copyHeader {
		e.buf, d.off = e.buf[:0], 0
		switch {
		case d.state == copyHeader:
			e.buf, d.state = append(e.buf, copySignature...), copyRows
		case d.state == copyEnd:
			return 0, io.EOF
		case len(d.chunks) == 0:
			e.buf, d.state = append(e.buf, 0xff, 0xff), copyEnd
		default:
			if d.err = d.chunk(d.chunks[0]); d.err != nil {
				return 0, d.err
			}
			d.chunks = d.chunks[1:]
		}
	}
	n := copy(p, e.buf[d.off:])
	d.off += n
	return n, nil
}

func (d *delta) chunk(c *vector.Chunk) error {
	e := d.enc
	cols := len(e.t.columns)
	if len(c.Cols) != cols+1 || c.Cols[cols].Type.Kind != vector.Int64 {
		panic(fmt.Sprintf("postgres: delta of %s has %d columns, want %d and _w BIGINT", e.t.output.Name, len(c.Cols), cols))
	}
	buf, weights := e.buf, &c.Cols[cols]
	for r := range c.N {
		w := weights.I64(r)
		mark := len(buf)
		buf = append(buf, e.head...)
		be.PutUint64(buf[mark+headWeight:], uint64(w))
		for i := range cols {
			v := &c.Cols[i]
			if v.Valid != nil && v.Valid[r>>6]&(1<<(uint(r)&63)) == 0 {
				buf = append(buf, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			var err error
			if buf, err = e.t.columns[i].put(buf, v, r); err != nil {
				return fmt.Errorf("column %s: %w\nHint: filter such values, or cast the column, in the query", e.t.columns[i].name, err)
			}
		}
		copies, err := d.count(w)
		if err != nil {
			return err
		}
		if e.t.output.Mode == planner.Multiset {
			h := e.hash(buf[mark+len(e.head):], c, r).Bytes()
			copy(buf[mark+headHash:], h[:])
		}
		row := buf[mark:]
		for range copies - 1 {
			buf = append(buf, row...)
		}
	}
	e.buf = buf
	return nil
}

// count checks a row's weight against the changelog mode and says how many rows to write.
func (d *delta) count(w int64) (copies int64, err error) {
	copies = 1
	switch mode := d.enc.t.output.Mode; {
	case mode == planner.Append && w > 0:
		copies = w // an append table has no place for a multiplicity
	case mode == planner.Upsert && (w == 1 || w == -1), mode == planner.Multiset && w != 0:
	default:
		return 0, fmt.Errorf("%w: a row of %s output %s has weight %d", errDisagree, mode, d.enc.t.output.Name, w)
	}
	d.rows += copies
	if w < 0 {
		d.minus++
	}
	return copies, nil
}

// hash is the key of a multiset's row: 128 bits over its encoded columns. Rows that DuckDB holds equal
// have the same hash, and two different rows share one with probability 2^-64 among 2^32 rows.
func (e *encoder) hash(row []byte, c *vector.Chunk, r int) xxh3.Uint128 {
	if len(e.exact) == 0 {
		return xxh3.Hash128(row)
	}
	e.extra = append(e.extra[:0], row...)
	for _, i := range e.exact {
		v := &c.Cols[i]
		if v.IsNull(r) {
			continue
		}
		if v.Type.Kind != vector.Interval {
			e.extra = be.AppendUint64(e.extra, v.U64(r))
			continue
		}
		// '1 month' and '30 days' are equal: the encoded bytes are blanked and the normal form added.
		e.blank(i)
		months, days, micros := normalInterval(v.I32(4*r), v.I32(4*r+1), v.I64(2*r+1))
		e.extra = be.AppendUint64(be.AppendUint64(be.AppendUint64(e.extra, uint64(months)), uint64(days)), uint64(micros))
	}
	return xxh3.Hash128(e.extra)
}

// blank zeroes column i of the row at the front of extra.
func (e *encoder) blank(i int) {
	b := e.extra
	for range i {
		n := int32(be.Uint32(b))
		b = b[4+max(n, 0):]
	}
	clear(b[4 : 4+be.Uint32(b)])
}

// normalInterval is how DuckDB compares intervals: whole days of the microseconds count as days, and 30
// days as a month. (Postgres goes further and holds '1 day -1 second' equal to '23:59:59'.)
func normalInterval(months, days int32, micros int64) (int64, int64, int64) {
	const dayMicros = 24 * 3600 * 1_000_000
	d := int64(days) + micros/dayMicros
	return int64(months) + d/30, d % 30, micros % dayMicros
}

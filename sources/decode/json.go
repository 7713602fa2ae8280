package decode

import (
	"bytes"
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

// maxDepth bounds how deeply objects and lists nest.
const maxDepth = 10_000

// JSON decodes newline-delimited JSON objects. Columns are found by exact name, as in DuckDB's read_json;
// a missing key is NULL and other keys are skipped, though their syntax is checked.
//
// Rows of one file mostly have the same keys in the same order with the same punctuation between the
// values, so the decoder remembers the bytes between the values of an earlier row (`{"auction":`,
// `,"bidder":` …) and compares instead of parsing. A row that differs costs a lookup per key.
type JSON struct {
	cols   []*column
	index  map[string]int
	weight int    // the index of _weight, -1 if rows have no such key
	only   []bool // the columns to decode, nil for all

	shape   []member
	at      []int // where a column's key stands in shape, -1 if it does not
	learn   bool
	learned []member
	misses  uint

	gen  uint32
	seen []uint32 // gen of the last row that had the column

	b       *Builder
	buf     []byte
	unit    string // what ends where a value must: "line" or "message"
	reason  string
	scratch []byte
	decoded []byte // of base64
	clock   stampCache
}

// A member is what precedes a value: the end of the previous one, the key and the colon.
type member struct {
	token string
	col   int // -1 for a key that is not declared
}

var _ Decoder = (*JSON)(nil)

// NewJSON returns a decoder for the columns. It works with any Builder of the same columns; rows are inserts.
func NewJSON(fields []vector.Field) *JSON {
	d := &JSON{index: make(map[string]int, len(fields)), weight: -1, learn: true, unit: "line"}
	for _, f := range fields {
		d.add(f.Name)
	}
	return d
}

// NewChangelog returns a decoder of rows that say their weight under the key _weight.
func NewChangelog(fields []vector.Field) *JSON {
	d := NewJSON(fields)
	d.weight = len(fields)
	d.add(WeightField)
	return d
}

// add gives the next column its key.
func (d *JSON) add(key string) {
	d.index[key] = len(d.at)
	d.at = append(d.at, -1)
	d.seen = append(d.seen, 0)
}

// Decode implements Decoder.
func (d *JSON) Decode(blk *Block, b *Builder) (used int, shared bool) {
	d.start(blk, b)
	p, stop := 0, blk.stop()
	for p < stop && !b.Full() {
		if q := d.blankLine(p); q > 0 {
			p = q
			continue
		}
		b.begin()
		next := d.row(p)
		switch {
		case next < 0 || blk.tooLong(next-1-p):
			p = d.reject(blk, p, 1)
			continue
		case d.weight >= 0:
			b.commit(blk.Base + int64(p))
		default:
			b.insert(blk.Base + int64(p))
		}
		p = next
	}
	return p, d.finish()
}

// start takes up a block.
func (d *JSON) start(blk *Block, b *Builder) {
	d.b, d.cols, d.buf = b, b.cols[:len(d.at)], blk.Buf
	b.open(blk.Buf)
}

// finish lets go of the block and reports whether the chunks refer to it.
func (d *JSON) finish() (shared bool) {
	shared = d.b.closeBlock()
	d.b, d.cols, d.buf = nil, nil, nil
	return shared
}

// blankLine returns the start of the line after an empty one at p, 0 if the one at p is not empty.
func (d *JSON) blankLine(p int) int {
	if d.buf[p] != '{' {
		if q := d.blank(p); d.buf[q] == '\n' {
			return q + 1
		}
	}
	return 0
}

// reject records the line at p as bad, with the rows reserved for it, and returns the start of the next one.
//
// Why: which of two things wrong with a row is reported must not depend on how the file was cut into
// blocks, so its length is looked at first.
func (d *JSON) reject(blk *Block, p, rows int) (next int) {
	end := p + bytes.IndexByte(d.buf[p:blk.N], '\n')
	raw := bytes.TrimSuffix(d.buf[p:end], []byte{'\r'})
	if blk.tooLong(end - p) {
		d.reason, raw = TooLong(blk.MaxRow), d.buf[p:end]
	}
	d.b.rejectRows(rows, blk.Base+int64(p), d.reason, raw)
	return end + 1
}

// blank skips blanks inside a line.
func (d *JSON) blank(p int) int {
	for d.buf[p] == ' ' || d.buf[p] == '\t' || d.buf[p] == '\r' {
		p++
	}
	return p
}

// fail records why the row is refused.
func (d *JSON) fail(format string, args ...any) int {
	d.reason = fmt.Sprintf(format, args...)
	return -1
}

// row decodes the line at p and returns the start of the next one, or -1.
func (d *JSON) row(p int) int {
	p = d.blank(p)
	if d.buf[p] != '{' {
		p = d.nullRow(p)
	} else {
		p = d.object(d.b.row, p)
	}
	if p < 0 {
		return -1
	}
	if d.weight >= 0 && d.cols[d.weight].isNull(d.b.row) {
		return d.fail("the row has no %s: write 1 to insert it, -1 to delete it", WeightField)
	}
	if why := d.b.nullKey(d.b.row); why != "" {
		return d.fail("%s", why)
	}
	return d.lineEnd(p)
}

// object decodes the object at p into a row and returns the byte after it, or -1.
func (d *JSON) object(row, p int) int {
	if d.gen++; d.gen == 0 {
		clear(d.seen)
		d.gen = 1
	}
	left, missed := len(d.cols), false
	d.learned = d.learned[:0]
	for i, opening := 0, true; ; opening = false {
		col, before := 0, p
		if i < len(d.shape) && opening == (i == 0) && d.match(d.shape[i].token, p) {
			col = d.shape[i].col
			if p += len(d.shape[i].token); d.buf[p] <= ' ' {
				p = d.blank(p) // more blanks before the value than the earlier row had
			}
			i++
		} else {
			if col, p = d.key(p, opening); p < 0 {
				return -1
			}
			if col == keyEnd {
				break
			}
			missed = true
			if col >= 0 && d.at[col] >= 0 {
				i = d.at[col] + 1
			}
		}
		if d.learn {
			d.learned = append(d.learned, member{string(d.buf[before:p]), col})
		}
		if col < 0 || d.only != nil && !d.only[col] {
			if p = d.skip(p, 0); p < 0 {
				return -1
			}
			continue
		}
		c := d.cols[col]
		if d.seen[col] == d.gen {
			return d.fail("column %s: the key appears twice in the object", c.name)
		}
		d.seen[col] = d.gen
		left--
		if p = d.value(c, row, p); p < 0 {
			return -1
		}
	}
	if left > 0 {
		for i, c := range d.cols {
			if d.seen[i] != d.gen && (d.only == nil || d.only[i]) {
				c.setNull(row)
			}
		}
	}
	if missed || d.learn {
		d.relearn()
	}
	return p
}

// match reports whether the bytes at p are the token.
func (d *JSON) match(token string, p int) bool {
	return p+len(token) <= len(d.buf) && string(d.buf[p:p+len(token)]) == token
}

// relearn keeps the shape of the row just read when it was recorded, and decides whether to record the
// next one: after 1, 2, 4 … rows that did not match, so that varying rows do not pay for it each time.
func (d *JSON) relearn() {
	if d.learn {
		d.shape = append(d.shape[:0], d.learned...)
		for i := range d.at {
			d.at[i] = -1
		}
		for i, m := range d.shape {
			if m.col >= 0 {
				d.at[m.col] = i
			}
		}
		d.learn = false
		return
	}
	d.misses++
	d.learn = d.misses&(d.misses-1) == 0 || d.misses&1023 == 0
}

// nullRow accepts a line that is just null, as DuckDB does.
func (d *JSON) nullRow(p int) int {
	if !d.match("null", p) {
		end := d.skip(p, 0)
		if end < 0 {
			return -1
		}
		return d.fail("expected an object, found %s", quoted(d.buf[p:end]))
	}
	for _, c := range d.cols {
		c.setNull(d.b.row)
	}
	return p + 4
}

func (d *JSON) lineEnd(p int) int {
	if d.buf[p] == '\n' {
		return p + 1
	}
	if p = d.blank(p); d.buf[p] != '\n' {
		return d.fail("unexpected content after the object: one object a %s is expected", d.unit)
	}
	return p + 1
}

// keyEnd is the column of "no more keys"; keyUnknown that of a key nobody declared.
const (
	keyUnknown = -1
	keyEnd     = -2
)

// key parses what precedes a member's value: a brace or a comma, the key and the colon. It returns the
// column and the start of the value, or keyEnd and the byte after the closing brace.
func (d *JSON) key(p int, opening bool) (col, next int) {
	name, p := d.name(p, opening)
	if p < 0 || name == nil {
		return keyEnd, p
	}
	if i, ok := d.index[string(name)]; ok {
		return i, p
	}
	return keyUnknown, p
}

// name parses up to the start of a member's value and returns the key, nil at the end of the object.
func (d *JSON) name(p int, opening bool) (name []byte, next int) {
	p = d.blank(p)
	switch {
	case opening: // the caller has seen the brace
	case d.buf[p] == '}':
		return nil, p + 1
	case d.buf[p] != ',':
		return nil, d.unexpected(p, "',' or '}'")
	}
	p = d.blank(p + 1)
	if d.buf[p] == '}' { // an empty object, or a trailing comma, which DuckDB allows
		return nil, p + 1
	}
	if d.buf[p] != '"' {
		return nil, d.unexpected(p, "a key in double quotes")
	}
	name, p = d.text(p)
	if p < 0 {
		return nil, -1
	}
	if p = d.blank(p); d.buf[p] != ':' {
		return nil, d.unexpected(p, "':'")
	}
	return name, d.blank(p + 1)
}

func (d *JSON) unexpected(p int, want string) int {
	if d.buf[p] == '\n' {
		return d.fail("malformed JSON: the %s ends where %s is expected", d.unit, want)
	}
	return d.fail("malformed JSON: expected %s, found %s", want, quoted(d.upTo(p, 20)))
}

// upTo returns at most n bytes at p, to the end of the line.
func (d *JSON) upTo(p, n int) []byte {
	s := d.buf[p:min(p+n, len(d.buf))]
	if i := bytes.IndexByte(s, '\n'); i >= 0 {
		s = s[:i]
	}
	return s
}

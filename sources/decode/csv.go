package decode

import (
	"bytes"
	"fmt"
	"math/bits"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/vector"
)

// CSVDialect is how fields are written.
type CSVDialect struct {
	Delimiter, Quote, Escape byte
	// Null is the unquoted text that means NULL.
	Null string
}

// CSV decodes RFC 4180 records: fields in quotes may hold delimiters, line ends and doubled (or escaped)
// quotes; a quote inside an unquoted field stands for itself. Empty lines are skipped, unless records have a single field.
//
// A quoted field that is not closed within the longest row is taken for a stray quote: the line it began
// on is a bad row, and decoding goes on with the next line.
type CSV struct {
	d       CSVDialect
	columns []int // the column of each field of the file, -1 for none
	weighs  bool  // one of the fields is the weight

	cols    []*column
	b       *Builder
	buf     []byte
	reason  string
	scratch []byte
	clock   stampCache
}

var _ Decoder = (*CSV)(nil)

// NewCSV returns a decoder of files whose fields go to the given columns, -1 for a field nobody declared.
func NewCSV(d CSVDialect, columns []int) *CSV { return &CSV{d: d, columns: columns} }

// NewCSVChangelog is NewCSV for files with a field for the weight: its column is the one after the declared.
func NewCSVChangelog(d CSVDialect, columns []int) *CSV {
	return &CSV{d: d, columns: columns, weighs: true}
}

// A cell is one field of a record: buf[start:end], without its quotes.
type cell struct {
	start, end int
	quoted     bool
	escaped    bool // has escapes to undo
	ascii      bool
	nul        bool
}

// Decode implements Decoder.
func (d *CSV) Decode(blk *Block, b *Builder) (used int, shared bool) {
	d.b, d.cols, d.buf = b, b.cols, blk.Buf
	b.open(blk.Buf)
	p, stop := 0, blk.stop()
	for p < stop && !b.Full() {
		if n := blankLine(d.buf, p); n > 0 && len(d.columns) != 1 {
			p += n
			continue
		}
		b.begin()
		next, ok := d.record(p, blk.N)
		if next < 0 || blk.tooLong(next-1-p) {
			if !blk.Final && next < 0 && !blk.tooLong(blk.Avail-p) {
				break // the rest of the record is not there yet
			}
			p = d.stray(blk, p)
			continue
		}
		if ok && d.weighs {
			b.commit(blk.Base + int64(p))
		} else if ok {
			b.insert(blk.Base + int64(p))
		} else {
			b.reject(blk.Base+int64(p), d.reason, bytes.TrimSuffix(d.buf[p:next-1], []byte{'\r'}))
		}
		p = next
	}
	shared = b.closeBlock()
	d.b, d.cols, d.buf = nil, nil, nil
	return p, shared
}

// blankLine is the length of an empty line at p, 0 if it is not empty.
func blankLine(b []byte, p int) int {
	if b[p] == '\n' {
		return 1
	}
	if b[p] == '\r' && b[p+1] == '\n' {
		return 2
	}
	return 0
}

// stray refuses the line at p, which is too long or opens a quote that is not closed, and returns the
// start of the next line.
func (d *CSV) stray(blk *Block, p int) (next int) {
	end := p + bytes.IndexByte(d.buf[p:blk.N], '\n')
	reason := "a quoted field is not closed"
	if blk.MaxRow > 0 {
		reason = fmt.Sprintf("a quoted field is not closed within %d bytes", blk.MaxRow)
	}
	if blk.tooLong(end - p) {
		reason = TooLong(blk.MaxRow)
	}
	d.b.reject(blk.Base+int64(p), reason, bytes.TrimSuffix(d.buf[p:end], []byte{'\r'}))
	return end + 1
}

// record decodes the record at p and returns the start of the next, -1 if it does not end before n.
// ok is false when the row is bad.
func (d *CSV) record(p, n int) (next int, ok bool) {
	d.reason, ok = "", true
	row := d.b.row
	for i := 0; ; i++ {
		c, q := d.field(p, n)
		if q < 0 {
			return -1, false
		}
		if ok && d.reason != "" {
			ok = false
		}
		if ok && i < len(d.columns) && d.columns[i] >= 0 {
			ok = d.put(d.cols[d.columns[i]], row, c)
		}
		if d.buf[q] == '\n' {
			if ok && i+1 != len(d.columns) {
				d.reason = fmt.Sprintf("expected %d fields, found %d", len(d.columns), i+1)
				ok = false
			}
			if ok {
				d.reason = d.b.nullKey(row)
			}
			return q + 1, ok && d.reason == ""
		}
		p = q + 1
	}
}

// field finds the end of the field at p: the delimiter or line end after it, -1 if there is none before n.
func (d *CSV) field(p, n int) (c cell, next int) {
	if d.buf[p] == d.d.Quote {
		return d.quotedField(p+1, n)
	}
	c = cell{start: p, ascii: true}
	delim := uint64(d.d.Delimiter) * ones
	for {
		w := load64(d.buf, p)
		x, y := w^delim, w^'\n'*ones
		m := ((x-ones)&^x | (y-ones)&^y | (w-ones)&^w) & highs
		if m == 0 {
			c.ascii = c.ascii && w&highs == 0
			p += 8
			continue
		}
		k := bits.TrailingZeros64(m) >> 3
		c.ascii = c.ascii && w&lowBytes(k)&highs == 0
		p += k
		if d.buf[p] == 0 {
			if p >= n {
				return c, -1
			}
			c.nul = true
			p++
			continue
		}
		c.end = p
		if d.buf[p] == '\n' && p > c.start && d.buf[p-1] == '\r' {
			c.end--
		}
		return c, p
	}
}

func (d *CSV) quotedField(p, n int) (c cell, next int) {
	c = cell{start: p, quoted: true, ascii: true}
	quote, escape := uint64(d.d.Quote)*ones, uint64(d.d.Escape)*ones
	for p < n {
		w := load64(d.buf, p)
		x, y := w^quote, w^escape
		m := ((x-ones)&^x | (y-ones)&^y | (w-ones)&^w) & highs
		if m == 0 {
			c.ascii = c.ascii && w&highs == 0
			p += 8
			continue
		}
		k := bits.TrailingZeros64(m) >> 3
		c.ascii = c.ascii && w&lowBytes(k)&highs == 0
		if p += k; p >= n {
			break
		}
		switch ch := d.buf[p]; {
		case ch == 0:
			c.nul = true
			p++
		case ch == d.d.Escape && p+1 < n && (d.buf[p+1] == d.d.Quote || d.buf[p+1] == d.d.Escape):
			c.escaped = true
			p += 2
		case ch == d.d.Quote:
			c.end = p
			return c, d.afterQuote(p + 1)
		default:
			p++ // an escape before anything else stands for itself
		}
	}
	return c, -1
}

// afterQuote returns the delimiter or line end that follows a closing quote at p-1. What stands between
// makes the row bad.
func (d *CSV) afterQuote(p int) int {
	q := p
	for q < len(d.buf) && d.buf[q] != d.d.Delimiter && d.buf[q] != '\n' {
		q++
	}
	if rest := d.buf[p:q]; len(rest) > 0 && !(len(rest) == 1 && rest[0] == '\r' && q < len(d.buf) && d.buf[q] == '\n') && d.reason == "" {
		d.reason = fmt.Sprintf("a closing quote is followed by %s, not by a delimiter", quoted(bytes.TrimSuffix(rest, []byte{'\r'})))
	}
	return q
}

// put converts a field to a column's type.
func (d *CSV) put(c *column, row int, f cell) bool {
	s := d.buf[f.start:f.end]
	if c.class == classWeight {
		d.reason = c.putWeight(row, s)
		return d.reason == ""
	}
	if !f.quoted && len(s) == len(d.d.Null) && string(s) == d.d.Null {
		c.setNull(row)
		return true
	}
	switch {
	case f.escaped:
		s = d.unescape(s)
	case c.class == classBigint && d.digits(c, row, s, f.start):
		return true
	case c.class == classStamp && len(s) >= 19:
		if v, n := d.clock.parse(d.buf, f.start, false); n == len(s) {
			c.put64(row, uint64(v))
			return true
		}
	case c.class == classDouble:
		if v, n := shortDouble(d.buf, f.start); n > 0 && n == len(s) {
			c.putF64(row, v)
			return true
		}
	}
	return d.putText(c, row, s, f)
}

// digits stores an unsigned number of up to 16 digits.
func (d *CSV) digits(c *column, row int, s []byte, p int) bool {
	n, v := digitRun(load64(d.buf, p))
	if n == 8 {
		m, w := digitRun(load64(d.buf, p+8))
		n, v = n+m, v*pow10u64[m]+w
	}
	if n == 0 || n != len(s) {
		return false
	}
	c.put64(row, v)
	return true
}

func (d *CSV) putText(c *column, row int, s []byte, f cell) bool {
	refuse := func(why string) bool {
		d.reason = "column " + c.name + ": " + why
		return false
	}
	if !f.ascii && !utf8.Valid(s) {
		return refuse("the text is not valid UTF-8")
	}
	if c.typ.Kind == vector.Blob {
		blob, ok := blobText(s)
		if !ok {
			return refuse(quoted(s) + " is not a BLOB: bytes other than ASCII are written \\xHH")
		}
		c.putCopied(row, d.b.copy(blob))
		return true
	}
	if c.class == classText && !f.nul {
		switch {
		case f.escaped:
			c.putCopied(row, d.b.copy(s))
		case !c.putStr(row, d.buf, f.start, f.end):
			d.b.usesBuf = true
		}
		return true
	}
	if why := c.putText(row, s, false); why != "" {
		return refuse(why)
	}
	return true
}

// unescape undoes the escapes of a quoted field; the result is valid until the next call.
func (d *CSV) unescape(s []byte) []byte {
	out := d.scratch[:0]
	for i := 0; i < len(s); i++ {
		if s[i] == d.d.Escape && i+1 < len(s) && (s[i+1] == d.d.Quote || s[i+1] == d.d.Escape) {
			i++
		}
		out = append(out, s[i])
	}
	d.scratch = out
	return out
}

// Header reads the field names of a file's first record, which b must begin with. next is the start of
// the following record, -1 if the first does not end within b.
func (d CSVDialect) Header(b []byte) (names []string, next int) {
	n := len(b)
	dec := CSV{d: d, buf: append(bytes.Clone(b), make([]byte, PadBytes)...)}
	p := 0
	for p < n {
		k := blankLine(dec.buf, p)
		if k == 0 {
			break
		}
		p += k
	}
	for p < n {
		c, q := dec.field(p, n)
		if q < 0 || q >= n {
			return nil, -1
		}
		s := dec.buf[c.start:c.end]
		if c.escaped {
			s = dec.unescape(s)
		}
		names = append(names, string(s))
		if dec.buf[q] == '\n' {
			return names, q + 1
		}
		p = q + 1
	}
	return nil, -1
}

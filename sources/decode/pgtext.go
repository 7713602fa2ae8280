package decode

import (
	"bytes"
	"encoding/hex"
	"slices"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A PostgresText appends rows whose values are texts as PostgreSQL's output functions write them, with
// datestyle ISO, intervalstyle iso_8601, timezone UTC and bytea_output hex. Values of JSON columns may be declared
// as STRUCT, MAP or LIST.
type PostgresText struct{ json *JSON }

// Add appends a row: a text for each column of b but the weight, nil for NULL. It copies what it keeps. weight is
// ignored if b's rows have none. The row is not there if it returns a reason.
func (d *PostgresText) Add(b *Builder, cells [][]byte, weight, offset int64) (reason string) {
	b.begin()
	row := b.row
	for i, s := range cells {
		c := b.cols[i]
		if s == nil {
			c.setNull(row)
			continue
		}
		if why := d.put(b, c, row, s); why != "" {
			b.undo(row, row+1)
			return "column " + c.name + ": " + why
		}
	}
	if b.weights != nil {
		b.weights.put64(row, uint64(weight))
	}
	if why := b.nullKey(row); why != "" {
		b.undo(row, row+1)
		return why
	}
	b.commit(offset)
	return ""
}

// put stores one value.
func (d *PostgresText) put(b *Builder, c *column, row int, s []byte) (reason string) {
	switch c.typ.Kind {
	case vector.Bool:
		if len(s) == 1 && (s[0] == 't' || s[0] == 'f') {
			c.data[row] = 0
			if s[0] == 't' {
				c.data[row] = 1
			}
			return ""
		}
	case vector.Varchar:
		if !utf8.Valid(s) {
			return "the text is not valid UTF-8"
		}
		return c.putText(row, b.copy(s), false)
	case vector.Decimal:
		// A value that does not fit is refused, and not rounded.
		if _, frac, ok := bytes.Cut(s, []byte{'.'}); ok && len(bytes.TrimRight(frac, "0")) > int(c.typ.Scale) {
			return quoted(s) + " has more digits behind the point than " + article(c.typ)
		}
	case vector.Blob:
		raw, ok := bytea(s)
		if !ok {
			return quoted(s) + " is not a bytea in hexadecimal form"
		}
		c.putCopied(row, b.copy(raw))
		return ""
	case vector.Interval:
		if iv, ok := isoInterval(s); ok {
			c.put128(row, uint64(uint32(iv.months))|uint64(uint32(iv.days))<<32, uint64(iv.micros))
			return ""
		}
	case vector.Date, vector.Timestamp, vector.TimestampS, vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ:
		if at, ok := bytes.CutSuffix(s, []byte(" BC")); ok {
			date, clock, _ := bytes.Cut(at, []byte{' '})
			return c.putText(row, bytes.TrimRight(slices.Concat(date, []byte(" (BC) "), clock), " "), false)
		}
	case vector.List, vector.Array:
		if len(s) > 0 && (s[0] == '{' || s[0] == '[' && bytes.Contains(s, []byte("]={"))) {
			return d.array(b, c, row, s)
		}
		return d.nested(b, c, row, s)
	case vector.Struct, vector.Map, vector.Union:
		return d.nested(b, c, row, s)
	}
	return c.putText(row, s, false)
}

// bytea undoes the hexadecimal form of a bytea.
func bytea(s []byte) ([]byte, bool) {
	digits, ok := bytes.CutPrefix(s, []byte(`\x`))
	if !ok {
		return nil, false
	}
	raw := make([]byte, hex.DecodedLen(len(digits)))
	_, err := hex.Decode(raw, digits)
	return raw, err == nil
}

// nested decodes the text of a json or jsonb value.
func (d *PostgresText) nested(b *Builder, c *column, row int, s []byte) (reason string) {
	if d.json == nil {
		d.json = NewJSON(nil)
	}
	// Texts in the value may point into the buffer, which the chunk then keeps.
	buf := make([]byte, len(s)+1+PadBytes)
	copy(buf, s)
	for i, ch := range s { // the type json keeps line ends, which are between values only
		if ch == '\n' {
			buf[i] = ' '
		}
	}
	buf[len(s)] = '\n'
	j := d.json
	j.b, j.cols, j.buf, j.reason = b, b.cols, buf, ""
	b.open(buf)
	next := j.value(c, row, j.blank(0))
	if next >= 0 {
		if next = j.blank(next); next != len(s) {
			next = j.fail("%s is not one JSON value", quoted(s))
		}
	}
	b.closeBlock()
	j.b, j.cols, j.buf = nil, nil, nil
	if next < 0 {
		return j.reason
	}
	return ""
}

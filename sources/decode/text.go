package decode

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/vector"
)

// putText converts the text of a JSON string (strict) or a CSV field to the column's type. s must live
// as long as the chunk when the column is a string. It returns why it cannot, or "".
func (c *column) putText(row int, s []byte, strict bool) (reason string) {
	ok := true
	switch k := c.typ.Kind; k {
	case vector.Varchar:
		if bytes.IndexByte(s, 0) >= 0 {
			return "the text has a NUL character, which Postgres cannot store"
		}
		c.putCopied(row, s)
	case vector.Blob:
		c.putCopied(row, s)
	case vector.Bool:
		ok = c.putBoolText(row, s, strict)
	case vector.Float64:
		var f float64
		if f, ok = parseFloat(s, 64, strict); ok {
			c.putF64(row, f)
		}
	case vector.Float32:
		var f float64
		if f, ok = parseFloat(s, 32, strict); ok {
			c.putF32(row, float32(f))
		}
	case vector.Decimal:
		ok = c.putDecimalText(row, s)
	case vector.Enum:
		var code uint32
		if code, ok = c.enum[string(s)]; ok {
			c.putInt(row, uint64(code))
		}
	case vector.UUID:
		ok = c.putUUID(row, s)
	case vector.Interval:
		ok = c.putInterval(row, s)
	case vector.Date, vector.Time, vector.TimeTZ, vector.TimeNS, vector.Timestamp, vector.TimestampS,
		vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ:
		if fault := c.putTemporal(row, s); fault != timeOK {
			return fmt.Sprintf("%s %s a %s", quoted(s), fault, c.typ)
		}
	case vector.List, vector.Map, vector.Array, vector.Struct, vector.Union:
		ok = false
	default:
		ok = c.putIntText(row, s, strict)
	}
	if !ok {
		return quoted(s) + " is not " + article(c.typ)
	}
	return ""
}

// quoted shows a value in an error, cut at 100 bytes.
func quoted(s []byte) string {
	cut := ""
	if len(s) > 100 {
		s, cut = s[:100], "…"
	}
	return "'" + string(bytes.ToValidUTF8(s, []byte(string(utf8.RuneError)))) + cut + "'"
}

func article(t vector.Type) string {
	name := t.String()
	switch name[0] {
	case 'A', 'E', 'I', 'O', 'U':
		if t.Kind == vector.UUID || t.Kind == vector.UInt8 || t.Kind == vector.UInt16 || t.Kind == vector.UInt32 ||
			t.Kind == vector.UInt64 || t.Kind == vector.UInt128 || t.Kind == vector.Union {
			return "a " + name
		}
		return "an " + name
	}
	return "a " + name
}

// putUUID takes 32 hexadecimal digits with dashes anywhere but at the front, in braces or not.
func (c *column) putUUID(row int, s []byte) bool {
	if len(s) >= 2 && s[0] == '{' {
		if s[len(s)-1] != '}' {
			return false
		}
		s = s[1 : len(s)-1]
	}
	var v u128
	n := 0
	for i, ch := range s {
		if ch == '-' && i > 0 {
			continue
		}
		d := hexValue(ch)
		if d > 15 || n == 32 {
			return false
		}
		v.hi = v.hi<<4 | v.lo>>60
		v.lo = v.lo<<4 | uint64(d)
		n++
	}
	if n != 32 {
		return false
	}
	c.put128(row, v.lo, v.hi^1<<63)
	return true
}

// blobText undoes DuckDB's text form of a BLOB: ASCII with \xHH escapes.
func blobText(s []byte) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch >= utf8.RuneSelf:
			return nil, false
		case ch != '\\':
			out = append(out, ch)
		case i+3 < len(s) && s[i+1] == 'x' && hexValue(s[i+2]) < 16 && hexValue(s[i+3]) < 16:
			out = append(out, hexValue(s[i+2])<<4|hexValue(s[i+3]))
			i += 3
		default:
			return nil, false
		}
	}
	return out, true
}

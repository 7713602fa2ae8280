package valuetext

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Writer appends values. The zero value is ready.
type Writer struct {
	// Escape, if set, appends the text of VARCHAR and ENUM values in place of a plain copy.
	Escape func(dst, text []byte) []byte
	// DecimalText makes JSON strings of decimals that a double cannot hold. Why: readers of JSON, DuckDB among them,
	// take numbers with a point for doubles.
	DecimalText bool

	scratch []byte
}

// Text appends row i as text: NULL as nothing, nested values as JSON.
func (w *Writer) Text(dst []byte, v *vector.Vector, i int) []byte {
	if v.IsNull(i) {
		return dst
	}
	switch t := v.Type; t.Kind {
	case vector.Bool:
		return strconv.AppendBool(dst, v.Bool(i))
	case vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.Int128, vector.Null,
		vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64, vector.UInt128, vector.Decimal:
		return appendNumber(dst, v, i)
	case vector.Float32:
		return appendFloat(dst, float64(v.F32(i)), 32)
	case vector.Float64:
		return appendFloat(dst, v.F64(i), 64)
	case vector.Date:
		return appendDate(dst, v.I32(i))
	case vector.Time:
		return appendClock(dst, v.I64(i), 1e6)
	case vector.TimeNS:
		return appendClock(dst, v.I64(i), 1e9)
	case vector.TimeTZ:
		micros, offset := SplitTimeTZ(v.U64(i))
		return appendOffset(appendClock(dst, micros, 1e6), offset)
	case vector.Timestamp:
		return appendTimestamp(dst, v.I64(i), 1e6, "")
	case vector.TimestampTZ:
		return appendTimestamp(dst, v.I64(i), 1e6, "+00")
	case vector.TimestampS:
		return appendTimestamp(dst, v.I64(i), 1, "")
	case vector.TimestampMS:
		return appendTimestamp(dst, v.I64(i), 1e3, "")
	case vector.TimestampNS:
		return appendTimestamp(dst, v.I64(i), 1e9, "")
	case vector.Interval:
		return appendInterval(dst, v.I32(4*i), v.I32(4*i+1), v.I64(2*i+1))
	case vector.UUID:
		return appendUUID(dst, UUIDBytes(v, i))
	case vector.Enum:
		return w.text(dst, []byte(t.Values[unsigned(v, i, t.Bytes())]))
	case vector.Varchar:
		return w.text(dst, v.Str(i))
	case vector.Blob:
		return appendBlob(dst, v.Str(i))
	case vector.Bit:
		return appendBits(dst, v.Str(i))
	case vector.Bignum:
		return BignumInt(v.Str(i)).Append(dst, 10)
	}
	return w.JSON(dst, v, i)
}

func (w *Writer) text(dst, s []byte) []byte {
	if w.Escape != nil {
		return w.Escape(dst, s)
	}
	return append(dst, s...)
}

// JSON appends row i as JSON.
func (w *Writer) JSON(dst []byte, v *vector.Vector, i int) []byte {
	if v.IsNull(i) {
		return append(dst, "null"...)
	}
	switch t := v.Type; t.Kind {
	case vector.Decimal:
		if w.DecimalText && t.Width > maxDoubleDigits {
			break
		}
		return w.Text(dst, v, i)
	case vector.Bool, vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.Int128, vector.Null, vector.UInt8,
		vector.UInt16, vector.UInt32, vector.UInt64, vector.UInt128, vector.Bignum:
		return w.Text(dst, v, i)
	case vector.Float32, vector.Float64:
		f := floatAt(v, i)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			break // as a string
		}
		return w.Text(dst, v, i)
	case vector.List:
		off, n := v.Entry(i)
		return w.array(dst, &v.Children[0], off, n)
	case vector.Array:
		return w.array(dst, &v.Children[0], i*t.Size, t.Size)
	case vector.Struct:
		return w.structure(dst, v, i)
	case vector.Map:
		return w.mapping(dst, v, i)
	case vector.Union:
		tag := int(v.Children[0].U8(i))
		dst = append(Quote(append(dst, '{'), []byte(t.Fields[tag].Name)), ':')
		return append(w.JSON(dst, &v.Children[tag+1], i), '}')
	}
	w.scratch = w.Text(w.scratch[:0], v, i)
	return Quote(dst, w.scratch)
}

// maxDoubleDigits is how many digits a double always keeps.
const maxDoubleDigits = 15

func (w *Writer) array(dst []byte, child *vector.Vector, off, n int) []byte {
	dst = append(dst, '[')
	for j := range n {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = w.JSON(dst, child, off+j)
	}
	return append(dst, ']')
}

func (w *Writer) structure(dst []byte, v *vector.Vector, i int) []byte {
	named := Named(v.Type)
	dst = append(dst, pick(named, '{', '['))
	for f := range v.Children {
		if f > 0 {
			dst = append(dst, ',')
		}
		if named {
			dst = append(Quote(dst, []byte(v.Type.Fields[f].Name)), ':')
		}
		dst = w.JSON(dst, &v.Children[f], i)
	}
	return append(dst, pick(named, '}', ']'))
}

func pick(named bool, a, b byte) byte {
	if named {
		return a
	}
	return b
}

// Named reports whether a STRUCT has field names; DuckDB's row(…) makes one without.
func Named(t vector.Type) bool {
	for _, f := range t.Fields {
		if f.Name != "" {
			return true
		}
	}
	return false
}

func (w *Writer) mapping(dst []byte, v *vector.Vector, i int) []byte {
	off, n := v.Entry(i)
	keys, values := &v.Children[0].Children[0], &v.Children[0].Children[1]
	dst = append(dst, '{')
	for j := off; j < off+n; j++ {
		if j > off {
			dst = append(dst, ',')
		}
		w.scratch = w.Text(w.scratch[:0], keys, j)
		dst = append(Quote(dst, w.scratch), ':')
		dst = w.JSON(dst, values, j)
	}
	return append(dst, '}')
}

const (
	hexDigits = "0123456789abcdef"
	upperHex  = "0123456789ABCDEF"
)

func appendNumber(dst []byte, v *vector.Vector, i int) []byte {
	mag, neg := Unscaled(v, i)
	if neg {
		dst = append(dst, '-')
	}
	var buf [48]byte
	scale := int(v.Type.Scale)
	d := mag.Digits(&buf, scale+1)
	dst = append(dst, d[:len(d)-scale]...)
	if scale > 0 {
		dst = append(append(dst, '.'), d[len(d)-scale:]...)
	}
	return dst
}

func floatAt(v *vector.Vector, i int) float64 {
	if v.Type.Kind == vector.Float32 {
		return float64(v.F32(i))
	}
	return v.F64(i)
}

func appendFloat(dst []byte, f float64, bitSize int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f+0, 'g', -1, bitSize) // + 0 turns -0 into 0
}

// SplitTimeTZ unpacks DuckDB's TIME WITH TIME ZONE: microseconds and seconds east of Greenwich.
func SplitTimeTZ(bits uint64) (micros int64, offset int32) {
	return int64(bits >> 24), maxOffset - int32(bits&0xffffff)
}

// JoinTimeTZ is the inverse of SplitTimeTZ.
func JoinTimeTZ(micros int64, offset int32) uint64 {
	return uint64(micros)<<24 | uint64(maxOffset-offset)
}

const maxOffset = 16*3600 - 1

// UUIDBytes returns row i of a UUID vector in network order.
func UUIDBytes(v *vector.Vector, i int) (out [16]byte) {
	m := raw128(v, i)
	binary.BigEndian.PutUint64(out[:], m.Hi^1<<63)
	binary.BigEndian.PutUint64(out[8:], m.Lo)
	return out
}

// PutUUID writes a UUID given in network order.
func PutUUID(v *vector.Vector, i int, b []byte) {
	put128(v, i, U128{Hi: binary.BigEndian.Uint64(b) ^ 1<<63, Lo: binary.BigEndian.Uint64(b[8:])})
}

func appendUUID(dst []byte, u [16]byte) []byte {
	from := 0
	for _, to := range [...]int{4, 6, 8, 10, 16} {
		if from > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, u[from:to])
		from = to
	}
	return dst
}

// appendBlob writes bytes as DuckDB does: printable ASCII as it is, the rest (quotes and backslash too) as \xHH.
func appendBlob(dst, b []byte) []byte {
	for _, c := range b {
		if c < ' ' || c > '~' || c == '\\' || c == '\'' || c == '"' {
			dst = append(dst, '\\', 'x', upperHex[c>>4], upperHex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// appendBits writes a BIT value: its first byte counts the padding bits at the top of the second.
func appendBits(dst, b []byte) []byte {
	for k := int(b[0]); k < 8*(len(b)-1); k++ {
		dst = append(dst, '0'+b[1+k/8]>>(7-k%8)&1)
	}
	return dst
}

// Quote appends s, valid UTF-8, as a JSON string.
func Quote(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

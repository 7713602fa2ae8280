package vector

import (
	"math"
	"unicode/utf8"
)

// AppendJSON appends row i of v as JSON: numbers and booleans as such (except NaN and infinities), all
// other scalars as strings of their Text, LIST and ARRAY as arrays, STRUCT as an object in field order, MAP
// as an object when its keys are text and as an array of {"key","value"} otherwise, UNION as its member.
func AppendJSON(dst []byte, v *Vector, i int) []byte {
	if v.IsNull(i) {
		return append(dst, "null"...)
	}
	switch v.Type.Kind {
	case List, Array:
		return appendJSONList(dst, v, i)
	case Map:
		if v.Type.Elem.Fields[0].Type.Kind == Varchar {
			return appendJSONMap(dst, v, i)
		}
		return appendJSONList(dst, v, i)
	case Struct:
		for m, f := range v.Type.Fields {
			dst = append(dst, "{,"[min(m, 1)])
			dst = appendJSONText(dst, f.Name)
			dst = append(dst, ':')
			dst = AppendJSON(dst, &v.Children[m], i)
		}
		return append(dst, '}')
	case Union:
		if tag := &v.Children[0]; !tag.IsNull(i) {
			return AppendJSON(dst, &v.Children[1+int(tag.U8(i))], i)
		}
		return append(dst, "null"...)
	case Float32, Float64:
		x := v.float(i)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return appendJSONText(dst, scalarText(v, i))
		}
		return append(dst, scalarText(v, i)...)
	case Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Int128, UInt128, Decimal:
		return append(dst, scalarText(v, i)...)
	}
	return appendJSONText(dst, scalarText(v, i))
}

func (v *Vector) float(i int) float64 {
	if v.Type.Kind == Float32 {
		return float64(v.F32(i))
	}
	return v.F64(i)
}

func appendJSONList(dst []byte, v *Vector, i int) []byte {
	off, length := i*v.Type.Size, v.Type.Size
	if v.Type.Kind != Array {
		off, length = v.Entry(i)
	}
	dst = append(dst, '[')
	for e := range length {
		if e > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSON(dst, &v.Children[0], off+e)
	}
	return append(dst, ']')
}

func appendJSONMap(dst []byte, v *Vector, i int) []byte {
	off, length := v.Entry(i)
	entry := &v.Children[0]
	dst = append(dst, '{')
	for e := range length {
		if e > 0 {
			dst = append(dst, ',')
		}
		if entry.IsNull(off + e) {
			// DuckDB has no such entry, but a decoder can be handed one.
			dst = append(dst, `"":null`...)
			continue
		}
		dst = appendJSONText(dst, Text(&entry.Children[0], off+e))
		dst = append(dst, ':')
		dst = AppendJSON(dst, &entry.Children[1], off+e)
	}
	return append(dst, '}')
}

// appendJSONText quotes s; bytes that are not UTF-8 become U+FFFD, as JSON must be Unicode.
func appendJSONText(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < 0x20 || r == 0x7f:
			dst = append(dst, `\u00`...)
			dst = append(dst, digits[r>>4], digits[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

package sourcetest

import (
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Render returns each row of a chunk as text, exact to the bit, so that chunks can be compared with
// go-cmp.
func Render(c *vector.Chunk) []string {
	rows := make([]string, c.N)
	var sb strings.Builder
	for i := range rows {
		sb.Reset()
		for j := range c.Cols {
			if j > 0 {
				sb.WriteString(" | ")
			}
			cell(&sb, &c.Cols[j], i)
		}
		rows[i] = sb.String()
	}
	return rows
}

func cell(sb *strings.Builder, v *vector.Vector, i int) {
	if v.IsNull(i) {
		sb.WriteString("NULL")
		return
	}
	switch k := v.Type.Kind; {
	case v.Type.IsString():
		fmt.Fprintf(sb, "%q", v.Str(i))
	case k == vector.List || k == vector.Map:
		offset, n := v.Entry(i)
		sequence(sb, &v.Children[0], offset, n)
	case k == vector.Array:
		sequence(sb, &v.Children[0], i*v.Type.Size, v.Type.Size)
	case k == vector.Struct || k == vector.Union:
		sb.WriteByte('{')
		for j := range v.Children {
			if j > 0 {
				sb.WriteString(", ")
			}
			cell(sb, &v.Children[j], i)
		}
		sb.WriteByte('}')
	case k == vector.Bool:
		fmt.Fprint(sb, v.Bool(i))
	case k == vector.Float64:
		fmt.Fprintf(sb, "%v/%x", v.F64(i), v.U64(i))
	case k == vector.Float32:
		fmt.Fprintf(sb, "%v/%x", v.F32(i), v.U32(i))
	default:
		word(sb, v, i)
	}
}

func word(sb *strings.Builder, v *vector.Vector, i int) {
	switch v.Type.Bytes() {
	case 1:
		fmt.Fprint(sb, int8(v.U8(i)))
	case 2:
		fmt.Fprint(sb, int16(v.U16(i)))
	case 4:
		fmt.Fprint(sb, v.I32(i))
	case 8:
		fmt.Fprint(sb, v.I64(i))
	default:
		fmt.Fprintf(sb, "%x", v.Raw16(i))
	}
}

func sequence(sb *strings.Builder, v *vector.Vector, offset, n int) {
	sb.WriteByte('[')
	for i := range n {
		if i > 0 {
			sb.WriteString(", ")
		}
		cell(sb, v, offset+i)
	}
	sb.WriteByte(']')
}

// RenderAll returns the rows of all chunks, in order.
func RenderAll(chunks []*vector.Chunk) []string {
	var out []string
	for _, c := range chunks {
		out = append(out, Render(c)...)
	}
	return out
}

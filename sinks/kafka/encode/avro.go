package encode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// avroName is the specification's rule for names.
func avroName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func avroUnsupported(c vector.Field) string {
	if !avroName(c.Name) {
		return "its name is none in Avro: give it one of letters, digits and _ in the view"
	}
	return avroUnsupportedType(c.Type)
}

func avroUnsupportedType(t vector.Type) string {
	switch t.Kind {
	case vector.Bit, vector.Bignum, vector.Null, vector.Union:
		return "cast it to VARCHAR in the view"
	case vector.Map:
		if t.Elem.Fields[0].Type.Kind != vector.Varchar {
			return "Avro's maps have VARCHAR keys: cast it to MAP(VARCHAR, …) in the view"
		}
	case vector.Struct:
		for _, f := range t.Fields {
			if why := avroUnsupported(f); why != "" {
				return "field \"" + f.Name + "\": " + why
			}
		}
		return ""
	}
	for _, c := range t.ChildTypes() {
		if why := avroUnsupportedType(c); why != "" {
			return why
		}
	}
	return ""
}

// appender writes row i of a vector, which is not NULL.
type appender func(dst []byte, v *vector.Vector, i int) ([]byte, error)

// avroWriter writes records whose every field is a union of null and its type.
type avroWriter struct {
	schema string
	at     []int
	fields []appender
	text   valuetext.Writer
}

func newAvro(s Shape) *avroWriter {
	w := &avroWriter{at: s.At}
	var b strings.Builder
	w.fields = w.record(&b, identifier(s.Name), s.Fields)
	if w.schema = b.String(); s.Events {
		row := identifier(s.Name)
		w.schema = `{"type":"record","name":"` + row + `_Envelope","fields":[{"name":"before","type":["null",` + w.schema +
			`],"default":null},{"name":"after","type":["null","` + row + `"],"default":null},{"name":"source","type":` +
			`{"type":"record","name":"` + row + `_Source","fields":[{"name":"connector","type":"string"},{"name":"name","type":"string"},` +
			`{"name":"table","type":"string"},{"name":"batch","type":"long"}]}},{"name":"op","type":"string"}]}`
	}
	return w
}

// identifier makes a name of letters, digits and underscores.
func identifier(name string) string {
	var b strings.Builder
	for i, c := range []byte(name) {
		switch {
		case c == '_', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', i > 0 && c >= '0' && c <= '9':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "x%02x", c)
		}
	}
	return b.String()
}

func (w *avroWriter) Schema() string { return w.schema }

// record writes a record's schema and returns its fields' appenders.
func (w *avroWriter) record(b *strings.Builder, name string, fields []vector.Field) (out []appender) {
	b.WriteString(`{"type":"record","name":"` + name + `","fields":[`)
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"name":"` + f.Name + `","type":["null",`)
		out = append(out, w.value(b, name+"_"+f.Name, f.Type))
		b.WriteString(`],"default":null}`)
	}
	b.WriteString(`]}`)
	return out
}

// value writes a type's schema and returns its appender.
func (w *avroWriter) value(b *strings.Builder, name string, t vector.Type) appender {
	switch t.Kind {
	case vector.List, vector.Array:
		b.WriteString(`{"type":"array","items":["null",`)
		elem := w.value(b, name, *t.Elem)
		b.WriteString(`]}`)
		return avroArray(t, elem)
	case vector.Map:
		b.WriteString(`{"type":"map","values":["null",`)
		elem := w.value(b, name, t.Elem.Fields[1].Type)
		b.WriteString(`]}`)
		return avroMap(elem)
	case vector.Struct:
		return avroStruct(w.record(b, name, t.Fields))
	}
	schema, ap := w.scalar(t)
	b.WriteString(schema)
	return ap
}

func logical(of, name string) string { return `{"type":"` + of + `","logicalType":"` + name + `"}` }

func (w *avroWriter) scalar(t vector.Type) (schema string, ap appender) {
	long := func(read func(v *vector.Vector, i int) int64) appender {
		return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return binary.AppendVarint(dst, read(v, i)), nil
		}
	}
	i64 := func(v *vector.Vector, i int) int64 { return v.I64(i) }
	instant := func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		if x := v.I64(i); x == math.MaxInt64 || x == -math.MaxInt64 {
			return dst, errInfinite
		}
		return binary.AppendVarint(dst, v.I64(i)), nil
	}
	switch t.Kind {
	case vector.Bool:
		return `"boolean"`, func(dst []byte, v *vector.Vector, i int) ([]byte, error) { return append(dst, v.U8(i)), nil }
	case vector.Int8, vector.Int16, vector.Int32, vector.UInt8, vector.UInt16:
		return `"int"`, long(integer)
	case vector.Int64, vector.UInt32:
		return `"long"`, long(integer)
	case vector.Date:
		return logical("int", "date"), func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			if x := v.I32(i); x == math.MaxInt32 || x == -math.MaxInt32 {
				return dst, errInfinite
			}
			return binary.AppendVarint(dst, int64(v.I32(i))), nil
		}
	case vector.Time:
		return logical("long", "time-micros"), long(i64)
	case vector.Timestamp:
		return logical("long", "local-timestamp-micros"), instant
	case vector.TimestampTZ:
		return logical("long", "timestamp-micros"), instant
	case vector.TimestampMS:
		return logical("long", "local-timestamp-millis"), instant
	case vector.TimestampNS:
		return logical("long", "local-timestamp-nanos"), instant
	case vector.TimestampS:
		return logical("long", "local-timestamp-millis"), func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			s := v.I64(i)
			if s > math.MaxInt64/1000 || s < math.MinInt64/1000 {
				return dst, fmt.Errorf("the time %d s is too far away for Avro's milliseconds", s)
			}
			return binary.AppendVarint(dst, s*1000), nil
		}
	case vector.UInt64:
		return avroDecimal(20, 0)
	case vector.Int128, vector.UInt128:
		return avroDecimal(39, 0)
	case vector.Decimal:
		return avroDecimal(int(t.Width), int(t.Scale))
	case vector.Float32:
		return `"float"`, func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return binary.LittleEndian.AppendUint32(dst, v.U32(i)), nil
		}
	case vector.Float64:
		return `"double"`, func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return binary.LittleEndian.AppendUint64(dst, v.U64(i)), nil
		}
	case vector.Varchar, vector.Blob:
		name := `"string"`
		if t.Kind == vector.Blob {
			name = `"bytes"`
		}
		return name, func(dst []byte, v *vector.Vector, i int) ([]byte, error) { return avroBytes(dst, v.Str(i)), nil }
	}
	schema = `"string"`
	if t.Kind == vector.UUID {
		schema = logical("string", "uuid")
	}
	var scratch []byte
	return schema, func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		scratch = w.text.Text(scratch[:0], v, i)
		return avroBytes(dst, scratch), nil
	}
}

var errInfinite = errors.New("an infinite time cannot be written as Avro\nHint: cast it to VARCHAR in the view")

func avroBytes(dst, s []byte) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}

// integer reads integers that fit an int64.
func integer(v *vector.Vector, i int) int64 {
	switch v.Type.Kind {
	case vector.Int8:
		return int64(int8(v.U8(i)))
	case vector.UInt8:
		return int64(v.U8(i))
	case vector.Int16:
		return int64(int16(v.U16(i)))
	case vector.UInt16:
		return int64(v.U16(i))
	case vector.Int32:
		return int64(v.I32(i))
	case vector.UInt32:
		return int64(v.U32(i))
	}
	return v.I64(i)
}

// avroDecimal writes the unscaled number in two's complement, big-endian, as short as it can be.
func avroDecimal(precision, scale int) (string, appender) {
	schema := `{"type":"bytes","logicalType":"decimal","precision":` + strconv.Itoa(precision) + `,"scale":` + strconv.Itoa(scale) + `}`
	return schema, func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		m, negative := valuetext.Unscaled(v, i)
		var b [17]byte // a byte more than the magnitude, for the sign
		binary.BigEndian.PutUint64(b[1:], m.Hi)
		binary.BigEndian.PutUint64(b[9:], m.Lo)
		if negative {
			carry := true
			for k := 16; k >= 0; k-- {
				b[k] = ^b[k]
				if carry {
					b[k]++
					carry = b[k] == 0
				}
			}
		}
		from := 0
		for from < 16 && (b[from] == 0 && b[from+1] < 0x80 || b[from] == 0xff && b[from+1] >= 0x80) {
			from++
		}
		return avroBytes(dst, b[from:]), nil
	}
}

// avroOptional writes a union of null and a type.
func avroOptional(dst []byte, v *vector.Vector, i int, ap appender) ([]byte, error) {
	if v.IsNull(i) {
		return append(dst, 0), nil
	}
	return ap(append(dst, 2), v, i)
}

// avroArray writes one block and the end.
func avroArray(t vector.Type, elem appender) appender {
	return func(dst []byte, v *vector.Vector, i int) (_ []byte, err error) {
		first, n := i*t.Size, t.Size
		if t.Kind == vector.List {
			first, n = v.Entry(i)
		}
		if n > 0 {
			dst = binary.AppendVarint(dst, int64(n))
		}
		for j := first; j < first+n; j++ {
			if dst, err = avroOptional(dst, &v.Children[0], j, elem); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	}
}

func avroMap(elem appender) appender {
	return func(dst []byte, v *vector.Vector, i int) (_ []byte, err error) {
		first, n := v.Entry(i)
		if n > 0 {
			dst = binary.AppendVarint(dst, int64(n))
		}
		keys, values := &v.Children[0].Children[0], &v.Children[0].Children[1]
		for j := first; j < first+n; j++ {
			dst = avroBytes(dst, keys.Str(j))
			if dst, err = avroOptional(dst, values, j, elem); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	}
}

func avroStruct(fields []appender) appender {
	return func(dst []byte, v *vector.Vector, i int) (_ []byte, err error) {
		for f := range fields {
			if dst, err = avroOptional(dst, &v.Children[f], i, fields[f]); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
}

// Row implements Writer.
func (w *avroWriter) Row(dst []byte, r Row) (_ []byte, err error) {
	for f, col := range w.at {
		if dst, err = avroOptional(dst, &r.Chunk.Cols[col], r.At, w.fields[f]); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Event implements Writer.
func (w *avroWriter) Event(dst []byte, e Event) (_ []byte, err error) {
	for _, r := range []*Row{e.Before, e.After} {
		if r == nil {
			dst = append(dst, 0)
			continue
		}
		if dst, err = w.Row(append(dst, 2), *r); err != nil {
			return dst, err
		}
	}
	for _, s := range []string{"sluice", e.Pipeline, e.View} {
		dst = avroBytes(dst, []byte(s))
	}
	return avroBytes(binary.AppendVarint(dst, e.Batch), []byte(e.Op)), nil
}

package encode

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

func protobufUnsupported(c vector.Field) string {
	if !avroName(c.Name) {
		return "its name is none in Protobuf: give it one of letters, digits and _ in the view"
	}
	switch t := c.Type; t.Kind {
	case vector.List, vector.Array:
		switch t.Elem.Kind {
		case vector.List, vector.Array, vector.Map:
			return "Protobuf has no lists of lists: write it as to_json(…) in the view"
		}
		return protobufUnsupported(vector.Field{Name: "item", Type: *t.Elem})
	case vector.Map:
		key, value := t.Elem.Fields[0].Type, t.Elem.Fields[1].Type
		if k := protobufScalar(key); k == "" || strings.HasPrefix(k, "google") || k == "float" || k == "double" || k == "bytes" {
			return "Protobuf's maps have integers and texts as keys: cast it to MAP(VARCHAR, …) in the view"
		}
		switch value.Kind {
		case vector.List, vector.Array, vector.Map:
			return "Protobuf has no maps of lists: write it as to_json(…) in the view"
		}
		return protobufUnsupported(vector.Field{Name: "value", Type: value})
	case vector.Struct:
		for _, f := range t.Fields {
			if why := protobufUnsupported(f); why != "" {
				return "field \"" + f.Name + "\": " + why
			}
		}
	case vector.Bit, vector.Bignum, vector.Null, vector.Union:
		return "cast it to VARCHAR in the view"
	}
	return ""
}

const protobufTimestamp = "google.protobuf.Timestamp"

// protobufScalar is the type of a value without children, "" for others.
func protobufScalar(t vector.Type) string {
	switch t.Kind {
	case vector.Bool:
		return "bool"
	case vector.Int8, vector.Int16, vector.Int32:
		return "int32"
	case vector.Int64:
		return "int64"
	case vector.UInt8, vector.UInt16, vector.UInt32:
		return "uint32"
	case vector.UInt64:
		return "uint64"
	case vector.Float32:
		return "float"
	case vector.Float64:
		return "double"
	case vector.Blob:
		return "bytes"
	case vector.Timestamp, vector.TimestampTZ, vector.TimestampS, vector.TimestampMS, vector.TimestampNS:
		return protobufTimestamp
	case vector.List, vector.Array, vector.Struct, vector.Map, vector.Union, vector.Bit, vector.Bignum, vector.Null:
		return ""
	}
	return "string" // decimals, dates, times and the like as DuckDB writes them
}

// A protoField writes a column with its tag: nothing for NULL.
type protoField func(dst []byte, v *vector.Vector, i int) ([]byte, error)

type protobufWriter struct {
	schema string
	at     []int
	fields []protoField
	text   valuetext.Writer
}

func newProtobuf(s Shape) *protobufWriter {
	w := &protobufWriter{at: s.At}
	var b strings.Builder
	row := identifier(s.Name)
	w.fields = w.message(&b, "", row, s.Fields)
	head := "syntax = \"proto3\";\n"
	if strings.Contains(b.String(), protobufTimestamp) {
		head += "import \"google/protobuf/timestamp.proto\";\n"
	}
	if s.Events { // the first message is what the header of a record names
		head += "message " + row + "_Envelope {\n  optional " + row + " before = 1;\n  optional " + row + " after = 2;\n" +
			"  message Source {\n    string connector = 1;\n    string name = 2;\n    string table = 3;\n    int64 batch = 4;\n  }\n" +
			"  Source source = 3;\n  string op = 4;\n}\n"
	}
	w.schema = head + b.String()
	return w
}

func (w *protobufWriter) Schema() string { return w.schema }

// message writes a message's schema and returns its fields.
func (w *protobufWriter) message(b *strings.Builder, indent, name string, fields []vector.Field) (out []protoField) {
	b.WriteString(indent + "message " + name + " {\n")
	for n, f := range fields {
		out = append(out, w.field(b, indent+"  ", f, protowire.Number(n+1)))
	}
	b.WriteString(indent + "}\n")
	return out
}

func (w *protobufWriter) field(b *strings.Builder, indent string, f vector.Field, n protowire.Number) protoField {
	declare := func(how, of string) {
		b.WriteString(indent + how + of + " " + f.Name + " = " + strconv.Itoa(int(n)) + ";\n")
	}
	switch t := f.Type; t.Kind {
	case vector.List, vector.Array:
		of, elem := w.element(b, indent, f.Name, *t.Elem, n)
		declare("repeated ", of)
		return protoList(t, elem)
	case vector.Map:
		key, value := t.Elem.Fields[0].Type, t.Elem.Fields[1].Type
		of, val := w.element(b, indent, f.Name, value, 2)
		declare("", "map<"+protobufScalar(key)+", "+of+">")
		return protoMap(n, w.scalar(key, 1), val)
	}
	of, one := w.element(b, indent, f.Name, f.Type, n)
	declare("optional ", of)
	return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		if v.IsNull(i) {
			return dst, nil
		}
		return one(dst, v, i)
	}
}

// element is a single value: its type's name and how it is written, with the tag.
func (w *protobufWriter) element(b *strings.Builder, indent, name string, t vector.Type, n protowire.Number) (string, protoField) {
	if t.Kind != vector.Struct {
		return protobufScalar(t), w.scalar(t, n)
	}
	of := name + "_type"
	fields := w.message(b, indent, of, t.Fields)
	return of, func(dst []byte, v *vector.Vector, i int) (_ []byte, err error) {
		return nested(dst, n, func(dst []byte) ([]byte, error) {
			for f := range fields {
				if dst, err = fields[f](dst, &v.Children[f], i); err != nil {
					return dst, err
				}
			}
			return dst, nil
		})
	}
}

// nested writes a message in a message: its length is known only afterwards.
func nested(dst []byte, n protowire.Number, fill func([]byte) ([]byte, error)) ([]byte, error) {
	dst = protowire.AppendTag(dst, n, protowire.BytesType)
	start := len(dst)
	dst, err := fill(dst)
	if err != nil {
		return dst, err
	}
	size := len(dst) - start
	var head [10]byte
	length := protowire.AppendVarint(head[:0], uint64(size))
	dst = append(dst, length...)
	copy(dst[start+len(length):], dst[start:start+size])
	copy(dst[start:], length)
	return dst, nil
}

func (w *protobufWriter) scalar(t vector.Type, n protowire.Number) protoField {
	varint := func(read func(v *vector.Vector, i int) uint64) protoField {
		return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return protowire.AppendVarint(protowire.AppendTag(dst, n, protowire.VarintType), read(v, i)), nil
		}
	}
	switch of := protobufScalar(t); of {
	case "bool":
		return varint(func(v *vector.Vector, i int) uint64 { return uint64(v.U8(i)) })
	case "int32", "int64", "uint32":
		return varint(func(v *vector.Vector, i int) uint64 { return uint64(integer(v, i)) })
	case "uint64":
		return varint(func(v *vector.Vector, i int) uint64 { return v.U64(i) })
	case "float":
		return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return protowire.AppendFixed32(protowire.AppendTag(dst, n, protowire.Fixed32Type), v.U32(i)), nil
		}
	case "double":
		return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return protowire.AppendFixed64(protowire.AppendTag(dst, n, protowire.Fixed64Type), v.U64(i)), nil
		}
	case protobufTimestamp:
		return protoTimestamp(t, n)
	}
	if t.Kind == vector.Varchar || t.Kind == vector.Blob {
		return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
			return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), v.Str(i)), nil
		}
	}
	var scratch []byte
	return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		scratch = w.text.Text(scratch[:0], v, i)
		return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), scratch), nil
	}
}

// protoTimestamp writes seconds and nanoseconds since 1970. The years are those that the message may have, 1 to 9999.
func protoTimestamp(t vector.Type, n protowire.Number) protoField {
	const first, last = -62135596800, 253402300799
	perSecond := map[vector.Kind]int64{vector.TimestampS: 1, vector.TimestampMS: 1e3, vector.TimestampNS: 1e9}[t.Kind]
	if perSecond == 0 {
		perSecond = 1e6
	}
	return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		x := v.I64(i)
		seconds, rest := x/perSecond, x%perSecond
		if rest < 0 {
			seconds, rest = seconds-1, rest+perSecond
		}
		if seconds < first || seconds > last {
			return dst, errors.New("a time outside of the years 1 to 9999 cannot be written as a google.protobuf.Timestamp\nHint: cast it to VARCHAR in the view")
		}
		return nested(dst, n, func(dst []byte) ([]byte, error) {
			if seconds != 0 {
				dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(seconds))
			}
			if rest != 0 {
				dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.VarintType), uint64(rest*(1e9/perSecond)))
			}
			return dst, nil
		})
	}
}

var errNullItem = errors.New("a NULL in a list or a map cannot be written as Protobuf\nHint: filter it out in the view, or write the column as to_json(…)")

// protoList writes every item with its tag, which readers take for a packed list as well. NULL is an empty list.
func protoList(t vector.Type, elem protoField) protoField {
	return func(dst []byte, v *vector.Vector, i int) (_ []byte, err error) {
		if v.IsNull(i) {
			return dst, nil
		}
		first, n := i*t.Size, t.Size
		if t.Kind == vector.List {
			first, n = v.Entry(i)
		}
		for j := first; j < first+n; j++ {
			if v.Children[0].IsNull(j) {
				return dst, errNullItem
			}
			if dst, err = elem(dst, &v.Children[0], j); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
}

func protoMap(n protowire.Number, key, value protoField) protoField {
	return func(dst []byte, v *vector.Vector, i int) (_ []byte, err error) {
		if v.IsNull(i) {
			return dst, nil
		}
		first, count := v.Entry(i)
		keys, values := &v.Children[0].Children[0], &v.Children[0].Children[1]
		for j := first; j < first+count; j++ {
			if values.IsNull(j) {
				return dst, errNullItem
			}
			dst, err = nested(dst, n, func(dst []byte) ([]byte, error) {
				if dst, err = key(dst, keys, j); err != nil {
					return dst, err
				}
				return value(dst, values, j)
			})
			if err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
}

// Row implements Writer.
func (w *protobufWriter) Row(dst []byte, r Row) (_ []byte, err error) {
	for f, col := range w.at {
		if dst, err = w.fields[f](dst, &r.Chunk.Cols[col], r.At); err != nil {
			return dst, fmt.Errorf("column %d: %w", f+1, err)
		}
	}
	return dst, nil
}

// Event implements Writer.
func (w *protobufWriter) Event(dst []byte, e Event) (_ []byte, err error) {
	for n, r := range []*Row{e.Before, e.After} {
		if r == nil {
			continue
		}
		dst, err = nested(dst, protowire.Number(n+1), func(dst []byte) ([]byte, error) { return w.Row(dst, *r) })
		if err != nil {
			return dst, err
		}
	}
	text := func(dst []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(dst, n, protowire.BytesType), s)
	}
	dst, err = nested(dst, 3, func(dst []byte) ([]byte, error) {
		dst = text(text(text(dst, 1, "sluice"), 2, e.Pipeline), 3, e.View)
		return protowire.AppendVarint(protowire.AppendTag(dst, 4, protowire.VarintType), uint64(e.Batch)), nil
	})
	return text(dst, 4, e.Op), err
}

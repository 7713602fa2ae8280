package decode

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A protoGen is a type of fields, a column that it is read into, and values: as a dynamic message takes them and as JSON.
type protoGen struct {
	decl  string
	defs  string // of types that decl names
	typ   vector.Type
	zero  string
	value func(t *rapid.T, fd protoreflect.FieldDescriptor) (protoreflect.Value, string)
}

func protoNumbers(t *rapid.T) protoGen {
	pick := func(kinds ...vector.Kind) vector.Type { return vector.Of(rapid.SampledFrom(kinds).Draw(t, "type")) }
	name := rapid.SampledFrom([]string{"int32", "sint32", "sfixed32", "int64", "sint64", "sfixed64", "uint32", "fixed32", "uint64", "fixed64"}).Draw(t, "number")
	return protoGen{decl: name, typ: pick(vector.Int128, vector.Float64, vector.Varchar), zero: "0", value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
		switch name {
		case "int32", "sint32", "sfixed32":
			v := rapid.Int32().Draw(t, "v")
			return protoreflect.ValueOfInt32(v), strconv.FormatInt(int64(v), 10)
		case "int64", "sint64", "sfixed64":
			v := rapid.Int64().Draw(t, "v")
			return protoreflect.ValueOfInt64(v), strconv.FormatInt(v, 10)
		case "uint32", "fixed32":
			v := rapid.Uint32().Draw(t, "v")
			return protoreflect.ValueOfUint32(v), strconv.FormatUint(uint64(v), 10)
		}
		v := rapid.Uint64().Draw(t, "v")
		return protoreflect.ValueOfUint64(v), strconv.FormatUint(v, 10)
	}}
}

// protoScalar draws a type of fields that is not a message of the schema's own.
func protoScalar(t *rapid.T, names *int) protoGen {
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	switch rapid.IntRange(0, 8).Draw(t, "scalar") {
	case 0:
		return protoGen{decl: "bool", typ: vector.Of(vector.Bool), zero: "false", value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			v := rapid.Bool().Draw(t, "v")
			return protoreflect.ValueOfBool(v), strconv.FormatBool(v)
		}}
	case 1:
		return protoGen{decl: "double", typ: vector.Of(vector.Float64), zero: "0", value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			v := rapid.Float64Range(-1e300, 1e300).Draw(t, "v")
			return protoreflect.ValueOfFloat64(v), strconv.FormatFloat(v, 'g', -1, 64)
		}}
	case 2:
		return protoGen{decl: "float", typ: vector.Of(vector.Float32), zero: "0", value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			v := rapid.Float32Range(-1e30, 1e30).Draw(t, "v")
			return protoreflect.ValueOfFloat32(v), strconv.FormatFloat(float64(v), 'g', -1, 64)
		}}
	case 3:
		*names++
		name := fmt.Sprintf("E%d", *names)
		symbols := []string{name + "_A", name + "_B_LONGER_THAN_TWELVE"}
		typ := vector.Of(vector.Varchar)
		if rapid.Bool().Draw(t, "enum") {
			typ = vector.Type{Kind: vector.Enum, Values: []string{symbols[1], "X", symbols[0]}}
		}
		return protoGen{decl: name, defs: fmt.Sprintf("enum %s { %s = 0; %s = 5; }\n", name, symbols[0], symbols[1]), typ: typ, zero: quote(symbols[0]),
			value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
				v := rapid.IntRange(0, 1).Draw(t, "v")
				return protoreflect.ValueOfEnum(protoreflect.EnumNumber(5 * v)), quote(symbols[v])
			}}
	case 4:
		return protoGen{decl: "bytes", typ: vector.Of(rapid.SampledFrom([]vector.Kind{vector.Blob, vector.Varchar}).Draw(t, "type")), zero: `""`, value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			s := words.Draw(t, "v")
			return protoreflect.ValueOfBytes([]byte(s)), quote(s)
		}}
	case 5:
		return protoGen{decl: "google.protobuf.Timestamp", typ: vector.Of(vector.TimestampNS), zero: "null", value: func(t *rapid.T, fd protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			at := time.Unix(0, rapid.Int64Range(-2e18, 4e18).Draw(t, "v")).UTC()
			m := dynamicpb.NewMessage(fd.Message())
			m.Set(fd.Message().Fields().ByName("seconds"), protoreflect.ValueOfInt64(at.Unix()))
			m.Set(fd.Message().Fields().ByName("nanos"), protoreflect.ValueOfInt32(int32(at.Nanosecond())))
			return protoreflect.ValueOfMessage(m), quote(at.Format(time.RFC3339Nano))
		}}
	case 6:
		return protoGen{decl: "google.protobuf.StringValue", typ: vector.Of(vector.Varchar), zero: "null", value: func(t *rapid.T, fd protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			s := words.Draw(t, "v")
			m := dynamicpb.NewMessage(fd.Message())
			m.Set(fd.Message().Fields().ByName("value"), protoreflect.ValueOfString(s))
			return protoreflect.ValueOfMessage(m), quote(s)
		}}
	case 7:
		return protoGen{decl: "string", typ: vector.Of(vector.Varchar), zero: `""`, value: func(t *rapid.T, _ protoreflect.FieldDescriptor) (protoreflect.Value, string) {
			s := words.Draw(t, "v")
			return protoreflect.ValueOfString(s), quote(s)
		}}
	}
	return protoNumbers(t)
}

// A protoMessageGen is a message's type, a STRUCT of some of its fields, and values.
type protoMessageGen struct {
	name, defs string
	typ        vector.Type
	fill       func(t *rapid.T, m protoreflect.Message) string
}

func protoMessageOf(t *rapid.T, depth int, names *int) protoMessageGen {
	*names++
	g := protoMessageGen{name: fmt.Sprintf("M%d", *names), typ: vector.Type{Kind: vector.Struct}}
	type member struct {
		name   string
		gen    protoGen
		how    string
		zero   string
		column bool
	}
	var members []member
	var body strings.Builder
	for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
		m := member{name: fmt.Sprintf("f%d", i), how: rapid.SampledFrom([]string{"", "optional", "repeated", "map", "oneof"}).Draw(t, "how"), zero: "null"}
		if depth > 0 && rapid.IntRange(0, 2).Draw(t, "message") == 0 {
			inner := protoMessageOf(t, depth-1, names)
			m.gen = protoGen{decl: inner.name, defs: inner.defs, typ: inner.typ, zero: "null", value: func(t *rapid.T, fd protoreflect.FieldDescriptor) (protoreflect.Value, string) {
				x := dynamicpb.NewMessage(fd.Message())
				s := inner.fill(t, x)
				return protoreflect.ValueOfMessage(x), s
			}}
		} else {
			m.gen = protoScalar(t, names)
		}
		g.defs += m.gen.defs
		number := rapid.SampledFrom([]int{1, 17, 300, 100000}).Draw(t, "number") + i
		typ := m.gen.typ
		switch m.how {
		case "":
			fmt.Fprintf(&body, "  %s %s = %d;\n", m.gen.decl, m.name, number)
			m.zero = m.gen.zero
		case "oneof":
			fmt.Fprintf(&body, "  oneof o%d { %s %s = %d; bool other%d = %d; }\n", i, m.gen.decl, m.name, number, i, number+50)
		case "map":
			fmt.Fprintf(&body, "  map<string, %s> %s = %d;\n", m.gen.decl, m.name, number)
			entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: vector.Of(vector.Varchar)}, {Name: "value", Type: typ}}}
			typ, m.zero = vector.Type{Kind: vector.Map, Elem: &entry}, "{}"
		case "repeated":
			packed := ""
			if rapid.Bool().Draw(t, "unpacked") && !strings.Contains("bytes string", m.gen.decl) && m.gen.decl[0] >= 'a' && !strings.Contains(m.gen.decl, ".") {
				packed = " [packed = false]"
			}
			fmt.Fprintf(&body, "  repeated %s %s = %d%s;\n", m.gen.decl, m.name, number, packed)
			typ, m.zero = vector.ListOf(typ), "[]"
		default:
			fmt.Fprintf(&body, "  %s %s %s = %d;\n", m.how, m.gen.decl, m.name, number)
		}
		if m.column = rapid.IntRange(0, 3).Draw(t, "declared") > 0; m.column {
			g.typ.Fields = append(g.typ.Fields, vector.Field{Name: m.name, Type: typ})
		}
		members = append(members, m)
	}
	g.typ.Fields = append(g.typ.Fields, vector.Field{Name: "absent", Type: vector.ListOf(vector.Of(vector.Int32))})
	g.typ.Fields = rapid.Permutation(g.typ.Fields).Draw(t, "order")
	g.defs += fmt.Sprintf("message %s {\n%s}\n", g.name, body.String())
	g.fill = func(t *rapid.T, x protoreflect.Message) string {
		var texts []string
		for i, m := range members {
			fd := x.Descriptor().Fields().ByName(protoreflect.Name(m.name))
			text := m.zero
			if rapid.Bool().Draw(t, "is there") {
				switch m.how {
				case "repeated":
					var items []string
					list := x.Mutable(fd).List()
					for range rapid.IntRange(1, 4).Draw(t, "items") {
						v, s := m.gen.value(t, fd)
						list.Append(v)
						items = append(items, s)
					}
					text = "[" + strings.Join(items, ",") + "]"
				case "map":
					v, s := m.gen.value(t, fd.MapValue())
					x.Mutable(fd).Map().Set(protoreflect.ValueOfString("a key longer than twelve").MapKey(), v)
					text = `{"a key longer than twelve":` + s + "}"
				default:
					var v protoreflect.Value
					v, text = m.gen.value(t, fd)
					x.Set(fd, v)
				}
			} else if m.how == "oneof" && rapid.Bool().Draw(t, "other") {
				x.Set(x.Descriptor().Fields().ByName(protoreflect.Name(fmt.Sprintf("other%d", i))), protoreflect.ValueOfBool(true))
			}
			texts = append(texts, fmt.Sprintf("%q:%s", m.name, text))
		}
		return "{" + strings.Join(texts, ",") + "}"
	}
	return g
}

const protoHead = "syntax = \"proto3\";\npackage p;\nimport \"google/protobuf/timestamp.proto\";\nimport \"google/protobuf/wrappers.proto\";\n"

// What the library writes of a random message is read as the same values written in JSON are. And two messages behind each
// other are read as the library merges them.
func TestProtobufRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := 0
		g := protoMessageOf(t, 2, &names)
		text := protoHead + g.defs
		file, err := parseProto(text, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		desc := file.Messages().ByName(protoreflect.Name(g.name))
		var binary, texts, joined, merged []Message
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			m := dynamicpb.NewMessage(desc)
			s := g.fill(t, m)
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			binary, texts = append(binary, Message{Value: b}), append(texts, Message{Value: []byte(s)})
			two := append(append([]byte{}, b...), binary[0].Value...)
			joined, merged = append(joined, Message{Value: two}), append(merged, Message{Value: again(t, desc, two)})
		}
		o := MessageOptions{Format: "protobuf", Fields: g.typ.Fields, ProtobufSchema: text, ProtobufMessage: "p." + g.name}
		for i, pair := range [][2][]Message{{texts, binary}, {merged, joined}} {
			other := MessageOptions{Format: "json", Fields: g.typ.Fields}
			if i == 1 {
				other = o
			}
			want, wrong := addRows(t, other, pair[0])
			got, bad := addRows(t, o, pair[1])
			if len(bad)+len(wrong) > 0 {
				t.Fatalf("schema %s, bad rows %q and %q", text, bad, wrong)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("schema %s, pair %d (-want +got):\n%s", text, i, diff)
			}
		}
	})
}

// again is what the library writes of what it has read.
func again(t interface{ Fatal(...any) }, desc protoreflect.MessageDescriptor, b []byte) []byte {
	m := dynamicpb.NewMessage(desc)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

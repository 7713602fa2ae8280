package encode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// column makes a column out of JSON documents, as the engine's own reader understands them.
func column(t *testing.T, typ vector.Type, docs ...string) *vector.Chunk {
	t.Helper()
	c := vector.NewChunk([]vector.Type{typ}, len(docs))
	arena := &vector.Arena{}
	c.Keep = append(c.Keep, arena)
	r := valuetext.Reader{Arena: arena}
	for i, doc := range docs {
		if err := r.JSON(&c.Cols[0], i, len(docs), []byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func decimal(w, s uint8) vector.Type { return vector.Type{Kind: vector.Decimal, Width: w, Scale: s} }

func mapOf(k, v vector.Type) vector.Type {
	return vector.Type{Kind: vector.Map, Elem: &vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: k}, {Name: "value", Type: v}}}}
}

var point = vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "x", Type: vector.Of(vector.Int32)}, {Name: "y", Type: vector.ListOf(vector.Of(vector.Varchar))}}}

// cases are values with what other programs read: from Avro as Go prints it, from Protobuf as its JSON. "!" is refused.
var cases = []struct {
	typ            vector.Type
	value          string
	avro, protobuf string
}{
	{vector.Of(vector.Bool), "true", "true", "true"},
	{vector.Of(vector.Int8), "-128", "-128", "-128"},
	{vector.Of(vector.UInt16), "65535", "65535", "65535"},
	{vector.Of(vector.Int32), "-2147483648", "-2147483648", "-2147483648"},
	{vector.Of(vector.UInt32), "4294967295", "4294967295", "4294967295"},
	{vector.Of(vector.Int64), "-9223372036854775808", "-9223372036854775808", `"-9223372036854775808"`},
	{vector.Of(vector.UInt64), "18446744073709551615", "18446744073709551615", `"18446744073709551615"`},
	{vector.Of(vector.Int128), "-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728", `"-170141183460469231731687303715884105728"`},
	{vector.Of(vector.UInt128), "340282366920938463463374607431768211455", "340282366920938463463374607431768211455", `"340282366920938463463374607431768211455"`},
	{vector.Of(vector.Float32), "1.5", "1.5", "1.5"},
	{vector.Of(vector.Float64), "-0.1", "-0.1", "-0.1"},
	{vector.Of(vector.Float64), `"Infinity"`, "+Inf", `"Infinity"`},
	{decimal(4, 2), `"-1.28"`, "-1.28", `"-1.28"`},
	{decimal(4, 2), `"1.28"`, "1.28", `"1.28"`},
	{decimal(38, 10), `"-1234567890123456789012345678.0123456789"`, "-1234567890123456789012345678.0123456789", `"-1234567890123456789012345678.0123456789"`},
	{decimal(9, 0), `0`, "0", `"0"`},
	{vector.Of(vector.Varchar), `"ü\n"`, "ü\n", `"ü\n"`},
	{vector.Of(vector.Varchar), `""`, "", `""`},
	{vector.Of(vector.Date), `"1969-12-31"`, "1969-12-31 00:00:00 +0000 UTC", `"1969-12-31"`},
	{vector.Of(vector.Time), `"00:00:01.5"`, "1.5s", `"00:00:01.5"`},
	{vector.Of(vector.Timestamp), `"1969-12-31 23:59:59.999999"`, "1969-12-31 23:59:59.999999 +0000 UTC", `"1969-12-31T23:59:59.999999Z"`},
	{vector.Of(vector.TimestampTZ), `"2026-01-01 00:00:00+00"`, "2026-01-01 00:00:00 +0000 UTC", `"2026-01-01T00:00:00Z"`},
	{vector.Of(vector.TimestampS), `"1970-01-01 00:00:00"`, "1970-01-01 00:00:00 +0000 UTC", `"1970-01-01T00:00:00Z"`},
	{vector.Of(vector.TimestampMS), `"2026-01-01 00:00:00.001"`, "2026-01-01 00:00:00.001 +0000 UTC", `"2026-01-01T00:00:00.001Z"`},
	{vector.Of(vector.TimestampNS), `"2026-01-01 00:00:00.000000001"`, "2026-01-01 00:00:00.000000001 +0000 UTC", `"2026-01-01T00:00:00.000000001Z"`},
	{vector.Of(vector.Timestamp), `"infinity"`, "!", "!"},
	{vector.Of(vector.UUID), `"00112233-4455-6677-8899-aabbccddeeff"`, "00112233-4455-6677-8899-aabbccddeeff", `"00112233-4455-6677-8899-aabbccddeeff"`},
	{vector.Type{Kind: vector.Enum, Values: []string{"a", "b"}}, `"b"`, "b", `"b"`},
	{vector.ListOf(vector.Of(vector.Int64)), "[1, 2]", "[1 2]", `["1","2"]`},
	{vector.ListOf(vector.Of(vector.Varchar)), `["a", null]`, "[a <nil>]", "!"},
	{vector.ListOf(vector.Of(vector.Varchar)), `[]`, "[]", ""},
	{vector.Type{Kind: vector.Array, Size: 2, Elem: &vector.Type{Kind: vector.Float64}}, "[1, 2]", "[1 2]", "[1,2]"},
	{mapOf(vector.Of(vector.Varchar), vector.Of(vector.Int32)), `{"a": 1}`, "map[a:1]", `{"a":1}`},
	{mapOf(vector.Of(vector.Varchar), vector.Of(vector.Int32)), `{"a": null}`, "map[a:<nil>]", "!"},
	{point, `{"x": 1, "y": ["a"]}`, "map[x:1 y:[a]]", `{"x":1,"y":["a"]}`},
	{vector.ListOf(point), `[{"x": 1, "y": []}, {"x": null, "y": ["b", "c"]}]`, "[map[x:1 y:[]] map[x:<nil> y:[b c]]]", `[{"x":1},{"y":["b","c"]}]`},
	{mapOf(vector.Of(vector.Int64), point), `{"7": {"x": 1, "y": null}}`, "!", `{"7":{"x":1}}`},
	{vector.ListOf(vector.ListOf(vector.Of(vector.Int64))), "[[1], []]", "[[1] []]", "!"},
	{vector.Of(vector.Bit), `"01"`, "!", "!"},
}

// Readers of other make see what was written.
func TestReaders(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.typ.String()+" "+tt.value, func(t *testing.T) {
			c := column(t, tt.typ, tt.value, "null")
			f := []vector.Field{{Name: "v", Type: tt.typ}}
			for format, want := range map[string]string{Avro: tt.avro, Protobuf: tt.protobuf} {
				if Unsupported(format, f[0]) != "" {
					if want != "!" {
						t.Errorf("%s refuses it: %s", format, Unsupported(format, f[0]))
					}
					continue
				}
				w := New(Shape{Format: format, Name: "r", Fields: f, At: []int{0}})
				b, err := w.Row(nil, Row{c, 0})
				if err != nil {
					if want != "!" {
						t.Errorf("%s: %v", format, err)
					}
					continue
				}
				null, err := w.Row(nil, Row{c, 1})
				if err != nil {
					t.Fatal(err)
				}
				got, gotNull := readAvro(t, tt.typ, w.Schema(), b), ""
				if format == Avro {
					gotNull = readAvro(t, tt.typ, w.Schema(), null)
				} else {
					got, gotNull = readProtobuf(t, w.Schema(), b), readProtobuf(t, w.Schema(), null)
				}
				if got != want || format == Avro && gotNull != "<nil>" || format == Protobuf && gotNull != "" {
					t.Errorf("%s is read as %s, want %s; NULL as %q\n%s", format, got, want, gotNull, w.Schema())
				}
			}
		})
	}
}

func parseAvro(t *testing.T, text string) *avro.Schema {
	t.Helper()
	s, err := avro.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

// readAvro prints field v of a record.
func readAvro(t *testing.T, typ vector.Type, schema string, b []byte) string {
	t.Helper()
	if !strings.HasPrefix(schema, "{") {
		return ""
	}
	var x any
	rest, err := parseAvro(t, schema).Decode(b, &x)
	if err != nil || len(rest) > 0 {
		t.Fatalf("decode: %v, %d bytes left", err, len(rest))
	}
	v := x.(map[string]any)["v"]
	if r, ok := v.(*big.Rat); ok {
		return r.FloatString(int(typ.Scale))
	}
	return fmt.Sprint(v)
}

func message(t *testing.T, schema string, b []byte) *dynamicpb.Message {
	t.Helper()
	m := dynamicpb.NewMessage(descriptor(t, schema))
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	checkKnown(t, m)
	return m
}

// descriptor compiles a schema and returns its first message.
func descriptor(t *testing.T, schema string) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"s.proto": schema})})}
	files, err := c.Compile(context.Background(), "s.proto")
	if err != nil {
		t.Fatalf("%v\n%s", err, schema)
	}
	return files[0].Messages().Get(0)
}

func checkKnown(t *testing.T, m protoreflect.Message) {
	t.Helper()
	if len(m.GetUnknown()) > 0 {
		t.Errorf("message %s has fields that its schema does not", m.Descriptor().Name())
	}
}

// readProtobuf is the JSON of field v of a message, "" if it is not there.
func readProtobuf(t *testing.T, schema string, b []byte) string {
	t.Helper()
	text, err := protojson.Marshal(message(t, schema, b))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if v := fields["v"]; v != nil {
		if err := json.Compact(&out, v); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// Whatever the types, what is written has the shape that its schema says, to the last byte.
func TestRandomRows(t *testing.T) {
	for _, format := range []string{Avro, Protobuf} {
		for seed := range uint64(40) {
			r := rand.New(rand.NewPCG(seed, 7))
			var fields []vector.Field
			for len(fields) < 6 {
				f := vector.Field{Name: fmt.Sprint("c", len(fields)), Type: vectortest.Type(r, 2)}
				if Unsupported(format, f) == "" {
					fields = append(fields, f)
				}
			}
			types := make([]vector.Type, len(fields))
			at := make([]int, len(fields))
			for i := range fields {
				types[i], at[i] = fields[i].Type, i
			}
			w := New(Shape{Format: format, Name: "r", Fields: fields, At: at})
			c := vectortest.Chunk(r, types, 20, 1000)
			for i := range c.N {
				b, err := w.Row(nil, Row{c, i})
				if err != nil && format == Protobuf && (strings.Contains(err.Error(), "NULL in a list") || strings.Contains(err.Error(), "years 1 to 9999")) {
					continue
				}
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if format == Protobuf {
					message(t, w.Schema(), b)
					continue
				}
				var x any
				s := parseAvro(t, w.Schema())
				if rest, err := s.Decode(b, &x); err != nil || len(rest) > 0 {
					t.Fatalf("seed %d: decode %s: %v, %d bytes left", seed, w.Schema(), err, len(rest))
				}
			}
		}
	}
}

// Change events have the row before and after in one schema.
func TestEvents(t *testing.T) {
	c := column(t, point, `{"x": 1, "y": ["a"]}`, `{"x": 2, "y": []}`)
	fields := []vector.Field{{Name: "v", Type: point}}
	for _, format := range []string{Avro, Protobuf} {
		w := New(Shape{Format: format, Name: "t 1", Fields: fields, At: []int{0}, Events: true})
		b, err := w.Event(nil, Event{Op: "u", Before: &Row{c, 0}, After: &Row{c, 1}, Pipeline: "p", View: "t 1", Batch: 7})
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.Event(nil, Event{Op: "d", Before: &Row{c, 0}, Pipeline: "p", View: "t 1", Batch: 8})
		if err != nil {
			t.Fatal(err)
		}
		if format == Avro {
			var x, y any
			s := parseAvro(t, w.Schema())
			if _, err := s.Decode(b, &x); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Decode(d, &y); err != nil {
				t.Fatal(err)
			}
			want := "map[after:map[v:map[x:2 y:[]]] before:map[v:map[x:1 y:[a]]] op:u source:map[batch:7 connector:sluice name:p table:t 1]]"
			if got := fmt.Sprint(x); got != want {
				t.Errorf("avro: %s\nwant  %s", got, want)
			}
			if got := fmt.Sprint(y.(map[string]any)["after"]); got != "<nil>" {
				t.Errorf("avro: after a deletion there is %s", got)
			}
			continue
		}
		text, err := protojson.Marshal(message(t, w.Schema(), b))
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		_ = json.Unmarshal(text, &got)
		_ = json.Unmarshal([]byte(`{"before":{"v":{"x":1,"y":["a"]}},"after":{"v":{"x":2}},"source":{"connector":"sluice","name":"p","table":"t 1","batch":"7"},"op":"u"}`), &want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("protobuf (-want +got):\n%s", diff)
		}
		message(t, w.Schema(), d)
	}
}

// Names that Avro and Protobuf do not have are refused before anything is written.
func TestUnsupportedNames(t *testing.T) {
	for _, format := range []string{Avro, Protobuf} {
		for _, name := range []string{"a b", "ü", "1a", ""} {
			if Unsupported(format, vector.Field{Name: name, Type: vector.Of(vector.Int64)}) == "" {
				t.Errorf("%s takes the name %q", format, name)
			}
		}
	}
}

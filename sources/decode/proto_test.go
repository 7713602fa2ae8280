package decode

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-sql/sluice/internal/registrytest"
	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
)

// protoOf is a message of a schema, given as JSON.
func protoOf(t testing.TB, schema, name, text string) []byte {
	t.Helper()
	file, err := parseProto(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(findProto(file.Messages(), name))
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const wideProto = protoHead + `import "google/protobuf/duration.proto"; import "google/protobuf/struct.proto";
message Wide {
  int32 i = 1; optional int64 maybe = 2; string t = 3; repeated Item items = 4; map<string, int32> m = 5; Kind kind = 6;
  oneof which { string left = 7; Item right = 8; bool other = 9; }
  google.protobuf.Timestamp at = 10; google.protobuf.Duration took = 11; google.protobuf.Int64Value boxed = 12; google.protobuf.Struct free = 13;
  repeated sint32 packed = 14; repeated fixed64 loose = 15 [packed = false]; bytes raw = 16; uint64 big = 17; Wide self = 18; map<int32, Item> by = 19;
  message Item { double q = 1; repeated string tags = 2; }
  enum Kind { NONE = 0; SOME = 1; }
}
message Other { string x = 1; message Inner { int32 y = 1; } }
`

var protoFields = func() []vector.Field {
	text := vector.Of(vector.Varchar)
	mapOf := func(k, v vector.Type) vector.Type {
		return vector.Type{Kind: vector.Map, Elem: &vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: k}, {Name: "value", Type: v}}}}
	}
	item := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "q", Type: vector.Of(vector.Float64)}, {Name: "tags", Type: vector.ListOf(text)}}}
	return []vector.Field{{Name: "i", Type: vector.Of(vector.Int32)}, {Name: "maybe", Type: vector.Of(vector.Int64)}, {Name: "t", Type: text}, {Name: "items", Type: vector.ListOf(item)},
		{Name: "m", Type: mapOf(text, vector.Of(vector.Int64))}, {Name: "kind", Type: text}, {Name: "left", Type: text}, {Name: "right", Type: item},
		{Name: "at", Type: vector.Of(vector.TimestampTZ)}, {Name: "took", Type: vector.Of(vector.Interval)}, {Name: "boxed", Type: vector.Of(vector.Int64)}, {Name: "free", Type: text},
		{Name: "packed", Type: vector.ListOf(vector.Of(vector.Int64))}, {Name: "loose", Type: vector.ListOf(vector.Of(vector.Int64))}, {Name: "raw", Type: vector.Of(vector.Blob)},
		{Name: "self", Type: vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "i", Type: vector.Of(vector.Int64)}, {Name: "boxed", Type: text}}}}, {Name: "by", Type: mapOf(vector.Of(vector.Int64), item)},
		{Name: "absent", Type: vector.Of(vector.Int32)}}
}()

const wideText = `{"i":-7,"maybe":"0","t":"` + longText + `","items":[{"q":1.5,"tags":["a","` + longText + `"]},{}],"m":{"k":1},"kind":"SOME","right":{"q":2.5},"at":"2024-01-02T03:04:05.123456789Z",
	"took":"1.5s","boxed":"9","free":{"a":[1,null]},"packed":[-1,2],"loose":["3","4"],"raw":"AAE=","big":"18446744073709551615","self":{"i":1,"self":{"i":2}},"by":{"-1":{"q":3}}}`

func wideProtoOptions() MessageOptions {
	return MessageOptions{Format: "protobuf", Fields: protoFields, ProtobufSchema: wideProto, ProtobufMessage: "p.Wide"}
}

// What is not there: zero for fields of proto3 that cannot say so, NULL for others, and empty lists.
func TestProtobufPresence(t *testing.T) {
	rows, bad := addAll(t, wideProtoOptions(), Message{Value: protoOf(t, wideProto, "p.Wide", wideText)}, Message{Value: []byte{}})
	want := []string{
		"-7 | 0 | " + longText + ` | [{"q":1.5,"tags":["a","` + longText + `"]},{"q":0.0,"tags":[]}] | {"k":1} | SOME | NULL | {"q":2.5,"tags":[]} | 2024-01-02 03:04:05.123456+00 | 00:00:01.5 | 9 | ` +
			`{"a":[1,null]} | [-1,2] | [3,4] | \x00\x01 | {"i":1,"boxed":null} | [{"key":-1,"value":{"q":3.0,"tags":[]}}] | NULL @0`,
		"0 | NULL |  | [] | {} | NONE | NULL | NULL | NULL | NULL | NULL | NULL | [] | [] |  | NULL | [] | NULL @1",
	}
	if diff := cmp.Diff(want, rows); diff != "" || len(bad) > 0 {
		t.Errorf("bad %q (-want +got):\n%s", bad, diff)
	}
	// proto2 says whether a field is there, whatever default it has.
	o := MessageOptions{Format: "protobuf", Fields: abFields, ProtobufSchema: `syntax = "proto2"; message P { optional int64 a = 1 [default = 7]; required string b = 2; optional group C = 3 { optional int32 x = 1; } }`}
	rows, bad = addAll(t, o, Message{Value: []byte{}}, Message{Value: []byte{8, 0, 0x12, 1, 'x', 0x1b, 8, 5, 0x1c}})
	if len(rows) != 1 || rows[0] != "NULL | NULL | NULL @0" || len(bad) != 0 && !strings.Contains(bad[0], "column c") {
		// The group's field is called c, and is no DOUBLE.
		t.Errorf("rows %q, bad %q", rows, bad)
	}
	group := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "x", Type: vector.Of(vector.Int32)}}}
	o.Fields = []vector.Field{{Name: "a", Type: vector.Of(vector.Int64)}, {Name: "c", Type: group}}
	rows, bad = addAll(t, o, Message{Value: []byte{8, 0, 0x12, 1, 'x', 0x1b, 8, 5, 0x1c}}, Message{Value: []byte{0x1b, 8, 5, 0x1b, 0x1c, 0x1c, 0x2b, 0x2b, 0x2c, 0x2c}})
	if diff := cmp.Diff([]string{`0 | {"x":5} @0`, `NULL | {"x":5} @1`}, rows); diff != "" || len(bad) > 0 {
		t.Errorf("bad %q (-want +got):\n%s", bad, diff)
	}
}

// The wire format's rules for what comes twice.
func TestProtobufRepetitions(t *testing.T) {
	schema := protoHead + `message P { int32 a = 1; oneof o { string l = 2; P r = 3; bool undeclared = 9; } map<int32, P> m = 4; repeated int32 n = 5; P s = 6; google.protobuf.Timestamp at = 7; }`
	inner := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "a", Type: vector.Of(vector.Int32)}, {Name: "n", Type: vector.ListOf(vector.Of(vector.Int32))}}}
	entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: vector.Of(vector.Int32)}, {Name: "value", Type: inner}}}
	o := MessageOptions{Format: "protobuf", ProtobufSchema: schema, Fields: []vector.Field{{Name: "a", Type: vector.Of(vector.Int32)}, {Name: "l", Type: vector.Of(vector.Varchar)}, {Name: "r", Type: inner},
		{Name: "m", Type: vector.Type{Kind: vector.Map, Elem: &entry}}, {Name: "n", Type: vector.ListOf(vector.Of(vector.Int32))}, {Name: "s", Type: inner}, {Name: "at", Type: vector.Of(vector.Timestamp)}}}
	for _, tc := range []struct {
		name, value, want string
	}{
		{"the last scalar", "\x08\x01\x08\x02", "2 | NULL | NULL | [] | [] | NULL | NULL"},
		{"the last of a oneof", "\x1a\x04\x2a\x02\x01\x02\x12\x01x", "0 | x | NULL | [] | [] | NULL | NULL"},
		{"the last of a oneof, a message", "\x1a\x02\x28\x07\x12\x01x\x1a\x02\x08\x05", `0 | NULL | {"a":5,"n":[]} | [] | [] | NULL | NULL`},
		{"a member that nobody declared", "\x12\x01x\x48\x01", "0 | NULL | NULL | [] | [] | NULL | NULL"},
		{"messages are merged", "\x32\x02\x28\x01\x08\x09\x32\x04\x28\x02\x08\x03", `9 | NULL | NULL | [] | [] | {"a":3,"n":[1,2]} | NULL`},
		{"timestamps too", "\x3a\x02\x08\x01\x3a\x04\x10\xe8\x07\x10", "!"},
		{"timestamps are merged", "\x3a\x02\x08\x01\x3a\x03\x10\xe8\x07", "0 | NULL | NULL | [] | [] | NULL | 1970-01-01 00:00:01.000001"},
		{"lists are joined, packed or not", "\x28\x01\x2a\x02\x02\x03\x08\x07\x28\x04", "7 | NULL | NULL | [] | [1,2,3,4] | NULL | NULL"},
		{"the last entry of a key", "\x22\x08\x08\x01\x12\x04\x28\x01\x08\x08\x22\x02\x08\x02\x22\x07\x08\x81\x00\x12\x02\x08\x09", `0 | NULL | NULL | [{"key":1,"value":{"a":9,"n":[]}},{"key":2,"value":{"a":0,"n":[]}}] | [] | NULL | NULL`},
		{"an entry without a key", "\x22\x00", `0 | NULL | NULL | [{"key":0,"value":{"a":0,"n":[]}}] | [] | NULL | NULL`},
		{"a map's key of another type, which makes the library panic", "\x22\x05\x0d\x01\x02\x03\x04", `0 | NULL | NULL | [{"key":0,"value":{"a":0,"n":[]}}] | [] | NULL | NULL`},
		{"unknown fields", "\x80\x08\x01\x93\x08\x94\x08\x0d\x01\x02\x03\x04", "0 | NULL | NULL | [] | [] | NULL | NULL"},
	} {
		rows, bad := addAll(t, o, Message{Value: []byte(tc.value)})
		got := strings.Join(rows, "")
		if tc.want == "!" && len(bad) == 1 {
			continue
		}
		if want := tc.want + " @0"; got != want || len(bad) > 0 {
			t.Errorf("%s: rows %q, bad %q, want %s", tc.name, rows, bad, want)
		}
	}
}

// Messages name their schema and which of its messages they are; a schema may import others.
func TestProtobufRegistry(t *testing.T) {
	reg := registrytest.New(t)
	reg.Register("money", "PROTOBUF", `syntax = "proto3"; package pay; import "google/protobuf/timestamp.proto"; message Money { int64 amount = 1; google.protobuf.Timestamp at = 2; }`)
	v1 := reg.Register("a", "PROTOBUF", `syntax = "proto3"; package shop; import "pay/money.proto"; message A { int64 a = 1; pay.Money m = 2; message In { string b = 1; message Deep { string b = 2; } } } message B { string b = 1; }`,
		sr.SchemaReference{Name: "pay/money.proto", Subject: "money", Version: 1})
	v2 := reg.Register("a", "PROTOBUF", `syntax = "proto3"; package shop; message A { string b = 3; int64 a = 1; }`)
	broken := reg.Register("b", "PROTOBUF", `syntax = "proto3"; message A { Missing x = 1; }`)
	avro := reg.Register("c", "AVRO", `"string"`)
	money := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "amount", Type: vector.Of(vector.Int64)}}}
	o := MessageOptions{Format: "protobuf", Fields: append(abFields[:2:2], vector.Field{Name: "m", Type: money}), Registry: schemaregistry.Options{URL: reg.URL()}}
	msgs := func() (msgs []Message) {
		for _, m := range []struct {
			id   int
			body string
		}{{v1, "\x00\x08\x01\x12\x02\x08\x05"}, {v2, "\x00\x08\x02\x1a\x01x"}, {v1, "\x02\x02\x0a\x01y"}, {v1, "\x06\x00\x00\x00\x12\x01z"}, {v1, "\x02\x00\x08\x03"},
			{v1, "\x02\x04"}, {v1, ""}, {v1, "\x04\x00"}, {v1, "\x80"}, {broken, "\x00"}, {avro, "\x00"}, {77, "\x00"}, {v1, "\x02\x01"}} {
			msgs = append(msgs, Message{Value: withID(m.id, []byte(m.body))})
		}
		return msgs
	}
	rows, bad := addAll(t, o, msgs()...)
	if diff := cmp.Diff([]string{`1 | NULL | {"amount":5} @0`, "2 | x | NULL @1", "NULL | y | NULL @2", "NULL | z | NULL @3", "3 | NULL | NULL @4"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for i, want := range []string{"its schema has no message [2]", "does not say which", "does not say which", "does not say which", "schema 4 cannot be used", "schema 5 is AVRO, not PROTOBUF", "schema 77 is unknown", "its schema has no message [-1]"} {
		if i >= len(bad) || !strings.Contains(bad[i], want) {
			t.Fatalf("reasons:\n%s\nwant %s", strings.Join(bad, "\n"), want)
		}
	}
	o.ProtobufMessage = "shop.B"
	if rows, bad = addAll(t, o, msgs()[:3]...); len(rows) != 1 || len(bad) != 2 || !strings.Contains(bad[0], "the message is a shop.A, not a shop.B") {
		t.Errorf("only shop.B: rows %q, reasons %q", rows, bad)
	}
}

func TestProtobufConversions(t *testing.T) {
	typeOf := func(k vector.Kind) vector.Type { return vector.Of(k) }
	for _, tc := range []struct {
		field, text string
		typ         vector.Type
		want        string // a reason if it begins with !
	}{
		{"uint64 v = 1", `{"v":"18446744073709551615"}`, typeOf(vector.Int64), "!column v: 18446744073709551615 is out of range for BIGINT"},
		{"uint64 v = 1", `{"v":"18446744073709551615"}`, typeOf(vector.UInt64), "18446744073709551615"},
		{"int32 v = 1", `{"v":300}`, typeOf(vector.Int8), "!column v: 300 is out of range for TINYINT"},
		{"sint64 v = 1", `{"v":"-9223372036854775808"}`, typeOf(vector.Int64), "-9223372036854775808"},
		{"int32 v = 1", `{}`, typeOf(vector.Varchar), "0"},
		{"double v = 1", `{"v":"NaN"}`, typeOf(vector.Int32), "!column v: nan is out of range for INTEGER"},
		{"bool v = 1", `{"v":true}`, typeOf(vector.Varchar), "true"},
		{"string v = 1", `{"v":"2024-01-02"}`, typeOf(vector.Date), "2024-01-02"},
		{"string v = 1", `{"v":"x"}`, typeOf(vector.Date), "!column v: 'x' is not in the form a DATE"},
		{"string v = 1", `{}`, typeOf(vector.Date), "NULL"},
		{"string v = 1", `{"v":"a\u0000"}`, typeOf(vector.Varchar), "!column v: the text has a NUL character"},
		{"E v = 1", `{"v":7}`, typeOf(vector.Varchar), "7"},
		{"E v = 1", `{"v":"B"}`, typeOf(vector.Int32), "1"},
		{"E v = 1", `{"v":"B"}`, vector.Type{Kind: vector.Enum, Values: []string{"A"}}, "!column v: 'B' is not an ENUM('A')"},
		{"repeated int32 v = 1", `{"v":[1]}`, typeOf(vector.Int32), "!column v: the field is repeated in the message's schema, and cannot be read as INTEGER"},
		{"map<string, int32> v = 1", `{"v":{"a":1}}`, typeOf(vector.Varchar), "!column v: the field is a map in the message's schema"},
		{"repeated int32 v = 1", `{"v":[1,2]}`, vector.Type{Kind: vector.Array, Size: 2, Elem: &vector.Type{Kind: vector.Int8}}, "[1,2]"},
		{"repeated int32 v = 1", `{"v":[1,2,3]}`, vector.Type{Kind: vector.Array, Size: 2, Elem: &vector.Type{Kind: vector.Int8}}, "!column v: expected 2 items, found more"},
		{"repeated int32 v = 1", `{}`, vector.Type{Kind: vector.Array, Size: 2, Elem: &vector.Type{Kind: vector.Int8}}, "NULL"},
		{"google.protobuf.Timestamp v = 1", `{"v":"9999-12-31T23:59:59Z"}`, typeOf(vector.TimestampNS), "!column v: 253402300799 seconds and 0 nanoseconds are out of range for TIMESTAMP_NS"},
		{"google.protobuf.Timestamp v = 1", `{"v":"1969-12-31T23:59:59.5Z"}`, typeOf(vector.Date), "1969-12-31"},
		{"google.protobuf.Timestamp v = 1", `{"v":"2024-01-02T00:00:00Z"}`, typeOf(vector.Int64), "!column v: google.protobuf.Timestamp in the message's schema cannot be read as BIGINT"},
		{"google.protobuf.Timestamp v = 1", `{"v":"2024-01-02T00:00:00Z"}`, typeOf(vector.Varchar), `"2024-01-02T00:00:00Z"`},
		{"google.protobuf.BoolValue v = 1", `{"v":false}`, typeOf(vector.Bool), "false"},
		{"google.protobuf.BoolValue v = 1", `{}`, typeOf(vector.Bool), "NULL"},
		{"P v = 1", `{"v":{"v":{}}}`, typeOf(vector.Varchar), `{"v":{}}`},
		{"P v = 1", `{"v":{}}`, typeOf(vector.Int32), "!column v: p.P in the message's schema cannot be read as INTEGER"},
		{"string some_name = 1 [json_name = \"v\"]", `{"v":"x"}`, typeOf(vector.Varchar), "x"},
	} {
		schema := protoHead + "message P { " + tc.field + "; }\nenum E { A = 0; B = 1; }"
		o := MessageOptions{Format: "protobuf", Fields: []vector.Field{{Name: "v", Type: tc.typ}}, ProtobufSchema: schema}
		rows, bad := addAll(t, o, Message{Value: append([]byte{}, protoOf(t, schema, "p.P", tc.text)...)})
		reason, refused := strings.CutPrefix(tc.want, "!")
		switch {
		case refused && (len(rows) > 0 || len(bad) != 1 || !strings.HasPrefix(bad[0], "@0 "+reason)):
			t.Errorf("%s as %s: rows %q, reasons %q, want %s", tc.field, tc.typ, rows, bad, reason)
		case !refused && (len(bad) > 0 || len(rows) != 1 || rows[0] != tc.want+" @0"):
			t.Errorf("%s as %s: rows %q, reasons %q, want %s", tc.field, tc.typ, rows, bad, tc.want)
		}
	}
	for want, o := range map[string]MessageOptions{
		"format = 'protobuf' needs the messages' schema":        {Format: "protobuf", Fields: abFields},
		"protobuf_schema = '…' cannot be read":                  {Format: "protobuf", Fields: abFields, ProtobufSchema: "x"},
		"it has 2 messages":                                     {Format: "protobuf", Fields: abFields, ProtobufSchema: wideProto},
		"it has no message of the name in protobuf_message":     {Format: "protobuf", Fields: abFields, ProtobufSchema: wideProto, ProtobufMessage: "Wide"},
		"protobuf_schema = '…' is not used":                     {Format: "protobuf", Fields: abFields, ProtobufSchema: wideProto, Registry: schemaregistry.Options{URL: "http://x"}},
		"schema_registry = '…' is not the address":              {Format: "protobuf", Fields: abFields, Registry: schemaregistry.Options{URL: "x"}},
		"format = 'avro' needs the messages' schema":            {Format: "avro", Fields: abFields},
		"avro_schema = '…' cannot be read":                      {Format: "avro", Fields: abFields, AvroSchema: "{"},
		"avro_schema = '…' does not fit":                        {Format: "avro", Fields: abFields, AvroSchema: `"int"`},
		"key_format = 'protobuf' needs a schema registry, wher": {Format: "json", KeyFormat: "protobuf", Fields: abFields, Key: []int{0}},
	} {
		if _, err := NewMessages(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzProtobuf reads any bytes: no panic, and what the library reads is what is read of what the library then writes.
func FuzzProtobuf(f *testing.F) {
	whole := protoOf(f, wideProto, "p.Wide", wideText)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("\x22\x00\x22\x07\x12\x05\x0a\x01x\x0a\x00\x2a\x02\x0a\x00\x2a\x00"))
	file, err := parseProto(wideProto, nil)
	if err != nil {
		f.Fatal(err)
	}
	desc := file.Messages().ByName("Wide")
	o := wideProtoOptions()
	d, err := NewMessages(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, bad := canonical(t, o, d, value)
		m := dynamicpb.NewMessage(desc)
		if err := unmarshal(value, m); err != nil {
			return // it also checks what nobody declared
		}
		want, wrong := canonical(t, o, d, again(t, desc, value))
		if diff := cmp.Diff(append(want, wrong...), append(got, bad...)); diff != "" {
			t.Errorf("%x (-of the library's +of the bytes):\n%s", value, diff)
		}
	})
}

// canonical decodes a message twice and renders its row, with the entries of maps in the order of their keys.
func canonical(t *testing.T, o MessageOptions, d MessageDecoder, value []byte) (cells, bad []string) {
	b := o.Builder()
	for range 2 {
		if err := d.Add(&Message{Value: append([]byte{}, value...)}, b); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.Bad) > 0 {
		return nil, []string{b.Bad[0].Reason}
	}
	c := b.Finish()[0]
	for i := range o.Fields {
		text := vector.Text(&c.Cols[i], 1)
		var v any
		if c.Cols[i].Type.IsNested() && json.Unmarshal([]byte(text), &v) == nil {
			if items, ok := v.([]any); ok && c.Cols[i].Type.Kind == vector.Map {
				byKey := map[string]any{}
				for _, e := range items {
					key, _ := json.Marshal(e.(map[string]any)["key"])
					byKey[string(key)] = e
				}
				v = byKey
			}
			sorted, _ := json.Marshal(v)
			text = string(sorted)
		}
		cells = append(cells, text)
	}
	return cells, nil
}

const bidProto = protoHead + `message Bid { int64 auction = 1; int64 bidder = 2; int64 price = 3; Channel channel = 4; string url = 5; google.protobuf.Timestamp date_time = 6; string extra = 7; enum Channel { NONE = 0; GOOGLE = 1; } }`

func protoBids(t testing.TB, n int) []Message {
	one := protoOf(t, bidProto, "p.Bid", `{"auction":"12345","bidder":"4711","price":"1000000","channel":"GOOGLE","url":"https://www.nexmark.com/abcdabcdabcd/item.htm?query=1","date_time":"2024-01-02T10:11:12.123Z","extra":"`+strings.Repeat("x", 60)+`"}`)
	return slices.Repeat([]Message{{Value: one}}, n)
}

func BenchmarkProtobuf(b *testing.B) {
	benchMessages(b, MessageOptions{Format: "protobuf", Fields: bidFields, ProtobufSchema: bidProto}, protoBids(b, 2000))
}

// A message that comes in many parts costs what its bytes cost, not their square: one such record must not stop a pipeline
// for an hour.
func TestProtobufManyParts(t *testing.T) {
	part := protoOf(t, wideProto, "p.Wide", `{"at":"2024-01-02T03:04:05Z"}`)
	o := wideProtoOptions()
	o.Fields = []vector.Field{{Name: "at", Type: vector.Of(vector.TimestampTZ)}}
	m := Message{Value: slices.Repeat(part, 50_000)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rows, bad := addAll(t, o, m)
	runtime.ReadMemStats(&after)
	if len(bad) > 0 || len(rows) != 1 || rows[0] != "2024-01-02 03:04:05+00 @0" {
		t.Errorf("rows %q, bad %q", rows, bad)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 100*uint64(len(m.Value)) {
		t.Errorf("%d bytes were allocated for a message of %d", n, len(m.Value))
	}
}

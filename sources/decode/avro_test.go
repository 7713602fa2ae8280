package decode

import (
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/sluice-sql/sluice/internal/registrytest"
	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// encoded is a value in Avro's binary encoding, behind a schema id if there is one.
func encoded(t testing.TB, id int, schema string, v any) Message {
	t.Helper()
	s, err := avro.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return Message{Value: withID(id, b)}
}

func withID(id int, body []byte) []byte {
	if id == 0 {
		return append([]byte{}, body...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), body...)
}

func record(fields string) string {
	return `{"type":"record","name":"R","namespace":"shop","fields":[` + fields + `]}`
}

// Writers add, remove and reorder fields in mid-stream; what one does not have is NULL, or the reader's default.
func TestAvroEvolution(t *testing.T) {
	reg := registrytest.New(t)
	schemas := []string{
		record(`{"name":"a","type":"int"},{"name":"b","type":"string"}`),
		record(`{"name":"b","type":"string"},{"name":"new","type":{"type":"array","items":"long"}},{"name":"a","type":"long"}`),
		record(`{"name":"c","type":["null","double"]},{"name":"b_old","type":["null","string"]}`),
	}
	values := []any{
		map[string]any{"a": 1, "b": longText},
		map[string]any{"a": int64(2), "b": "y", "new": []any{int64(1), int64(2)}},
		map[string]any{"c": 1.5, "b_old": "z"},
	}
	reader := record(`{"name":"a","type":"long","default":7},{"name":"b","type":"string","aliases":["b_old"]},{"name":"c","type":["null","double"],"default":null},
		{"name":"s","type":{"type":"record","name":"S","fields":[{"name":"x","type":"string","default":"` + longText + `"}]},"default":{"x":"inner"}}`)
	fields := append(abFields[:3:3], vector.Field{Name: "s", Type: vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "x", Type: vector.Of(vector.Varchar)}}}})
	for _, tc := range []struct {
		name, reader string
		want         []string
	}{
		{"by the writers alone", "", []string{"1 | " + longText + " | NULL | NULL @0", "2 | y | NULL | NULL @1", "NULL | NULL | 1.5 | NULL @2", "1 | " + longText + " | NULL | NULL @3"}},
		{"with a reader's schema", reader, []string{"1 | " + longText + ` | NULL | {"x":"inner"} @0`, `2 | y | NULL | {"x":"inner"} @1`, `7 | z | 1.5 | {"x":"inner"} @2`, "1 | " + longText + ` | NULL | {"x":"inner"} @3`}},
	} {
		var msgs []Message
		for _, i := range []int{0, 1, 2, 0} {
			msgs = append(msgs, encoded(t, reg.Register("a-value", "AVRO", schemas[i]), schemas[i], values[i]))
		}
		o := MessageOptions{Format: "avro", Fields: fields, AvroSchema: tc.reader, Registry: schemaregistry.Options{URL: reg.URL()}}
		rows, bad := addAll(t, o, msgs...)
		if diff := cmp.Diff(tc.want, rows); diff != "" || len(bad) > 0 {
			t.Errorf("%s: bad %q (-want +got):\n%s", tc.name, bad, diff)
		}
	}
}

// Types that a schema refers to are defined in others.
func TestAvroReferences(t *testing.T) {
	reg := registrytest.New(t)
	reg.Register("money", "AVRO", `{"type":"record","name":"Money","namespace":"pay","fields":[{"name":"amount","type":"long"},{"name":"of","type":["null","Money"]}]}`)
	id := reg.Register("a", "AVRO", record(`{"name":"m","type":"pay.Money"},{"name":"n","type":"pay.Money"}`), sr.SchemaReference{Name: "pay.Money", Subject: "money", Version: 1})
	money := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "amount", Type: vector.Of(vector.Int64)}}}
	o := MessageOptions{Format: "avro", Fields: []vector.Field{{Name: "n", Type: money}}, Registry: schemaregistry.Options{URL: reg.URL()}}
	rows, bad := addAll(t, o, Message{Value: withID(id, []byte{2, 2, 4, 0, 6, 0})})
	if diff := cmp.Diff([]string{`{"amount":3} @0`}, rows); diff != "" || len(bad) > 0 {
		t.Errorf("bad %q (-want +got):\n%s", bad, diff)
	}
}

// A registry that does not answer is nobody's fault: the message is added again later, and the builder is as it was. One
// that says it does not know an id makes a bad row.
func TestRegistryDown(t *testing.T) {
	reg := registrytest.New(t)
	schema := record(`{"name":"a","type":"long"}`)
	id := reg.Register("a", "AVRO", schema)
	text := reg.Register("text", "AVRO", `"string"`)
	proto := reg.Register("p", "PROTOBUF", `syntax = "proto3"; message P {}`)
	o := MessageOptions{Format: "avro", Fields: abFields, Registry: schemaregistry.Options{URL: reg.URL()}}
	d, err := NewMessages(o)
	if err != nil {
		t.Fatal(err)
	}
	b := o.Builder()
	add := func(m Message) error {
		m.Offset = b.Rows() + int64(len(b.Bad))
		return d.Add(&m, b)
	}
	m := encoded(t, id, schema, map[string]any{"a": int64(1)})
	reg.Break(registrytest.Fail)
	if err := add(m); err == nil || errors.Is(err, schemaregistry.ErrUnknown) || b.Rows() != 0 || len(b.Bad) != 0 {
		t.Errorf("%v, %d rows, bad %v", err, b.Rows(), b.Bad)
	}
	reg.Break(registrytest.None)
	for _, m := range []Message{m, {Value: withID(99, nil)}, {Value: []byte{0, 1}}, {Value: []byte{1, 0, 0, 0, 1, 2}}, {Value: withID(text, []byte{2, 'x'})}, {Value: withID(proto, []byte{0})}, {Value: withID(text, nil)}, m} {
		if err := add(m); err != nil {
			t.Error(err)
		}
	}
	reg.Break(registrytest.Cut)
	if err := add(m); err != nil {
		t.Errorf("a schema that is known: %v", err)
	}
	var bad []string
	for _, x := range b.Bad {
		bad = append(bad, x.Reason)
	}
	const noID = "the message does not begin with the id of a schema in the registry: a zero byte and four of the id"
	textual := "schema 2 cannot be used: the schema is not a record but string, and 3 columns are declared"
	if diff := cmp.Diff([]string{"schema 99 is unknown to the registry", noID, noID, textual, "schema 3 is PROTOBUF, not AVRO", textual}, bad); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1 | NULL | NULL @0", "1 | NULL | NULL @7", "1 | NULL | NULL @8"}, chunkRows(b.Finish(), 3, false)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// Values that a column cannot hold are bad rows with the column's name, and the next message is read.
func TestAvroConversions(t *testing.T) {
	typeOf := func(k vector.Kind) vector.Type { return vector.Of(k) }
	union := vector.Type{Kind: vector.Union, Fields: []vector.Field{{Name: "string", Type: typeOf(vector.Varchar)}, {Name: "long", Type: typeOf(vector.Int32)}}}
	entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: typeOf(vector.Int32)}, {Name: "value", Type: typeOf(vector.Bool)}}}
	numeric := func(w, s uint8) vector.Type { return vector.Type{Kind: vector.Decimal, Width: w, Scale: s} }
	three := vector.Type{Kind: vector.Array, Size: 3, Elem: &vector.Type{Kind: vector.Int8}}
	variable := `{"type":"record","name":"V","connect.name":"io.debezium.data.VariableScaleDecimal","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}]}`
	for _, tc := range []struct {
		schema string
		typ    vector.Type
		value  any
		want   string // a reason if it begins with !
	}{
		{`"long"`, typeOf(vector.Int32), int64(1 << 31), "!column v: 2147483648 is out of range for INTEGER"},
		{`"long"`, typeOf(vector.UInt8), int64(-1), "!column v: -1 is out of range for UTINYINT"},
		{`"long"`, typeOf(vector.Int64), int64(-1 << 63), "-9223372036854775808"},
		{`"long"`, typeOf(vector.Varchar), int64(-1 << 63), "-9223372036854775808"},
		{`"long"`, numeric(4, 2), int64(100), "!column v: 100 is out of range for DECIMAL(4,2)"},
		{`"long"`, typeOf(vector.Timestamp), int64(1), "!column v: long in the message's schema cannot be read as TIMESTAMP: the schema does not say what it counts"},
		{`"int"`, typeOf(vector.Bool), 2, "true"},
		{`"int"`, union, 2, "!column v: int in the message's schema cannot be read as UNION"},
		{`"double"`, typeOf(vector.Int32), 2.5, "2"},
		{`"double"`, typeOf(vector.Int32), 1e10, "!column v: 10000000000.0 is out of range for INTEGER"},
		{`"double"`, typeOf(vector.Float32), 1e300, "!column v: 1e+300 is out of range for FLOAT"},
		{`"double"`, numeric(9, 2), 1.005, "1.00"},
		{`"float"`, typeOf(vector.Varchar), float32(0.1), "0.1"},
		{`"double"`, typeOf(vector.Varchar), 1e16, "1e+16"},
		{`"double"`, typeOf(vector.Date), 1.5, "!column v: double in the message's schema cannot be read as DATE"},
		{`"string"`, typeOf(vector.Int32), "12", "12"},
		{`"string"`, typeOf(vector.Int32), "x", "!column v: 'x' is not an INTEGER"},
		{`"string"`, typeOf(vector.Varchar), "a\x00", "!column v: the text has a NUL character"},
		{`"string"`, typeOf(vector.TimestampTZ), "2024-01-02T03:04:05+01:00", "2024-01-02 02:04:05+00"},
		{`"string"`, typeOf(vector.Time), "03:04:05Z", "03:04:05"},
		{`"string"`, typeOf(vector.Interval), "P1DT2S", "1 day 00:00:02"},
		{`"bytes"`, typeOf(vector.Varchar), []byte{0xff}, "!column v: the text is not valid UTF-8"},
		{`"bytes"`, typeOf(vector.Int32), []byte{1}, "!column v: bytes in the message's schema cannot be read as INTEGER"},
		{`{"type":"bytes","logicalType":"decimal","precision":10,"scale":3}`, numeric(10, 2), big.NewRat(12345, 1000), "12.35"},
		{`{"type":"bytes","logicalType":"decimal","precision":10,"scale":3}`, typeOf(vector.Float64), big.NewRat(-12345, 1000), "-12.345"},
		{`{"type":"fixed","name":"F","size":8,"logicalType":"decimal","precision":10,"scale":0}`, typeOf(vector.Int8), big.NewRat(300, 1), "!column v: '300' is not a TINYINT"},
		{`{"type":"fixed","name":"F","size":12,"logicalType":"duration"}`, typeOf(vector.Interval), []byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}, "1 month 2 days 00:00:00.003"},
		{`{"type":"fixed","name":"F","size":12,"logicalType":"duration"}`, typeOf(vector.Interval), []byte{0, 0, 0, 255, 2, 0, 0, 0, 3, 0, 0, 0}, "!column v: 4278190080 months and 2 days are out of range for INTERVAL"},
		{`{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}`, typeOf(vector.UUID), "00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"},
		{`{"type":"enum","name":"E","symbols":["A","B"]}`, typeOf(vector.Int8), "B", "1"},
		{`{"type":"enum","name":"E","symbols":["A","B"]}`, vector.Type{Kind: vector.Enum, Values: []string{"A"}}, "B", "!column v: 'B' is not an ENUM('A')"},
		{`{"type":"long","logicalType":"timestamp-millis"}`, typeOf(vector.Timestamp), int64(1 << 62), "!column v: 4611686018427387904 is out of range for TIMESTAMP"},
		{`{"type":"long","connect.name":"io.debezium.time.NanoTimestamp"}`, typeOf(vector.TimestampNS), int64(1), "1970-01-01 00:00:00.000000001"},
		{`["null","string","long"]`, union, int64(3), "3"},
		{`["null","string","long"]`, union, nil, "NULL"},
		{`["null","boolean","long"]`, union, true, "!column v: branch boolean of a union is no member of UNION"},
		{`{"type":"array","items":"int"}`, three, []any{1, 2, 3}, "[1,2,3]"},
		{`{"type":"array","items":"int"}`, three, []any{1, 2}, "!column v: expected 3 items, found 2"},
		{`{"type":"array","items":"int"}`, three, []any{1, 2, 3, 4}, "!column v: expected 3 items, found more"},
		{`{"type":"array","items":"int"}`, typeOf(vector.Varchar), []any{}, "!column v: array in the message's schema cannot be read as VARCHAR"},
		{`{"type":"map","values":"boolean"}`, vector.Type{Kind: vector.Map, Elem: &entry}, map[string]any{"1": true}, `[{"key":1,"value":true}]`},
		{`{"type":"map","values":"boolean"}`, vector.Type{Kind: vector.Map, Elem: &entry}, map[string]any{"x": true}, "!column v: key 'x' is not an INTEGER"},
		{variable, numeric(10, 2), map[string]any{"scale": 1, "value": []byte{0x7b}}, "12.30"},
		{variable, typeOf(vector.Varchar), map[string]any{"scale": 1, "value": []byte{0x7b}}, "12.3"},
		{`"null"`, typeOf(vector.Int32), nil, "NULL"},
	} {
		schema := record(`{"name":"v","type":` + tc.schema + `}`)
		o := MessageOptions{Format: "avro", Fields: []vector.Field{{Name: "v", Type: tc.typ}}, AvroSchema: schema}
		m := encoded(t, 0, schema, map[string]any{"v": tc.value})
		rows, bad := addAll(t, o, m)
		reason, refused := strings.CutPrefix(tc.want, "!")
		switch {
		case refused && (len(rows) > 0 || len(bad) != 1 || !strings.HasPrefix(bad[0], "@0 "+reason)):
			t.Errorf("%s as %s: rows %q, reasons %q, want %s", tc.schema, tc.typ, rows, bad, reason)
		case !refused && (len(bad) > 0 || len(rows) != 1 || rows[0] != tc.want+" @0"):
			t.Errorf("%s as %s: rows %q, reasons %q, want %s", tc.schema, tc.typ, rows, bad, tc.want)
		}
	}
}

// wideSchema has a field of every kind, some of which are skipped.
var wideSchema = record(`{"name":"i","type":"int"},{"name":"skip1","type":{"type":"map","values":{"type":"array","items":"string"}}},{"name":"t","type":["null","string"]},
	{"name":"l","type":{"type":"array","items":{"type":"record","name":"Item","fields":[{"name":"q","type":"double"},{"name":"m","type":{"type":"map","values":"long"}},{"name":"nothing","type":{"type":"array","items":"null"}}]}}},
	{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"f","type":{"type":"fixed","name":"F","size":16}},
	{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"b","type":"boolean"},{"name":"fl","type":"float"},
	{"name":"self","type":["null","R"]},{"name":"nulls","type":{"type":"array","items":"null"}},{"name":"u","type":["int","string","boolean"]}`)

var wideFields = func() []vector.Field {
	text := vector.Of(vector.Varchar)
	entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: text}, {Name: "value", Type: vector.Of(vector.Int32)}}}
	item := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "m", Type: vector.Type{Kind: vector.Map, Elem: &entry}}, {Name: "q", Type: vector.Of(vector.Float64)}}}
	return []vector.Field{{Name: "i", Type: vector.Of(vector.Int16)}, {Name: "t", Type: text}, {Name: "l", Type: vector.ListOf(item)},
		{Name: "e", Type: text}, {Name: "f", Type: vector.Of(vector.UUID)}, {Name: "d", Type: vector.Type{Kind: vector.Decimal, Width: 10, Scale: 2}},
		{Name: "b", Type: vector.Of(vector.Bool)}, {Name: "fl", Type: vector.Of(vector.Float64)}, {Name: "nulls", Type: vector.ListOf(vector.Of(vector.Int64))},
		{Name: "self", Type: vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "i", Type: vector.Of(vector.Int32)}}}}, {Name: "u", Type: text}}
}()

func wideValue(deep int) map[string]any {
	v := map[string]any{"i": 7, "skip1": map[string]any{"k": []any{"x", longText}}, "t": longText, "e": "B", "f": []byte("0123456789abcdef"), "d": big.NewRat(314, 100),
		"l": []any{map[string]any{"q": 1.5, "m": map[string]any{"a": int64(1)}, "nothing": []any{nil, nil}}, map[string]any{"q": 2.5, "m": map[string]any{}, "nothing": []any{}}},
		"b": true, "fl": float32(0.5), "self": nil, "nulls": []any{nil, nil}, "u": "x"}
	if deep > 0 {
		v["self"] = wideValue(deep - 1)
	}
	return v
}

// A message cut short anywhere, or with more behind it, is a bad row that leaves nothing behind.
func TestAvroTruncated(t *testing.T) {
	m := encoded(t, 0, wideSchema, wideValue(1))
	o := MessageOptions{Format: "avro", Fields: wideFields, AvroSchema: wideSchema}
	var msgs []Message
	for n := range len(m.Value) {
		msgs = append(msgs, Message{Value: append([]byte{}, m.Value[:n]...)})
	}
	msgs = append(msgs, Message{Value: append([]byte{}, m.Value...)}, Message{Value: append(append([]byte{}, m.Value...), 0)})
	rows, bad := addAll(t, o, msgs...)
	want := `7 | ` + longText + ` | [{"m":{"a":1},"q":1.5},{"m":{},"q":2.5}] | B | 30313233-3435-3637-3839-616263646566 | 3.14 | true | 0.5 | [null,null] | {"i":7} | x @`
	if len(rows) != 1 || !strings.HasPrefix(rows[0], want) || len(bad) != len(m.Value)+1 {
		t.Errorf("rows %q, want %s; %d of %d bad", rows, want, len(bad), len(m.Value)+1)
	}
	for _, reason := range bad {
		if !strings.Contains(reason, "the message is not of its schema") {
			t.Errorf("reason %s", reason)
		}
	}
}

// Lengths that a message does not have cost nothing, and neither do lists of nothing or values that nest without end.
func TestAvroHostile(t *testing.T) {
	huge := func(more ...byte) []byte { return append(binary.AppendVarint(nil, 1<<62), more...) }
	for _, tc := range []struct {
		schema string
		typ    vector.Type
		value  []byte
		want   string
	}{
		{`"string"`, vector.Of(vector.Varchar), huge(), "a text or bytes of length 4611686018427387904"},
		{`"string"`, vector.Of(vector.Varchar), binary.AppendVarint(nil, -1), "a text or bytes of length -1"},
		{`"long"`, vector.Of(vector.Int64), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "longer than 64 bits"},
		{`{"type":"array","items":"int"}`, vector.ListOf(vector.Of(vector.Int64)), huge(), "4611686018427387904 items"},
		{`{"type":"array","items":"int"}`, vector.ListOf(vector.Of(vector.Int64)), append(binary.AppendVarint(nil, -1<<63), 0), "-9223372036854775808 items"},
		{`{"type":"array","items":"null"}`, vector.ListOf(vector.Of(vector.Int64)), huge(0), "more than 65536 items"},
		{`{"type":"array","items":"null"}`, vector.Type{}, huge(0), "more than 65536 items"},
		{`{"type":"map","values":"null"}`, vector.Type{}, huge(0), "4611686018427387904 items"},
		{`["int","long"]`, vector.Of(vector.Int64), []byte{4, 0}, "branch 2 of a union of 2"},
		{`"boolean"`, vector.Of(vector.Bool), []byte{2}, "the boolean at byte 0 is 2"},
		{`["null","R"]`, vector.Type{}, []byte(strings.Repeat("\x02", 1<<20)), "nests more than"},
	} {
		schema := record(`{"name":"w","type":` + tc.schema + `}`)
		o := MessageOptions{Format: "avro", Fields: []vector.Field{{Name: "w", Type: tc.typ}}, AvroSchema: schema}
		if tc.typ.Kind == vector.Invalid { // skipped
			o.Fields[0] = vector.Field{Name: "other", Type: vector.Of(vector.Int64)}
		}
		if rows, bad := addAll(t, o, Message{Value: tc.value}); len(rows) > 0 || len(bad) != 1 || !strings.Contains(bad[0], tc.want) {
			t.Errorf("%s: rows %q, reasons %.200q, want %s", tc.schema, rows, bad, tc.want)
		}
	}
}

// Debezium's events mean in Avro what they mean in JSON.
func TestAvroDebezium(t *testing.T) {
	row := `{"type":"record","name":"Value","fields":[{"name":"a","type":"long"},{"name":"b","type":["null","string"],"default":null},{"name":"c","type":["null","double"],"default":null}]}`
	schema := `{"type":"record","name":"Envelope","namespace":"shop","fields":[{"name":"before","type":["null",` + row + `],"default":null},{"name":"after","type":["null","Value"],"default":null},
		{"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"db","type":"string"}]}},{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"]}]}`
	image := func(a int64, b any, c any) any { return map[string]any{"a": a, "b": b, "c": c} }
	event := func(op string, before, after any) Message {
		return encoded(t, 0, schema, map[string]any{"before": before, "after": after, "op": op, "source": map[string]any{"db": "d"}, "ts_ms": int64(1)})
	}
	msgs := func() []Message {
		return []Message{
			event("c", nil, image(1, "x", 1.5)),
			event("u", image(1, "x", 1.5), image(1, longText, nil)),
			event("u", image(1, "x", 1.5), image(2, "y", 2.5)),
			event("d", image(2, "y", 2.5), nil),
			{Key: []byte("k")},
			event("u", nil, image(3, "x", 1.5)),
			event("d", nil, nil),
			event("t", nil, nil),
			event("m", nil, nil),
			event("create", nil, image(3, "x", 1.5)),
			event("u", image(1, "x", 1.5), image(1, "__debezium_unavailable_value", 1.5)),
			{Value: []byte{0, 0, 0}},
		}
	}
	o := MessageOptions{Format: "debezium", Encoding: "avro", AvroSchema: schema, Fields: abFields, Changes: planner.Weighted}
	for name, want := range map[string][]string{
		"weighted": {"+1 1 | x | 1.5 @0", "-1 1 | x | 1.5 @1", "+1 1 | " + longText + " | NULL @1", "-1 1 | x | 1.5 @2", "+1 2 | y | 2.5 @2", "-1 2 | y | 2.5 @3"},
		"keyed":    {"+1 1 | x | 1.5 @0", "+1 1 | " + longText + " | NULL @2", "+1 2 | y | 2.5 @4", "-1 1 | NULL | NULL @5", "-1 2 | NULL | NULL @6", "+1 3 | x | 1.5 @10"},
	} {
		reasons := []string{"@5 op u has no row before", "@6 op d has no row before", "@7 a truncation (op t)", "@9 op is 'create'", "@10 column b: the event does not have its value", "@11 the message is not of its schema"}
		if name == "keyed" {
			o.Changes, o.Key = planner.Keyed, []int{0}
			reasons = append([]string{"@6 op d needs the key in before"}, reasons[2:]...)
		} else {
			o.Changes, o.Key = planner.Weighted, nil
		}
		rows, bad := addAll(t, o, msgs()...)
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if len(bad) != len(reasons) {
			t.Fatalf("%s: %q", name, bad)
		}
		for i := range bad {
			if !strings.HasPrefix(bad[i], reasons[i]) {
				t.Errorf("%s: %s, want %s", name, bad[i], reasons[i])
			}
		}
	}
}

// The key of a tombstone is in the registry's schema for keys.
func TestAvroKeys(t *testing.T) {
	reg := registrytest.New(t)
	value, key := record(`{"name":"a","type":"long"},{"name":"b","type":"string"}`), `{"type":"record","name":"K","fields":[{"name":"a","type":"long"}]}`
	vid, kid, plain := reg.Register("v", "AVRO", value), reg.Register("k", "AVRO", key), reg.Register("p", "AVRO", `"long"`)
	o := MessageOptions{Format: "avro", Fields: abFields, Changes: planner.Keyed, Key: []int{0}, Registry: schemaregistry.Options{URL: reg.URL()}}
	rows, bad := addAll(t, o, encoded(t, vid, value, map[string]any{"a": int64(1), "b": "x"}),
		Message{Key: encoded(t, kid, key, map[string]any{"a": int64(1)}).Value}, Message{Key: encoded(t, plain, `"long"`, int64(2)).Value}, Message{Key: []byte("1")})
	if diff := cmp.Diff([]string{"+1 1 | x | NULL @0", "-1 1 | NULL | NULL @1", "-1 2 | NULL | NULL @2"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(bad) != 1 || !strings.Contains(bad[0], "the key of a message without a value: the message does not begin with the id") {
		t.Errorf("reasons %q", bad)
	}
}

// FuzzAvro reads any bytes as a schema with every kind of value: no panic, and rows or a reason.
func FuzzAvro(f *testing.F) {
	f.Add(encoded(f, 0, wideSchema, wideValue(0)).Value)
	f.Add(encoded(f, 0, wideSchema, wideValue(3)).Value)
	o := MessageOptions{Format: "avro", Fields: wideFields, AvroSchema: wideSchema}
	d, err := NewMessages(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		b := o.Builder()
		for range 2 { // the second time behind a row or a bad one
			if err := d.Add(&Message{Value: append([]byte{}, value...)}, b); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.Rows() + int64(len(b.Bad)); n != 2 {
			t.Fatalf("%d rows", n)
		}
		chunkRows(b.Finish(), len(wideFields), false)
	})
}

var bidSchema = record(`{"name":"auction","type":"long"},{"name":"bidder","type":"long"},{"name":"price","type":"long"},{"name":"channel","type":{"type":"enum","name":"C","symbols":["Google","Facebook"]}},
	{"name":"url","type":"string"},{"name":"date_time","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"extra","type":["null","string"]}`)

func avroBids(t testing.TB, n int) (msgs []Message) {
	for i := range n {
		msgs = append(msgs, encoded(t, 0, bidSchema, map[string]any{"auction": int64(i * 77), "bidder": int64(i), "price": int64(i * 1000), "channel": "Google",
			"url": "https://www.nexmark.com/abcdabcdabcd/item.htm?query=1", "date_time": int64(1704190272123456) + int64(i), "extra": strings.Repeat("x", 60)}))
	}
	return msgs
}

func BenchmarkAvro(b *testing.B) {
	benchMessages(b, MessageOptions{Format: "avro", Fields: bidFields, AvroSchema: bidSchema}, avroBids(b, 2000))
}

// A key of several columns is a record, as the Kafka sink writes it: what deletes the row must be read.
func TestAvroKeyOfTwoColumns(t *testing.T) {
	reg := registrytest.New(t)
	schema := record(`{"name":"a","type":"long"},{"name":"b","type":["null","string"]}`)
	key := encoded(t, reg.Register("a-key", "AVRO", schema), schema, map[string]any{"a": int64(7), "b": "x"})
	o := MessageOptions{Format: "avro", Fields: abFields, Changes: planner.Keyed, Key: []int{0, 1}, Registry: schemaregistry.Options{URL: reg.URL()}}
	rows, bad := addAll(t, o, Message{Key: key.Value})
	if diff := cmp.Diff([]string{"-1 7 | x | NULL @0"}, rows); diff != "" || len(bad) > 0 {
		t.Errorf("bad %q (-want +got):\n%s", bad, diff)
	}
}

package decode

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/sluice-sql/sluice/internal/vector"
)

// An avroGen is a schema, a column that it is read into, and values: as the encoder takes them and as JSON.
type avroGen struct {
	schema any
	typ    vector.Type
	value  func(t *rapid.T) (v any, text string)
}

type object map[string]any

func (g avroGen) text(t *rapid.T) string {
	s, err := json.Marshal(g.schema)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

var words = rapid.StringMatching(`[a-zé ]{0,20}`)

func drawInt(t *rapid.T, min, max int64) (any, string) {
	v := rapid.Int64Range(min, max).Draw(t, "int")
	return v, strconv.FormatInt(v, 10)
}

// avroLeaf draws a schema without others inside it, and one of the types that it becomes.
func avroLeaf(t *rapid.T, names *int) avroGen {
	pick := func(kinds ...vector.Kind) vector.Type { return vector.Of(rapid.SampledFrom(kinds).Draw(t, "type")) }
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	logical := func(typ, name string) object { return object{"type": typ, "logicalType": name} }
	stamp := func(format string, step time.Duration) func(t *rapid.T) (any, string) {
		return func(t *rapid.T) (any, string) {
			at := time.Unix(0, rapid.Int64Range(-2e18, 4e18).Draw(t, "at")).UTC().Truncate(step)
			return at, quote(at.Format(format))
		}
	}
	switch rapid.IntRange(0, 14).Draw(t, "leaf") {
	case 0:
		return avroGen{"boolean", pick(vector.Bool, vector.Varchar, vector.Int32, vector.Float64), func(t *rapid.T) (any, string) {
			v := rapid.Bool().Draw(t, "bool")
			return v, strconv.FormatBool(v)
		}}
	case 1:
		return avroGen{"int", pick(vector.Int32, vector.Int64, vector.Float64, vector.Int128, vector.Varchar), func(t *rapid.T) (any, string) {
			v, s := drawInt(t, -1<<31, 1<<31-1)
			return int32(v.(int64)), s
		}}
	case 2:
		typ := pick(vector.Int64, vector.Float64, vector.Int128, vector.Varchar)
		if rapid.Bool().Draw(t, "decimal") {
			typ = vector.Type{Kind: vector.Decimal, Width: 38, Scale: 3}
		}
		return avroGen{"long", typ, func(t *rapid.T) (any, string) { return drawInt(t, -1<<63, 1<<63-1) }}
	case 3:
		return avroGen{"float", pick(vector.Float32, vector.Float64), func(t *rapid.T) (any, string) {
			v := rapid.Float32Range(-1e30, 1e30).Draw(t, "float")
			return v, strconv.FormatFloat(float64(v), 'g', -1, 64)
		}}
	case 4:
		return avroGen{"double", pick(vector.Float64), func(t *rapid.T) (any, string) {
			v := rapid.Float64Range(-1e300, 1e300).Draw(t, "double")
			return v, strconv.FormatFloat(v, 'g', -1, 64)
		}}
	case 5:
		return avroGen{"bytes", pick(vector.Blob, vector.Varchar), func(t *rapid.T) (any, string) {
			s := words.Draw(t, "bytes")
			return []byte(s), quote(s)
		}}
	case 6:
		*names++
		n := rapid.IntRange(0, 20).Draw(t, "size")
		return avroGen{object{"type": "fixed", "name": fmt.Sprintf("F%d", *names), "size": n}, pick(vector.Blob), func(t *rapid.T) (any, string) {
			s := rapid.StringMatching(fmt.Sprintf("[a-z]{%d}", n)).Draw(t, "fixed")
			return []byte(s), quote(s)
		}}
	case 7:
		*names++
		symbols := []string{"A", "B_SYMBOL_LONGER_THAN_TWELVE", "C"}
		typ := vector.Of(vector.Varchar)
		if rapid.Bool().Draw(t, "enum") {
			typ = vector.Type{Kind: vector.Enum, Values: []string{"C", "B_SYMBOL_LONGER_THAN_TWELVE", "X", "A"}}
		}
		return avroGen{object{"type": "enum", "name": fmt.Sprintf("E%d", *names), "symbols": symbols}, typ, func(t *rapid.T) (any, string) {
			s := rapid.SampledFrom(symbols).Draw(t, "symbol")
			return s, quote(s)
		}}
	case 8:
		return avroGen{logical("int", "date"), pick(vector.Date, vector.Timestamp), stamp(time.DateOnly, 24*time.Hour)}
	case 9:
		step := rapid.SampledFrom([]string{"millis", "micros", "nanos"}).Draw(t, "step")
		unit := map[string]time.Duration{"millis": time.Millisecond, "micros": time.Microsecond, "nanos": time.Nanosecond}[step]
		typ := pick(vector.Timestamp, vector.TimestampTZ, vector.TimestampNS)
		if step == "nanos" && typ.Kind != vector.TimestampNS {
			unit = time.Microsecond
		}
		return avroGen{logical("long", rapid.SampledFrom([]string{"", "local-"}).Draw(t, "local")+"timestamp-"+step), typ, stamp("2006-01-02T15:04:05.999999999Z", unit)}
	case 10:
		return avroGen{logical("long", "time-micros"), pick(vector.Time, vector.TimeNS), func(t *rapid.T) (any, string) {
			v := time.Duration(rapid.Int64Range(0, 86399999999).Draw(t, "time")) * time.Microsecond
			return v, quote(time.Time{}.Add(v).Format("15:04:05.999999"))
		}}
	case 11:
		return avroGen{logical("string", "uuid"), pick(vector.UUID, vector.Varchar), func(t *rapid.T) (any, string) {
			s := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).Draw(t, "uuid")
			return s, quote(s)
		}}
	case 12:
		typ := vector.Type{Kind: vector.Decimal, Width: rapid.SampledFrom([]uint8{18, 38}).Draw(t, "width"), Scale: rapid.SampledFrom([]uint8{1, 2, 5}).Draw(t, "scale")}
		return avroGen{object{"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}, typ, func(t *rapid.T) (any, string) {
			v := big.NewRat(rapid.Int64Range(-999999999999, 999999999999).Draw(t, "decimal"), 100)
			return v, v.FloatString(2)
		}}
	}
	return avroGen{"string", pick(vector.Varchar, vector.Blob), func(t *rapid.T) (any, string) {
		s := words.Draw(t, "string")
		return s, quote(s)
	}}
}

// avroValue draws a schema of some depth.
func avroValue(t *rapid.T, depth int, names *int) avroGen {
	kind := 0
	if depth > 0 {
		kind = rapid.IntRange(0, 6).Draw(t, "kind")
	}
	switch kind {
	case 1:
		g := avroValue(t, depth-1, names)
		if _, union := g.schema.([]any); union {
			return g
		}
		null := rapid.IntRange(0, 1).Draw(t, "null")
		schema := []any{"null", g.schema}
		schema[0], schema[1] = schema[null], schema[1-null]
		return avroGen{schema, g.typ, func(t *rapid.T) (any, string) {
			if rapid.Bool().Draw(t, "is null") {
				return nil, "null"
			}
			return g.value(t)
		}}
	case 2:
		g := avroValue(t, depth-1, names)
		return avroGen{object{"type": "array", "items": g.schema}, vector.ListOf(g.typ), func(t *rapid.T) (any, string) {
			items, texts := []any{}, []string{}
			for range rapid.IntRange(0, 4).Draw(t, "items") {
				v, s := g.value(t)
				items, texts = append(items, v), append(texts, s)
			}
			return items, "[" + strings.Join(texts, ",") + "]"
		}}
	case 3:
		g := avroValue(t, depth-1, names)
		entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: vector.Of(vector.Varchar)}, {Name: "value", Type: g.typ}}}
		return avroGen{object{"type": "map", "values": g.schema}, vector.Type{Kind: vector.Map, Elem: &entry}, func(t *rapid.T) (any, string) {
			if rapid.Bool().Draw(t, "empty") {
				return map[string]any{}, "{}"
			}
			v, s := g.value(t) // of more, the order is the encoder's
			return map[string]any{"a key longer than twelve": v}, `{"a key longer than twelve":` + s + "}"
		}}
	case 4:
		return avroRecordOf(t, depth-1, names)
	}
	return avroLeaf(t, names)
}

// avroRecordOf draws a record and a STRUCT with some of its fields, in another order, and some that it does not have.
func avroRecordOf(t *rapid.T, depth int, names *int) avroGen {
	*names++
	fields := []any{}
	var members []avroGen
	typ := vector.Type{Kind: vector.Struct}
	name := *names
	for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
		g := avroValue(t, depth, names)
		members = append(members, g)
		fields = append(fields, object{"name": fmt.Sprintf("f%d", i), "type": g.schema})
		if rapid.IntRange(0, 3).Draw(t, "declared") > 0 {
			typ.Fields = append(typ.Fields, vector.Field{Name: fmt.Sprintf("f%d", i), Type: g.typ})
		}
	}
	typ.Fields = append(typ.Fields, vector.Field{Name: "absent", Type: vector.ListOf(vector.Of(vector.Int32))})
	typ.Fields = rapid.Permutation(typ.Fields).Draw(t, "order")
	return avroGen{object{"type": "record", "name": fmt.Sprintf("R%d", name), "fields": fields}, typ, func(t *rapid.T) (any, string) {
		record, texts := map[string]any{}, []string{}
		for i, m := range members {
			v, s := m.value(t)
			record[fmt.Sprintf("f%d", i)] = v
			texts = append(texts, fmt.Sprintf(`"f%d":%s`, i, s))
		}
		return record, "{" + strings.Join(texts, ",") + "}"
	}}
}

// What an encoder writes by a random schema is read as the same values written in JSON are, by whoever declares some of
// the fields.
func TestAvroRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := 0
		g := avroRecordOf(t, 3, &names)
		schema, err := avro.Parse(g.text(t))
		if err != nil {
			t.Fatal(err)
		}
		var binary, texts []Message
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			v, s := g.value(t)
			b, err := schema.Encode(v)
			if err != nil {
				t.Fatalf("%s: %v: %v", g.text(t), v, err)
			}
			binary, texts = append(binary, Message{Value: append([]byte{}, b...)}), append(texts, Message{Value: []byte(s)})
		}
		got, bad := addRows(t, MessageOptions{Format: "avro", Fields: g.typ.Fields, AvroSchema: g.text(t)}, binary)
		want, wrong := addRows(t, MessageOptions{Format: "json", Fields: g.typ.Fields}, texts)
		if len(bad)+len(wrong) > 0 {
			t.Fatalf("schema %s, bad rows %q and %q", g.text(t), bad, wrong)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("schema %s (-json +avro):\n%s", g.text(t), diff)
		}
	})
}

// addRows is addAll for property tests.
func addRows(t *rapid.T, o MessageOptions, msgs []Message) (rows, bad []string) {
	d, err := NewMessages(o)
	if err != nil {
		t.Fatal(err)
	}
	b := o.Builder()
	for i := range msgs {
		if err := d.Add(&msgs[i], b); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range b.Bad {
		bad = append(bad, x.Reason)
	}
	return chunkRows(b.Finish(), len(o.Fields), false), bad
}

package decode

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

var modelFields = []vector.Field{
	{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "name", Type: vector.Of(vector.Varchar)},
	{Name: "amount", Type: vector.Type{Kind: vector.Decimal, Width: 22, Scale: 2}}, {Name: "at", Type: vector.Of(vector.Timestamp)},
	{Name: "day", Type: vector.Of(vector.Date)}, {Name: "ok", Type: vector.Of(vector.Bool)}, {Name: "x", Type: vector.Of(vector.Float64)},
	{Name: "raw", Type: vector.Of(vector.Blob)}, {Name: "nums", Type: vector.ListOf(vector.Of(vector.Int32))},
}

// modelEvent writes a random event of a row's images and options as JSON, with members in any order.
func modelEvent(r *rand.Rand) string {
	image := func() any {
		if r.IntN(12) == 0 {
			return nil
		}
		raw := make([]byte, 1+r.IntN(7))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		row := map[string]any{"id": r.IntN(5), "name": strings.Repeat("é\"", r.IntN(9)), "amount": base64.StdEncoding.EncodeToString(raw), "at": r.Int64N(1 << 51),
			"day": r.IntN(30000) - 5000, "ok": r.IntN(2) == 0, "x": float64(r.IntN(1000)) / 8, "raw": base64.StdEncoding.EncodeToString(raw),
			"nums": []any{r.IntN(9), nil}, "undeclared": map[string]any{"op": "d"}}
		for k := range row {
			switch r.IntN(40) {
			case 0:
				delete(row, k)
			case 1, 2, 3:
				row[k] = nil
			}
		}
		return row
	}
	event := map[string]any{"op": string("ccrruuuuddtmx"[r.IntN(13)]), "source": map[string]any{"before": nil}, "ts_ms": 1}
	if op := event["op"]; op != "c" && op != "r" || r.IntN(20) == 0 {
		event["before"] = image()
	}
	if op := event["op"]; op != "d" && op != "t" && op != "m" || r.IntN(20) == 0 {
		event["after"] = image()
	}
	var top any = event
	switch r.IntN(4) {
	case 0:
		kind := []string{"MicroTimestamp", "Timestamp"}[r.IntN(2)]
		field := fmt.Sprintf(`{"field":"after","fields":[{"field":"at","type":"int64","name":"io.debezium.time.%s"},{"field":"day","type":"int32","name":"io.debezium.time.Date"},
			{"field":"amount","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"%d"}},{"field":"raw","type":"bytes"}]}`, kind, r.IntN(5))
		top = map[string]any{"schema": json.RawMessage(strings.ReplaceAll(`{"fields":[`+field+`]}`, "\n", " ")), "payload": event}
	case 1:
		top = map[string]any{"payload": event}
	}
	return shuffled(r, top)
}

// shuffled writes a value as JSON with the members of objects in random order.
func shuffled(r *rand.Rand, v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	var members []string
	for k, x := range m {
		members = append(members, fmt.Sprintf("%q:%s", k, shuffled(r, x)))
	}
	if r.IntN(3) == 0 {
		r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	}
	return "{" + strings.Join(members, ",") + "}"
}

// modelRows is what an event means, by encoding/json and the documentation; ok is false for a bad row.
func modelRows(line string, keyed bool) (rows []string, ok bool) {
	var top map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&top); err != nil {
		return nil, false
	}
	event := top
	unit, scale := time.Microsecond, 2
	if p, wrapped := top["payload"].(map[string]any); wrapped {
		event = p
		if s, has := top["schema"].(map[string]any); has {
			fields := s["fields"].([]any)[0].(map[string]any)["fields"].([]any)
			if fields[0].(map[string]any)["name"] == "io.debezium.time.Timestamp" {
				unit = time.Millisecond
			}
			fmt.Sscan(fields[2].(map[string]any)["parameters"].(map[string]any)["scale"].(string), &scale)
		}
	}
	before, hasBefore := event["before"].(map[string]any)
	after, hasAfter := event["after"].(map[string]any)
	full := func(w string, row map[string]any) { rows = append(rows, w+" "+modelRow(row, unit, scale)) }
	gone := func(row map[string]any) {
		rows = append(rows, "-1 "+modelRow(map[string]any{"id": row["id"]}, unit, scale))
	}
	if modelOverflows(after, unit) || !keyed && modelOverflows(before, unit) {
		return nil, false
	}
	complete := len(before) > 0
	for _, f := range modelFields {
		_, there := before[f.Name]
		complete = complete && there
	}
	switch op := event["op"]; {
	case op == "m":
		return nil, true
	case (op == "c" || op == "r") && hasAfter && !hasBefore && (!keyed || after["id"] != nil):
		full("+1", after)
	case op == "u" && hasAfter && !keyed && complete:
		full("-1", before)
		full("+1", after)
	case op == "u" && hasAfter && keyed && after["id"] != nil && (!hasBefore || before["id"] != nil):
		full("+1", after)
		if hasBefore && before["id"] != after["id"] {
			gone(before)
		}
	case op == "d" && !hasAfter && !keyed && complete:
		full("-1", before)
	case op == "d" && !hasAfter && keyed && before["id"] != nil:
		gone(before)
	default:
		return nil, false
	}
	return rows, true
}

// modelOverflows says that milliseconds are later than DuckDB's last timestamp.
func modelOverflows(row map[string]any, unit time.Duration) bool {
	n, ok := row["at"].(json.Number)
	if !ok || unit == time.Microsecond {
		return false
	}
	v, _ := n.Int64()
	return v > 9223372036854775
}

func modelRow(row map[string]any, unit time.Duration, scale int) string {
	var cells []string
	for _, f := range modelFields {
		v := row[f.Name]
		cell := "NULL"
		if v != nil {
			switch f.Name {
			case "amount":
				raw, _ := base64.StdEncoding.DecodeString(v.(string))
				n := new(big.Int).SetBytes(raw)
				if raw[0] >= 0x80 {
					n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
				}
				ten := func(k int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(k)), nil) }
				cell = new(big.Rat).SetFrac(n, ten(scale)).FloatString(2)
				cell = strings.TrimSuffix(strings.Replace(cell+"$", "-0.00$", "0.00", 1), "$")
			case "at":
				n, _ := v.(json.Number).Int64()
				if unit == time.Millisecond {
					n *= 1000
				}
				cell = time.UnixMicro(n).UTC().Format("2006-01-02 15:04:05.999999")
			case "day":
				n, _ := v.(json.Number).Int64()
				cell = time.Unix(n*86400, 0).UTC().Format(time.DateOnly)
			case "raw":
				raw, _ := base64.StdEncoding.DecodeString(v.(string))
				vec := vector.New(vector.Of(vector.Blob), 1)
				vector.PutRef(vec.Data[:16], raw)
				cell = vector.Text(&vec, 0)
			case "nums":
				text, _ := json.Marshal(v)
				cell = string(text)
			case "x":
				n, _ := v.(json.Number).Float64()
				if cell = fmt.Sprint(n); !strings.Contains(cell, ".") {
					cell += ".0"
				}
			default:
				cell = fmt.Sprint(v)
			}
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, " | ")
}

// Random events decode to what a decoder of a page makes of them, written on encoding/json.
func TestDebeziumAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, key := range [][]int{nil, {0}} {
		dec := NewDebezium(modelFields, DebeziumOptions{Key: key})
		var lines, want []string
		wantBad := 0
		for i := range 4000 {
			line := modelEvent(r)
			lines = append(lines, line)
			rows, ok := modelRows(line, key != nil)
			if !ok {
				wantBad++
			}
			for n, row := range rows {
				if key == nil {
					n = 0
				}
				want = append(want, fmt.Sprintf("%s @%d+%d", row, i, n))
			}
		}
		rows, bad := decodeChanges(t, dec, modelFields, key, lines...)
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("key %v: rows (-model +decoder):\n%.3000s", key, diff)
		}
		if len(bad) != wantBad {
			t.Errorf("key %v: %d bad rows, want %d", key, len(bad), wantBad)
		}
		if len(rows) < 2000 || len(bad) < 100 {
			t.Errorf("key %v: only %d rows and %d bad rows", key, len(rows), len(bad))
		}
	}
}

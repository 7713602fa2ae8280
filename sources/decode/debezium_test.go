package decode

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

// decodeChanges decodes lines as one final block and returns rows with their weight and their offset's line,
// and the reasons of bad rows.
func decodeChanges(t testing.TB, d Decoder, fields []vector.Field, key []int, lines ...string) (rows, bad []string) {
	t.Helper()
	data := []byte(strings.Join(lines, "\n") + "\n")
	starts := []int64{0}
	for _, l := range lines {
		starts = append(starts, starts[len(starts)-1]+int64(len(l))+1)
	}
	b := NewChangeBuilder(fields, key)
	if used, _ := d.Decode(&Block{Buf: padded(data), N: len(data), Avail: len(data), Final: true}, b); used != len(data) {
		t.Fatalf("used %d bytes of %d: %q", used, len(data), data)
	}
	for _, c := range b.Finish() {
		for i := range c.N {
			var cells []string
			for j := range c.Cols[:len(c.Cols)-2] {
				cells = append(cells, vector.Text(&c.Cols[j], i))
			}
			seq := c.Cols[len(c.Cols)-1].I64(i)
			line, _ := slices.BinarySearch(starts, seq+1)
			rows = append(rows, fmt.Sprintf("%+d %s @%d+%d", c.Cols[len(c.Cols)-2].I64(i), strings.Join(cells, " | "), line-1, seq-starts[line-1]))
		}
	}
	for _, x := range b.Bad {
		bad = append(bad, x.Reason)
	}
	return rows, bad
}

func TestChangelog(t *testing.T) {
	for _, tc := range []struct {
		name      string
		key       []int
		lines     []string
		rows, bad []string
	}{
		{"weights", nil, []string{`{"a":1,"_weight":1}`, `{"_weight":-2,"a":1,"b":"x"}`, `{"_weight":2147483647}`, `{"_weight":-2147483647}`},
			[]string{"+1 1 | NULL | NULL @0+0", "-2 1 | x | NULL @1+0", "+2147483647 NULL | NULL | NULL @2+0", "-2147483647 NULL | NULL | NULL @3+0"}, nil},
		{"wrong weights", nil, []string{`{"a":1}`, `{"a":1,"_weight":0}`, `{"a":1,"_weight":null}`, `{"a":1,"_weight":1.5}`, `{"a":1,"_weight":"1"}`, `{"a":1,"_weight":2147483648}`,
			`{"a":1,"_weight":-9223372036854775809}`, `{"a":1,"_weight":true}`, `{"a":1,"_weight":1,"_weight":1}`, `{"a":1,"_weight":[1]}`, `null`, `{"a":"x","_weight":1}`, `{"a":1,"_weight":-0}`},
			nil, []string{"the row has no _weight: write 1 to insert it, -1 to delete it", "_weight is '0', not " + wantWeight, "the row has no _weight: write 1 to insert it, -1 to delete it",
				"_weight is '1.5', not " + wantWeight, `_weight is '"1"', not ` + wantWeight, "_weight is '2147483648', not " + wantWeight, "_weight is '-9223372036854775809', not " + wantWeight,
				"_weight is 'true', not " + wantWeight, "column _weight: the key appears twice in the object", "_weight is '[1]', not " + wantWeight,
				"the row has no _weight: write 1 to insert it, -1 to delete it", "column a: 'x' is not a BIGINT", "_weight is '-0', not " + wantWeight}},
		{"key", []int{0}, []string{`{"a":1,"b":"x","_weight":1}`, `{"a":1,"_weight":-1}`, `{"b":"x","_weight":-1}`, `{"a":null,"_weight":1}`},
			[]string{"+1 1 | x | NULL @0+0", "-1 1 | NULL | NULL @1+0"},
			[]string{"column a: a column of the PRIMARY KEY is NULL or missing", "column a: a column of the PRIMARY KEY is NULL or missing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rows, bad := decodeChanges(t, NewChangelog(abFields), abFields, tc.key, tc.lines...)
			if diff := cmp.Diff(tc.rows, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.bad, bad); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}

// Rows of plain formats are inserts, in sources with a primary key too.
func TestPlainRowsOfKeyedSources(t *testing.T) {
	rows, bad := decodeChanges(t, NewJSON(abFields), abFields, []int{1}, `{"a":1,"b":"x"}`, `{"a":2}`, `{"b":"y"}`)
	if diff := cmp.Diff([]string{"+1 1 | x | NULL @0+0", "+1 NULL | y | NULL @2+0"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(bad) != 1 || !strings.Contains(bad[0], "column b: a column of the PRIMARY KEY") {
		t.Errorf("reasons: %q", bad)
	}
	csv := CSVDialect{Delimiter: ',', Quote: '"', Escape: '"'}
	rows, bad = decodeChanges(t, NewCSV(csv, []int{0, 1, 2}), abFields, []int{0, 1}, "1,x,1.5", ",x,1.5", "1,,1.5", `1,"",1.5`)
	if diff := cmp.Diff([]string{"+1 1 | x | 1.5 @0+0", "+1 1 |  | 1.5 @3+0"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(bad) != 2 {
		t.Errorf("reasons: %q", bad)
	}
	rows, bad = decodeChanges(t, NewCSVChangelog(csv, []int{3, 0, 1, 2}), abFields, nil, "1,1,x,1.5", "-3,1,x,1.5", "0,1,x,", ",1,x,", "1.0,1,x,", "+1,1,x,")
	if diff := cmp.Diff([]string{"+1 1 | x | 1.5 @0+0", "-3 1 | x | 1.5 @1+0"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(bad) != 4 {
		t.Errorf("reasons: %q", bad)
	}
}

const (
	noRow   = ", so what it replaces is not known"
	badOp   = "not one of c, r, u, d, t and m"
	nullKey = "column a: a column of the PRIMARY KEY is NULL or missing"
)

// debeziumCases are events with the rows they mean, without a key and with a as the key. A line that
// starts with ! is the reason, or its beginning, why the event is refused.
var debeziumCases = []struct{ event, plain, keyed string }{
	{`{"before":null,"after":{"a":1,"b":"x","c":1.5},"source":{"db":"d"},"op":"c","ts_ms":1}`, "+1 1 | x | 1.5", "+1 1 | x | 1.5"},
	{`{"after":{"a":1},"op":"r"}`, "+1 1 | NULL | NULL", "+1 1 | NULL | NULL"},
	{`{"op":"c","after":{"c":2.5,"b":"y","a":1}}`, "+1 1 | y | 2.5", "+1 1 | y | 2.5"},
	{`{"before":{"a":1,"b":"x","c":1.5},"after":{"a":1,"b":"y","c":1.5},"op":"u"}`, "-1 1 | x | 1.5; +1 1 | y | 1.5", "+1 1 | y | 1.5"},
	{`{"after":{"a":1,"b":"y","c":1.5},"before":{"a":1,"b":"x","c":1.5},"op":"u"}`, "-1 1 | x | 1.5; +1 1 | y | 1.5", "+1 1 | y | 1.5"},
	{`{"before":{"a":1,"b":"x","c":1.5},"after":{"a":2,"b":"x","c":1.5},"op":"u"}`, "-1 1 | x | 1.5; +1 2 | x | 1.5", "+1 2 | x | 1.5; -1 1 | NULL | NULL"},
	{`{"after":{"a":2,"b":"x","c":1.5},"op":"u","before":{"a":1,"b":"x","c":1.5}}`, "-1 1 | x | 1.5; +1 2 | x | 1.5", "+1 2 | x | 1.5; -1 1 | NULL | NULL"},
	{`{"before":null,"after":{"a":1,"b":"y"},"op":"u"}`, "!op u has no row before" + noRow, "+1 1 | y | NULL"},
	{`{"before":{"a":1},"after":{"a":1,"b":"y","c":1},"op":"u"}`, "!op u: the row before does not have column b" + noRow, "+1 1 | y | 1.0"},
	{`{"before":{"b":"x"},"after":{"a":1,"b":"y","c":1},"op":"u"}`, "!op u: the row before does not have column a", "!" + nullKey},
	{`{"before":{"a":1,"b":"x","c":1.5},"after":null,"op":"d"}`, "-1 1 | x | 1.5", "-1 1 | NULL | NULL"},
	{`{"before":{"a":1},"after":null,"op":"d"}`, "!op d: the row before does not have column b", "-1 1 | NULL | NULL"},
	{`{"before":{"a":1,"b":7,"c":"oops"},"op":"d"}`, "!column c: 'oops' is not a DOUBLE", "-1 1 | NULL | NULL"},
	{`{"before":null,"after":null,"op":"d"}`, "!op d has no row before", "!op d needs the key in before"},
	{`{"before":{"a":null,"b":"x","c":null},"op":"d"}`, "-1 NULL | x | NULL", "!" + nullKey},
	{`{"after":{"b":"x"},"op":"c"}`, "+1 NULL | x | NULL", "!" + nullKey},
	{`{"before":{"a":1,"b":"x","c":1},"after":{"a":1,"b":"x","c":1},"op":"c"}`, "!op c needs a row after and none before", "!op c needs a row after and none before"},
	{`{"op":"c","after":null}`, "!op c needs a row after", "!op c needs a row after"},
	{`{"op":"u","before":{"a":1,"b":"x","c":1}}`, "!op u needs a row after", "!op u needs a row after"},
	{`{"op":"d","before":{"a":1,"b":"x","c":1},"after":{"a":1}}`, "!op d has a row after", "!op d has a row after"},
	{`{"source":{},"op":"t","ts_ms":1}`, "!a truncation (op t) cannot be applied", "!a truncation (op t) cannot be applied"},
	{`{"op":"m","message":{"prefix":"p","content":"Ymfy"}}`, "", ""},
	{`null`, "", ""},
	{``, "", ""},
	{`{"schema":null,"payload":null}`, "", ""},
	{`{"payload":null}`, "", ""},
	{`{"schema":null,"payload":{"after":{"a":1},"op":"c"}}`, "+1 1 | NULL | NULL", "+1 1 | NULL | NULL"},
	{`{"payload":{"before":{"a":1,"b":"x","c":1},"after":{"a":2,"b":"x","c":1},"op":"u"}}`, "-1 1 | x | 1.0; +1 2 | x | 1.0", "+1 2 | x | 1.0; -1 1 | NULL | NULL"},
	{`{"a":1,"b":"x"}`, "!the event has no op", "!the event has no op"},
	{`{}`, "!the event has no op", "!the event has no op"},
	{`{"payload":{}}`, "!the event has no op", "!the event has no op"},
	{`{"op":"x","after":{"a":1}}`, "!op is 'x', " + badOp, "!op is 'x', " + badOp},
	{`{"op":"create","after":{"a":1}}`, "!op is 'create', " + badOp, "!op is 'create', " + badOp},
	{`{"op":1,"after":{"a":1}}`, "!op is '1', not a string", "!op is '1', not a string"},
	{`{"op":"c","op":"c","after":{"a":1}}`, "!key op appears twice", "!key op appears twice"},
	{`{"op":"c","after":{"a":1},"after":{"a":2}}`, "!key after appears twice", "!key after appears twice"},
	{`{"op":"c","payload":{"op":"c","after":{"a":1}}}`, "!key op appears twice", "!key op appears twice"},
	{`{"op":"c","after":"{\"_id\":1}"}`, `!after is '"{\"_id\":1}"', not an object`, `!after is '"{\"_id\":1}"', not an object`},
	{`{"op":"c","after":[1]}`, "!after is '[1]', not an object", "!after is '[1]', not an object"},
	{`{"payload":[1]}`, "!the payload is '[1]', not a change event", "!the payload is '[1]', not a change event"},
	{`[1]`, "!expected a change event, found '[1]'", "!expected a change event, found '[1]'"},
	{`{"schema":[1],"payload":{"after":{"a":1},"op":"c"}}`, "+1 1 | NULL | NULL", "+1 1 | NULL | NULL"},
	{`{"schema":{"fields":1},"payload":{"after":{"a":1},"op":"c"}}`, "!the event's schema cannot be read", "!the event's schema cannot be read"},
	{`{"op":"c","after":{"a":1}`, "!malformed JSON", "!malformed JSON"},
	{`{"op":"c","after":{"a":1}} x`, "!unexpected content after the object", "!unexpected content after the object"},
	{`{"op":"c","after":{"a":"one"}}`, "!column a: 'one' is not a BIGINT", "!column a: 'one' is not a BIGINT"},
	{`{"op":"u","before":{"a":1,"b":"x","c":null},"after":{"a":1,"b":"__debezium_unavailable_value"}}`, "!column b: the event does not have its value", "!column b: the event does not have its value"},
	{`{"op":"d","before":{"a":1,"b":"__debezium_unavailable_value","c":null}}`, "!op d: the row before does not have column b", "-1 1 | NULL | NULL"},
	{`{"op":"c","after":{"a":1,"a":2}}`, "!column a: the key appears twice", "!column a: the key appears twice"},
	{`{"transaction":null,"op":"c","extra":[{"op":"d"}],"after":{"a":3,"b":"a text longer than twelve","c":null}}`, "+1 3 | a text longer than twelve | NULL", "+1 3 | a text longer than twelve | NULL"},
}

// Each event alone and among all the others.
func TestDebeziumEvents(t *testing.T) {
	for name, key := range map[string][]int{"plain": nil, "keyed": {0}} {
		t.Run(name, func(t *testing.T) {
			opt := DebeziumOptions{Key: key}
			all := NewDebezium(abFields, opt)
			var lines, wantRows, wantBad []string
			for i, tc := range debeziumCases {
				want := tc.plain
				if name == "keyed" {
					want = tc.keyed
				}
				rows, bad := decodeChanges(t, NewDebezium(abFields, opt), abFields, key, tc.event)
				lines = append(lines, tc.event)
				wantBad = append(wantBad, bad...)
				if reason, refused := strings.CutPrefix(want, "!"); refused {
					if len(bad) != 1 || len(rows) != 0 || !strings.HasPrefix(bad[0], reason) {
						t.Errorf("%s: rows %q, reasons %q, want %q", tc.event, rows, bad, reason)
					}
					continue
				}
				var got, expect []string
				for n, r := range rows {
					got = append(got, r)
					wantRows = append(wantRows, strings.Replace(r, "@0", fmt.Sprintf("@%d", i), 1))
					seq := 0
					if name == "keyed" {
						seq = n
					}
					expect = append(expect, strings.Split(want, "; ")[min(n, strings.Count(want, "; "))]+fmt.Sprintf(" @0+%d", seq))
				}
				if n := len(strings.Split(want, "; ")); len(bad) > 0 || want != "" && len(rows) != n || want == "" && len(rows) > 0 {
					t.Errorf("%s: rows %q, reasons %q, want %q", tc.event, rows, bad, want)
				}
				if diff := cmp.Diff(expect, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tc.event, diff)
				}
			}
			for range 2 { // the second time with what was learned
				rows, bad := decodeChanges(t, all, abFields, key, lines...)
				if diff := cmp.Diff(wantRows, rows); diff != "" {
					t.Errorf("rows alone and together (-alone +together):\n%s", diff)
				}
				if diff := cmp.Diff(wantBad, bad); diff != "" {
					t.Errorf("reasons alone and together (-alone +together):\n%s", diff)
				}
			}
		})
	}
}

package decode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

var abFields = []vector.Field{
	{Name: "a", Type: vector.Of(vector.Int64)},
	{Name: "b", Type: vector.Of(vector.Varchar)},
	{Name: "c", Type: vector.Of(vector.Float64)},
}

// texts renders decoded rows, without _seq.
func texts(chunks []*vector.Chunk) []string {
	var out []string
	for _, c := range chunks {
		for i := range c.N {
			var cells []string
			for j := range c.Cols[:len(c.Cols)-1] {
				cells = append(cells, vector.Text(&c.Cols[j], i))
			}
			out = append(out, strings.Join(cells, " | "))
		}
	}
	return out
}

// Rows of different shapes in one file: what was learned from one row must not be taken for granted in
// the next.
func TestJSONShapes(t *testing.T) {
	for _, tc := range []struct {
		name      string
		lines     []string
		rows, bad []string
	}{
		{"orders", []string{`{"a":1,"b":"x","c":2}`, `{"c":3,"b":"y","a":4}`, `{"b":"z"}`, `{"c":5,"a":6}`, `{}`, `{"a":7,"b":"x","c":2}`, `null`},
			[]string{"1 | x | 2.0", "4 | y | 3.0", "NULL | z | NULL", "6 | NULL | 5.0", "NULL | NULL | NULL", "7 | x | 2.0", "NULL | NULL | NULL"}, nil},
		{"spaces", []string{`{"a":1,"b":"x"}`, ` { "a" : 2 , "b" : "y" } `, "\t{\"a\":3}\r", `{"a": 4,"b": "z"}`, `{"a": 5,"b": "z"}`},
			[]string{"1 | x | NULL", "2 | y | NULL", "3 | NULL | NULL", "4 | z | NULL", "5 | z | NULL"}, nil},
		{"unknown keys", []string{`{"x":[1,{"y":null}],"a":1,"z":"é","b":"x"}`, `{"x":2,"a":2,"b":"y"}`, `{"a":3,"x":{},"b":"z"}`, `{"b":"w","x":1,"x":2}`},
			[]string{"1 | x | NULL", "2 | y | NULL", "3 | z | NULL", "NULL | w | NULL"}, nil},
		{"a brace is no comma", []string{`{"a":1,"b":"x"}`, `{"a":1{"a":2,"b":"x"}`, `{"x":1{"a":2,"b":"x"}`, `{"x":1,"a":2}`, `{,"b":"x"}`, `,"b":"x"}`},
			[]string{"1 | x | NULL", "2 | NULL | NULL"},
			[]string{`malformed JSON: expected ',' or '}', found '{"a":2,"b":"x"}'`, `malformed JSON: expected ',' or '}', found '{"a":2,"b":"x"}'`,
				`malformed JSON: expected a key in double quotes, found ',"b":"x"}'`, `malformed JSON: expected a value, found ',"b":"x"}'`}},
		{"twice", []string{`{"a":1,"b":"x"}`, `{"a":1,"a":2}`, `{"b":"x","a":1,"b":"y"}`, `{"a":3,"b":"z"}`}, []string{"1 | x | NULL", "3 | z | NULL"},
			[]string{"column a: the key appears twice in the object", "column b: the key appears twice in the object"}},
		{"escaped keys", []string{`{"\u0061":1,"\u0062":"\u0041"}`, `{"\u0061":2,"\u0062":"\u0041"}`}, []string{"1 | A | NULL", "2 | A | NULL"}, nil},
		{"no values left behind", []string{`{"a":1,"b":"x","c":1.5}`, `{"b":"y","c":"oops"}`, `{"a":2}`, `{"c":2.5}`},
			[]string{"1 | x | 1.5", "2 | NULL | NULL", "NULL | NULL | 2.5"}, []string{"column c: 'oops' is not a DOUBLE"}},
		{"reasons", []string{`{"a":"abc"}`, `{"a":9223372036854775808}`, `{"a":[1]}`, `{"b":"a\u0000b"}`, `{"a":1`, `{"a":1} x`, `[1]`, `{"b":"abc`, "{\"b\":\"a\tb\"}", "{\"b\":\"\xff\"}", `{"b":"\ud800"}`, `{"a":01}`, `{"a":1.}`, `{"a":tru}`, `{"b":"\q"}`, `{"a" 1}`, `"x"`, `{a:1}`}, nil,
			[]string{"column a: 'abc' is not a BIGINT", "column a: '9223372036854775808' is out of range for BIGINT", "column a: '[1]' is not a BIGINT",
				"column b: the text has a NUL character, which Postgres cannot store", "malformed JSON: the line ends where ',' or '}' is expected",
				"unexpected content after the object: one object a line is expected", "expected an object, found '[1]'", "malformed JSON: the line ends inside a string",
				"malformed JSON: control character 0x09 in a string", "malformed JSON: a string is not valid UTF-8",
				"malformed JSON: a \\u escape is not four hexadecimal digits or half of a surrogate pair", "malformed JSON: '01' has a leading zero",
				"malformed JSON: '1.' has no digit after the point", "malformed JSON: expected a value, found 'tru}'", `malformed JSON: unknown escape '\q'`,
				"malformed JSON: expected ':', found '1}'", `expected an object, found '"x"'`, "malformed JSON: expected a key in double quotes, found 'a:1}'"}},
		{"blank lines", []string{``, ` `, "\r", `{"a":1}`, ``}, []string{"1 | NULL | NULL"}, nil},
		{"negative zero", []string{`{"c":-0.0}`, `{"c":-0}`, `{"c":"-0.0"}`}, []string{"NULL | NULL | 0.0", "NULL | NULL | 0.0", "NULL | NULL | 0.0"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := decodeAll(t, NewJSON(abFields), abFields, []byte(strings.Join(tc.lines, "\n")))
			var bad []string
			for _, x := range b.Bad {
				bad = append(bad, x.Reason)
			}
			if diff := cmp.Diff(tc.rows, texts(b.Finish())); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.bad, bad); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}

// What is refused although DuckDB reads it; see the package comment.
func TestJSONRefusedOnPurpose(t *testing.T) {
	varchar, tiny := vector.Of(vector.Varchar), vector.Of(vector.Int8)
	entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: varchar}, {Name: "value", Type: tiny}}}
	for _, tc := range []struct {
		typ   vector.Type
		value string
	}{
		{tiny, `127.5`}, {varchar, `"\u0000"`}, {vector.ListOf(varchar), `["a\u0000"]`},
		{vector.Type{Kind: vector.Map, Elem: &entry}, `{"a":1,"\u0061":2}`}, {vector.Type{Kind: vector.Map, Elem: &entry}, `{"\u0000":2}`},
	} {
		fields := []vector.Field{{Name: "v", Type: tc.typ}}
		if b := decodeAll(t, NewJSON(fields), fields, []byte(`{"v":`+tc.value+`}`)); len(b.Bad) != 1 {
			t.Errorf("%s: %s was accepted: %v", tc.typ, tc.value, texts(b.Finish()))
		}
	}
}

// A refused row takes back what it wrote, in nested columns too.
func TestJSONUndoNested(t *testing.T) {
	inner := vector.ListOf(vector.Of(vector.Int32))
	fields := []vector.Field{
		{Name: "l", Type: vector.ListOf(inner)},
		{Name: "s", Type: vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "l", Type: inner}, {Name: "x", Type: vector.Of(vector.Varchar)}}}},
	}
	var data bytes.Buffer
	var want []string
	for i := range 3000 {
		fmt.Fprintf(&data, `{"l":[[%d,null],[],null],"s":{"l":[%d],"x":null}}`+"\n", i, i)
		fmt.Fprintf(&data, `{"l":[[1,2,3],[4]],"s":{"l":[5,6,"x"]}}`+"\n")
		want = append(want, fmt.Sprintf(`[[%d,null],[],null] | {"l":[%d],"x":null}`, i, i))
	}
	b := decodeAll(t, NewJSON(fields), fields, data.Bytes())
	if len(b.Bad) != 3000 {
		t.Errorf("%d bad rows", len(b.Bad))
	}
	if diff := cmp.Diff(want, texts(b.Finish())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJSONLimits(t *testing.T) {
	line := `{"a":1,"b":"0123456789"}` + "\n"
	data := []byte(strings.Repeat(line, 10))
	for _, tc := range []struct {
		name      string
		blk       Block
		maxRows   int64
		rows, bad int
		used      int
	}{
		{"rows", Block{}, 3, 3, 0, 3 * len(line)},
		{"bytes within a row", Block{MaxBytes: int64(2*len(line) + 1)}, 0, 3, 0, 3 * len(line)},
		{"bytes at a row's end", Block{MaxBytes: int64(2 * len(line))}, 0, 2, 0, 2 * len(line)},
		{"row bytes", Block{MaxRow: len(line) - 1}, 0, 10, 0, len(data)},
		{"rows too long", Block{MaxRow: len(line) - 2}, 0, 0, 10, len(data)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := NewBuilder(abFields)
			b.MaxRows = tc.maxRows
			tc.blk.Buf, tc.blk.N = padded(data), len(data)
			used, _ := NewJSON(abFields).Decode(&tc.blk, b)
			if used != tc.used || int(b.Rows()) != tc.rows || len(b.Bad) != tc.bad {
				t.Errorf("used %d, %d rows, %d bad; want %d, %d, %d", used, b.Rows(), len(b.Bad), tc.used, tc.rows, tc.bad)
			}
		})
	}
}

// FuzzJSON checks that every line is a row or a bad row, that what was learned from earlier rows never
// changes a later one, and that syntax is judged as encoding/json judges it.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"v":1,"w":"x"}` + "\n" + `{"w":"\u00e9","v":[1,{"a":null}]}`, `{"v":1{"v":2}`, `{"v":"\ud83d\ude00"}`, "null\n[]\n\n{}", `{"v":-1.5e10,}`,
		"{\"v\":1}\r\n {\"v\":2} ", `{"v":{"a":[[],{}]}}`, `{"w":"2024-01-02T00:00:00Z"}`, `{"m":{"a":1},"l":[1,2]}`} {
		f.Add([]byte(s))
	}
	entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: vector.Of(vector.Varchar)}, {Name: "value", Type: vector.Of(vector.Varchar)}}}
	fields := []vector.Field{{Name: "v", Type: vector.Of(vector.Varchar)}, {Name: "w", Type: vector.Of(vector.Timestamp)}, {Name: "d", Type: vector.Of(vector.Float64)},
		{Name: "m", Type: vector.Type{Kind: vector.Map, Elem: &entry}}, {Name: "l", Type: vector.ListOf(vector.Of(vector.Int64))}}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := decodeAll(t, NewJSON(fields), fields, data)
		bad := map[int64]string{}
		for _, x := range b.Bad {
			bad[x.Offset] = x.Reason
		}
		var rows, lines int
		var alone []string
		offset := 0
		for _, line := range bytes.Split(data, []byte{'\n'}) {
			if len(bytes.Trim(line, " \t\r")) > 0 {
				lines++
				one := decodeAll(t, NewJSON(fields), fields, append(bytes.Clone(line), '\n'))
				reason, refused := bad[int64(offset)]
				if refused != (len(one.Bad) > 0) {
					t.Fatalf("line %q is refused among others: %v %s, alone: %v", line, refused, reason, one.Bad)
				}
				if refused && one.Bad[0].Reason != reason {
					t.Fatalf("line %q: %q among others, %q alone", line, reason, one.Bad[0].Reason)
				}
				rows += int(one.Rows())
				alone = append(alone, texts(one.Finish())...)
				judge(t, line, reason, refused)
			}
			offset += len(line) + 1
		}
		if int(b.Rows()) != rows || rows+len(b.Bad) != lines {
			t.Fatalf("%d rows and %d bad rows of %d lines", b.Rows(), len(b.Bad), lines)
		}
		if diff := cmp.Diff(alone, texts(b.Finish())); diff != "" {
			t.Fatalf("rows alone and among others differ:\n%s", diff)
		}
	})
}

// judge compares with encoding/json, apart from what DuckDB's reader also takes.
func judge(t *testing.T, line []byte, reason string, refused bool) {
	valid := json.Valid(line)
	lower := bytes.ToLower(line)
	lenient := bytes.Contains(lower, []byte("nan")) || bytes.Contains(lower, []byte("inf")) || bytes.ContainsAny(line, ",")
	if !refused && !valid && !lenient {
		t.Fatalf("%q is accepted, but it is not JSON", line)
	}
	if refused && valid && utf8.Valid(line) && strings.HasPrefix(reason, "malformed JSON") && !strings.Contains(reason, "surrogate") {
		t.Fatalf("%q is JSON, but: %s", line, reason)
	}
}

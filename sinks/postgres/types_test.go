package postgres

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

func dec(p, s uint8) vector.Type { return vector.Type{Kind: vector.Decimal, Width: p, Scale: s} }

func structOf(f []vector.Field) vector.Type { return vector.Type{Kind: vector.Struct, Fields: f} }

func mapOf(k, v vector.Type) vector.Type {
	e := structOf([]vector.Field{{Name: "key", Type: k}, {Name: "value", Type: v}})
	return vector.Type{Kind: vector.Map, Elem: &e}
}

func arrayOf(e vector.Type, n int) vector.Type {
	return vector.Type{Kind: vector.Array, Elem: &e, Size: n}
}

var mood = vector.Type{Kind: vector.Enum, Values: []string{"sad", "ok", "happy\x00"}}

// typeCases are values of every type as DuckDB prints them, with what psql shows where it differs.
var typeCases = []struct {
	typ    vector.Type
	column string // format_type
	values []string
	psql   []string
}{
	{vector.Of(vector.Bool), "boolean", []string{"true", "false"}, []string{"t", "f"}},
	{vector.Of(vector.Int8), "smallint", []string{"-128", "127"}, nil},
	{vector.Of(vector.Int16), "smallint", []string{"-32768", "32767"}, nil},
	{vector.Of(vector.Int32), "integer", []string{"-2147483648", "2147483647"}, nil},
	{vector.Of(vector.Int64), "bigint", []string{"-9223372036854775808", "9223372036854775807", "0"}, nil},
	{vector.Of(vector.UInt8), "smallint", []string{"0", "255"}, nil},
	{vector.Of(vector.UInt16), "integer", []string{"0", "65535"}, nil},
	{vector.Of(vector.UInt32), "bigint", []string{"0", "4294967295"}, nil},
	{vector.Of(vector.UInt64), "numeric(20,0)", []string{"0", "18446744073709551615", "10000", "100000000"}, nil},
	{vector.Of(vector.Int128), "numeric(39,0)", []string{"-170141183460469231731687303715884105728", "170141183460469231731687303715884105727", "0", "-1", "10000000000000000000", "20000"}, nil},
	{vector.Of(vector.UInt128), "numeric(39,0)", []string{"340282366920938463463374607431768211455", "0"}, nil},
	{dec(4, 1), "numeric(4,1)", []string{"999.9", "-999.9", "0.0", "0.1"}, nil},
	{dec(9, 9), "numeric(9,9)", []string{"0.999999999", "-0.000000001", "0.000100000"}, nil},
	{dec(18, 3), "numeric(18,3)", []string{"999999999999999.999", "-1.500", "10000.000", "0.001"}, nil},
	{dec(38, 0), "numeric(38,0)", []string{"99999999999999999999999999999999999999", "-1"}, nil},
	{dec(38, 37), "numeric(38,37)", []string{"9.9999999999999999999999999999999999999", "-0.0000000000000000000000000000000000001"}, nil},
	{dec(38, 10), "numeric(38,10)", []string{"9999999999999999999999999999.9999999999", "12345.6789000000"}, nil},
	{vector.Of(vector.Bignum), "numeric", []string{"-" + strings.Repeat("1234567890", 12), "0", "99990000", "10000", "1"}, nil},
	{vector.Of(vector.Float32), "real", []string{"1.5", "NaN", "Infinity", "-Infinity", "0", "3.4028235e+38"}, nil},
	{vector.Of(vector.Float64), "double precision", []string{"0.1", "NaN", "Infinity", "-Infinity", "0", "5e-324", "1.7976931348623157e+308"}, nil},
	{vector.Of(vector.Date), "date", []string{"2001-02-03", "infinity", "-infinity", "0044-03-15 (BC)", "1970-01-01", "1999-12-31", "99999-01-01", "2000-02-29"},
		[]string{"2001-02-03", "infinity", "-infinity", "0044-03-15 BC", "1970-01-01", "1999-12-31", "99999-01-01", "2000-02-29"}},
	{vector.Of(vector.Time), "time without time zone", []string{"00:00:00", "23:59:59.999999", "24:00:00"}, nil},
	{vector.Of(vector.TimeNS), "time without time zone", []string{"12:34:56.000001"}, nil},
	{vector.Of(vector.TimeTZ), "time with time zone", []string{"12:00:00+05:30", "12:00:00.5-08", "00:00:00+00", "10:00:00-01:02:03"}, nil},
	{vector.Of(vector.Timestamp), "timestamp without time zone", []string{"2001-02-03 04:05:06.789", "1969-12-31 23:59:59.999999", "infinity", "-infinity", "0001-01-01 (BC) 00:00:00"},
		[]string{"2001-02-03 04:05:06.789", "1969-12-31 23:59:59.999999", "infinity", "-infinity", "0001-01-01 00:00:00 BC"}},
	{vector.Of(vector.TimestampS), "timestamp without time zone", []string{"2001-02-03 04:05:06", "infinity", "1950-01-01 00:00:01"}, nil},
	{vector.Of(vector.TimestampMS), "timestamp without time zone", []string{"2001-02-03 04:05:06.789", "-infinity", "1950-01-01 00:00:01.5"}, nil},
	{vector.Of(vector.TimestampNS), "timestamp without time zone", []string{"2001-02-03 04:05:06.789012", "infinity", "1950-01-01 00:00:01.5"}, nil},
	{vector.Of(vector.TimestampTZ), "timestamp with time zone", []string{"2001-02-03 04:05:06.789+00", "infinity"}, nil},
	{vector.Of(vector.Interval), "interval", []string{"1 year 2 months 3 days 04:05:06.7", "-1 month 00:00:01", "00:00:00", "-00:00:01.5"},
		[]string{"1 year 2 mons 3 days 04:05:06.7", "-1 mons +00:00:01", "00:00:00", "-00:00:01.5"}},
	{vector.Of(vector.UUID), "uuid", []string{"00112233-4455-6677-8899-aabbccddeeff", "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000"}, nil},
	{mood, "text", []string{"sad", "happy\x00"}, []string{"sad", "happy␀␀"}},
	{vector.Of(vector.Varchar), "text", []string{"", "short", "a text longer than twelve bytes", "ünïcödé ␀ 🙂", "nul\x00inside", "\x00", "␀␀␁", "tab\tnl\n\\"},
		[]string{"", "short", "a text longer than twelve bytes", "ünïcödé ␀␁ 🙂", "nul␀␀inside", "␀␀", "␀␁␀␁␁", "tab\tnl\n\\"}},
	{vector.Of(vector.Blob), "bytea", []string{`\x00\xFFabc\x5C`, ""}, []string{`\x00ff6162635c`, `\x`}},
	{vector.Of(vector.Bit), "bit varying", []string{"1", "10110", "11111111", "0000000010000001", "010101010101010101010101010101"}, nil},
	{vector.Of(vector.Null), "integer", nil, nil},
	{vector.ListOf(vector.Of(vector.Int32)), "integer[]", []string{"[1,null,3]", "[]", "[7]"}, []string{"{1,NULL,3}", "{}", "{7}"}},
	{vector.ListOf(vector.Of(vector.Varchar)), "text[]", []string{`["a","b\u0000",null]`}, []string{`{a,b␀␀,NULL}`}},
	{vector.ListOf(dec(10, 2)), "numeric(10,2)[]", []string{`[1.50,-2.25]`}, []string{`{1.50,-2.25}`}},
	{vector.ListOf(mood), "text[]", []string{`["ok"]`}, []string{`{ok}`}},
	{arrayOf(vector.Of(vector.Float64), 3), "double precision[]", []string{"[1,null,2.5]"}, []string{"{1,NULL,2.5}"}},
	{vector.ListOf(vector.ListOf(vector.Of(vector.Int64))), "jsonb", []string{"[[1],[],null,[2,3]]"}, []string{"[[1], [], null, [2, 3]]"}},
	{arrayOf(arrayOf(vector.Of(vector.Int32), 2), 2), "jsonb", []string{"[[1,2],[3,null]]"}, []string{"[[1, 2], [3, null]]"}},
	{structOf(fields("b", vector.Int64, "a", vector.Varchar, "d", dec(38, 5), "f", vector.Float64, "t", vector.Timestamp, "i", vector.Interval, "x", vector.Blob, "u", vector.UUID)), "jsonb",
		[]string{`{"b":9007199254740993,"a":"q\"\\\n\u0000","d":123456789012345678901234567890123.12345,"f":"NaN","t":"2001-02-03 04:05:06","i":"3 days 00:00:01","x":"\\xFF","u":"00112233-4455-6677-8899-aabbccddeeff"}`,
			`{"b":null,"a":null,"d":null,"f":1e+300,"t":"infinity","i":null,"x":null,"u":null}`}, []string{"", ""}},
	{structOf([]vector.Field{{Type: vector.Of(vector.Int32)}, {Type: vector.Of(vector.Bool)}}), "jsonb", []string{`[1,true]`}, []string{"[1, true]"}},
	{mapOf(vector.Of(vector.Varchar), vector.Of(vector.Int64)), "jsonb", []string{`{"a":1,"b":null}`, `{}`}, []string{`{"a": 1, "b": null}`, `{}`}},
	{mapOf(vector.Of(vector.Date), vector.ListOf(vector.Of(vector.Int64))), "jsonb", []string{`{"2001-01-01":[1,2]}`}, []string{`{"2001-01-01": [1, 2]}`}},
	{vector.Type{Kind: vector.Union, Fields: fields("num", vector.Int64, "str", vector.Varchar)}, "jsonb", []string{`{"num":1}`, `{"str":"x"}`, `{"str":null}`},
		[]string{`{"num": 1}`, `{"str": "x"}`, `{"str": null}`}},
}

// TestTypes writes every type as an append column and as a multiset column, and reads it back from psql's side and ours.
func TestTypes(t *testing.T) {
	url := pgtest.URL(t)
	var outs []planner.Output
	var rows [][]row
	for i, tc := range typeCases {
		for _, mode := range []planner.ChangeMode{planner.Append, planner.Multiset} {
			outs = append(outs, planner.Output{Name: fmt.Sprintf("t%02d_%s", i, mode), Columns: fields("seq", vector.Int32, "v", tc.typ), Mode: mode})
			var rs []row
			for k, v := range tc.values {
				rs = append(rs, r(1, k, v))
			}
			rows = append(rows, append(rs, r(1, len(rs), nil)))
		}
	}
	e := newEngine(t, url, outs...)
	b := batchOf(t, 1, outs, rows...)
	e.run(b)
	got := e.snapshots()
	for i, o := range outs {
		tc := typeCases[i/2]
		if got := pgtest.Rows(t, url, fmt.Sprintf("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '%s'::regclass AND attname = 'v'", o.Name)); got[0] != tc.column {
			t.Errorf("%s became %s, want %s", tc.typ, got[0], tc.column)
		}
		psql := tc.psql
		if psql == nil {
			psql = tc.values
		}
		for k, got := range pgtest.Rows(t, url, fmt.Sprintf("SET timezone = 'UTC'; SELECT v FROM %s ORDER BY seq", o.Name)) {
			if k < len(psql) && got != psql[k] && psql[k] != "" {
				t.Errorf("%s: psql shows %q, want %q", tc.typ, got, psql[k])
			}
			if k == len(psql) && got != "∅" {
				t.Errorf("%s: psql shows %q for NULL", tc.typ, got)
			}
		}
		want := wantTexts(b.Outputs[i].Chunks)
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("%s: read back (-want +got):\n%s", tc.typ, diff)
		}
		for _, c := range b.Outputs[i].Chunks {
			n, err := Normalize(o, c)
			if err != nil {
				t.Fatal(err)
			}
			var w valuetext.Writer
			if diff := cmp.Diff(texts(&w, c), texts(&w, n)); diff != "" {
				t.Errorf("%s: Normalize changed it:\n%s", tc.typ, diff)
			}
		}
	}
}

func wantTexts(chunks []*vector.Chunk) []string {
	var w valuetext.Writer
	var out []string
	for _, c := range chunks {
		out = append(out, texts(&w, c)...)
	}
	sort.Strings(out)
	return out
}

func TestNormalizeLossy(t *testing.T) {
	o := planner.Output{Name: "x", Columns: fields("ts", vector.TimestampNS, "t", vector.TimeNS, "m", mapOf(vector.Of(vector.Varchar), vector.Of(vector.Int32)), "f", vector.Float64)}
	c := chunksOf(t, o, []row{r(1, "1969-12-31 23:59:59.999997001", "12:00:00.123456789", "{}", "-0")})[0]
	n, err := Normalize(o, c)
	if err != nil {
		t.Fatal(err)
	}
	var w valuetext.Writer
	// The roundings are those of DuckDB's casts to TIMESTAMP and TIME.
	want := []string{"1x|1969-12-31 23:59:59.999998|12:00:00.123457|{}|0"}
	if diff := cmp.Diff(want, texts(&w, n)); diff != "" {
		t.Error(diff)
	}
}

func TestOutOfRange(t *testing.T) {
	url := pgtest.URL(t)
	o := planner.Output{Name: "x", Columns: fields("ts", vector.TimestampS, "d", vector.Date), Mode: planner.Append}
	e := newEngine(t, url, o)
	for _, tt := range []struct {
		row  row
		text string
	}{
		{r(1, "9999999-01-01 00:00:00", nil), "column ts: value out of"},
		{r(1, "294300-01-01 00:00:00", nil), "column ts"}, // the server's limit is 294276
		{r(1, nil, "5877000-01-01"), "column d"},
	} {
		err := e.sink.Stage(t.Context(), batchOf(t, 1, []planner.Output{o}, []row{tt.row}))
		wantErr(t, err, nil, tt.text)
		wantErr(t, err, nil, "Hint: ")
	}
	// The pipeline is none the worse for it.
	e.run(batchOf(t, 1, []planner.Output{o}, []row{r(1, "2000-01-01 00:00:00", "2000-01-01")}))
}

func TestTextEscape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := []string{"\x00", "␀", "␁", "a", "é", "\xe2\x90"}
		text := func(label string) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet[:5]), 0, 6).Draw(t, label), "")
		}
		a, b := text("a"), text("b")
		ea, eb := appendText(nil, []byte(a)), appendText(nil, []byte(b))
		if bytes.IndexByte(ea, 0) >= 0 || string(plainText(ea)) != a {
			t.Fatalf("%q became %q, and back %q", a, ea, plainText(ea))
		}
		if (a == b) != bytes.Equal(ea, eb) {
			t.Fatalf("%q and %q collide", a, b)
		}
	})
}

// TestNumericAgainstServer lets the server print what we encode.
func TestNumericAgainstServer(t *testing.T) {
	url := pgtest.URL(t)
	scales := []uint8{0, 1, 2, 3, 4, 5, 19, 37, 38}
	var cols []vector.Field
	for _, s := range scales {
		cols = append(cols, vector.Field{Name: fmt.Sprintf("d%d", s), Type: dec(38, s)})
	}
	out := []planner.Output{{Name: "x", Columns: cols, Mode: planner.Append}}
	e := newEngine(t, url, out...)
	n := int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		var rows []row
		var want []string
		for range 10 {
			row := r(1)
			for _, s := range scales {
				row.cells = append(row.cells, drawDecimal(rt, int(s)))
			}
			rows, want = append(rows, row), append(want, strings.ReplaceAll(strings.Trim(fmt.Sprint(row.cells), "[]"), " ", "|"))
		}
		pgtest.Exec(t, url, "TRUNCATE x")
		n++
		b := batchOf(t, n, out, rows)
		e.run(b)
		sort.Strings(want)
		got := pgtest.Rows(t, url, "SELECT * FROM x")
		sort.Strings(got)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
		if diff := cmp.Diff(wantTexts(b.Outputs[0].Chunks), e.snapshot(0)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func drawDecimal(t *rapid.T, scale int) string {
	digits := rapid.StringMatching(`[0-9]{1,38}`).Draw(t, "digits")
	if rapid.Bool().Draw(t, "zeros") {
		digits = digits[:len(digits)/2] + strings.Repeat("0", len(digits)-len(digits)/2)
	}
	for len(digits) < max(scale, 1) {
		digits = "0" + digits
	}
	text := strings.TrimLeft(digits[:len(digits)-scale], "0")
	if text == "" {
		text = "0"
	}
	if scale > 0 {
		text += "." + digits[len(digits)-scale:]
	}
	if rapid.Bool().Draw(t, "neg") && strings.Trim(text, "0.") != "" {
		text = "-" + text
	}
	return text
}

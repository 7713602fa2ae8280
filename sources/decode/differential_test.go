package decode

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
)

// jsonCases holds, by type, JSON values to decode into a column of it. What DuckDB's read_json makes of
// each is the expected result.
var jsonCases = map[string][]string{
	"BIGINT": {`12`, `"12"`, `12.0`, `12.5`, `13.5`, `-12.5`, `1e3`, `"1e3"`, `"12.5"`, `" 12 "`, `9223372036854775807`, `9223372036854775808`,
		`-9223372036854775808`, `-9223372036854775809`, `1e19`, `true`, `false`, `"true"`, `null`, `{}`, `[]`, `"abc"`, `""`, `"0x1F"`, `"1_000"`,
		`"+5"`, `-0`, `01`, `+1`, `1.`, `.5`, `NaN`, `Infinity`, `"12abc"`, `"1."`, `".5"`, `18446744073709551616`, `"0b11"`, `"-0x1F"`, `"0x"`, `"--5"`,
		`"- 5"`, `"007"`, `"\t5\n"`, `"0X1f"`, `"-0"`, `"00"`, `0.5`, `2.5`, `-0.5`, `9223372036854774784.0`, `9223372036854775807.0`, `1e-400`,
		`1234567`, `12345678`, `123456789`, `1234567890123456`, `12345678901234567`, `"9223372036854775807"`, `"9223372036854775808"`, `-1234567890`, `--1`, `1-`, `1e`, `1e+`},
	"TINYINT":  {`127`, `128`, `-128`, `-129`, `127.4`, `"127.5"`, `true`, `256.0`},
	"UTINYINT": {`255`, `256`, `-1`, `2.5`, `"255"`},
	"SMALLINT": {`32767`, `32768`, `-32768`},
	"INTEGER":  {`2147483647`, `2147483648`, `-2147483648`, `1e9`, `3e9`},
	"UINTEGER": {`4294967295`, `4294967296`},
	"UBIGINT":  {`18446744073709551615`, `18446744073709551616`, `-1`, `-0`, `"-0"`, `-0.4`, `1.5`, `"1.5"`, `2.5`, `-0.0`, `18446744073709549568.0`, `18446744073709551616.0`},
	"HUGEINT":  {`18446744073709551616`, `170141183460469231731687303715884105727`, `1e30`, `"170141183460469231731687303715884105727"`, `-5`, `2.5`, `-2.5`, `true`, `"170141183460469231731687303715884105728"`, `1.7e38`, `1.8e38`, `"0x1F"`, `-170141183460469231731687303715884105727`},
	"UHUGEINT": {`18446744073709551616`, `1e30`, `"340282366920938463463374607431768211455"`, `-5`, `340282366920938463463374607431768211456`},
	"DOUBLE":   {`1`, `1.5`, `"1.5"`, `1e400`, `"1e400"`, `"inf"`, `"nan"`, `"Infinity"`, `"-inf"`, `true`, `"abc"`, `1e-400`, `"1_0.5"`, `NaN`, `Infinity`, `-Infinity`, `"+1.5"`, `"1."`, `".5"`, `123456789012345678901234567890`, `" 1.5 "`, `"+inf"`, `"1e"`, `"0x10"`, `nan`, `inf`, `0.1`, `0.1e1`, `1.7976931348623157e308`, `5e-324`, `123456789.123456789`, `0.12345678901234567`, `9007199254740993`, `-1.25`, `"-"`, `""`, `{}`},
	"FLOAT":    {`1`, `1.5`, `1e39`, `"1e39"`, `16777217`, `0.1`, `"0.1"`, `123456789`, `1.00000006`},
	"BOOLEAN":  {`true`, `false`, `1`, `0`, `2`, `1.5`, `"true"`, `"t"`, `"T"`, `"yes"`, `"1"`, `"0"`, `"on"`, `"y"`, `"TRUE"`, `0.0`, `"f"`, `"no"`, `"n"`, `""`, `" true"`, `-1`, `NaN`, `tru`, `truex`},
	"VARCHAR": {`"a"`, `1`, `1.50`, `1e3`, `true`, `null`, `{"b": 1,  "c":[1, 2]}`, `[1,  "x"]`, `"\u00e9"`, `12345678901234567890123`, `1e-7`, `0.0001`, `0.00001`, `-0.0`, `-0`, `"\/"`, `{"x":"\/\u00e9\u0001\n\"\\"}`,
		`123456789.123456789123`, `1e15`, `1e16`, `1e17`, `1E400`, `[]`, `{}`, `[1e2,1.10,1e-7,1e-6,1.5e-10,1e20,1e21,1e22,123456.789e3,-0.0,-0,5e-324,1.7976931348623157e308,NaN,-Infinity]`, `[1,]`, `{"a":1,}`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`,
		`"\ud83dx"`, `"\x"`, `"a` + "\x01" + `"`, `"` + "\xff" + `"`, `"` + "\xed\xa0\x80" + `"`, `"é"`, `"abc`, `"abc\`, `nan`, `-inf`, `[1 2]`, `{"a" 1}`, `{a:1}`, `[[[]]]`, `{"a":{"b":[true,false,null]}}`, `"exactly12byt"`, `"exactly13byte"`},
	"DECIMAL(5,2)":   {`1`, `1.235`, `1.225`, `"1.235"`, `999.99`, `999.995`, `1000`, `"1e2"`, `1e2`, `true`, `"abc"`, `-1.235`, `" 1.2 "`, `"1_0.1"`, `12345678901234567890`, `0.125`, `"0.125"`, `"-0.125"`, `0.375`, `"1."`, `".5"`, `"-.5"`, `"+1.5"`, `"1e-3"`, `"1.5e1"`, `"nan"`, `NaN`, `"12.345e1"`, `"0x10"`, `""`, `"1.999"`, `"999.995"`, `"1e"`, `"1e+1"`, `"1e400"`, `".e1"`, `"."`, `"-"`, `"1__0"`, `"_1"`, `"1_"`, `"1._5"`, `-0.001`},
	"DECIMAL(18,3)":  {`0.0005`, `0.0015`, `0.0025`, `1e15`, `999999999999999.999`, `123456789012345.678`, `"1e14"`, `1.0005`},
	"DECIMAL(38,10)": {`1`, `1.23456789012`, `"12345678901234567890.1234567890"`, `12345678901234567890.1234567890`},
	"DECIMAL(38,0)":  {`1e37`, `1e38`, `"1e37"`, `0.5`, `1.5`, `"99999999999999999999999999999999999999"`, `"99999999999999999999999999999999999999.5"`},
	"DATE": {`"2024-01-02"`, `"2024-1-2"`, `"2024/01/02"`, `"2024-01-02 "`, `" 2024-01-02"`, `20240102`, `"20240102"`, `"2024-02-30"`, `"infinity"`, `"-infinity"`, `"epoch"`, `"2024-01-02 10:00:00"`, `"0044-03-15 (BC)"`, `"5000000-01-01"`, `"2024-01-02x"`, `"24-01-02"`, `""`, `"-0044-03-15"`, `"2024\\01\\02"`, `"2024 01 02"`,
		`"2024-01-021"`, `"1-2-3"`, `"2024-13-01"`, `"inf"`, `"epochx"`, `" epoch "`, `"-epoch"`, `"0000-01-01"`, `"5881580-07-10"`, `"5881580-07-11"`, `"-5877641-06-25"`, `"-5877641-06-24"`, `"2024-01"`, `"2024-01/02"`, `"2000-02-29"`, `"1900-02-29"`, `"1969-12-31"`},
	"TIMESTAMP": stampCases, "TIMESTAMP WITH TIME ZONE": stampCases, "TIMESTAMP_S": stampCases, "TIMESTAMP_MS": stampCases, "TIMESTAMP_NS": stampCases,
	"TIME":                                clockCases,
	"TIME WITH TIME ZONE":                 append([]string{`"10:11:12+01:30"`, `"10:11:12-15:59:59"`, `"10:11:12+16"`, `"10:11:12 +01"`, `"2024-01-02 10:11:12+01"`, `"10:11:12+0130"`, `"10:11:12.5-08"`}, clockCases...),
	"TIME_NS":                             clockCases,
	"INTERVAL":                            {`"1 day"`, `"1 year 2 months 3 days 04:05:06.7"`, `"P1Y2M"`, `"1h"`, `"-1 day"`, `5`, `"1.5 days"`, `"2 weeks ago"`, `"1y"`, `"3 mons"`, `"1.5 months"`, `"1.5 years"`, `"0.1 years"`, `"04:05"`, `"-04:05:06"`, `"1 day -01:00:00"`, `"1 foo"`, `"day"`, `""`, `"1"`, `"@ 1 minute"`, `"1 day, 2 hours"`, `"1  day"`, `"1 quarter"`, `"1 decade"`, `"1 century"`, `"1 millennium"`, `"5 ms"`, `"5 us"`, `"1.5 s"`, `"1.123456789 s"`, `"1 day ago"`, `"1 day ago 2 hours"`, `"+1 day"`, `"1day2hours"`, `"1m"`, `"1 min"`, `"1 mon"`, `"1e3 s"`, `".5 s"`, `"25:00:00"`, `"99999999999 days"`, `"12:30:45.5 ago"`, `"infinity"`, `"1-2"`, `"1 dow"`, `"1 2"`, `"0.7 weeks"`, `"2.55 weeks"`, `"1.01 months"`, `"0.333333 hours"`, `"1.5 minutes"`, `"1.5 ms"`, `"1.5 us"`, `"1.7 decades"`, `"-1.5 months"`, `"-1.5 days"`, `"1.1 quarters"`, `"1 day 2"`, `"1.5"`, `"-1.5 us"`, `"1.4 us"`, `"-1.1 quarters"`, `"1.4 quarters"`, `"1.99 years"`, `"2.7 millennia"`, `"1.99 months"`},
	"UUID":                                {`"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, `"{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}"`, `"a0eebc999c0b4ef8bb6d6bb9bd380a11"`, `"zz"`, `5`, `"a0-eebc999c0b4ef8bb6d6bb9bd380a11"`, `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"`, `" a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, `""`, `"a0eebc999c0b4ef8bb6d6bb9bd380a11-"`, `"00000000-0000-0000-0000-000000000000"`},
	"ENUM('a', 'b')":                      {`"a"`, `"b"`, `"c"`, `1`, `"A"`, `""`, `true`, `{"x":1}`, `null`},
	"BLOB":                                {`"abc"`, `"\\x41b"`, `"é"`, `5`, `true`, `{"a": 1}`, `[]`, `1.50`, `"a\u0000b"`, `"a long blob with\u0000 a NUL"`},
	`STRUCT("x" INTEGER, "y" VARCHAR)`:    {`{"x":1,"y":"a"}`, `{"y":"a"}`, `{"x":1,"z":2}`, `null`, `[]`, `{"x":1,"x":2}`, `{"X":1}`, `"{x: 1}"`, `5`, `{"y":1,"y":2}`, `{"z":1,"z":2}`, `{"x":1,}`, `{"x":null}`, `{"x":"a"}`, `{`, `{"x":1`},
	"INTEGER[]":                           {`[1,2]`, `[]`, `[null]`, `null`, `{}`, `5`, `"[1,2]"`, `["1",2.5]`, `["a"]`, `[1,]`, `[[1]]`, `[1,null,true]`, `[`, `[1`, `[,]`},
	"INTEGER[2]":                          {`[1,2]`, `[1]`, `[1,2,3]`, `null`, `[null,1]`},
	"MAP(VARCHAR, INTEGER)":               {`{"a":1,"b":2}`, `{}`, `null`, `[]`, `{"a":"x"}`, `{"a":null}`, `{"a":1,"A":2}`, `{"":1}`, `{"\u0061":1}`, `{"a key longer than twelve":1}`},
	"MAP(INTEGER, INTEGER)":               {`{"1":1,"2":2}`, `{"a":1}`},
	"UNION(\"i\" INTEGER, \"s\" VARCHAR)": {`1`, `"x"`, `{"i":1}`, `{"s":"x"}`, `null`, `{}`, `{"i":1,"s":"x"}`, `{"z":1}`, `{"s":5}`, `[]`},
	"INTEGER[][]":                         {`[[1],[2,3],null,[]]`, `[1]`},
	`STRUCT("a" STRUCT("b" INTEGER[]), "c" VARCHAR[])`: {`{"a":{"b":[1,2]},"c":["x","a text that is long enough"]}`, `{"a":null,"c":[null]}`, `{"a":{},"c":[]}`, `{"a":{"b":[1,"x"]}}`},
	`MAP(VARCHAR, STRUCT("x" DOUBLE))`:                 {`{"k":{"x":1.5},"l":null,"m":{}}`},
}

var stampCases = []string{`"2024-01-02 10:11:12"`, `"2024-01-02T10:11:12"`, `"2024-01-02T10:11:12Z"`, `"2024-01-02T10:11:12.5Z"`, `"2024-01-02T10:11:12.123456"`, `"2024-01-02T10:11:12.1234567"`, `"2024-01-02T10:11:12.123456789"`, `"2024-01-02T10:11:12.9999999"`,
	`"2024-01-02 10:11:12+01"`, `"2024-01-02 10:11:12+01:30"`, `"2024-01-02 10:11:12-08:00"`, `"2024-01-02 10:11:12 +01"`, `"2024-01-02 10:11:12+0130"`, `"2024-01-02"`, `"2024-01-02 10:11"`, `"2024-01-02 10"`, `"2024-1-2 1:2:3"`, `" 2024-01-02 10:11:12 "`, `"2024-01-02 24:00:00"`, `"2024-01-02 10:11:60"`,
	`"2024-01-02 10:11:12 UTC"`, `"2024-01-02 10:11:12 Europe/Berlin"`, `"infinity"`, `"-infinity"`, `"epoch"`, `1704190272`, `"1704190272"`, `"2024-01-02  10:11:12"`, `"2024-01-02t10:11:12z"`, `"2024-01-02 10:11:12."`, `"2024-01-02 10:11:12,5"`, `"2024-01-02T10:11:12+01:30:15"`, `"20240102 101112"`,
	`"2024-01-02 (BC) 10:11:12"`, `"2024-01-02 10:11:12Z "`, `"2024-01-02 10:11:12 Z"`, `"2024/01/02 10:11:12"`, `"2024-01-02 10:11:12+1"`, `true`, `null`, `"2024-01-02 25:00:00"`, `"2024-01-02 10:11:12UTC"`, `"2024-01-02Z"`, `"2024-01-02 10:11:12+99"`, `"2024-01-02 10:11:12+01:"`, `"2024-01-02T"`, `"2024-01-02 "`, `"2024-01-02 10:11Z"`,
	`"2024-01-02 10:11:"`, `"2024-01-02 10:11:1"`, `"2024-01-02 23:59:59.999999"`, `"2024-01-02 24:00:01"`, `"2024-01-02\t10:11:12"`, `"1969-12-31 23:59:59.5"`, `"1969-12-31 23:59:59.9"`, `"1969-12-31 23:59:59.1234"`, `"1969-12-31 23:59:59.9994"`, `"1969-12-31 23:59:59.9995"`, `"1969-12-31 23:59:59.123456789"`, `"1677-09-22 00:00:00"`, `"1600-01-01 00:00:00"`, `"2262-04-11 23:47:16.854775806"`, `"2262-04-11 23:47:16.854775807"`, `"2300-01-01"`,
	`"294247-01-10 04:00:54.775806"`, `"294247-01-10 04:00:54.775807"`, `"290309-12-22 00:00:00"`, `"2024-02-30 00:00:00"`, `"2024-01-02 10:61:00"`, `"2024-01-02T10:11:12.123Z"`, `"2024-01-02 10:11:12 -05"`, `"2024-01-02 10:11:12 GMT"`, `"2024-01-02 10:11:12 "`, `"-290307-01-01 00:00:00"`}

var clockCases = []string{`"10:11:12"`, `"10:11:12.123456"`, `"10:11:12.1234567"`, `"10:11"`, `"1:2:3"`, `"24:00:00"`, `"2024-01-02 10:11:12"`, `"10:11:12Z"`, `"10:11:12+01"`, `" 10:11:12 "`, `5`, `"101112"`, `"24:00:00.000001"`, `"25:00:00"`, `"10:60:00"`, `"10:11:60"`, `"10:11:12xyz"`, `"1234567890:00:00"`, `"infinity"`, `"2024-01-02"`, `"10:11:"`, `"10:11x"`, `"10:1"`, `"10: 11:12"`, `"10:11:12."`, `"-10:11:12"`, `"10:11:12.123456789"`, `"2024-01-02 10:11:12.123456789"`, `"1969-12-31 23:00:00"`}

type oracle struct {
	*duck.Conn
	dir string
}

func newOracle(t testing.TB) oracle {
	t.Helper()
	db, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); db.Close() })
	return oracle{c, t.TempDir()}
}

// typeOf parses a SQL type.
func (o oracle) typeOf(t testing.TB, sql string) vector.Type {
	t.Helper()
	f, err := o.Describe(context.Background(), "SELECT NULL::"+sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return f[0].Type
}

// read has DuckDB read data with a table function call in which FILE stands for its path.
func (o oracle) read(t testing.TB, call string, data []byte) ([]*vector.Chunk, error) {
	t.Helper()
	path := filepath.Join(o.dir, "data")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	chunks, _, err := o.Collect(context.Background(), "SELECT * FROM "+strings.ReplaceAll(call, "FILE", "'"+path+"'"))
	return chunks, err
}

func jsonCall(fields []vector.Field) string {
	cols := make([]string, len(fields))
	for i, f := range fields {
		cols[i] = vector.QuoteIdent(f.Name) + ": '" + strings.ReplaceAll(f.Type.String(), "'", "''") + "'"
	}
	return "read_json(FILE, format = 'newline_delimited', columns = {" + strings.Join(cols, ", ") + "})"
}

// decodeAll decodes data as one final block.
func decodeAll(t testing.TB, d Decoder, fields []vector.Field, data []byte) *Builder {
	t.Helper()
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data[:len(data):len(data)], '\n')
	}
	b := NewBuilder(fields)
	if used, _ := d.Decode(&Block{Buf: padded(data), N: len(data), Avail: len(data), Final: true}, b); used != len(data) {
		t.Fatalf("used %d bytes of %d: %q", used, len(data), data)
	}
	return b
}

// same compares a value with DuckDB's; -0.0 and 0.0 are the same.
func same(a *vector.Vector, i int, b *vector.Vector, j int) bool {
	return vector.EqualValue(a, i, b, j) && (vector.Text(a, i) == vector.Text(b, j) || a.Type.Kind == vector.Float64 && a.F64(i) == 0)
}

// Every listed value must decode as DuckDB's read_json decodes it, alone and where keys come in an order
// the decoder has not seen.
func TestJSONAgainstDuckDB(t *testing.T) {
	o := newOracle(t)
	for sql, values := range jsonCases {
		fields := []vector.Field{{Name: "v", Type: o.typeOf(t, sql)}}
		for _, value := range values {
			line := []byte(`{"v":` + value + "}\n")
			want, duckErr := o.read(t, jsonCall(fields), line)
			b := decodeAll(t, NewJSON(fields), fields, line)
			got := b.Finish()
			switch {
			case len(b.Bad) > 0 && duckErr == nil:
				t.Errorf("%s: %s refused (%s), DuckDB reads %s", sql, value, b.Bad[0].Reason, vector.Text(&want[0].Cols[0], 0))
			case len(b.Bad) == 0 && duckErr != nil:
				t.Errorf("%s: %s decodes to %s, DuckDB says %v", sql, value, vector.Text(&got[0].Cols[0], 0), duckErr)
			case duckErr == nil && !same(&got[0].Cols[0], 0, &want[0].Cols[0], 0):
				t.Errorf("%s: %s decodes to %s, DuckDB reads %s", sql, value, vector.Text(&got[0].Cols[0], 0), vector.Text(&want[0].Cols[0], 0))
			}
		}
	}
}

// csvCases are fields of a CSV file.
var csvCases = map[string][]string{
	"BIGINT":         {`1e3`, `12.5`, `13.5`, `-12.5`, `12.0`, ` 12 `, `+5`, `0x1F`, `1_000`, ``, `abc`, `"12"`, `-0`, `007`, `12abc`, `9223372036854775808`, `9223372036854775807`, `9223372036854775807.4`, `9223372036854775807.5`, `1e-1`, `.5`, `5.`, `1e18`, `1e19`, `-9223372036854775808`, `1.5e1`, `1__0`},
	"TINYINT":        {`127`, `128`, `127.4`, `127.5`, `-128.5`, `-129`},
	"UTINYINT":       {`255`, `256`, `-1`, `2.5`, `-0.4`, `-0`, `-0.0`, `-+5`, `+-5`},
	"HUGEINT":        {`170141183460469231731687303715884105727`, `12.5`, `1e5`, `-5`},
	"DOUBLE":         {`1.5`, ` 1.5 `, `1e400`, `inf`, `nan`, `+1.5`, `1.`, `.5`, `1_0.5`, ``, `"1.5"`, `1e3`, `abc`, `-inf`, `Infinity`, `123456789.125`},
	"FLOAT":          {`1e39`, `0.1`, `16777217`},
	"BOOLEAN":        {`true`, `1`, `0`, `t`, `yes`, `on`, `y`, ` true`, `TRUE`, ``, `"true"`, `n`, `F`, `No`, `2`},
	"DECIMAL(5,2)":   {`1.235`, `1e2`, ` 1.2 `, ``, `+1.5`, `1000`, `0.125`, `1_0`, `-0.005`, `999.994`},
	"VARCHAR":        {`a`, `"a"`, ``, ` a `, `"a""b"`, `a"b`, `NULL`, `"a,b"`, `é`, "\"a\nb\"", `"exactly13byte"`},
	"DATE":           {`2024-01-02`, `2024-1-2`, ` 2024-01-02 `, `2024/01/02`, `2024-01-02 10:00:00`, `2024-01-02x`, `infinity`, `20240102`, ``},
	"TIMESTAMP":      {`2024-01-02 10:11:12`, `2024-01-02T10:11:12Z`, `2024-01-02 10:11:12+01`, `2024-01-02`, `2024-01-02 10:11`, ` 2024-01-02 10:11:12 `, `2024-01-02 10:11:12.1234567`, `infinity`, `2024-01-02 10:11:12 UTC`},
	"TIMESTAMPTZ":    {`2024-01-02 10:11:12`, `2024-01-02T10:11:12Z`, `2024-01-02 10:11:12+01`, `2024-01-02 10:11:12.5-08:30`},
	"TIME":           {`10:11:12`, `10:11`, `2024-01-02 10:11:12`, `10:11:12+01`, `10:61`},
	"BLOB":           {`abc`, `\x41b`, `é`, `\xZZ`, `\x00`},
	"INTERVAL":       {`1 day`, `P1Y`, `1.5 hours`},
	"UUID":           {`a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`, `x`},
	"ENUM('a', 'b')": {`a`, `c`, ``},
}

func TestCSVAgainstDuckDB(t *testing.T) {
	o := newOracle(t)
	dialect := CSVDialect{Delimiter: ',', Quote: '"', Escape: '"'}
	for sql, values := range csvCases {
		fields := []vector.Field{{Name: "v", Type: o.typeOf(t, sql)}, {Name: "z", Type: vector.Of(vector.Int64)}}
		for _, value := range values {
			line := []byte(value + ",1\n")
			want, duckErr := o.read(t, fmt.Sprintf(`read_csv(FILE, header = false, auto_detect = false, quote = '"', escape = '"', delim = ',', new_line = '\n', columns = {v: '%s', z: 'BIGINT'})`,
				strings.ReplaceAll(sql, "'", "''")), line)
			b := decodeAll(t, NewCSV(dialect, []int{0, 1}), fields, line)
			got := b.Finish()
			switch {
			case len(b.Bad) > 0 && duckErr == nil:
				t.Errorf("%s: %s refused (%s), DuckDB reads %s", sql, value, b.Bad[0].Reason, vector.Text(&want[0].Cols[0], 0))
			case len(b.Bad) == 0 && duckErr != nil:
				t.Errorf("%s: %s decodes to %s, DuckDB says %v", sql, value, vector.Text(&got[0].Cols[0], 0), duckErr)
			case duckErr == nil && !same(&got[0].Cols[0], 0, &want[0].Cols[0], 0):
				t.Errorf("%s: %s decodes to %s, DuckDB reads %s", sql, value, vector.Text(&got[0].Cols[0], 0), vector.Text(&want[0].Cols[0], 0))
			}
		}
	}
}

// A file of random good rows must decode to what DuckDB reads from it, whole.
func TestRandomJSONAgainstDuckDB(t *testing.T) {
	o := newOracle(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var fields []vector.Field
	for i, sql := range []string{"BIGINT", "DOUBLE", "VARCHAR", "TIMESTAMP", "DECIMAL(18,4)", "INTEGER[]", `STRUCT("x" DOUBLE, "y" VARCHAR)`, "DATE", "VARCHAR"} {
		fields = append(fields, vector.Field{Name: fmt.Sprintf("c%d", i), Type: o.typeOf(t, sql)})
	}
	var sb strings.Builder
	for range 5000 {
		sb.WriteString(randomRow(r))
		sb.WriteByte('\n')
	}
	want, err := o.read(t, jsonCall(fields), []byte(sb.String()))
	if err != nil {
		t.Fatal(err)
	}
	b := decodeAll(t, NewJSON(fields), fields, []byte(sb.String()))
	if len(b.Bad) > 0 {
		t.Fatalf("refused: %s: %s", b.Bad[0].Reason, b.Bad[0].Raw)
	}
	got := b.Finish()
	lines := strings.Split(sb.String(), "\n")
	for k, row := 0, 0; k < len(want); k++ {
		for i := range want[k].N {
			g := got[row/vector.Size]
			for c := range fields {
				if !same(&g.Cols[c], row%vector.Size, &want[k].Cols[c], i) {
					t.Fatalf("row %d, %s: got %s, DuckDB reads %s: %s", row, fields[c].Name,
						vector.Text(&g.Cols[c], row%vector.Size), vector.Text(&want[k].Cols[c], i), lines[row])
				}
			}
			row++
		}
	}
}

func randomRow(r *rand.Rand) string {
	number := func() string {
		switch r.IntN(4) {
		case 0:
			return fmt.Sprint(math.Float64frombits(r.Uint64()&^(1<<62)) + 0.5)
		case 1:
			return fmt.Sprintf("%.*f", 1+r.IntN(9), r.Float64()*1e6)
		case 2:
			return fmt.Sprintf("%d", r.Int64N(1<<(1+r.IntN(52))))
		}
		return fmt.Sprintf("%d.%d", r.IntN(1000), r.IntN(100000))
	}
	text := func() string {
		words := []string{"a", "é", `\n`, `\u20ac`, `\"`, " ", "longer words", "😀", `\\`, "0"}
		var s string
		for range r.IntN(12) {
			s += words[r.IntN(len(words))]
		}
		return `"` + s + `"`
	}
	null := func(s string) string {
		if r.IntN(8) == 0 {
			return "null"
		}
		return s
	}
	stamp := fmt.Sprintf(`"20%02d-%02d-%02dT%02d:%02d:%02d%sZ"`, r.IntN(100), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60),
		[]string{"", ".1", ".123", ".123456", ".1234567"}[r.IntN(5)])
	members := []string{
		`"c0":` + null(fmt.Sprint(int64(r.Uint64())>>r.IntN(63))),
		`"c1":` + null(number()), `"c2":` + null(text()), `"c3":` + null(stamp),
		`"c4":` + null(fmt.Sprintf("%d.%d", r.IntN(100000), r.IntN(100000))),
		fmt.Sprintf(`"c5":[%d,null,%d]`, r.IntN(100), r.IntN(1e9)),
		`"c6":` + null(`{"y":`+text()+`, "x" : `+number()+`}`),
		`"c7":"` + stamp[1:11] + `"`,
		`"c8":` + null([]string{`{"a":[` + number() + `,` + text() + `]}`, number(), "[]", "true"}[r.IntN(4)]),
		`"other":` + text(),
	}
	if r.IntN(3) == 0 {
		r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	}
	if r.IntN(4) == 0 {
		members = members[:r.IntN(len(members))]
	}
	return "{" + strings.Join(members, []string{",", ", "}[r.IntN(2)]) + "}"
}

package duck

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

// columns have a type, and expressions over i (a BIGINT from 0) whose values are interesting.
var columns = []struct{ typ, expr string }{
	{"BOOLEAN", "i % 2 = 0"},
	{"TINYINT", "i % 256 - 128"},
	{"SMALLINT", "i - 32768"},
	{"INTEGER", "CASE WHEN i = 0 THEN -2147483648 ELSE i END"},
	{"BIGINT", "CASE WHEN i = 0 THEN -9223372036854775808 ELSE i * 1000000007 END"},
	{"UTINYINT", "i % 256"},
	{"USMALLINT", "i"},
	{"UINTEGER", "4294967295 - i"},
	{"UBIGINT", "18446744073709551615 - i"},
	{"HUGEINT", "170141183460469231731687303715884105727 - i"},
	{"UHUGEINT", "'340282366920938463463374607431768211455'::UHUGEINT - i::UHUGEINT"},
	{"FLOAT", "CASE i WHEN 0 THEN 'nan'::FLOAT WHEN 1 THEN '-inf'::FLOAT ELSE i / 3 END"},
	{"DOUBLE", "CASE i WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE ELSE i / 7 END"},
	{"DECIMAL(4,1)", "i % 1000 / 10 - 50"},
	{"DECIMAL(9,3)", "i / 1000"},
	{"DECIMAL(18,6)", "i / 1000000"},
	{"DECIMAL(38,10)", "i * 12345678901234567.0123456789"},
	{"DATE", "CASE i WHEN 0 THEN 'infinity'::DATE ELSE DATE '1900-01-01' + i::INTEGER END"},
	{"TIME", "TIME '00:00:00' + to_microseconds(i * 12345678)"},
	{"TIMETZ", "CASE WHEN i % 2 = 0 THEN '12:34:56.789+03:30'::TIMETZ ELSE '23:59:59-11'::TIMETZ END"},
	{"TIME_NS", "('01:02:03.' || printf('%09d', i * 7919))::TIME_NS"},
	{"TIMESTAMP", "CASE i WHEN 0 THEN 'infinity'::TIMESTAMP ELSE TIMESTAMP '1960-01-01' + to_microseconds(i * 123456789012) END"},
	{"TIMESTAMP_S", "TIMESTAMP '1960-01-01' + to_seconds(i * 1234567)"},
	{"TIMESTAMP_MS", "TIMESTAMP '1960-01-01' + to_milliseconds(i * 1234567)"},
	{"TIMESTAMP_NS", "TIMESTAMP '1960-01-01' + to_microseconds(i * 1234567)"},
	{"TIMESTAMPTZ", "TIMESTAMPTZ '1960-01-01 00:00:00+02' + to_microseconds(i * 123456789)"},
	{"INTERVAL", "to_months(i) + to_days((i * 2)::INTEGER) - to_microseconds(i * 1000003)"},
	{"UUID", "md5(i::VARCHAR)::UUID"},
	{"ENUM('a', 'b''c', '')", "CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b''c' ELSE '' END"},
	{"VARCHAR", "repeat('héllo', (i % 7)::INTEGER) || chr(0) || i"},
	{"BLOB", "encode(repeat('x', (i % 20)::INTEGER)) || '\\xFF\\x00'::BLOB"},
	{"BIT", "(i::INTEGER::BIT::VARCHAR || repeat('01', (i % 40)::INTEGER))::BIT"},
	{"BIGNUM", "(repeat('9', 1 + (i % 50)::INTEGER) || i)::BIGNUM"},
	{"INTEGER[]", "list_transform(range(i % 5), lambda x: CASE WHEN x = 2 THEN NULL ELSE x + i END)"},
	{"VARCHAR[][]", "[['a long enough string ' || i, NULL], NULL, []]"},
	{"INTEGER[3]", "[i, NULL, i + 1]"},
	{"VARCHAR[2][]", "list_transform(range(i % 3), lambda x: [x::VARCHAR, 'another long string ' || i])"},
	{"STRUCT(a INTEGER, b VARCHAR, c STRUCT(d DOUBLE))", "{'a': i, 'b': CASE WHEN i % 4 = 0 THEN NULL ELSE 'some long string ' || i END, 'c': CASE WHEN i % 5 = 0 THEN NULL ELSE {'d': i / 3} END}"},
	{"MAP(VARCHAR, INTEGER[])", "MAP {'key ' || i: [i, i], 'other': NULL}"},
	{"UNION(num INTEGER, str VARCHAR)", "CASE WHEN i % 2 = 0 THEN union_value(num := i::INTEGER)::UNION(num INTEGER, str VARCHAR) ELSE union_value(str := 'a string that is long ' || i)::UNION(num INTEGER, str VARCHAR) END"},
	{"STRUCT(l STRUCT(x INTEGER, y VARCHAR[])[], m MAP(INTEGER, STRUCT(z DATE)))[2]",
		"[{'l': [{'x': i, 'y': ['one', 'two strings, of which this is long']}, NULL], 'm': MAP {1: {'z': DATE '2020-01-01' + i::INTEGER}}}, NULL]"},
}

// TestTypes sends every type out of DuckDB, through a clone, in again through a table function and
// through a lookup function, and compares DuckDB's own rendering.
func TestTypes(t *testing.T) {
	const rows = 3000
	c := connect(t, Options{})
	ctx := context.Background()
	for n, col := range columns {
		t.Run(col.typ, func(t *testing.T) {
			name := fmt.Sprintf("t%d", n)
			exec(t, c, fmt.Sprintf(`CREATE TABLE %[1]s AS SELECT i AS k, CAST(%[2]s AS %[3]s) AS v FROM range(%[4]d) r(i) WHERE i %% 7 <> 3;
				INSERT INTO %[1]s SELECT i, NULL FROM range(%[4]d) r(i) WHERE i %% 7 = 3`, name, col.expr, col.typ, rows))
			chunks, fields, err := c.Collect(ctx, "SELECT v, k FROM "+name+" ORDER BY k")
			if err != nil {
				t.Fatal(err)
			}
			described, err := c.Describe(ctx, "SELECT v, k FROM "+name)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(fields, described); d != "" {
				t.Errorf("Describe differs from the result (-result +described):\n%s", d)
			}
			if got, want := fields[0].Type.String(), one(t, c, "SELECT typeof(CAST(NULL AS "+fields[0].Type.String()+"))"); !sameText(got, want) {
				t.Errorf("type %s, which DuckDB prints %s", got, want)
			}
			in, err := c.RegisterInput("in_"+name, fields)
			if err != nil {
				t.Fatal(err)
			}
			in.Set(chunks)
			st := newFakeState(t, fields[1:], 1, reorder(chunks))
			if err := c.RegisterState("st_"+name, []vector.Field{fields[1], fields[0]}, 1, 1, st); err != nil {
				t.Fatal(err)
			}
			want := text(t, c, "SELECT v::VARCHAR FROM "+name+" ORDER BY k")
			for _, sql := range []string{
				"SELECT v::VARCHAR FROM in_%[1]s()",
				"SELECT v::VARCHAR FROM in_%[1]s() ORDER BY k",
				"SELECT v::VARCHAR FROM st_%[1]s_scan() ORDER BY k",
				"SELECT (st_%[1]s_get(k)).v::VARCHAR FROM in_%[1]s() ORDER BY k",
				"SELECT (st_%[1]s_rows(k)[1]).v::VARCHAR FROM in_%[1]s() ORDER BY k",
				"SELECT a.v::VARCHAR FROM in_%[1]s() a JOIN in_%[1]s() b USING (k) ORDER BY k",
			} {
				sql = fmt.Sprintf(sql, name)
				if d := cmp.Diff(want, text(t, c, sql)); d != "" {
					t.Errorf("%s differs (-want +got):\n%s", sql, d)
				}
			}
			// Absent rows hold garbage in the state's answer; none of it may show.
			sql := fmt.Sprintf("SELECT (st_%[1]s_get(CASE WHEN k %% 2 = 0 THEN k ELSE -k END)).v::VARCHAR FROM in_%[1]s() ORDER BY k", name)
			for i, got := range text(t, c, sql) {
				if i%2 == 1 && got != "NULL" || i%2 == 0 && got != want[i] {
					t.Fatalf("%s, row %d: %s, want %s or NULL", sql, i, got, want[i])
				}
			}
			// A round trip through the database must give the same bytes: clones are canonical.
			again, _, err := c.Collect(ctx, "SELECT v, k FROM in_"+name+"()")
			if err != nil {
				t.Fatal(err)
			}
			if a, b := dump(chunks), dump(again); a != b {
				t.Error("the chunks changed on a round trip")
			}
		})
	}
}

// sameText compares type names: DuckDB quotes names and values only where it must.
func sameText(a, b string) bool {
	strip := func(s string) string { return strings.ReplaceAll(s, `"`, "") }
	return strip(a) == strip(b)
}

// reorder moves the first column last.
func reorder(chunks []*vector.Chunk) []*vector.Chunk {
	out := make([]*vector.Chunk, len(chunks))
	for i, ch := range chunks {
		out[i] = &vector.Chunk{N: ch.N, Cols: append(append([]vector.Vector{}, ch.Cols[1:]...), ch.Cols[0]), Keep: []any{ch}}
	}
	return out
}

// dump renders chunks by their layout.
func dump(chunks []*vector.Chunk) string {
	var b strings.Builder
	for _, ch := range chunks {
		for i := range ch.Cols {
			dumpVector(&b, &ch.Cols[i], ch.N)
		}
	}
	return b.String()
}

func dumpVector(b *strings.Builder, v *vector.Vector, n int) {
	for i := range n {
		switch {
		case v.IsNull(i):
			b.WriteString("~")
		case v.Type.IsString():
			fmt.Fprintf(b, "%x,", v.Str(i))
		case v.Type.Bytes() > 0:
			w := v.Type.Bytes()
			fmt.Fprintf(b, "%x,", v.Data[i*w:i*w+w])
		}
	}
	for i := range v.Children {
		rows := n
		switch v.Type.Kind {
		case vector.Array:
			rows = n * v.Type.Size
		case vector.List, vector.Map:
			rows = listRows(v, n, v.Valid)
		}
		dumpVector(b, &v.Children[i], rows)
	}
}

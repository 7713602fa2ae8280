package duck

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

var abc = []vector.Field{
	{Name: "a", Type: vector.Of(vector.Int64)},
	{Name: "b", Type: vector.Of(vector.Varchar)},
	{Name: "c", Type: vector.ListOf(vector.Of(vector.Int64))},
}

// abcInput registers in_abc() over n rows made by DuckDB.
func abcInput(t testing.TB, c *Conn, n int) *Input {
	t.Helper()
	in, err := c.RegisterInput("in_abc", abc)
	if err != nil {
		t.Fatal(err)
	}
	in.Set(abcRows(t, c, n))
	return in
}

func abcRows(t testing.TB, c *Conn, n int) []*vector.Chunk {
	t.Helper()
	chunks, _, err := c.Collect(context.Background(), fmt.Sprintf("SELECT i AS a, 'the value of ' || i AS b, [i, NULL, i + 1] AS c FROM range(%d) t(i)", n))
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

func TestInput(t *testing.T) {
	c := connect(t, Options{})
	in := abcInput(t, c, 10000)
	for _, tc := range []struct{ name, sql, want string }{
		{"all columns", "SELECT (count(*), sum(a), count(DISTINCT b), sum(len(c)))::VARCHAR FROM in_abc()", "(10000, 49995000, 10000, 30000)"},
		{"no column", "SELECT count(*)::VARCHAR FROM in_abc()", "10000"},
		{"last column", "SELECT sum(c[3])::VARCHAR FROM in_abc()", "50005000"},
		{"swapped columns", "SELECT max((b, a))::VARCHAR FROM in_abc() WHERE a < 11", "(the value of 9, 9)"},
		{"column twice", "SELECT (sum(a), sum(a + 1))::VARCHAR FROM in_abc()", "(49995000, 50005000)"},
		{"two scans", "SELECT count(*)::VARCHAR FROM in_abc() x JOIN in_abc() y USING (a) WHERE x.b = y.b", "10000"},
		{"three scans", "SELECT count(*)::VARCHAR FROM (FROM in_abc() UNION ALL FROM in_abc() UNION ALL FROM in_abc())", "30000"},
		{"cross product", "SELECT count(*)::VARCHAR FROM in_abc() x, in_abc() y WHERE x.a < 30 AND y.a < 70", "2100"},
		{"correlated", "SELECT sum((SELECT max(y.a) FROM in_abc() y WHERE y.a <= x.a))::VARCHAR FROM in_abc() x", "49995000"},
		{"limit", "SELECT count(*)::VARCHAR FROM (FROM in_abc() LIMIT 3000)", "3000"},
		{"order kept", "SELECT bool_and(a = r)::VARCHAR FROM (SELECT a, row_number() OVER () - 1 AS r FROM in_abc())", "true"},
		{"recursive", "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT (SELECT min(a) FROM in_abc() WHERE a > n) FROM r WHERE n < 9) SELECT string_agg(n, ' ') FROM r", "0 1 2 3 4 5 6 7 8 9"},
		{"alias", "SELECT string_agg(x.b, ';' ORDER BY x.a) FROM in_abc() AS x(a, b) WHERE x.a < 2", "the value of 0;the value of 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := one(t, c, tc.sql); got != tc.want {
				t.Errorf("%s\n got %s\nwant %s", tc.sql, got, tc.want)
			}
		})
	}
	in.Set(nil)
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM in_abc()"); got != "0" {
		t.Errorf("an empty input has %s rows", got)
	}
	empty := vector.NewChunk(types(abc), 0)
	in.Set(append([]*vector.Chunk{empty}, append(abcRows(t, c, 3), empty)...))
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM in_abc()"); got != "3" {
		t.Errorf("empty chunks between rows: %s rows, want 3", got)
	}
}

func types(cols []vector.Field) []vector.Type {
	out := make([]vector.Type, len(cols))
	for i, c := range cols {
		out[i] = c.Type
	}
	return out
}

// TestInputSwap changes the input under a running statement: the scan keeps what it began with.
func TestInputSwap(t *testing.T) {
	c := connect(t, Options{})
	in := abcInput(t, c, 10000)
	r, err := c.Query(context.Background(), "SELECT b FROM in_abc()")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Next()
	in.Set(nil)
	runtime.GC()
	n := 1
	for got := r.Chunk(); r.Next(); n++ {
		if want := fmt.Sprintf("the value of %d", n*vector.Size); string(got.Cols[0].Str(0)) != want {
			t.Fatalf("chunk %d begins with %q, want %q", n, got.Cols[0].Str(0), want)
		}
	}
	if n != 5 || r.Err() != nil {
		t.Fatalf("%d chunks, %v", n, r.Err())
	}
}

// TestTableCopiesStrings overwrites the memory of an input's strings after CREATE TABLE AS.
func TestTableCopiesStrings(t *testing.T) {
	c := connect(t, Options{})
	in, err := c.RegisterInput("in_s", abc[1:2])
	if err != nil {
		t.Fatal(err)
	}
	const rows = 100
	block := []byte(strings.Repeat("this text is too long to be inlined. ", rows))
	ch := vector.NewChunk([]vector.Type{vector.Of(vector.Varchar)}, rows)
	for i := range rows {
		ch.Cols[0].PutStr(i, block[i*37:i*37+36])
	}
	ch.Keep = []any{block}
	in.Set([]*vector.Chunk{ch})
	exec(t, c, "CREATE TEMP TABLE kept AS FROM in_s()")
	exec(t, c, "CREATE TEMP TABLE nested AS SELECT [b] AS l, {'x': b} AS s, max(b) OVER () AS m FROM in_s()")
	collected, _, err := c.Collect(context.Background(), "SELECT b, {'x': b}, [b] FROM in_s()")
	if err != nil {
		t.Fatal(err)
	}
	for i := range block {
		block[i] = '#'
	}
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM kept, nested WHERE b LIKE '%#%' OR l[1] LIKE '%#%' OR s.x LIKE '%#%' OR m LIKE '%#%'"); got != "0" {
		t.Errorf("%s rows point into the input's memory", got)
	}
	if s := dump(collected); strings.Contains(s, "23232323") {
		t.Error("collected chunks point into the input's memory")
	}
}

// TestInputRefuses hands over chunks that do not fit; DuckDB must answer with an error, not a crash.
func TestInputRefuses(t *testing.T) {
	c := connect(t, Options{})
	in, err := c.RegisterInput("in_abc", abc)
	if err != nil {
		t.Fatal(err)
	}
	good := abcRows(t, c, 10)[0]
	bad := func(change func(*vector.Chunk)) *vector.Chunk { ch := good.Clone(); change(ch); return ch }
	for name, ch := range map[string]*vector.Chunk{
		"too many rows":    vector.NewChunk(types(abc), vector.Size+1),
		"missing column":   bad(func(ch *vector.Chunk) { ch.Cols = ch.Cols[:2] }),
		"wrong type":       bad(func(ch *vector.Chunk) { ch.Cols[0] = vector.New(vector.Of(vector.Int32), 10) }),
		"wrong inner type": bad(func(ch *vector.Chunk) { ch.Cols[2].Type = vector.ListOf(vector.Of(vector.Varchar)) }),
		"short data":       bad(func(ch *vector.Chunk) { ch.Cols[0].Data = ch.Cols[0].Data[:8] }),
		"entry past child": bad(func(ch *vector.Chunk) { ch.Cols[2].PutEntry(3, 1000, 5) }),
		"negative entry":   bad(func(ch *vector.Chunk) { ch.Cols[2].PutEntry(3, -1, 5) }),
	} {
		in.Set([]*vector.Chunk{ch})
		for _, sql := range []string{"FROM in_abc()", "SELECT count(*) FROM in_abc() WHERE c[1] = a"} {
			if _, _, err := c.Collect(context.Background(), sql); err == nil || !strings.Contains(err.Error(), "in_abc") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	in.Set([]*vector.Chunk{good})
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM in_abc()"); got != "10" {
		t.Error("the connection is broken afterwards")
	}
}

// TestNullParents marks only the struct NULL: its fields must read NULL all the same.
func TestNullParents(t *testing.T) {
	c := connect(t, Options{})
	inner := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "s", Type: vector.Of(vector.Varchar)}, {Name: "r", Type: vector.Type{Kind: vector.Array, Elem: &abc[0].Type, Size: 2}}}}
	row := []vector.Field{{Name: "v", Type: vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "n", Type: vector.Of(vector.Int64)}, {Name: "i", Type: inner}}}}}
	in, err := c.RegisterInput("in_v", row)
	if err != nil {
		t.Fatal(err)
	}
	ch := vector.NewChunk(types(row), 3)
	v := &ch.Cols[0]
	for i := range 3 {
		v.Children[0].PutI64(i, int64(i))
		v.Children[1].Children[0].PutStr(i, []byte("x"))
	}
	v.SetNull(1, 3)
	v.Children[1].SetNull(2, 3)
	in.Set([]*vector.Chunk{ch})
	want := []string{"0 x 0", "NULL", "2 NULL NULL"}
	got := text(t, c, "SELECT CASE WHEN v IS NULL AND v.n IS NULL AND v.i IS NULL AND v.i.s IS NULL AND v.i.r[1] IS NULL THEN NULL ELSE concat_ws(' ', v.n, coalesce(v.i.s, 'NULL'), coalesce(v.i.r[2]::VARCHAR, 'NULL')) END FROM in_v()")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestPrepared grows what prepared statements read, in the ways that make plans with built-in
// statistics answer wrongly.
func TestPrepared(t *testing.T) {
	c := connect(t, Options{})
	ctx := context.Background()
	exec(t, c, "CREATE TABLE big AS SELECT i AS k FROM range(1000) t(i); CREATE TABLE keys AS SELECT 5::BIGINT AS k; CREATE TABLE void (k BIGINT, v VARCHAR); CREATE TABLE holes AS SELECT 1 AS k; CREATE TEMP TABLE d AS SELECT 1::BIGINT AS k")
	abcInput(t, c, 3)
	queries := []string{
		"SELECT count(*)::VARCHAR FROM big WHERE k IN (SELECT k FROM keys)",
		"SELECT count(v)::VARCHAR FROM big LEFT JOIN void USING (k)",
		"SELECT (count(k), count(*))::VARCHAR FROM holes",
		"SELECT count(*)::VARCHAR FROM (SELECT k % 1000, count(*) FROM big GROUP BY 1)",
		"SELECT count(*)::VARCHAR FROM (SELECT k, count(*) FROM keys GROUP BY k)",
		"SELECT count(*)::VARCHAR FROM big JOIN d USING (k)",
		"SELECT count(*)::VARCHAR FROM big JOIN in_abc() ON a = k",
		"SELECT (min(k), max(k))::VARCHAR FROM big",
		"SELECT count(*)::VARCHAR FROM big WHERE k < 100000",
	}
	var stmts []*Stmt
	for _, q := range queries {
		s, err := c.Prepare(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stmts = append(stmts, s)
	}
	for _, change := range []string{
		"SELECT 1",
		"INSERT INTO keys SELECT i FROM range(900) t(i); INSERT INTO keys VALUES (5000000000)",
		"INSERT INTO void SELECT i, 'v' FROM range(1000) t(i)",
		"INSERT INTO holes VALUES (NULL)",
		"INSERT INTO big SELECT i + 100000 FROM range(5000) t(i)",
		"CREATE OR REPLACE TEMP TABLE d AS SELECT i AS k FROM range(500) t(i)",
		"DELETE FROM big WHERE k < 500",
	} {
		exec(t, c, change)
		for i, q := range queries {
			r, err := stmts[i].Query(ctx)
			if err != nil {
				t.Fatalf("after %s: %s: %v", change, q, err)
			}
			got := textOf(t, q, r)
			r.Close()
			if want := text(t, c, q); !cmp.Equal(got, want) {
				t.Errorf("after %s\n%s: prepared says %v, fresh %v", change, q, got, want)
			}
		}
	}
}

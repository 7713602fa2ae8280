package duck

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

// cells renders a query's rows from the vectors, one string a row.
func cells(t testing.TB, c *Conn, sql string) []string {
	t.Helper()
	chunks, _, err := c.Collect(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out []string
	for _, ch := range chunks {
		for i := range ch.N {
			out = append(out, rowKey(ch, len(ch.Cols), i))
		}
	}
	return out
}

// TestVectorKinds reads and looks up columns whose vectors DuckDB keeps as constants, dictionaries or
// sequences, at the top and inside structs and lists. The same values, materialized in a table first,
// are flat.
func TestVectorKinds(t *testing.T) {
	c := connect(t, Options{})
	exec(t, c, `CREATE TABLE l AS SELECT i AS k, 'a left string, long enough ' || i AS s FROM range(5000) t(i);
		CREATE TABLE r AS SELECT i AS k, 'a right string, long enough ' || i % 10 AS s, [i, i + 1] AS a FROM range(0, 5000, 3) t(i);
		CREATE TYPE mood AS ENUM ('sad', 'ok')`)
	for i, q := range []string{
		"SELECT i, 7 AS x, NULL::BIGINT AS y, 'a constant that is not inlined' AS z FROM range(5000) t(i)",
		"SELECT l.k, l.s, r.s FROM l JOIN r USING (k)",
		"SELECT l.k, {'a': l.s, 'b': r.s, 'c': 'constant, and long enough', 'd': NULL::INTEGER} AS v FROM l JOIN r USING (k)",
		"SELECT l.k, {'a': {'b': r.s}, 'e': r.a} AS v FROM l LEFT JOIN r USING (k)",
		"SELECT k, {'s': s} AS v FROM l WHERE k % 17 = 3",
		"SELECT l.k, [r.s, l.s, 'x'] AS v FROM l JOIN r USING (k)",
		"SELECT k, [1, 2, NULL]::BIGINT[] AS v FROM l",
		"SELECT k, list_filter(a, lambda x: x % 2 = 0) AS v FROM r",
		"SELECT k, list_sort(a, 'DESC') AS v, a[2:] AS w FROM r",
		"SELECT k, {'l': a, 'm': [{'s': s}]} AS v FROM r WHERE k % 2 = 0",
		"SELECT k, unnest(a) AS u FROM r",
		"SELECT k, CASE WHEN k % 2 = 0 THEN {'s': s} END AS v FROM l",
		"SELECT s, list(k ORDER BY k) AS v FROM r GROUP BY s ORDER BY s",
		"SELECT k, {'k': k, 's': s} AS v FROM l UNION ALL SELECT k, {'k': k, 's': s} FROM r",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			exec(t, c, "CREATE OR REPLACE TEMP TABLE flat AS "+q)
			want := cells(t, c, "FROM flat")
			if d := cmp.Diff(want, cells(t, c, q)); d != "" {
				t.Errorf("%s (-flat +streamed):\n%s", q, d)
			}
			// The same vectors as arguments of a lookup function: every row must find itself.
			chunks, fields, err := c.Collect(context.Background(), "SELECT DISTINCT * FROM flat")
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			for j := range fields {
				fields[j].Name = fmt.Sprintf("c%d", j)
				args = append(args, fmt.Sprintf("q.c%d", j))
			}
			st := newFakeState(t, fields, len(fields), chunks)
			if err := c.RegisterState(fmt.Sprintf("kinds%d", i), fields, len(fields), 0, st); err != nil {
				t.Fatal(err)
			}
			list := strings.Join(args, ", ")
			sql := fmt.Sprintf("SELECT count(kinds%d_get(%s))::VARCHAR || ' of ' || count(*) FROM (%s) q(%s)", i, list, q, strings.ReplaceAll(list, "q.", ""))
			if got, want := one(t, c, sql), fmt.Sprintf("%d of %[1]d", len(want)); got != want {
				t.Errorf("%s: found %s rows, want %s", q, got, want)
			}
		})
	}
}

// TestRowsBorrow checks that a clone outlives its rows, and that Collect's chunks outlive the connection.
func TestRowsBorrow(t *testing.T) {
	c := connect(t, Options{})
	r, err := c.Query(context.Background(), "SELECT 'string number ' || i, [i, i] FROM range(10000) t(i)")
	if err != nil {
		t.Fatal(err)
	}
	var kept []*vector.Chunk
	for r.Next() {
		kept = append(kept, r.Chunk().Clone())
	}
	if r.Err() != nil || r.Close() != nil || r.Close() != nil {
		t.Fatal(r.Err())
	}
	i := 0
	for _, ch := range kept {
		for j := range ch.N {
			off, _ := ch.Cols[1].Entry(j)
			if got, want := string(ch.Cols[0].Str(j)), fmt.Sprintf("string number %d", i); got != want || ch.Cols[1].Children[0].I64(off+1) != int64(i) {
				t.Fatalf("row %d is %q, %d", i, got, ch.Cols[1].Children[0].I64(off))
			}
			i++
		}
	}
	if i != 10000 {
		t.Fatalf("%d rows", i)
	}
}

// TestRowsClosedEarly leaves a stream in the middle; what comes next must not be rolled back with it.
func TestRowsClosedEarly(t *testing.T) {
	c := connect(t, Options{})
	for range 3 {
		r, err := c.Query(context.Background(), "SELECT i FROM range(1000000) t(i)")
		if err != nil {
			t.Fatal(err)
		}
		r.Next()
		r.Close()
	}
	r, err := c.Query(context.Background(), "SELECT i FROM range(1000000) t(i)")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	in, err := c.RegisterInput("in_x", []vector.Field{{Name: "a", Type: vector.Of(vector.Int64)}})
	if err != nil {
		t.Fatal(err)
	}
	in.Set([]*vector.Chunk{vector.NewChunk([]vector.Type{vector.Of(vector.Int64)}, 3)})
	exec(t, c, "CREATE TABLE x AS FROM in_x()")
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM x"); got != "3" {
		t.Errorf("%s rows", got)
	}
}

func TestQueryValue(t *testing.T) {
	c := connect(t, Options{})
	ctx := context.Background()
	for _, tc := range []struct {
		sql, want string
		ok, fails bool
	}{
		{sql: "SELECT 'x'", want: "x", ok: true},
		{sql: "SELECT NULL::VARCHAR"},
		{sql: "SELECT 'x' WHERE false"},
		{sql: "SELECT 1", fails: true},
		{sql: "SELECT i::VARCHAR FROM range(10000) t(i)", want: "0", ok: true},
		{sql: "SELECT error('no')", fails: true},
	} {
		got, ok, err := c.QueryValue(ctx, tc.sql)
		if got != tc.want || ok != tc.ok || (err != nil) != tc.fails {
			t.Errorf("%s: %q, %v, %v", tc.sql, got, ok, err)
		}
	}
	exec(t, c, "CREATE TABLE t (a INTEGER)")
	if _, _, err := c.QueryValue(ctx, "INSERT INTO t VALUES (1) RETURNING a::VARCHAR"); err != nil {
		t.Fatal(err)
	}
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM t"); got != "1" {
		t.Errorf("INSERT … RETURNING left %s rows", got)
	}
}

// TestStmtAgain runs prepared statements of every kind several times over changing input.
func TestStmtAgain(t *testing.T) {
	c := connect(t, Options{})
	ctx := context.Background()
	in := abcInput(t, c, 1)
	exec(t, c, "CREATE TABLE t (a BIGINT, b VARCHAR, c BIGINT[]); CREATE TABLE m (a BIGINT PRIMARY KEY, n BIGINT)")
	var stmts []*Stmt
	for _, sql := range []string{
		"CREATE OR REPLACE TEMP TABLE d AS FROM in_abc()",
		"INSERT INTO t FROM in_abc()",
		"UPDATE t SET b = b || '!'",
		"MERGE INTO m USING in_abc() s ON s.a = m.a WHEN MATCHED THEN UPDATE SET n = n + 1 WHEN NOT MATCHED THEN INSERT VALUES (s.a, 1)",
		"DELETE FROM t WHERE a = 2",
	} {
		s, err := c.Prepare(ctx, sql)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stmts = append(stmts, s)
	}
	for n := 1; n <= 4; n++ {
		in.Set(abcRows(t, c, n))
		for _, s := range stmts {
			if err := s.Exec(ctx); err != nil {
				t.Fatalf("%s: %v", s.sql, err)
			}
		}
	}
	for sql, want := range map[string]string{
		"SELECT (count(*), max(b), sum(len(c)))::VARCHAR FROM d":  "(4, the value of 3, 12)",
		"SELECT string_agg(a, ' ' ORDER BY a) FROM t":             "0 0 0 0 1 1 1 3",
		"SELECT min(b) FROM t WHERE a = 0":                        "the value of 0!",
		"SELECT string_agg(a || ':' || n, ' ' ORDER BY a) FROM m": "0:4 1:3 2:2 3:1",
	} {
		if got := one(t, c, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

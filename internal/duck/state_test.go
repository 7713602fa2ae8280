package duck

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

var kv = []vector.Field{
	{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "p", Type: vector.Of(vector.Varchar)},
	{Name: "v", Type: vector.Of(vector.Varchar)}, {Name: "n", Type: vector.Of(vector.Int64)},
}

// kvState registers st_get, st_rows and st_scan over what a query gives for (k, p, v, n).
func kvState(t testing.TB, c *Conn, sql string) *fakeState {
	t.Helper()
	st := newFakeState(t, kv, 2, nil)
	st.types = types(kv)
	st.load(c, sql)
	if err := c.RegisterState("st", kv, 2, 1, st); err != nil {
		t.Fatal(err)
	}
	return st
}

// load replaces the rows, under the unique key and under its prefix.
func (s *fakeState) load(c *Conn, sql string) {
	s.t.Helper()
	chunks, _, err := c.Collect(context.Background(), sql)
	if err != nil {
		s.t.Fatal(err)
	}
	full, prefix := newFakeState(s.t, kv, 2, chunks), newFakeState(s.t, kv, 1, chunks)
	s.chunks, s.index = chunks, full.index
	for k, v := range prefix.index {
		s.index[k] = v
	}
}

func TestState(t *testing.T) {
	c := connect(t, Options{})
	st := kvState(t, c, `SELECT * FROM (VALUES
		(1::BIGINT, 'a', 'one a, with a long value', 10::BIGINT), (1, 'b', NULL, 11), (1, NULL, 'one null', NULL),
		(NULL, 'a', 'null a, with a long value', 13), (NULL, NULL, 'null null', 14), (2, 'long key that is not inlined', 'two', 15))`)
	for _, tc := range []struct{ name, sql, want string }{
		{"found", "SELECT st_get(1, 'a')::VARCHAR", "{'k': 1, 'p': a, 'v': 'one a, with a long value', 'n': 10}"},
		{"absent", "SELECT st_get(9, 'a')::VARCHAR", "NULL"},
		{"absent field", "SELECT (st_get(9, 'a')).v", "NULL"},
		{"absent is null", "SELECT (st_get(9, 'a') IS NULL)::VARCHAR", "true"},
		{"null value", "SELECT (st_get(1, 'b')).v", "NULL"},
		{"null value is there", "SELECT (st_get(1, 'b') IS NULL)::VARCHAR", "false"},
		{"null in key", "SELECT (st_get(1, NULL)).v", "one null"},
		{"null keys", "SELECT (st_get(NULL, NULL)).v", "null null"},
		{"long key", "SELECT (st_get(2, 'long key that is not inlined')).v", "two"},
		{"cast arguments", "SELECT (st_get('1', 'a')).v", "one a, with a long value"},
		{"mixed", "SELECT string_agg(coalesce((st_get(k, p)).v, '-'), '|' ORDER BY o) FROM (VALUES (1, 1, 'a'), (2, 7, 'a'), (3, NULL, 'a'), (4, 1, 'b'), (5, 1, NULL)) t(o, k, p)", "one a, with a long value|-|null a, with a long value|-|one null"},
		{"constant and column", "SELECT string_agg(coalesce((st_get(1, p)).v, '-'), '|' ORDER BY o) FROM (VALUES (1, 'a'), (2, 'x'), (3, NULL)) t(o, p)", "one a, with a long value|-|one null"},
		{"rows", "SELECT list_transform(st_rows(1), lambda r: r.v)::VARCHAR", "['one a, with a long value', NULL, one null]"},
		{"rows of null", "SELECT list_transform(st_rows(NULL), lambda r: r.n)::VARCHAR", "[13, 14]"},
		{"no rows", "SELECT st_rows(9)::VARCHAR", "[]"},
		{"rows by row", "SELECT string_agg(len(st_rows(k)), ' ' ORDER BY o) FROM (VALUES (1, 1), (2, 9), (3, NULL), (4, 2), (5, 1)) t(o, k)", "3 0 2 1 3"},
		{"unnest rows", "SELECT string_agg(r.n, ' ') FROM (SELECT unnest(st_rows(k)) AS r FROM (VALUES (1), (2)) t(k))", "10 11 15"},
		{"filter on get", "SELECT count(*)::VARCHAR FROM range(10) t(i) WHERE (st_get(i, 'a')).n = 10", "1"},
		{"lookup in join", "SELECT count(*)::VARCHAR FROM range(4) x(i) JOIN range(4) y(j) ON (st_get(i, 'a')).n = j + 9", "1"},
		{"scan", "SELECT (count(*), count(v), sum(n))::VARCHAR FROM st_scan()", "(6, 5, 63)"},
		{"scan twice", "SELECT count(*)::VARCHAR FROM st_scan() a, st_scan() b", "36"},
		{"scan and get", "SELECT bool_and(st_get(k, p) IS NOT DISTINCT FROM (k, p, v, n))::VARCHAR FROM st_scan()", "true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := one(t, c, tc.sql); got != tc.want {
				t.Errorf("%s\n got %s\nwant %s", tc.sql, got, tc.want)
			}
		})
	}
	if st.gets == 0 {
		t.Error("the state was never asked")
	}
}

// TestStateVolatile runs prepared lookups again after the state has changed: constants must not have
// been looked up at prepare time, nor remembered.
func TestStateVolatile(t *testing.T) {
	c := connect(t, Options{})
	ctx := context.Background()
	st := kvState(t, c, "SELECT 1::BIGINT, 'a', 'before', 1::BIGINT")
	var stmts []*Stmt
	for _, q := range []string{
		"SELECT (st_get(1, 'a')).v",
		"SELECT (st_rows(1)[1]).v",
		"SELECT v FROM st_scan()",
		"SELECT (st_get(i, 'a')).v FROM range(1, 2) t(i)",
		"SELECT coalesce((st_get(1, 'a')).v, 'nothing') FROM range(1)",
	} {
		s, err := c.Prepare(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stmts = append(stmts, s)
	}
	if st.gets != 0 {
		t.Errorf("%d lookups at prepare time", st.gets)
	}
	for _, value := range []string{"before", "after, and long enough", "again"} {
		st.load(c, "SELECT 1::BIGINT, 'a', '"+value+"', 1::BIGINT")
		for i, s := range stmts {
			r, err := s.Query(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := textOf(t, "", r); !cmp.Equal(got, []string{value}) {
				t.Errorf("statement %d says %v, the state holds %q", i, got, value)
			}
			r.Close()
		}
	}
	st.gets = 0
	exec(t, c, "SELECT st_get(i, 'a') FROM range(2048) t(i)")
	if st.gets != 1 {
		t.Errorf("%d lookups for one vector of rows", st.gets)
	}
}

// TestStateLarge looks up prefixes whose rows fill many vectors, then few, so that a reused list must
// forget its masks and size.
func TestStateLarge(t *testing.T) {
	c := connect(t, Options{})
	kvState(t, c, "SELECT i % 10, i::VARCHAR, CASE WHEN i % 3 = 0 THEN NULL ELSE 'value number ' || i END, i FROM range(50000) t(i)")
	want := one(t, c, "SELECT (count(*), sum(n), count(v), sum(hash(v)))::VARCHAR FROM st_scan()")
	got := one(t, c, "SELECT (count(*), sum(r.n), count(r.v), sum(hash(r.v)))::VARCHAR FROM (SELECT unnest(st_rows(i)) AS r FROM range(100) t(i))")
	if got != want {
		t.Errorf("rows say %s, scan %s", got, want)
	}
	// Keys with 5000 rows each, then a hundred keys of which ten have any.
	got = one(t, c, "SELECT min(len(st_rows(i // 500))) || ' ' || sum(len(st_rows(i - 4990))) FROM range(4900, 5000) t(i)")
	if want := "5000 50000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := one(t, c, "SELECT sum((st_get(i % 10, i::VARCHAR)).n)::VARCHAR FROM range(60000) t(i)"); got != "1249975000" {
		t.Errorf("sum over get is %s", got)
	}
}

// brokenState panics in each of its methods.
type brokenState struct{}

func (brokenState) Get(*vector.Chunk) (*vector.Chunk, []bool) { panic("get broke") }
func (brokenState) Rows(*vector.Chunk) (*vector.Chunk, []int) { panic("rows broke") }
func (brokenState) Scan() func() *vector.Chunk {
	return func() *vector.Chunk { panic("scan broke") }
}

func TestStatePanics(t *testing.T) {
	c := connect(t, Options{})
	if err := c.RegisterState("st", kv, 1, 1, brokenState{}); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"SELECT st_get(1)":        "st_get: get broke",
		"SELECT st_rows(1)":       "st_rows: rows broke",
		"SELECT * FROM st_scan()": "st_scan(): scan broke",
	} {
		for range 2 {
			if _, _, err := c.Collect(context.Background(), sql); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	if got := one(t, c, "SELECT 'alive'"); got != "alive" {
		t.Error("the connection is broken afterwards")
	}
}

// TestRegisterTwice: a name that is taken must be refused, not silently shadowed.
func TestRegisterTwice(t *testing.T) {
	c := connect(t, Options{})
	st := kvState(t, c, "SELECT 1::BIGINT, 'a', 'first', 1::BIGINT")
	if err := c.RegisterState("st", kv, 2, 1, st); err == nil {
		t.Error("a state was registered twice")
	}
	if _, err := c.RegisterInput("in_x", kv); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RegisterInput("in_x", kv); err == nil {
		t.Error("an input was registered twice")
	}
	if err := c.Exec(t.Context(), "CREATE MACRO made_since(a) AS a; CREATE MACRO tables_since() AS TABLE SELECT 1"); err != nil {
		t.Fatal(err)
	}
	for _, builtin := range []string{"made_since", "Tables_Since", "range", "SUM", "lower", "read_csv", "st_get", "ST_SCAN"} {
		if _, err := c.RegisterInput(builtin, kv); err == nil {
			t.Errorf("an input replaced %s", builtin)
		}
	}
	for i, bad := range []struct{ nkey, nprefix int }{{5, 0}, {-1, 0}, {1, 2}} {
		if err := c.RegisterState(fmt.Sprintf("bad%d", i), kv, bad.nkey, bad.nprefix, st); err == nil {
			t.Errorf("a key of %d with a prefix of %d was accepted", bad.nkey, bad.nprefix)
		}
	}
}

package duck

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSettings(t *testing.T) {
	for _, o := range []Options{{}, {Locked: true, Threads: 2, MemoryLimit: "100MB", TempDir: t.TempDir()}} {
		c := connect(t, o)
		for sql, want := range map[string]string{
			"SELECT version()":                                   Version(),
			"SELECT current_setting('TimeZone')":                 "UTC",
			"SELECT current_setting('disabled_optimizers')":      "statistics_propagation",
			"SELECT current_setting('threads')::VARCHAR":         map[bool]string{false: "1", true: "2"}[o.Locked],
			"SELECT current_setting('temp_directory')":           o.TempDir,
			"SELECT '2024-07-01 12:00:00+00'::TIMESTAMPTZ::TEXT": "2024-07-01 12:00:00+00",
		} {
			if got := one(t, c, sql); got != want {
				t.Errorf("%s: %s, want %s", sql, got, want)
			}
		}
	}
	if _, err := Open(Options{MemoryLimit: "much"}); err == nil || !strings.Contains(err.Error(), "memory_limit") {
		t.Errorf("a senseless memory limit: %v", err)
	}
}

// TestLocked tries the ways out of the database.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	for _, d := range []string{allowed, filepath.Join(dir, "denied")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "x.csv"), []byte("a\n1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, Options{Locked: true, AllowedDirs: []string{allowed + "/"}})
	denied := filepath.Join(dir, "denied", "x.csv")
	for _, sql := range []string{
		"FROM read_csv(" + quote(denied) + ")", "FROM " + quote(denied), "FROM read_text('/etc/passwd')", "FROM glob('/etc/*')",
		"FROM read_csv(" + quote(allowed+"/../denied/x.csv") + ")",
		"COPY (SELECT 1) TO " + quote(denied+".out"), "ATTACH " + quote(denied+".db"), "EXPORT DATABASE " + quote(dir+"/out"),
		"INSTALL httpfs", "LOAD httpfs", "LOAD '/tmp/x.duckdb_extension'", "FROM read_csv('https://localhost:1/x.csv')",
		"SET threads = 4", "SET TimeZone = 'Asia/Tokyo'", "SET GLOBAL enable_external_access = true", "RESET disabled_optimizers",
		"PRAGMA threads = 4", "SET lock_configuration = false", "CREATE PERSISTENT SECRET s (TYPE http)",
	} {
		if err := c.Exec(context.Background(), sql); err == nil {
			t.Errorf("allowed: %s", sql)
		}
	}
	abcInput(t, c, 10)
	kvState(t, c, "SELECT a, b, b, a FROM in_abc()")
	exec(t, c, "CREATE TEMP TABLE d AS SELECT a, st_get(a, b) AS g FROM in_abc()")
	if got := one(t, c, "SELECT sum(g.n)::VARCHAR FROM d"); got != "45" {
		t.Errorf("inputs and states of a locked instance answer %s", got)
	}
	if got := one(t, c, "SELECT a::VARCHAR FROM read_csv("+quote(allowed+"/x.csv")+")"); got != "1" {
		t.Errorf("the allowed directory answers %s", got)
	}
}

// TestSpill sorts more than fits into memory: a locked instance may still use its own temp directory,
// and one without a temp directory says so instead of writing elsewhere.
func TestSpill(t *testing.T) {
	const sql = "SELECT max(r)::VARCHAR FROM (SELECT row_number() OVER (ORDER BY hash(i), s) AS r FROM (SELECT i, repeat(i::VARCHAR, 12) AS s FROM range(600000) t(i)))"
	c := connect(t, Options{Locked: true, MemoryLimit: "40MB", TempDir: t.TempDir()})
	if got := one(t, c, sql); got != "600000" {
		t.Errorf("spilled sort: %s", got)
	}
	c = connect(t, Options{Locked: true, MemoryLimit: "40MB"})
	_, _, err := c.QueryValue(context.Background(), sql)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != "Out of Memory" {
		t.Errorf("without a temp directory: %v", err)
	}
	if got := one(t, c, "SELECT 'alive'"); got != "alive" {
		t.Error("the connection is broken afterwards")
	}
}

func TestErrors(t *testing.T) {
	c := connect(t, Options{})
	ctx := context.Background()
	exec(t, c, "CREATE TABLE t (a INTEGER NOT NULL)")
	run := map[string]func(string) error{
		"Exec":          func(q string) error { return c.Exec(ctx, q) },
		"Query":         func(q string) error { _, _, err := c.Collect(ctx, q); return err },
		"Describe":      func(q string) error { _, err := c.Describe(ctx, q); return err },
		"SerializePlan": func(q string) error { _, err := c.SerializePlan(ctx, q); return err },
		"SerializeSQL":  func(q string) error { _, err := c.SerializeSQL(ctx, q); return err },
	}
	const all = "Exec Query Describe SerializePlan"
	for _, tc := range []struct{ by, sql, kind, at, message string }{
		{all, "SELECT b FROM t", "Binder", "b", `Referenced column "b" not found`},
		{all, "SELECT 'é', b FROM t", "Binder", "b", "Referenced column"},
		{all, "SELECT a\nFROM t\nWHERE\n  nope(a) > 1", "Catalog", "nope", "nope does not exist"},
		{all, "SELECT * FROM missing", "Catalog", "missing", "missing does not exist"},
		{all + " SerializeSQL", "SELECT FROM FROM t", "Parser", "FROM t", "syntax error"},
		{all + " SerializeSQL", "SELECT 'open", "Parser", "'open", "unterminated"},
		{"Exec", "SELECT 1; SELECT b FROM t", "Binder", "b FROM", "Referenced column"},
		{"Exec Query", "SELECT 'x'::INTEGER", "Conversion", "", "Could not convert string 'x'"},
		{"Exec Query", "SELECT a::INTEGER FROM (SELECT 'x' || i AS a FROM range(3) t(i))", "Conversion", "", "Could not convert"},
		{"Exec Query", "SELECT 9223372036854775807 + i FROM range(3) t(i)", "Out of Range", "", "Overflow"},
		{"Exec Query", "INSERT INTO t VALUES (NULL)", "Constraint", "", "NOT NULL constraint failed"},
		{"Exec Query", "SELECT error('mine')", "Invalid Input", "", "mine"},
		{"SerializeSQL", "CREATE TABLE u (a INTEGER)", "Not Implemented", "", "Only SELECT"},
		{"Query Describe", "SELECT 1; SELECT 2", "Invalid Input", "", "multiple"},
		{all + " SerializeSQL", "SELECT 1\x00", "Parser", "\x00", "NUL"},
	} {
		for _, by := range strings.Fields(tc.by) {
			err := run[by](tc.sql)
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Errorf("%s(%q): %v", by, tc.sql, err)
				continue
			}
			if e.Kind != tc.kind || !strings.Contains(e.Message, tc.message) || strings.Contains(e.Message, "LINE 1") {
				t.Errorf("%s(%q): kind %q, message %q", by, tc.sql, e.Kind, e.Message)
			}
			if at := strings.Index(tc.sql, tc.at); tc.at != "" && e.Position != at {
				t.Errorf("%s(%q): position %d, want %d", by, tc.sql, e.Position, at)
			}
		}
	}
}

func TestSerialize(t *testing.T) {
	c := connect(t, Options{})
	exec(t, c, `CREATE TABLE "it's" (a INTEGER)`)
	for sql, want := range map[string]string{
		`SELECT a, 'quo''ted' FROM "it's"`: "quo'ted",
		"SELECT 1; SELECT 'two'":           "two",
	} {
		for name, f := range map[string]func(context.Context, string) ([]byte, error){"plan": c.SerializePlan, "sql": c.SerializeSQL} {
			out, err := f(context.Background(), sql)
			if err != nil || !strings.Contains(string(out), want) || !strings.HasPrefix(string(out), `{"error":false`) {
				t.Errorf("%s of %s: %.200s, %v", name, sql, out, err)
			}
		}
	}
}

func TestTx(t *testing.T) {
	c := connect(t, Options{})
	ctx := context.Background()
	exec(t, c, "CREATE TABLE t (a INTEGER PRIMARY KEY)")
	if err := c.Tx(ctx, func() error { return c.Exec(ctx, "INSERT INTO t VALUES (1)") }); err != nil {
		t.Fatal(err)
	}
	err := c.Tx(ctx, func() error {
		if err := c.Exec(ctx, "INSERT INTO t VALUES (2)"); err != nil {
			return err
		}
		return c.Exec(ctx, "INSERT INTO t VALUES (1)")
	})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != "Constraint" {
		t.Errorf("duplicate key: %v", err)
	}
	// An error that the caller swallows has aborted the transaction all the same.
	err = c.Tx(ctx, func() error {
		c.Exec(ctx, "INSERT INTO t VALUES (3)")
		c.Exec(ctx, "INSERT INTO t VALUES (1)")
		return nil
	})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != "Constraint" {
		t.Errorf("a swallowed error: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	err = c.Tx(canceled, func() error {
		cancel()
		return c.Exec(canceled, "INSERT INTO t VALUES (4)")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if got := one(t, c, "SELECT string_agg(a, ' ') FROM t"); got != "1" {
		t.Errorf("the table holds %s", got)
	}
}

// TestCancel interrupts statements that would run for minutes, each at its way of running.
func TestCancel(t *testing.T) {
	c := connect(t, Options{})
	const long = "SELECT count(*) FROM range(100000000) a, range(1000) b WHERE a.range % 7 = b.range % 5"
	stmt, err := c.Prepare(context.Background(), long)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	for name, run := range map[string]func(context.Context) error{
		"Exec":      func(ctx context.Context) error { return c.Exec(ctx, long) },
		"Stmt.Exec": func(ctx context.Context) error { return stmt.Exec(ctx) },
		"Collect":   func(ctx context.Context) error { _, _, err := c.Collect(ctx, long); return err },
		"stream": func(ctx context.Context) error {
			r, err := c.Query(ctx, "SELECT a.range FROM range(100000000) a, range(1000) b")
			if err != nil {
				return err
			}
			defer r.Close()
			for r.Next() {
			}
			return r.Err()
		},
	} {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err := run(ctx)
		cancel()
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > 20*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		t.Logf("%s stopped after %v", name, time.Since(begin))
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with a dead context: %v", name, err)
		}
		if got := one(t, c, "SELECT 'alive'"); got != "alive" {
			t.Errorf("after %s: %s", name, got)
		}
	}
}

// TestChurn runs everything a batch runs, many times: no handle, goroutine or memory may stay.
func TestChurn(t *testing.T) {
	rounds := 10000
	if testing.Short() {
		rounds = 500
	}
	c := connect(t, Options{})
	in := abcInput(t, c, 20)
	kvState(t, c, "SELECT i, 'p', 'value number ' || i, i FROM range(100) t(i)")
	stmt, err := c.Prepare(context.Background(), "SELECT a, b, c, st_get(a, 'p') AS g, st_rows(a) AS r FROM in_abc()")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	chunks := abcRows(t, c, 20)
	var before int64
	for i := range rounds {
		in.Set(chunks)
		r, err := stmt.Query(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.Next()
		if i%3 > 0 {
			r.Next()
		}
		r.Close()
		if i%10 == 0 {
			c.Exec(ctx, "SELECT nope")
			exec(t, c, "CREATE OR REPLACE TEMP TABLE d AS SELECT a, c FROM in_abc()")
			if _, _, err := c.Collect(ctx, "SELECT st_get(1, 'p'), [1, 2] FROM st_scan()"); err != nil {
				t.Fatal(err)
			}
		}
		if i == rounds/5 {
			before = resident(t)
		}
	}
	if grown := resident(t) - before; grown > 24<<20 {
		t.Errorf("%d rounds grew the process by %d MB", rounds*4/5, grown>>20)
	} else {
		t.Logf("grew by %d kB", grown>>10)
	}
}

// resident returns the process's resident bytes, 0 where the system does not tell.
func resident(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestDescribe(t *testing.T) {
	c := connect(t, Options{})
	got, err := c.Describe(context.Background(), "SELECT 1 AS a, NULL AS b, 'x' AS c, '{}'::JSON AS d, sum(1) AS e, {'x': [1.5]} AS f, row(1, 2) AS g, $1 AS h")
	if err == nil {
		t.Errorf("a parameter was described: %v", got)
	}
	got, err = c.Describe(context.Background(), "SELECT 1 AS a, NULL AS b, 'x' AS c, '{}'::JSON AS d, sum(1) AS e, {'x': [1.5]} AS f, row(1, 2) AS g")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range got {
		list = append(list, f.Name+" "+f.Type.String())
	}
	want := `a INTEGER, b INTEGER, c VARCHAR, d VARCHAR, e HUGEINT, f STRUCT("x" DECIMAL(2,1)[]), g STRUCT("" INTEGER, "" INTEGER)`
	if s := strings.Join(list, ", "); s != want {
		t.Errorf("described as\n%s, want\n%s", s, want)
	}
	if _, err := c.Describe(context.Background(), "SELECT '{}'::VARIANT AS v"); err == nil || !strings.Contains(err.Error(), "VARIANT") {
		t.Errorf("VARIANT: %v", err)
	}
}

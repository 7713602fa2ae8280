package postgres

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// TestQuoting uses names that need it everywhere a name can stand.
func TestQuoting(t *testing.T) {
	url := pgtest.URL(t)
	long := strings.Repeat("n", 58) + "name!"
	outs := []planner.Output{
		{Name: "Mixed Case", Columns: fields("select", vector.Varchar, `q"uo"te`, vector.Int64, "Ünï.cödé", vector.Int32), Mode: planner.Upsert, Key: []int{0, 1}},
		{Name: long, Columns: fields(long, vector.Varchar, "table", vector.Varchar), Mode: planner.Upsert, Key: []int{0}},
		{Name: "group", Columns: fields("order", vector.Varchar, "user", vector.Varchar), Mode: planner.Multiset},
		{Name: `a"b.c'd`, Columns: fields("from'", vector.Varchar, `back\slash`, vector.Varchar), Mode: planner.Append},
		{Name: "x", Columns: fields("t", vector.Varchar, "s", vector.Varchar, "d", vector.Int32, "excluded", vector.Int32), Mode: planner.Upsert, Key: []int{0, 1}},
		{Name: "y", Columns: fields("t", vector.Varchar, "s", vector.Varchar, "d", vector.Varchar), Mode: planner.Multiset},
	}
	e := newEngine(t, url, outs...)
	e.run(batchOf(t, 1, outs, []row{r(1, "a", 1, 2), r(1, nil, 1, 3)}, []row{r(1, "k", "v")}, []row{r(2, "a", "b")}, []row{r(1, "x", "y")},
		[]row{r(1, "a", "b", 1, 2)}, []row{r(2, "a", "b", "c")}))
	e.run(batchOf(t, 2, outs, []row{r(-1, "a", 1, nil), r(-1, nil, 1, nil)}, []row{r(1, "k", "w")}, []row{r(-1, "a", "b")}, nil,
		[]row{r(-1, "a", "b", 0, 0)}, []row{r(-1, "a", "b", "c")}))
	want := [][]string{nil, {"1x|k|w"}, {"1x|a|b"}, {"1x|x|y"}, nil, {"1x|a|b|c"}}
	if diff := cmp.Diff(want, e.snapshots()); diff != "" {
		t.Error(diff)
	}
	if got := pgtest.Rows(t, url, `SELECT "table" FROM public."`+long+`"`); got[0] != "w" {
		t.Error(got)
	}
}

func TestRefusedOutputs(t *testing.T) {
	ok := fields("a", vector.Int32)
	for _, tt := range []struct {
		name   string
		target microbatch.Target
		text   string
	}{
		{"long table", microbatch.Target{Output: planner.Output{Name: strings.Repeat("x", 64), Columns: ok}}, "Postgres allows 63"},
		{"long column", microbatch.Target{Output: planner.Output{Name: "x", Columns: fields(strings.Repeat("ü", 32), vector.Int32)}}, "Postgres allows 63"},
		{"reserved", microbatch.Target{Output: planner.Output{Name: "x", Columns: fields("_sluice_w", vector.Int32)}}, "reserved"},
		{"schema", microbatch.Target{Output: planner.Output{Name: "x", Columns: ok}, Options: map[string]string{"schema": "sluice"}}, "reserved"},
		{"boolean", microbatch.Target{Output: planner.Output{Name: "x", Columns: ok}, Options: map[string]string{"adopt": "maybe"}}, "'true' or 'false'"},
		{"nanosecond key", microbatch.Target{Output: planner.Output{Name: "x", Columns: fields("ts", vector.TimestampNS), Mode: planner.Upsert, Key: []int{0}}}, "column ts: the key has type TIMESTAMP_NS"},
		{"map key", microbatch.Target{Output: planner.Output{Name: "x", Columns: fields("m", vector.ListOf(mapOf(vector.Of(vector.Int32), vector.Of(vector.Int32)))), Mode: planner.Upsert, Key: []int{0}}}, "tells apart"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(Options{URL: "host=/nonexistent"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Open(t.Context(), "p", []microbatch.Target{tt.target})
			wantErr(t, err, nil, tt.text)
			wantErr(t, err, nil, "Hint: ")
		})
	}
	s, _ := New(Options{URL: "host=/nonexistent"})
	a := microbatch.Target{Output: planner.Output{Name: "a", Columns: ok}, Options: map[string]string{"table": "x"}}
	b := microbatch.Target{Output: planner.Output{Name: "x", Columns: ok}}
	_, err := s.Open(t.Context(), "p", []microbatch.Target{a, b})
	wantErr(t, err, nil, "outputs a and x both write table")
}

// TestExistingTables opens a pipeline on tables that somebody else made.
func TestExistingTables(t *testing.T) {
	out := planner.Output{Name: "x", Mode: planner.Upsert, Key: []int{0, 1},
		Columns: fields("k", vector.Varchar, "j", vector.Int32, "n", dec(10, 2), "at", vector.Timestamp)}
	const good = "k text, j int, n numeric(10,2), at timestamp"
	for _, tt := range []struct {
		name string
		ddl  string
		err  string // empty: accepted
	}{
		{"exact", "CREATE TABLE x (" + good + ", UNIQUE NULLS NOT DISTINCT (k, j))", ""},
		{"primary key, other order", "CREATE TABLE x (" + good + ", PRIMARY KEY (j, k))", ""},
		{"wider numeric, varchar, extra columns", "CREATE TABLE x (id bigint GENERATED ALWAYS AS IDENTITY, k varchar, j int, n numeric, at timestamp, extra int, since timestamptz NOT NULL DEFAULT now(), UNIQUE (k, j))", ""},
		{"partitioned", "CREATE TABLE x (" + good + ", PRIMARY KEY (j, k)) PARTITION BY HASH (j); CREATE TABLE x0 PARTITION OF x FOR VALUES WITH (MODULUS 1, REMAINDER 0)", ""},
		{"missing column", "CREATE TABLE x (k text, j int, n numeric(10,2), UNIQUE (k, j))", `column "at" timestamp is missing`},
		{"wrong type", "CREATE TABLE x (k text, j bigint, n numeric(10,2), at timestamp, UNIQUE (k, j))", `column "j" is bigint, and the query gives integer`},
		{"narrow numeric", "CREATE TABLE x (k text, j int, n numeric(10,1), at timestamp, UNIQUE (k, j))", `column "n" is numeric(10,1)`},
		{"narrow text", "CREATE TABLE x (k varchar(5), j int, n numeric(10,2), at timestamp, UNIQUE (k, j))", `column "k" is character varying(5)`},
		{"rounded time", "CREATE TABLE x (k text, j int, n numeric(10,2), at timestamp(0), UNIQUE (k, j))", `column "at" is timestamp(0)`},
		{"generated", "CREATE TABLE x (k text, j int, n numeric(10,2) GENERATED ALWAYS AS (1) STORED, at timestamp, UNIQUE (k, j))", `column "n" is generated`},
		{"identity", "CREATE TABLE x (k text, j int GENERATED ALWAYS AS IDENTITY, n numeric(10,2), at timestamp, UNIQUE (k, j))", `column "j" is GENERATED ALWAYS`},
		{"extra not null", "CREATE TABLE x (" + good + ", z int NOT NULL, UNIQUE (k, j))", `column "z" is NOT NULL, has no default`},
		{"no index", "CREATE TABLE x (" + good + ")", "no unique index over exactly"},
		{"partial index", "CREATE TABLE x (" + good + "); CREATE UNIQUE INDEX ON x (k, j) WHERE n > 0", "no unique index over exactly"},
		{"deferrable", "CREATE TABLE x (" + good + ", UNIQUE (k, j) DEFERRABLE)", "no unique index over exactly"},
		{"expression", "CREATE TABLE x (" + good + "); CREATE UNIQUE INDEX ON x (lower(k), j)", "no unique index over exactly"},
		{"part of the key", "CREATE TABLE x (" + good + ", UNIQUE (k))", "no unique index over exactly"},
		{"more than the key", "CREATE TABLE x (" + good + ", UNIQUE (k, j, n))", "no unique index over exactly"},
		{"a view", "CREATE VIEW x AS SELECT 1", "is not a table"},
		{"rows", "CREATE TABLE x (" + good + ", UNIQUE (k, j)); INSERT INTO x VALUES ('old', 1)", "rows that no pipeline wrote"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := pgtest.URL(t)
			pgtest.Exec(t, url, tt.ddl)
			s, err := New(testOptions(url))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			outs := []planner.Output{out}
			for _, fn := range []func() error{
				func() error { return s.Check(t.Context(), "p", targetsOf(outs)) },
				func() error { _, err := s.Open(t.Context(), "p", targetsOf(outs)); return err },
			} {
				err := fn()
				if tt.err == "" && err != nil {
					t.Fatal(err)
				}
				if tt.err != "" {
					wantErr(t, err, nil, tt.err)
					wantErr(t, err, nil, "\nHint: ")
				}
			}
			if tt.err != "" { // nothing has happened
				if got := pgtest.Rows(t, url, "SELECT count(*) FROM sluice.ledger"); got[0] != "0" {
					t.Errorf("%s ledger rows", got)
				}
				return
			}
			s.Close()
			e := newEngine(t, url, outs...)
			e.run(batchOf(t, 1, outs, []row{r(1, "a", 1, "1.50", nil), r(1, "b", 1, nil, "2001-01-01 00:00:00")}))
			e.run(batchOf(t, 2, outs, []row{r(1, "a", 1, "2.50", nil), r(-1, "b", 1, nil, nil)}))
			if diff := cmp.Diff([]string{"1x|a|1|2.50|∅"}, e.snapshot(0)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNullKeyRefused: without NULLS NOT DISTINCT a NULL key would make a new row every time, so phase 1
// refuses it, where the batch can still be given up.
func TestNullKeyRefused(t *testing.T) {
	for _, tt := range []struct{ name, ddl, option string }{
		{"plain unique", "CREATE TABLE counts (k text UNIQUE, n bigint, total numeric(39,0))", "false"},
		{"primary_key", "", "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := pgtest.URL(t)
			if tt.ddl != "" {
				pgtest.Exec(t, url, tt.ddl)
			}
			s, _ := New(testOptions(url))
			defer s.Close()
			targets := []microbatch.Target{{Output: upsertOut, Options: map[string]string{"primary_key": tt.option}}}
			if _, err := s.Open(t.Context(), "p", targets); err != nil {
				t.Fatal(err)
			}
			err := s.Stage(t.Context(), batchOf(t, 1, []planner.Output{upsertOut}, []row{r(1, nil, 1, 1)}))
			wantErr(t, err, nil, "column k of the target may not be NULL")
		})
	}
}

// TestConstraintsInPhase1: what the target forbids is refused before the decision point; a row that
// deletes may have NULL outside the key.
func TestConstraintsInPhase1(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE counts (k text PRIMARY KEY, n bigint NOT NULL CHECK (n > 0), total numeric(39,0), z int CHECK (z > n))")
	outs := []planner.Output{upsertOut}
	e := newEngine(t, url, outs...)
	e.run(batchOf(t, 1, outs, []row{r(1, "a", 1, nil)}))
	e.run(batchOf(t, 2, outs, []row{r(-1, "a", nil, nil)}))
	wantErr(t, e.sink.Stage(t.Context(), batchOf(t, 3, outs, []row{r(1, "a", 0, nil)})), nil, "counts_n_check")
	wantErr(t, e.sink.Stage(t.Context(), batchOf(t, 3, outs, []row{r(1, "a", nil, nil)})), nil, "n is not null")
	e.run(batchOf(t, 3, outs, []row{r(1, "a", 5, nil)}))
}

func TestWarnings(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE o (id bigint PRIMARY KEY)",
		"CREATE TABLE events (id bigint UNIQUE REFERENCES o, note text)",
		"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
		"CREATE TRIGGER tr BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION f()",
		"ALTER TABLE events ENABLE ROW LEVEL SECURITY")
	e := newEngine(t, url, oneOut...)
	got := strings.Join(e.sink.Warnings(), "\n")
	for _, want := range []string{"triggers", "foreign keys", "row-level security", "unique indexes"} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning about %s in:\n%s", want, got)
		}
	}
}

func TestOwnership(t *testing.T) {
	url := pgtest.URL(t)
	e := newEngine(t, url, oneOut...)
	e.run(batchOf(t, 1, oneOut, []row{r(1, 1, "a")}))
	open := func(pipeline string, options map[string]string) error {
		s, _ := New(testOptions(url))
		defer s.Close()
		_, err := s.Open(t.Context(), pipeline, []microbatch.Target{{Output: appendOut, Options: options}})
		return err
	}
	wantErr(t, open("other", nil), nil, "belongs to pipeline p")
	wantErr(t, open("other", map[string]string{"adopt": "true"}), nil, "belongs to pipeline p")
	if err := open("other", map[string]string{"schema": "Else where", "table": "e"}); err != nil {
		t.Error(err)
	}
	wantErr(t, open("p", map[string]string{"table": "renamed"}), nil, "up to batch 1")
	if err := open("p", nil); err != nil {
		t.Error(err)
	}
	pgtest.Exec(t, url, "ALTER TABLE events RENAME TO gone")
	wantErr(t, open("p", nil), nil, "is gone, and the ledger says that it holds batch 1")
	pgtest.Exec(t, url, "ALTER TABLE gone RENAME TO events")

	s, _ := New(testOptions(url))
	defer s.Close()
	if dropped, err := s.Drop(t.Context(), "p", KeepTables); err != nil || len(dropped) > 0 {
		t.Error(dropped, err)
	}
	if _, err := s.Drop(t.Context(), "p", KeepTables); !errors.Is(err, ErrUnknownPipeline) {
		t.Errorf("dropped twice: %v", err)
	}
	// The engine that still runs it can do no more.
	wantErr(t, e.sink.Stage(t.Context(), batchOf(t, 2, oneOut, nil)), errDisagree, "was dropped while an engine ran it")
	wantErr(t, open("p", nil), nil, "rows that no pipeline wrote")
	if err := open("p", map[string]string{"adopt": "true"}); err != nil {
		t.Error(err)
	}
	// Adopted tables stay, created ones go.
	if dropped, err := s.Drop(t.Context(), "p", DropTables); err != nil || len(dropped) > 0 {
		t.Error(dropped, err)
	}
	dropped, err := s.Drop(t.Context(), "other", DropTables)
	if diff := cmp.Diff([]string{`"Else where"."e"`}, dropped); diff != "" || err != nil {
		t.Error(diff, err)
	}
	left := pgtest.Rows(t, url, "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'sluice' AND relname LIKE 'stg%'")
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestTogether starts engines at the same moment on an empty database: one schema, an epoch each.
func TestTogether(t *testing.T) {
	url := pgtest.URL(t)
	const n = 6
	epochs, errs := make([]int64, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, err := New(testOptions(url))
			if err != nil {
				errs[i] = err
				return
			}
			defer s.Close()
			l, err := s.Open(t.Context(), fmt.Sprintf("p%d", i%2), targetsOf([]planner.Output{
				{Name: fmt.Sprintf("t%d", i%2), Columns: fields("a", vector.Int32), Mode: planner.Append}}))
			epochs[i], errs[i] = l.Epoch, err
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, e := range epochs {
		seen[fmt.Sprint(i%2, " ", e)] = true
	}
	if len(seen) != n {
		t.Errorf("epochs %v", epochs)
	}
}

func TestSchemaVersion(t *testing.T) {
	url := pgtest.URL(t)
	newEngine(t, url, oneOut...)
	pgtest.Exec(t, url, "UPDATE sluice.meta SET value = '999' WHERE key = 'schema_version'")
	s, _ := New(testOptions(url))
	_, err := s.Open(t.Context(), "p", targetsOf(oneOut))
	wantErr(t, err, nil, "Hint: use the newer sluice")
}

// TestPrivileges runs as a role that may not do what is needed.
func TestPrivileges(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "DO $$BEGIN CREATE ROLE poor LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$",
		"CREATE TABLE events (id bigint, note text)", "GRANT SELECT, INSERT ON events TO poor")
	poor := strings.Replace(url, "user=postgres", "user=poor", 1)
	s, _ := New(testOptions(poor))
	_, err := s.Open(t.Context(), "p", targetsOf(oneOut))
	wantErr(t, err, nil, "permission denied")
	wantErr(t, err, nil, "Hint: grant the missing privilege")
	wantErr(t, s.Check(t.Context(), "p", targetsOf(oneOut)), nil, "the privilege UPDATE, DELETE is missing")
	// A role that owns the database but is no superuser has all it needs.
	pgtest.Exec(t, url, "GRANT CREATE ON DATABASE "+strings.TrimPrefix(strings.Fields(url)[3], "dbname=")+" TO poor",
		"GRANT UPDATE, DELETE ON events TO poor")
	e := newEngine(t, poor, oneOut...)
	e.run(batchOf(t, 1, oneOut, []row{r(1, 1, "a")}))
}

// TestHistory keeps a bounded number of rows.
func TestHistory(t *testing.T) {
	url := pgtest.URL(t)
	o := testOptions(url)
	o.KeepBatches = 5
	e := newEngineWith(t, o, oneOut...)
	for n := int64(1); n <= 100; n++ {
		e.run(batchOf(t, n, oneOut, nil))
	}
	if got := pgtest.Rows(t, url, "SELECT count(*), max(batch), (SELECT sum(rows_in) FROM sluice.throughput) FROM sluice.batches"); got[0] != "5|100|35" {
		t.Error(got)
	}
	if got := pgtest.Rows(t, url, "SELECT count(*) FROM sluice.lag"); got[0] != "1" {
		t.Error(got)
	}
}

// TestLitter lets old rows pile up in the staging table, past the point where they are swept, while a
// reader holds a lock against TRUNCATE.
func TestLitter(t *testing.T) {
	url := pgtest.URL(t)
	e := newEngine(t, url, oneOut...)
	var rows []row
	for i := range 900 {
		rows = append(rows, r(1, i, "x"))
	}
	for n := int64(1); n <= 12; n++ {
		e.run(batchOf(t, n, oneOut, rows))
	}
	if got := pgtest.Rows(t, url, "SELECT count(*) FROM events"); got[0] != "10800" {
		t.Error(got)
	}
	if e.sink.targets[0].litter > 4000 {
		t.Errorf("%d old rows", e.sink.targets[0].litter)
	}
}

package main

import (
	"context"
	"log/slog"
	"math/rand"
	"path"
	"path/filepath"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/queries"
	filesink "github.com/sluice-sql/sluice/sinks/file"
)

// TestQueries runs every shipped pipeline over its own input: straight if it is small, cut into batches of random sizes,
// and broken at random failpoints and started again. Every view is compared with one-shot DuckDB after
// every batch, and at the end the whole log is executed again.
func TestQueries(t *testing.T) {
	files := queries.Names()
	if len(files) < 40 {
		t.Fatalf("%d queries", len(files))
	}
	for i, name := range files {
		t.Run(name, func(t *testing.T) {
			l, url := loadQuery(t, name), ""
			if tables, ok := queries.Tables(name); ok {
				url = pgtest.URL(t)
				pgtest.Exec(t, url, tables)
			}
			rows := int64(1_200)
			if name == "demo_flights.sql" {
				rows = 150_000
			}
			for _, mode := range []struct {
				name string
				o    oracletest.Options
			}{
				{"straight", oracletest.Options{}},
				{"cut", oracletest.Options{MaxBatchRows: rows, Replay: true}},
				{"killed", oracletest.Options{MaxBatchRows: rows, Fail: true}},
			} {
				if rows > 100_000 && mode.name == "straight" {
					continue // the other two have it in them, and each comparison takes seconds
				}
				t.Run(mode.name, func(t *testing.T) { driveQuery(t, l, url, int64(i), mode.o) })
			}
		})
	}
}

func loadQuery(t *testing.T, name string) *loaded {
	t.Helper()
	text, err := queries.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs(filepath.Join("../../queries", path.Dir(name)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := testApp(t).load(context.Background(), spec{Name: nameOf(name), File: path.Base(name), Text: text, BaseDir: dir, UntilEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func driveQuery(t *testing.T, l *loaded, url string, seed int64, o oracletest.Options) {
	t.Helper()
	t.Logf("seed %d", seed)
	o.Rand = rand.New(rand.NewSource(seed))
	open := func() map[string]microbatch.Source {
		s, err := l.openSources(context.Background(), purpose{kind: toAnswer, dir: pipelineDir(t.TempDir()), url: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = closeSources(s) })
		return s
	}
	sink := oracletest.NewSink(t, l.plan, open())
	bound := microbatch.BoundSink{Sink: sink}
	for _, out := range l.plan.Program.Outputs {
		bound.Targets = append(bound.Targets, microbatch.Target{Output: out})
	}
	sinks := []microbatch.BoundSink{bound}
	files := moved(l, t.TempDir())
	for _, b := range files {
		s, err := filesink.New(b.files)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		sinks = append(sinks, microbatch.BoundSink{Sink: s, Name: b.Name, Targets: []microbatch.Target{{Output: b.output}}})
	}
	oracletest.Run(t, microbatch.Config{
		Name: l.Name, Plan: l.plan, Sources: open(), Sinks: sinks, LogDir: filepath.Join(t.TempDir(), "log"),
		MaxBatchRows: l.settings.Int(ddl.MaxBatchRows), SnapshotLogBytes: 200_000, DuckDBVersion: duck.Version(),
		Logger: slog.New(slog.DiscardHandler),
	}, sink, o)
	for _, b := range files {
		compareFiles(t, l, b, sink)
	}
	t.Logf("%d batches compared", sink.Commits)
	if sink.Commits == 0 {
		t.Error("nothing was compared")
	}
}

// moved are the file sinks of a pipeline, writing below another directory.
func moved(l *loaded, dir string) []sinkBinding {
	out := l.fileSinks()
	for i := range out {
		out[i].files.Dir = filepath.Join(dir, out[i].Name)
	}
	return out
}

// compareFiles reads a file sink's directory back, as verify does, and compares it with the one-shot answer.
func compareFiles(t *testing.T, l *loaded, b sinkBinding, with *oracletest.Sink) {
	t.Helper()
	s, err := filesink.New(b.files)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := s.Read(t.Context(), l.Name)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := fileRows(t.Context(), b, shown.Batches, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := with.Compare(t.Context(), b.output.Name, rows)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Equal() {
		t.Errorf("the files of sink %s: %d rows missing, %d extra of %d: %v", b.Name, d.Missing, d.Extra, d.Rows, d.Examples)
	}
	t.Logf("%d rows in %d directories of sink %s", d.Rows, len(shown.Batches), b.Name)
}

// testApp is a command line without an environment that says nothing.
func testApp(t *testing.T) *app {
	t.Helper()
	streams, _, _ := term.Buffers()
	return &app{streams: streams, env: func(string) (string, bool) { return "", false }, log: slog.New(slog.DiscardHandler)}
}

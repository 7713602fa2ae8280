package oracle_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// plan parses and plans a pipeline file.
func plan(t testing.TB, name, text string) *planner.Pipeline {
	t.Helper()
	file, err := ddl.Parse(name, []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	db, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := planner.Plan(context.Background(), file, conn)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rowsSource replays rows held in memory, cut by a random number of rows a Poll.
type rowsSource struct {
	rows *vector.Chunk // all rows, with _seq
	cut  func() int64
}

func (s *rowsSource) at(offsets json.RawMessage) int {
	n := 0
	if offsets != nil {
		if err := json.Unmarshal(offsets, &n); err != nil {
			panic(err)
		}
	}
	return n
}

func (s *rowsSource) Poll(ctx context.Context, from json.RawMessage, max microbatch.Limits) (*microbatch.Rows, error) {
	start := s.at(from)
	end := min(start+int(s.cut()), s.rows.N)
	// A source never cuts a record in two: all its rows are late, or none.
	seq := &s.rows.Cols[len(s.rows.Cols)-1]
	for end > start && end < s.rows.N && seq.I64(end) == seq.I64(end-1) {
		end++
	}
	return s.read(start, end), nil
}

func (s *rowsSource) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	return s.read(s.at(from), s.at(to)), nil
}

func (s *rowsSource) read(start, end int) *microbatch.Rows {
	r := &microbatch.Rows{To: json.RawMessage(fmt.Sprint(end)), Count: int64(end - start), More: end < s.rows.N, Done: end == s.rows.N}
	for at := start; at < end; at += vector.Size {
		keep := make([]bool, s.rows.N)
		for i := at; i < min(end, at+vector.Size); i++ {
			keep[i] = true
		}
		r.Chunks = append(r.Chunks, vector.Filter(s.rows, keep))
	}
	return r
}

func (s *rowsSource) Ack(context.Context, json.RawMessage) error { return nil }
func (s *rowsSource) Close() error                               { return nil }

// newSink compares the views over these sources with one-shot DuckDB at every commit.
func newSink(t testing.TB, p *planner.Pipeline, sources map[string]*rowsSource) *oracletest.Sink {
	t.Helper()
	return oracletest.NewSink(t, p, asSources(sources))
}

func asSources(sources map[string]*rowsSource) map[string]microbatch.Source {
	out := map[string]microbatch.Source{}
	for name, s := range sources {
		out[name] = s
	}
	return out
}

// config is what the harness runs: small snapshots, so that there are several.
func config(t testing.TB, p *planner.Pipeline, sources map[string]*rowsSource, sink *oracletest.Sink) microbatch.Config {
	bound := microbatch.BoundSink{Sink: sink}
	for _, o := range p.Program.Outputs {
		bound.Targets = append(bound.Targets, microbatch.Target{Output: o})
	}
	return microbatch.Config{Name: "test", Plan: p, Sources: asSources(sources), LogDir: t.TempDir(), DuckDBVersion: duck.Version(),
		SnapshotLogBytes: 20_000, Logger: slog.New(slog.DiscardHandler), Sinks: []microbatch.BoundSink{bound}}
}

// generate makes rows with a query over i; the last column becomes _seq.
func generate(t testing.TB, query string) *vector.Chunk {
	t.Helper()
	db, err := duck.Open(duck.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chunks, _, err := conn.Collect(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	if len(chunks) != 1 {
		t.Fatalf("generate up to %d rows in one chunk, got %d chunks", vector.Size, len(chunks))
	}
	return chunks[0]
}

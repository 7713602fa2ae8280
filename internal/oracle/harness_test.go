package oracle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"testing"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/oracle"
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

// checkingSink keeps the outputs as a sink would, with a ledger and a staging area that survive the
// engine, and compares every view with one-shot DuckDB at every commit.
type checkingSink struct {
	t       testing.TB
	plan    *planner.Pipeline
	sources map[string]*rowsSource
	tables  map[string]*oracle.Accumulator
	ledger  microbatch.Ledger
	staged  *microbatch.StagedBatch
	late    map[string]map[int64]bool // by source, offsets of late rows
	batches int
	one     *oracle.OneShot
	loaded  map[string]int // rows of each source that one has seen
}

func newCheckingSink(t testing.TB, p *planner.Pipeline, sources map[string]*rowsSource) *checkingSink {
	s := &checkingSink{t: t, plan: p, sources: sources, tables: map[string]*oracle.Accumulator{}, late: map[string]map[int64]bool{}}
	for _, o := range p.Program.Outputs {
		s.tables[o.Name] = oracle.NewAccumulator(o)
	}
	one, err := oracle.New(context.Background(), p, duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close() })
	s.one, s.loaded = one, map[string]int{}
	return s
}

func (s *checkingSink) Open(context.Context, string, []microbatch.Target) (microbatch.Ledger, error) {
	s.ledger.Epoch++
	return s.ledger, nil
}

func (s *checkingSink) Stage(_ context.Context, b *microbatch.StagedBatch) error {
	s.staged = b
	return nil
}

func (s *checkingSink) HasStaged(_ context.Context, batch int64, outputs []checkpointlog.OutputDigest) (bool, error) {
	return s.staged != nil && s.staged.Batch == batch, nil
}

func (s *checkingSink) Close() error { return nil }

func (s *checkingSink) Commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	if s.ledger.Found && s.ledger.Batch == permit.Batch() {
		return nil
	}
	if s.staged == nil || s.staged.Batch != permit.Batch() {
		return errors.New("commit of a batch that is not staged")
	}
	for _, o := range s.staged.Outputs {
		if err := s.tables[o.Name].Apply(o.Chunks); err != nil {
			return err
		}
	}
	for _, d := range s.staged.DeadLetters {
		if s.late[d.Source] == nil {
			s.late[d.Source] = map[int64]bool{}
		}
		s.late[d.Source][d.Offset] = true
	}
	s.staged = nil
	s.ledger = microbatch.Ledger{Found: true, Epoch: s.ledger.Epoch, Batch: permit.Batch(), Offsets: c.Offsets, Plan: c.Plan, ContentHash: c.ContentHash}
	s.batches++
	return s.compare(ctx)
}

// compare answers every view in one shot over the ledger's prefix less the late rows.
func (s *checkingSink) compare(ctx context.Context) error {
	offsets := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.ledger.Offsets, &offsets); err != nil {
		return err
	}
	for name, src := range s.sources {
		n := src.at(offsets[name])
		keep := make([]bool, src.rows.N)
		for i := s.loaded[name]; i < n; i++ {
			keep[i] = !s.late[name][int64(i)]
		}
		s.loaded[name] = n
		if err := s.one.Load(ctx, name, pieces(vector.Filter(src.rows, keep))); err != nil {
			return err
		}
	}
	for _, v := range s.plan.Views {
		d, err := s.one.Compare(ctx, v.Name, s.tables[v.Name].Rows())
		if err != nil {
			return err
		}
		if !d.Equal() {
			return fmt.Errorf("view %s differs after batch %d: %d rows missing, %d extra of %d: %v", v.Name, s.ledger.Batch, d.Missing, d.Extra, d.Rows, d.Examples)
		}
	}
	return nil
}

// pieces cuts a chunk of any size into chunks that DuckDB takes.
func pieces(c *vector.Chunk) []*vector.Chunk {
	var out []*vector.Chunk
	for at := 0; at < c.N; at += vector.Size {
		keep := make([]bool, c.N)
		for i := at; i < min(c.N, at+vector.Size); i++ {
			keep[i] = true
		}
		out = append(out, vector.Filter(c, keep))
	}
	return out
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

// run drives a pipeline to the end of its input, starting it again after every injected failure.
func run(t testing.TB, p *planner.Pipeline, sources map[string]*rowsSource, sink *checkingSink, rng *rand.Rand, failures func() string) {
	t.Helper()
	dir := t.TempDir()
	for round := 0; ; round++ {
		cfg := microbatch.Config{Name: "test", Plan: p, Sources: map[string]microbatch.Source{}, LogDir: dir, UntilEnd: true,
			DuckDBVersion: duck.Version(), SnapshotLogBytes: 20_000,
			Sinks: []microbatch.BoundSink{{Sink: sink}}}
		for name, s := range sources {
			cfg.Sources[name] = s
		}
		for _, o := range p.Program.Outputs {
			cfg.Sinks[0].Targets = append(cfg.Sinks[0].Targets, microbatch.Target{Output: o})
		}
		armed := failures()
		disarm, err := failpoint.Arm(armed)
		if err != nil {
			t.Fatal(err)
		}
		err = once(cfg)
		disarm()
		if err == nil {
			replay(t, cfg)
			return
		}
		if !errors.Is(err, failpoint.ErrInjected) {
			t.Fatalf("round %d, failpoint %q: %v", round, armed, err)
		}
		if round > 200 {
			t.Fatal("the pipeline does not come to an end")
		}
		if sink.staged != nil && rng.Intn(3) == 0 {
			sink.staged = nil // the server lost its unlogged tables
		}
	}
}

func once(cfg microbatch.Config) error {
	ctx := context.Background()
	p, err := microbatch.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Run(ctx)
}

// replay executes every logged batch again and wants the digests of the log.
func replay(t testing.TB, cfg microbatch.Config) {
	t.Helper()
	report, err := microbatch.Replay(context.Background(), cfg, microbatch.ReplayOptions{OnBatch: func(b microbatch.ReplayBatch) {
		if !b.Match {
			t.Errorf("replay of batch %d: %q", b.Batch, b.Problems)
		}
	}})
	if err != nil {
		t.Fatalf("replay: %v", err)
	}
	if report.Failed > 0 {
		t.Errorf("replay: %d of %d batches differ", report.Failed, report.Batches)
	}
}

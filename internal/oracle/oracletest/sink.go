// Package oracletest drives a pipeline in process, breaks it on demand, and compares every view with
// one-shot DuckDB at every commit.
package oracletest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// Sink keeps outputs as a sink would, with a ledger and a staging area that outlive the engine. Its Commit
// reads the newly committed rows from the sources again, adds them to a one-shot DuckDB, and compares.
type Sink struct {
	// Commits counts the batches that were compared.
	Commits int
	// AfterCommit, if set, may refuse what the tables then hold.
	AfterCommit func() error

	plan    *planner.Pipeline
	sources map[string]microbatch.Source
	one     *oracle.OneShot
	tables  map[string]*oracle.Accumulator
	ledger  microbatch.Ledger
	staged  *microbatch.StagedBatch
	late    map[lateRow]bool
	offsets map[string]json.RawMessage // what one has loaded
}

type lateRow struct {
	source string
	offset int64 // within the partition of the same number
	part   string
}

var _ microbatch.Sink = (*Sink)(nil)

// NewSink returns a sink for a pipeline. The sources must be others than the engine's.
func NewSink(t testing.TB, p *planner.Pipeline, sources map[string]microbatch.Source) *Sink {
	t.Helper()
	s := &Sink{plan: p, sources: sources, tables: map[string]*oracle.Accumulator{}, late: map[lateRow]bool{}, offsets: map[string]json.RawMessage{}}
	for _, o := range p.Program.Outputs {
		s.tables[o.Name] = oracle.NewAccumulator(o)
	}
	one, err := oracle.New(context.Background(), p, duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.one = one
	t.Cleanup(s.Release)
	return s
}

// Release frees the one-shot instance before the test ends; the sink cannot be used any more.
func (s *Sink) Release() {
	if s.one != nil {
		_ = s.one.Close()
		s.one = nil
	}
}

// Open implements microbatch.Sink.
func (s *Sink) Open(context.Context, string, []microbatch.Target) (microbatch.Ledger, error) {
	s.ledger.Epoch++
	return s.ledger, nil
}

// Stage implements microbatch.Sink.
func (s *Sink) Stage(_ context.Context, b *microbatch.StagedBatch) error {
	s.staged = b
	return nil
}

// LoseStaged forgets the staged rows, as a server crash empties unlogged tables.
func (s *Sink) LoseStaged() { s.staged = nil }

// HasStaged implements microbatch.Sink.
func (s *Sink) HasStaged(_ context.Context, batch int64, _ []checkpointlog.OutputDigest) (bool, error) {
	return s.staged != nil && s.staged.Batch == batch, nil
}

// Close implements microbatch.Sink.
func (s *Sink) Close() error { return nil }

// Commit implements microbatch.Sink.
func (s *Sink) Commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
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
		s.late[lateRow{d.Source, d.Offset, d.Partition}] = true
	}
	s.staged = nil
	s.ledger = microbatch.Ledger{Found: true, Epoch: s.ledger.Epoch, Batch: permit.Batch(), Offsets: c.Offsets, Watermarks: c.Watermarks, Plan: c.Plan, ContentHash: c.ContentHash}
	s.Commits++
	if err := s.compare(ctx, c.PlannedAt); err != nil || s.AfterCommit == nil {
		return err
	}
	return s.AfterCommit()
}

// Compare matches rows of a view that another sink shows with the one-shot answer at the last commit.
func (s *Sink) Compare(ctx context.Context, view string, rows []*vector.Chunk) (*oracle.Difference, error) {
	return s.one.Compare(ctx, view, rows)
}

// compare answers every view in one shot over the ledger's prefix less the late rows.
func (s *Sink) compare(ctx context.Context, at time.Time) error {
	ends := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.ledger.Offsets, &ends); err != nil {
		return err
	}
	for name, src := range s.sources {
		if err := s.load(ctx, name, src, ends[name], at); err != nil {
			return err
		}
	}
	s.one.SetWatermarks(s.ledger.Watermarks)
	for _, v := range s.plan.Views {
		if v.Loses != "" {
			continue // state_ttl: no query answers it
		}
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

// load adds a source's rows from where the one-shot instance stands up to end.
func (s *Sink) load(ctx context.Context, name string, src microbatch.Source, end json.RawMessage, at time.Time) error {
	if end == nil {
		return nil
	}
	rows, err := src.Read(ctx, s.offsets[name], end)
	if err != nil {
		return err
	}
	s.offsets[name] = end
	var accepted []*vector.Chunk
	for _, c := range rows.Chunks {
		keep := make([]bool, c.N)
		for i := range keep {
			keep[i] = !s.late[s.identity(name, src, c.Cols[len(c.Cols)-1].I64(i))]
		}
		accepted = append(accepted, vector.Filter(c, keep))
	}
	return s.one.Load(ctx, name, microbatch.FillBatchTime(s.one.Input(name), accepted, at))
}

func (s *Sink) identity(name string, src microbatch.Source, seq int64) lateRow {
	part := int(seq >> microbatch.SeqPartitionShift)
	text := fmt.Sprint(part)
	if n, ok := src.(microbatch.PartitionNamer); ok {
		text = n.PartitionName(part)
	}
	return lateRow{name, seq & (1<<microbatch.SeqPartitionShift - 1), text}
}

// Table holds a view's rows.
func (s *Sink) Table(view string) []*vector.Chunk { return s.tables[view].Rows() }

// Rows is how many rows a view's table has.
func (s *Sink) Rows(view string) (n int) {
	for _, c := range s.tables[view].Rows() {
		n += c.N
	}
	return n
}

// Late is how many rows were refused for being late.
func (s *Sink) Late() int { return len(s.late) }

// OneShot is the instance that the views are compared with.
func (s *Sink) OneShot() *oracle.OneShot { return s.one }

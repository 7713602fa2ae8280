package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/change"
)

var (
	fpPlanned  = failpoint.New("batch.after_plan")
	fpExecuted = failpoint.New("batch.execute.after_run")
	fpStaged   = failpoint.New("batch.after_stage")
	fpPrepared = failpoint.New("batch.after_prepare")
	fpBetween  = failpoint.New("batch.commit.between_sinks")
	fpCommited = failpoint.New("batch.after_commit")
	fpDone     = failpoint.New("batch.after_done")

	fpBeforeRelabel = failpoint.New("change.relabel.before")
	fpAfterRelabel  = failpoint.New("change.relabel.after")
)

// Config says what a pipeline runs and where.
type Config struct {
	Name string
	Plan *planner.Pipeline
	// Version fingerprints the plan, so that a changed file can go on from the log of the one before. Defaults to
	// none: only an equal plan goes on.
	Version *change.Version
	Sources map[string]Source // by declared name
	Sinks   []BoundSink
	// LogDir holds the checkpoint log.
	LogDir string
	// Mirrors copy the log elsewhere. Defaults to none.
	Mirrors []Mirror

	// TriggerInterval is the time from the start of one batch to the start of the next while the sources
	// have less than a full batch. Defaults to 1 s.
	TriggerInterval time.Duration
	// MaxBatchRows and MaxBatchBytes bound a batch over all sources; reaching one starts the batch at
	// once. Default to 100,000 rows and 64 MiB.
	MaxBatchRows, MaxBatchBytes int64
	// MemoryLimit bounds DuckDB. Defaults to 2 GiB.
	MemoryLimit string
	TempDir     string
	// SnapshotLogBytes is how much log may gather before a snapshot is taken. Defaults to 64 MiB.
	SnapshotLogBytes int64
	// SnapshotInterval is the time after which a snapshot is taken if a batch has happened since the last one.
	// Defaults to 1 minute.
	SnapshotInterval time.Duration
	// KeepSnapshots is how many full snapshots retention keeps, with the deltas on them. Defaults to 2.
	KeepSnapshots int
	// KeepSnapshotsFor is an age up to which more are kept. Defaults to none.
	KeepSnapshotsFor time.Duration
	// MaxDeltaShare is the log's option of that name: how much delta snapshots may add to a full one. Defaults to
	// the log's own default.
	MaxDeltaShare float64
	// LogSegmentBytes is the size of a log segment. Defaults to the log's own default.
	LogSegmentBytes int64
	// UntilEnd ends Run when every source is bounded and read to its end.
	UntilEnd bool

	// Logger gets what an operator should see. Defaults to slog.Default.
	Logger *slog.Logger
	// SinksRestored says that the sinks were made to hold what the log answers for, wherever its version wrote:
	// a savepoint was put back.
	SinksRestored bool
	// DuckDBVersion labels the log.
	DuckDBVersion string
}

func (c *Config) setDefaults() {
	if c.TriggerInterval == 0 {
		c.TriggerInterval = time.Second
	}
	if c.MaxBatchRows == 0 {
		c.MaxBatchRows = 100_000
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 64 << 20
	}
	if c.MemoryLimit == "" {
		c.MemoryLimit = "2GiB"
	}
	if c.SnapshotLogBytes == 0 {
		c.SnapshotLogBytes = 64 << 20
	}
	if c.SnapshotInterval == 0 {
		c.SnapshotInterval = time.Minute
	}
	if c.KeepSnapshots == 0 {
		c.KeepSnapshots = 2
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// BoundSink is a sink with the outputs that go to it.
type BoundSink struct {
	Sink Sink
	// Name tells the sink in messages about recovery. It may be empty when there is one durable sink.
	Name    string
	Targets []Target
	// Ephemeral sinks (standard output) have no ledger that outlives the process; recovery does not ask
	// them.
	Ephemeral bool

	// ledger is what Open returned.
	ledger Ledger
}

// staged picks the sink's outputs out of a batch.
func (s *BoundSink) staged(b *batch) *StagedBatch {
	out := &StagedBatch{Batch: b.number, DeadLetters: b.deadLetters}
	for _, t := range s.Targets {
		for i := range b.outputs {
			if b.outputs[i].Name == t.Output.Name {
				out.Outputs = append(out.Outputs, b.outputs[i])
			}
		}
	}
	return out
}

// Pipeline runs one plan, one batch at a time. One goroutine, Run's, owns the state; while it plans and
// executes a batch, the one before may be in steps 3 to 6 on another.
type Pipeline struct {
	cfg     Config
	program *planner.Program
	// logPlan is what Resolve is told: adopted.plan.
	logPlan string
	log     *checkpointlog.Log
	exec    *Executor
	inputs  []*input
	sinks   []BoundSink
	epoch   int64
	// last is the number of the newest executed batch, lastAt its time.
	last     int64
	lastAt   time.Time
	snapshot snapshotter
	finish   finisher
	ahead    readAhead
	progress progress

	stopOnce sync.Once
	stop     chan struct{}
}

// finisher runs steps 3 to 6 of one batch at a time beside the owner's goroutine.
//
// Invariant: never deeper than one. Batch N+1's Prepared follows N's Committed because start waits.
type finisher struct {
	running chan error // nil when idle
}

// wait returns when the batch in flight, if any, is done.
func (f *finisher) wait() error {
	if f.running == nil {
		return nil
	}
	err := <-f.running
	f.running = nil
	return err
}

func (f *finisher) start(fn func() error) {
	if f.running != nil {
		panic("microbatch: a batch was finished while another was in flight")
	}
	done := make(chan error, 1)
	f.running = done
	go func() {
		// Why recover: one pipeline's defect must not end a daemon that runs others.
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("finish a batch: panic: %v\n%s", r, debug.Stack())
			}
		}()
		done <- fn()
	}()
}

// Stop makes Run finish the batch at hand and return. It may be called from any goroutine, repeatedly.
func (p *Pipeline) Stop() { p.stopOnce.Do(func() { close(p.stop) }) }

// Close releases the log, DuckDB and the state; the sources and sinks are the caller's.
func (p *Pipeline) Close() error {
	var errs []error
	errs = append(errs, p.closeMirrors())
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	if p.exec != nil {
		errs = append(errs, p.exec.Close())
	}
	return errors.Join(errs...)
}

// offsets is the ledger's {"source": offsets…}.
func (p *Pipeline) offsets() json.RawMessage {
	m := map[string]json.RawMessage{}
	for _, in := range p.inputs {
		if in.offsets != nil {
			m[in.decl.Name] = in.offsets
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("microbatch: source offsets are not JSON: %v", err))
	}
	return b
}

func (p *Pipeline) watermarks() map[string]int64 {
	m := map[string]int64{}
	for _, in := range p.inputs {
		if in.hasWatermark {
			m[in.decl.Name] = in.watermark
		}
	}
	return m
}

// leastWatermark is the pipeline's watermark for people: zero until every source with one has it.
func (p *Pipeline) leastWatermark() time.Time {
	var least time.Time
	for _, in := range p.inputs {
		if in.decl.EventTime < 0 {
			continue
		}
		if !in.hasWatermark {
			return time.Time{}
		}
		if at := in.instant(); least.IsZero() || at.Before(least) {
			least = at
		}
	}
	return least
}

// wait sleeps until d has passed, and reports false when the pipeline should end instead.
func (p *Pipeline) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.stop:
		return false
	case <-ctx.Done():
		return false
	}
}

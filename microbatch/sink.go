package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// A Sink writes all outputs of a pipeline that go to one system, in two phases.
//
// Order of calls: Open once; then per batch Stage, (the log's Prepared is made durable), Commit. Calls
// come from one goroutine at a time. Stage may be repeated with the same batch and then replaces what
// the earlier attempt left; Commit of a batch that is already committed is a success.
type Sink interface {
	// Open creates or checks the targets, raises the fencing epoch by one and returns what the ledger
	// says. After Open returns, no engine with an older epoch can commit.
	Open(ctx context.Context, pipeline string, targets []Target) (Ledger, error)
	// Stage is phase 1: the batch's rows become durable in the sink but not visible. It fails with
	// ErrFenced when a newer epoch exists. A sink that can make nothing durable without showing it keeps the
	// rows in memory, and is not asked to look for a newer epoch before Commit.
	Stage(ctx context.Context, b *StagedBatch) error
	// HasStaged reports whether the staging area holds exactly that batch with these digests.
	HasStaged(ctx context.Context, batch int64, outputs []checkpointlog.OutputDigest) (bool, error)
	// Commit is phase 2: it applies the staged rows to the targets and advances the ledger, in one
	// transaction. It fails with ErrFenced when a newer epoch exists. When the outcome is unknown (the
	// connection broke during COMMIT) it finds out from the ledger before it returns.
	Commit(ctx context.Context, permit checkpointlog.CommitPermit, c CommitInfo) error
	// Close lets go of what the sink holds and changes nothing that is visible. A second Close does nothing; any other
	// call after it fails with ErrSinkClosed.
	Close() error
}

// A Fencer is a sink that can fence the engines before this one, and end what they left open, before it is opened. A
// pipeline has all of its sinks do so before it opens the first: what an engine that died in one sink's commit left open
// may be in another's way. Open fences all the same.
type Fencer interface {
	Fence(ctx context.Context, pipeline string) error
}

// ErrSinkClosed marks (errors.Is) a call of a sink that was closed.
var ErrSinkClosed = errors.New("the sink is closed")

// ErrFenced marks (errors.Is) a commit or stage refused because a newer engine owns the pipeline.
var ErrFenced = errors.New("fenced by a newer engine")

// Target binds an output to a table (or a file, or a stream) of the sink.
type Target struct {
	Output  planner.Output
	Options map[string]string // of CREATE SINK, e.g. table, schema
}

// Ledger is the sink's own record of a pipeline.
type Ledger struct {
	// Found is false for a pipeline the sink has never seen; the other fields but Epoch are then zero.
	Found bool
	// Epoch is the one this engine now holds.
	Epoch   int64
	Batch   int64
	Offsets json.RawMessage
	// Watermarks are CommitInfo's.
	Watermarks  map[string]int64
	Plan        string
	ContentHash string
}

// StagedBatch is a batch's output on its way to phase 1.
type StagedBatch struct {
	Batch   int64
	Outputs []OutputDelta
	// DeadLetters go to the sink's dead-letter table in the same transaction as the outputs.
	DeadLetters []DeadLetter
}

// OutputDelta is the netted change of one output: the output's columns, then _w BIGINT, as
// planner.ChangeMode describes. Chunks are owned.
type OutputDelta struct {
	Name   string
	Chunks []*vector.Chunk
	Rows   int64
	Digest checkpointlog.OutputDigest
}

// DeadLetter is a row that was not processed, with the reason.
type DeadLetter struct {
	Source    string
	Partition string
	Offset    int64
	Reason    string // "late: …" or a decoding error
	Raw       string // the row as text; invalid UTF-8 and NUL bytes already escaped
}

// CommitInfo is what the ledger and the batch history record at phase 2.
type CommitInfo struct {
	// Offsets is {"source": offsets…}, the prefix that the tables now answer for.
	Offsets json.RawMessage
	// Watermark is the least of the sources' watermarks after the batch; zero if none.
	Watermark time.Time
	// Watermarks are the sources' after the batch, in each event-time column's own unit: what is shown on
	// window close depends on them.
	Watermarks map[string]int64
	// KeepBatchTime asks the sink to keep, as long as the pipeline, when the batch was planned and how far it
	// read: the pipeline has columns with that time.
	KeepBatchTime bool
	Plan          string
	ContentHash   string
	RowsIn        int64
	RowsLate      int64
	RowsBad       int64
	RowsOut       int64
	PlannedAt     time.Time
	ReadFor       time.Duration
	ExecuteFor    time.Duration
	StageFor      time.Duration
	PrepareFor    time.Duration
}

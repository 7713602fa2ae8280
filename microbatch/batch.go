package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// batch is one step of the pipeline on its way through the protocol.
type batch struct {
	number  int64
	planned checkpointlog.Planned
	rows    map[string]*Rows // by source
	more    bool             // a source had to stop at a limit
	// settling says that an earlier engine prepared this batch; ephemeral sinks have shown it already.
	settling bool

	outputs     []OutputDelta
	deadLetters []DeadLetter
	prepared    checkpointlog.Prepared
	permit      checkpointlog.CommitPermit

	started                                              time.Time
	readFor, executeFor, stageFor, prepareFor, commitFor time.Duration
	watermark                                            time.Time
	stateRows, stateBytes, rowsWaiting                   int64
	offsets                                              json.RawMessage // of all sources, after the batch
}

// execute is step 2: drop late rows, run the program, advance the watermarks, evict, and encode what the
// log and the sinks need. State is committed in memory: from here on only a restart takes the batch back.
func (p *Pipeline) execute(ctx context.Context, b *batch) error {
	start := time.Now()
	in := map[string][]*vector.Chunk{}
	var late int64
	for _, src := range p.inputs {
		rows := b.rows[src.decl.Name]
		kept, lateRows := src.dropLate(FillBatchTime(&src.decl, rows.Chunks, b.planned.At))
		in[src.decl.Name] = kept
		late += int64(len(lateRows))
		b.deadLetters = append(b.deadLetters, badRows(src.decl.Name, rows.Bad)...)
		b.deadLetters = append(b.deadLetters, lateRows...)
		b.prepared.Counts.RowsIn += rows.Count - int64(len(lateRows))
		b.prepared.Counts.RowsBad += int64(len(rows.Bad))
		b.prepared.Counts.BytesIn += rows.Bytes
	}
	b.prepared.Counts.RowsLate = late
	after, outputs, err := p.run(ctx, b, in)
	if err != nil {
		p.exec.Rollback()
		var missing *MissingRowError
		if errors.As(err, &missing) {
			missing.Partition = p.partitionName(missing.Source, missing.ordinal)
			err = missing // what wraps it was written before the name was known
		}
		return fmt.Errorf("execute batch %d: %w", b.number, err)
	}
	if err := fpExecuted.Hit(); err != nil {
		p.exec.Rollback()
		return fmt.Errorf("execute batch %d: %w", b.number, err)
	}
	for _, src := range p.inputs {
		src.adopt(after)
		src.offsets = b.rows[src.decl.Name].To
	}
	p.adoptPartitions(b.prepared.PartitionWatermarks)
	p.exec.Evict()
	p.lastAt = b.planned.At
	b.outputs = outputs
	p.describe(b)
	p.exec.Commit()
	b.executeFor = time.Since(start)
	return nil
}

// run executes the program over the accepted rows. The watermarks after the batch come first: they depend on
// the rows alone, and steps may use them.
func (p *Pipeline) run(ctx context.Context, b *batch, in map[string][]*vector.Chunk) (after map[string]int64, out []OutputDelta, err error) {
	p.exec.SetInput(in)
	if after, err = p.advance(ctx, b); err != nil {
		return nil, nil, err
	}
	out, err = p.exec.Run(ctx, planner.Times{At: b.planned.At, Before: p.watermarks(), After: after})
	return after, out, err
}

// describe fills in the batch's Prepared record.
func (p *Pipeline) describe(b *batch) {
	r := &b.prepared
	r.Batch, r.Epoch = b.number, p.epoch
	r.Watermarks, r.At = p.watermarks(), b.planned.At
	for _, o := range b.outputs {
		r.Outputs = append(r.Outputs, o.Digest)
		r.Counts.RowsOut += o.Rows
	}
	r.Delta, r.States = p.exec.Delta()
	b.watermark = p.leastWatermark()
	b.offsets = p.offsets()
	b.stateRows, b.stateBytes = p.exec.Size()
	b.rowsWaiting = p.exec.Waiting()
}

func badRows(source string, bad []BadRow) []DeadLetter {
	out := make([]DeadLetter, len(bad))
	for i, r := range bad {
		out[i] = DeadLetter{Source: source, Partition: r.Partition, Offset: r.Offset, Reason: r.Reason, Raw: printable(r.Raw)}
	}
	return out
}

// stage is step 3: the sinks make the batch's rows durable, not visible.
func (p *Pipeline) stage(ctx context.Context, b *batch) error {
	start := time.Now()
	defer func() { b.stageFor = time.Since(start) }()
	for _, s := range p.sinksOf(b) {
		if err := s.Sink.Stage(ctx, s.staged(b)); err != nil {
			return fmt.Errorf("stage batch %d: %w", b.number, err)
		}
	}
	return nil
}

// sinksOf lists the sinks that a batch goes to. When a start settles a batch, that is those that do not have
// it: an engine that died between the commits of two sinks leads there.
func (p *Pipeline) sinksOf(b *batch) []BoundSink {
	var out []BoundSink
	for _, s := range p.sinks {
		if !b.settling || !s.Ephemeral && s.ledger.Batch < b.number {
			out = append(out, s)
		}
	}
	return out
}

// prepare is step 4, the decision point: once it returns, the batch is only ever rolled forward.
func (p *Pipeline) prepare(b *batch) (err error) {
	start := time.Now()
	defer func() { b.prepareFor = time.Since(start) }()
	if b.permit, err = p.log.Prepare(b.prepared); err != nil {
		return fmt.Errorf("prepare batch %d: %w", b.number, err)
	}
	b.prepared.Delta = nil // the log has it
	return nil
}

// commit is step 5: the sinks show the batch, each in one transaction with its ledger.
func (p *Pipeline) commit(ctx context.Context, b *batch) error {
	start := time.Now()
	defer func() { b.commitFor = time.Since(start) }()
	// Why here: whatever way a batch comes to its commit, no ledger must get ahead of a copy that is to keep up.
	if err := p.mirrored(ctx, b.number); err != nil {
		return err
	}
	for i, s := range p.sinksOf(b) {
		if i > 0 {
			if err := fpBetween.Hit(); err != nil {
				return fmt.Errorf("commit batch %d: %w", b.number, err)
			}
		}
		if err := s.Sink.Commit(ctx, b.permit, p.commitInfo(b)); err != nil {
			return fmt.Errorf("commit batch %d: %w", b.number, err)
		}
	}
	return nil
}

// done is step 6: the log says so, and the sources may forget the rows.
func (p *Pipeline) done(ctx context.Context, b *batch) error {
	at := time.Now()
	if err := p.log.Commit(checkpointlog.Committed{Batch: b.number, Epoch: p.epoch, At: at}); err != nil {
		return fmt.Errorf("record the commit of batch %d: %w", b.number, err)
	}
	for _, src := range p.inputs {
		if r, ok := b.rows[src.decl.Name]; ok {
			if err := src.source.Ack(ctx, r.To); err != nil {
				return fmt.Errorf("acknowledge batch %d to source %q: %w", b.number, src.decl.Name, err)
			}
		}
	}
	p.progress.committed(b, at)
	return fpDone.Hit()
}

func (p *Pipeline) commitInfo(b *batch) CommitInfo {
	c := b.prepared.Counts
	return CommitInfo{
		Offsets: b.offsets, Watermark: b.watermark, Watermarks: b.prepared.Watermarks, KeepBatchTime: p.hasBatchTime(), Plan: p.program.Fingerprint, ContentHash: b.permit.ContentHash(),
		RowsIn: c.RowsIn, RowsLate: c.RowsLate, RowsBad: c.RowsBad, RowsOut: c.RowsOut,
		PlannedAt: b.planned.At, ReadFor: b.readFor, ExecuteFor: b.executeFor, StageFor: b.stageFor, PrepareFor: b.prepareFor,
	}
}

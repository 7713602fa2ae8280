package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// ReplayOptions choose the batches to execute again.
type ReplayOptions struct {
	// From and To are the first and last batch. Default to the first that the log can rebuild the state
	// before, and the last prepared one.
	From, To int64
	// OnBatch, if set, is told about every batch.
	OnBatch func(ReplayBatch)
}

// ReplayBatch is the outcome for one batch.
type ReplayBatch struct {
	Batch    int64         `json:"batch"`
	Match    bool          `json:"match"`
	Problems []string      `json:"problems,omitempty"`
	RowsIn   int64         `json:"rows_in"`
	RowsOut  int64         `json:"rows_out"`
	Took     time.Duration `json:"took_ns"`
}

// ReplayReport sums up a replay.
type ReplayReport struct {
	From    int64 `json:"from"`
	To      int64 `json:"to"`
	Batches int64 `json:"batches"`
	Failed  int64 `json:"failed"`
}

// Replay executes logged batches again, from their recorded offsets and the state before them, in
// scratch state, and compares every output and state digest with what the log says. It writes nothing
// and may run beside the engine. cfg needs Name, Plan, Sources and LogDir.
func Replay(ctx context.Context, cfg Config, opt ReplayOptions) (ReplayReport, error) {
	cfg.setDefaults()
	from := opt.From
	rec, err := checkpointlog.History(cfg.LogDir, vfs.OS{}, from)
	if err != nil {
		return ReplayReport{}, fmt.Errorf("open the log for replay: %w", err)
	}
	if from <= 0 {
		from = rec.FirstPlanned
	}
	a, err := cfg.adopt(rec.Header, max(from, 1)) // a log without batches is told below
	if err == nil && a.plan != rec.Header.Plan {
		err = &RefusedError{Detail: "the log was written by another version of the pipeline: plan " + rec.Header.Plan + ", not " + a.plan,
			Hint: "replay with the SQL file that the pipeline ran"}
	}
	if err != nil {
		return ReplayReport{}, err
	}
	if since := a.since(); from <= since {
		if opt.From > 0 {
			return ReplayReport{}, &RefusedError{Detail: fmt.Sprintf("batches up to %d were made by another version of the pipeline", since),
				Hint: fmt.Sprintf("replay --from %d", since+1)}
		}
		from = since + 1
	}
	p := &Pipeline{cfg: cfg, program: a.program}
	if err := p.newExecutor(ctx, a.ignored()); err != nil {
		return ReplayReport{}, err
	}
	report, err := p.replay(ctx, rec, from, opt)
	return report, errors.Join(err, p.exec.Close())
}

// replay rolls the state forward to the first batch by the logged deltas, then executes.
func (p *Pipeline) replay(ctx context.Context, rec *checkpointlog.Recovered, from int64, opt ReplayOptions) (ReplayReport, error) {
	report := ReplayReport{From: from}
	if err := rec.EachSnapshotBlock(p.exec.SnapshotLoader()); err != nil {
		return report, fmt.Errorf("restore the snapshot: %w", err)
	}
	err := rec.EachBatch(func(plan *checkpointlog.Planned, logged *checkpointlog.Prepared) error {
		if opt.To > 0 && logged.Batch > opt.To {
			return checkpointlog.ErrStop
		}
		if logged.Batch < from {
			return p.exec.ApplyDelta(logged.Delta)
		}
		if plan == nil {
			return fmt.Errorf("batch %d has no Planned record", logged.Batch)
		}
		out, err := p.replayBatch(ctx, plan, logged)
		if err != nil {
			return err
		}
		report.Batches++
		report.To = logged.Batch
		if !out.Match {
			report.Failed++
		}
		if opt.OnBatch != nil {
			opt.OnBatch(out)
		}
		return nil
	})
	if err == nil && report.Batches == 0 {
		err = fmt.Errorf("the log has no batch from %d on\nHint: `sluice log ls` lists what there is", from)
	}
	return report, err
}

// replayBatch executes one batch and goes on from its own result if that matches, from the logged one
// if not, so that one difference is reported once.
func (p *Pipeline) replayBatch(ctx context.Context, plan *checkpointlog.Planned, logged *checkpointlog.Prepared) (ReplayBatch, error) {
	start := time.Now()
	ranges := map[string]json.RawMessage{}
	for _, r := range plan.Ranges {
		ranges[r.Source] = r.From
	}
	for _, in := range p.inputs {
		in.offsets = ranges[in.decl.Name]
		in.adopt(plan.Watermarks)
	}
	p.adoptPartitions(plan.PartitionWatermarks)
	b := &batch{number: plan.Batch, planned: *plan}
	out := ReplayBatch{Batch: plan.Batch}
	if err := p.reread(ctx, b); err != nil {
		return out, err
	}
	// Why the logged delta is applied after a mismatch: applying one twice is harmless, it holds whole rows.
	if err := p.execute(ctx, b); err != nil {
		return out, err
	}
	out.Problems = differences(&b.prepared, logged)
	out.Match = len(out.Problems) == 0
	out.RowsIn, out.RowsOut, out.Took = b.prepared.Counts.RowsIn, b.prepared.Counts.RowsOut, time.Since(start)
	if !out.Match {
		return out, p.exec.ApplyDelta(logged.Delta)
	}
	return out, nil
}

// differences names what a replayed batch has otherwise than the log.
func differences(got, want *checkpointlog.Prepared) []string {
	var out []string
	have := map[string]checkpointlog.OutputDigest{}
	for _, o := range got.Outputs {
		have[o.Output] = o
	}
	for _, w := range want.Outputs {
		if g := have[w.Output]; g != w {
			out = append(out, fmt.Sprintf("output %s: %d rows, digest %s; the log says %d rows, digest %s", w.Output, g.Rows, g.Sum, w.Rows, w.Sum))
		}
	}
	states := map[string]checkpointlog.StateDigest{}
	for _, s := range got.States {
		states[s.State] = s
	}
	for _, w := range want.States {
		if g := states[w.State]; g != w {
			out = append(out, fmt.Sprintf("state %s: %d rows changed, digest %s; the log says %d rows, digest %s", w.State, g.Rows, g.Sum, w.Rows, w.Sum))
		}
	}
	if !maps.Equal(got.Watermarks, want.Watermarks) {
		out = append(out, fmt.Sprintf("watermarks %v; the log says %v", got.Watermarks, want.Watermarks))
	}
	if !reflect.DeepEqual(got.PartitionWatermarks, want.PartitionWatermarks) {
		out = append(out, fmt.Sprintf("partition watermarks %v; the log says %v", got.PartitionWatermarks, want.PartitionWatermarks))
	}
	if g, w := got.Counts, want.Counts; g != w {
		out = append(out, fmt.Sprintf("counts %+v; the log says %+v", g, w))
	}
	return out
}

package microbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// Open takes a pipeline over: it locks the log, raises the epoch in the sinks' ledger (no older engine
// can commit after that), rebuilds the state from the newest snapshot and the logged deltas, and settles
// the batch that was in flight when the last engine stopped. Run then goes on with the next.
//
// An error that wraps *RefusedError means that log and ledger do not belong together; nothing was changed
// but the epoch.
func Open(ctx context.Context, cfg Config) (_ *Pipeline, err error) {
	cfg.setDefaults()
	p := &Pipeline{cfg: cfg, program: cfg.Plan.Program, sinks: slices.Clone(cfg.Sinks), stop: make(chan struct{})}
	p.progress.p = Progress{Pipeline: cfg.Name, StartedAt: time.Now(), RemainingBytes: -1, RemainingRows: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	fresh := adopted{program: p.program, version: cfg.Version}
	log, rec, err := checkpointlog.Open(cfg.LogDir, fresh.label(cfg.Name, cfg.DuckDBVersion), checkpointlog.Options{
		KeepSnapshots: cfg.KeepSnapshots, KeepSnapshotsFor: cfg.KeepSnapshotsFor, MaxDeltaShare: cfg.MaxDeltaShare, SegmentBytes: cfg.LogSegmentBytes})
	if err != nil {
		return nil, fmt.Errorf("open the checkpoint log: %w", err)
	}
	p.log = log
	if rec.Torn != nil {
		cfg.Logger.Warn("the log had a torn tail, which was cut off; a copy was kept", "pipeline", cfg.Name, "tail", rec.Torn, "copy", rec.Torn.Copy)
	}
	for _, bad := range rec.BadSnapshots {
		cfg.Logger.Error("a snapshot is damaged and was set aside", "pipeline", cfg.Name, "error", bad)
	}
	if err := p.adopt(ctx, rec); err != nil {
		return nil, err
	}
	if err := p.openSinks(ctx, rec); err != nil {
		return nil, err
	}
	if err := p.recover(ctx, rec); err != nil {
		return nil, err
	}
	return p, nil
}

// adopt makes the program that runs out of the one that was planned: the one whose states the log has.
func (p *Pipeline) adopt(ctx context.Context, rec *checkpointlog.Recovered) error {
	var last, committed int64
	if rec.LastPrepared != nil {
		last = rec.LastPrepared.Batch
	}
	if rec.LastCommitted != nil {
		committed = rec.LastCommitted.Batch
	}
	a, err := p.cfg.adopt(rec.Header, last)
	if err != nil {
		return err
	}
	if a.changed && committed < last {
		return &UnsettledError{Pipeline: p.cfg.Name, Batch: last}
	}
	p.program, p.logPlan = a.program, a.plan
	if err := p.newExecutor(ctx, a.ignored()); err != nil {
		return err
	}
	p.log.Relabel(a.label(p.cfg.Name, p.cfg.DuckDBVersion))
	if !a.changed {
		return nil
	}
	p.cfg.Logger.Info("going on with a changed program", "pipeline", p.cfg.Name, "plan", p.program.Fingerprint, "was", rec.Header.Plan)
	if err := fpBeforeRelabel.Hit(); err != nil {
		return err
	}
	// Why at once and not with the next batch: the sinks are about to forget the views that are gone. From here
	// on only this version is the log's, and another that has them again must rebuild.
	if err := p.log.StartSegment(); err != nil {
		return fmt.Errorf("record the changed program: %w", err)
	}
	return fpAfterRelabel.Hit()
}

// newExecutor prepares the inputs and an executor with empty state.
func (p *Pipeline) newExecutor(ctx context.Context, ignored []string) (err error) {
	for _, s := range p.program.Sources {
		in := &input{decl: s, source: p.cfg.Sources[s.Name]}
		in.watchPartitions()
		p.inputs = append(p.inputs, in)
	}
	p.exec, err = NewExecutor(ctx, p.program, ExecutorOptions{MemoryLimit: p.cfg.MemoryLimit, TempDir: p.cfg.TempDir, Ignored: ignored})
	return err
}

// openSinks opens every sink and keeps what the durable ones' ledgers say.
func (p *Pipeline) openSinks(ctx context.Context, rec *checkpointlog.Recovered) error {
	p.epoch = rec.Facts().Epoch + 1
	if err := p.fence(ctx); err != nil {
		return err
	}
	durable := false
	for i := range p.sinks {
		s := &p.sinks[i]
		ledger, err := s.Sink.Open(ctx, p.cfg.Name, s.Targets)
		if err != nil {
			return fmt.Errorf("open the sink: %w", err)
		}
		s.ledger = ledger
		if s.Ephemeral {
			continue
		}
		// Why the least of the epochs goes into the log: sinks count on their own, and a start that fails at
		// the second has raised only the first. The least rises with every start that gets through, and a
		// ledger that is at or below what the log has is one that went back in time.
		if !durable || ledger.Epoch < p.epoch {
			p.epoch = ledger.Epoch
		}
		durable = true
	}
	p.progress.p.Epoch = p.epoch
	return nil
}

// fence has sinks that can do so fence older engines, if there are others that this may matter to.
func (p *Pipeline) fence(ctx context.Context) error {
	var fencers []Fencer
	for i := range p.sinks {
		if f, ok := p.sinks[i].Sink.(Fencer); ok {
			fencers = append(fencers, f)
		}
	}
	if len(fencers) < 2 {
		return nil // its Open does that first
	}
	for _, f := range fencers {
		if err := f.Fence(ctx, p.cfg.Name); err != nil {
			return fmt.Errorf("open the sink: %w", err)
		}
	}
	return nil
}

// RefusedError says that a start would break the guarantee.
type RefusedError = checkpointlog.RefusedError

// recover settles the last batch and restores the state after it.
func (p *Pipeline) recover(ctx context.Context, rec *checkpointlog.Recovered) error {
	facts, err := p.facts(ctx, rec)
	if err != nil {
		return err
	}
	decision, err := checkpointlog.ResolveSinks(p.logPlan, rec.Facts(), facts)
	if err != nil {
		return err
	}
	if decision.Action != checkpointlog.Refuse {
		p.cfg.Logger.Info("starting", "pipeline", p.cfg.Name, "epoch", p.epoch, "decision", decision.Action.String(), "batch", decision.Batch)
	}
	if decision.Action == checkpointlog.Refuse {
		return decision.Err()
	}
	if err := p.startMirrors(ctx); err != nil {
		return err
	}
	switch decision.Action {
	case checkpointlog.Start:
		return nil
	case checkpointlog.Reexecute:
		return p.reexecute(ctx, rec, decision)
	}
	if err := p.restore(rec, rec.LastPrepared.Batch); err != nil {
		return err
	}
	p.position(rec, rec.LastPrepared.Watermarks, rec.LastPrepared.PartitionWatermarks, true)
	p.last, p.lastAt = rec.LastPrepared.Batch, rec.LastPrepared.At
	b := &batch{number: p.last, settling: true, prepared: *rec.LastPrepared, permit: decision.Permit, watermark: p.leastWatermark(), offsets: p.offsets()}
	if rec.PreparedPlan != nil {
		b.planned = *rec.PreparedPlan
	} else {
		b.planned.At = rec.LastPrepared.At
	}
	b.stateRows, b.stateBytes = p.exec.Size()
	b.rowsWaiting = p.exec.Waiting()
	switch {
	case decision.Action == checkpointlog.RollForward:
		if err := p.commit(ctx, b); err != nil {
			return err
		}
		return p.done(ctx, b)
	case decision.RecordCommit:
		return p.done(ctx, b)
	}
	p.progress.resumed(b)
	return nil
}

// facts gathers what each durable sink says. Without any the log is its own ledger: what is prepared counts
// as committed.
func (p *Pipeline) facts(ctx context.Context, rec *checkpointlog.Recovered) ([]checkpointlog.SinkFacts, error) {
	var out []checkpointlog.SinkFacts
	last := rec.LastPrepared
	for i := range p.sinks {
		s := &p.sinks[i]
		if s.Ephemeral {
			continue
		}
		l := s.ledger
		f := checkpointlog.SinkFacts{Name: s.Name,
			Ledger: checkpointlog.LedgerFacts{Found: l.Found, Epoch: l.Epoch, Batch: l.Batch, Plan: l.Plan, ContentHash: l.ContentHash}}
		if last != nil && l.Batch == last.Batch-1 {
			var err error
			if f.Staged, err = s.Sink.HasStaged(ctx, last.Batch, s.digests(last.Outputs)); err != nil {
				return nil, fmt.Errorf("look for the staged rows of batch %d: %w", last.Batch, err)
			}
		}
		out = append(out, f)
	}
	if len(out) > 0 {
		return out, nil
	}
	self := checkpointlog.LedgerFacts{Epoch: p.epoch}
	if last != nil {
		self = checkpointlog.LedgerFacts{Found: true, Epoch: p.epoch, Batch: last.Batch, ContentHash: checkpointlog.ContentHash(last)}
	}
	return []checkpointlog.SinkFacts{{Ledger: self}}, nil
}

// digests picks those of the sink's outputs.
func (s *BoundSink) digests(all []checkpointlog.OutputDigest) []checkpointlog.OutputDigest {
	var out []checkpointlog.OutputDigest
	for _, d := range all {
		for _, t := range s.Targets {
			if t.Output.Name == d.Output {
				out = append(out, d)
				break
			}
		}
	}
	return out
}

// restore rebuilds the state after a batch: the snapshot, then the deltas up to that batch.
func (p *Pipeline) restore(rec *checkpointlog.Recovered, upTo int64) error {
	if err := rec.EachSnapshotBlock(p.exec.SnapshotLoader()); err != nil {
		return fmt.Errorf("restore the snapshot: %w", err)
	}
	p.snapshot.restored(p, rec)
	return rec.EachPrepared(func(b *checkpointlog.Prepared) error {
		if b.Batch > upTo {
			return checkpointlog.ErrStop
		}
		return p.exec.ApplyDelta(b.Delta)
	})
}

// position sets where the sources stand, before or after the last prepared batch.
func (p *Pipeline) position(rec *checkpointlog.Recovered, watermarks map[string]int64, parts checkpointlog.PartitionWatermarks, after bool) {
	offsets := rec.OffsetsBefore
	if after {
		offsets = rec.Offsets
	}
	for _, in := range p.inputs {
		in.offsets = offsets[in.decl.Name]
		in.adopt(watermarks)
	}
	p.adoptPartitions(parts)
}

// reexecute runs the last prepared batch again from its logged ranges: Prepared is durable, but the
// staged rows are gone, because the sink's server crashed too or someone emptied the staging tables.
func (p *Pipeline) reexecute(ctx context.Context, rec *checkpointlog.Recovered, d checkpointlog.Decision) error {
	if err := p.restore(rec, d.Batch-1); err != nil {
		return err
	}
	p.position(rec, d.Plan.Watermarks, d.Plan.PartitionWatermarks, false)
	p.last = d.Batch
	b := &batch{number: d.Batch, settling: true, planned: *d.Plan, started: time.Now()}
	if err := p.reread(ctx, b); err != nil {
		return err
	}
	if err := p.execute(ctx, b); err != nil {
		return err
	}
	var err error
	if b.permit, err = d.PermitFor(b.prepared.Outputs); err != nil {
		return err
	}
	if err := p.stage(ctx, b); err != nil {
		return err
	}
	if err := p.commit(ctx, b); err != nil {
		return err
	}
	return p.done(ctx, b)
}

// reread fills the batch with exactly the rows of its planned ranges.
func (p *Pipeline) reread(ctx context.Context, b *batch) error {
	b.rows = map[string]*Rows{}
	ranges := map[string]checkpointlog.SourceRange{}
	for _, r := range b.planned.Ranges {
		ranges[r.Source] = r
	}
	for _, in := range p.inputs {
		r, ok := ranges[in.decl.Name]
		if !ok {
			return fmt.Errorf("batch %d was planned without source %q", b.number, in.decl.Name)
		}
		rows, err := in.source.Read(ctx, r.From, r.To)
		if err != nil {
			return fmt.Errorf("read source %q again for batch %d: %w", in.decl.Name, b.number, err)
		}
		b.rows[in.decl.Name] = rows
	}
	return nil
}

// resumed sets the starting point of the progress.
func (p *progress) resumed(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.Batch, p.p.Offsets, p.p.Watermark = b.number, b.offsets, b.watermark
	p.p.StateRows, p.p.StateBytes, p.p.RowsWaiting = b.stateRows, b.stateBytes, b.rowsWaiting
}

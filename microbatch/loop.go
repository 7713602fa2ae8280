package microbatch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// Run is the batch protocol. It reads like the table in docs/ARCHITECTURE.md: plan, execute, and then,
// beside the next batch's plan and execute, stage, prepare, commit, done. It returns nil when Stop was
// called or a bounded input is at its end; any error leaves the log and the ledger such that Open goes on
// from there.
func (p *Pipeline) Run(ctx context.Context) (err error) {
	defer func() {
		if failed := p.snapshot.abandon(p); err == nil {
			err = failed
		}
	}()
	ctx, settle := p.owned(ctx)
	defer func() { err = settle(err) }()
	defer p.ahead.drop()
	for {
		b, err := p.plan(ctx) // 1  choose offset ranges; fix the batch's time and watermark
		if err != nil || b == nil {
			return p.drain(err)
		}
		if err := p.execute(ctx, b); err != nil { // 2  read rows, run the program
			return p.drain(err)
		}
		if err := p.finish.wait(); err != nil { // the batch before must be done first
			return err
		}
		if err := p.snapshot.turn(p); err != nil {
			return p.drain(err)
		}
		p.finish.start(func() error {
			if err := p.stage(ctx, b); err != nil { // 3  phase 1 in the sinks
				return err
			}
			if err := fpStaged.Hit(); err != nil {
				return err
			}
			if err := p.prepare(b); err != nil { // 4  the decision point
				return err
			}
			if err := fpPrepared.Hit(); err != nil {
				return err
			}
			if err := p.commit(ctx, b); err != nil { // 5  phase 2 in the sinks
				return err
			}
			if err := fpCommited.Hit(); err != nil {
				return err
			}
			return p.done(ctx, b) // 6  the sources may acknowledge
		})
		if err := p.snapshot.advance(p); err != nil {
			return p.drain(err)
		}
	}
}

// drain lets the batch in flight finish before the loop ends with err. That batch's own failure is the
// one to report: it came first.
func (p *Pipeline) drain(err error) error {
	if first := p.finish.wait(); first != nil {
		return first
	}
	return err
}

// plan is step 1. It waits for the trigger (the interval, or a full batch) and for rows, and returns nil
// when the pipeline should end.
func (p *Pipeline) plan(ctx context.Context) (*batch, error) {
	for {
		if p.stopping() {
			return nil, ctx.Err()
		}
		if !p.awaitTrigger(ctx) {
			return nil, ctx.Err()
		}
		b, err := p.poll(ctx)
		if err != nil {
			return nil, err
		}
		p.tellStates()
		if b != nil {
			p.progress.triggered(b.started, b.more)
			if err := p.log.Plan(b.planned); err != nil {
				return nil, fmt.Errorf("plan batch %d: %w", b.number, err)
			}
			p.last = b.number
			return b, fpPlanned.Hit()
		}
		if p.cfg.UntilEnd && p.allDone() {
			return nil, nil
		}
		if err := p.idle(); err != nil {
			return nil, err
		}
		if !p.wait(ctx, min(p.cfg.TriggerInterval, time.Second)) {
			return nil, ctx.Err()
		}
	}
}

// idle uses the time without input: the batch in flight is waited for, so that its failure is seen, and
// a snapshot goes on.
func (p *Pipeline) idle() error {
	if err := p.finish.wait(); err != nil {
		return err
	}
	if err := p.snapshot.turn(p); err != nil {
		return err
	}
	return p.snapshot.advance(p)
}

func (p *Pipeline) stopping() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

func (p *Pipeline) allDone() bool {
	for _, in := range p.inputs {
		if !in.done {
			return false
		}
	}
	return true
}

// awaitTrigger returns at once if the last batch was cut short by a limit, or if the input is read to
// its end as fast as possible; otherwise when the interval since the last batch began is over.
func (p *Pipeline) awaitTrigger(ctx context.Context) bool {
	started, more := p.progress.lastTrigger()
	if more || p.cfg.UntilEnd {
		return ctx.Err() == nil
	}
	if d := time.Until(started.Add(p.cfg.TriggerInterval)); d > 0 {
		return p.wait(ctx, d)
	}
	return ctx.Err() == nil
}

// poll makes a batch of what the sources have, up to the batch's limits; nil if there is nothing. While
// the batch is executed, the rows of the next are read ahead if it was a limit that ended this one.
func (p *Pipeline) poll(ctx context.Context) (*batch, error) {
	b, err := p.ahead.take(func() (*batch, error) { return p.read(ctx, p.positions()) })
	if err != nil {
		return nil, err
	}
	got := false
	for _, in := range p.inputs {
		rows := b.rows[in.decl.Name]
		in.done = rows.Done
		got = got || rows.Count > 0 || len(rows.Bad) > 0
		b.planned.Ranges = append(b.planned.Ranges, checkpointlog.SourceRange{Source: in.decl.Name, From: in.offsets, To: rows.To})
	}
	p.progress.polled(b)
	now := time.Now()
	if err := p.noteIdle(b, now); err != nil {
		return nil, err
	}
	// Why run an empty first batch: a view without GROUP BY has a row from the start. Another empty one runs
	// when idle sources stop holding the watermark back, or when a source has found out where it begins.
	if !got && p.last > 0 && !p.begins(b) {
		if raises, err := p.idleRaises(b); err != nil || !raises {
			return nil, err
		}
	}
	b.number, b.started = p.last+1, now
	b.planned.Batch, b.planned.Epoch, b.planned.At, b.planned.Watermarks = b.number, p.epoch, p.batchTime(now), p.watermarks()
	b.planned.PartitionWatermarks = p.partitionWatermarks()
	if b.more {
		next := make([]json.RawMessage, len(p.inputs))
		for i, in := range p.inputs {
			next[i] = b.rows[in.decl.Name].To
		}
		p.ahead.start(func() (*batch, error) { return p.read(ctx, next) })
	}
	return b, nil
}

// begins says that a stream has resolved where it begins, which may depend on when it was asked ("latest"): that must be in
// the log before its first row is anywhere, or another start would begin elsewhere.
func (p *Pipeline) begins(b *batch) bool {
	for _, in := range p.inputs {
		if !in.decl.Table && isBeginning(in.offsets) && !isBeginning(b.rows[in.decl.Name].To) {
			return true
		}
	}
	return false
}

// isBeginning says of offsets that they are none; the log writes that as null.
func isBeginning(offsets json.RawMessage) bool { return len(offsets) == 0 || string(offsets) == "null" }

// batchTime is the time of the next batch: now, in whole microseconds as SQL has them, and never before the
// batch that came before it, whatever the clock does.
func (p *Pipeline) batchTime(now time.Time) time.Time {
	at := now.UTC().Truncate(time.Microsecond)
	if at.Before(p.lastAt) {
		return p.lastAt
	}
	return at
}

func (p *Pipeline) positions() []json.RawMessage {
	out := make([]json.RawMessage, len(p.inputs))
	for i, in := range p.inputs {
		out[i] = in.offsets
	}
	return out
}

// read polls every source once, tables first. The limits are shared out evenly, and what one source leaves
// the next may take.
func (p *Pipeline) read(ctx context.Context, from []json.RawMessage) (*batch, error) {
	start := time.Now()
	b := &batch{rows: map[string]*Rows{}}
	left := Limits{MaxRows: p.cfg.MaxBatchRows, MaxBytes: p.cfg.MaxBatchBytes}
	complete, err := p.readTables(ctx, b, from, &left)
	if err != nil {
		return nil, err
	}
	for i, in := range p.inputs {
		if in.decl.Table {
			continue
		}
		if !complete {
			b.rows[in.decl.Name] = notRead(from[i])
			continue
		}
		n := int64(len(p.inputs) - i)
		if err := p.readInput(ctx, b, in, from[i], &left, n); err != nil {
			return nil, err
		}
	}
	b.readFor = time.Since(start)
	return b, nil
}

// readInput polls one source for its n-th part of what is left of the batch.
func (p *Pipeline) readInput(ctx context.Context, b *batch, in *input, from json.RawMessage, left *Limits, n int64) error {
	rows, err := in.source.Poll(ctx, from, Limits{MaxRows: max(1, left.MaxRows/n), MaxBytes: max(1, left.MaxBytes/n)})
	if err != nil {
		return fmt.Errorf("read source %q: %w", in.decl.Name, err)
	}
	left.MaxRows -= rows.Count + int64(len(rows.Bad))
	left.MaxBytes -= rows.Bytes
	b.more = b.more || rows.More
	b.rows[in.decl.Name] = rows
	return nil
}

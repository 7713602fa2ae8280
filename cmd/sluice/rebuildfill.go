package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// fillTrigger is how soon a backfill that has read all there is looks for more: the version that runs commits on.
const fillTrigger = 50 * time.Millisecond

// A backfill is the new version of a pipeline on its way: an engine of its own, which reads what the old version's
// ledger names.
type backfill struct {
	r       *rebuilder
	sources map[string]*upTo
	engine  *microbatch.Pipeline
	ended   chan error
	cancel  context.CancelFunc
	// target is the ledger that it reads up to, its offsets by source in ends.
	target microbatch.Ledger
	ends   map[string]json.RawMessage
}

func offsetsOf(l microbatch.Ledger) (ends map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(l.Offsets, &ends); err != nil {
		return nil, fmt.Errorf("read the ledger's offsets: %w", err)
	}
	return ends, nil
}

// fill starts the new version from the beginning of its sources.
func (r *rebuilder) fill(ctx context.Context, sink *postgres.Sink) (_ *backfill, err error) {
	b := &backfill{r: r, sources: map[string]*upTo{}, ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	opened, err := r.l.openSources(ctx, purpose{kind: toReadAgain, dir: r.p.dir, url: r.p.url(), log: r.p.log})
	if err != nil {
		return nil, err
	}
	sources := map[string]microbatch.Source{}
	for name, s := range opened {
		static := slices.ContainsFunc(r.l.plan.Program.Sources, func(in planner.SourceInput) bool { return in.Name == name && in.Static })
		b.sources[name] = readUpTo(s, static)
		sources[name] = withPartitions(b.sources[name], s)
	}
	if err := b.begin(logSteps(r.p.dir.logDir())); err != nil {
		return nil, err
	}
	if err := r.dir.make(); err != nil {
		return nil, err
	}
	bound := []microbatch.BoundSink{{Sink: sink, Name: "PostgreSQL", Targets: r.l.targets(toPostgres)}}
	cfg := r.l.config(r.p, sources, bound)
	cfg.LogDir, cfg.TempDir, cfg.UntilEnd, cfg.TriggerInterval = r.dir.logDir(), r.dir.tempDir(), true, fillTrigger
	if b.engine, err = microbatch.Open(ctx, cfg); err != nil {
		return nil, err
	}
	ctx, b.cancel = context.WithCancel(ctx)
	go func() { b.ended <- b.engine.Run(ctx) }()
	return b, nil
}

// begin aims at the ledger that the rebuild began with, along the batches that the log still has.
func (b *backfill) begin(steps map[string][]checkpointlog.SourceRange) (err error) {
	b.target = b.r.old
	if b.ends, err = offsetsOf(b.target); err != nil {
		return err
	}
	for name, s := range b.sources {
		s.follow(cuts(steps[name], b.ends[name]), b.ends[name])
	}
	b.completeTables()
	return nil
}

// completeTables says that the static tables are read when a stream was: none is read before they are complete.
func (b *backfill) completeTables() {
	streams := false
	for _, in := range b.r.l.sources {
		streams = streams || !in.Table && !isNull(b.ends[in.Name])
	}
	for _, s := range b.sources {
		if streams {
			s.finish(false)
		}
	}
}

// follow moves the aim on along ledgers that the old version has had since.
func (b *backfill) follow(trail []microbatch.Ledger) error {
	for _, l := range trail {
		ends, err := offsetsOf(l)
		if err != nil {
			return err
		}
		// Why tables first: no row of a stream may be seen before the rows of tables that its ledger names.
		for _, tables := range []bool{true, false} {
			for _, in := range b.r.l.sources {
				if in.Table != tables {
					continue
				}
				from, to := b.ends[in.Name], ends[in.Name]
				b.sources[in.Name].follow([]cut{{from: from, to: to}}, to)
			}
		}
		b.target, b.ends = l, ends
		b.completeTables()
	}
	return nil
}

// arrived says that everything up to the target is committed in the new version's tables.
func (b *backfill) arrived() bool {
	var got map[string]json.RawMessage
	if at := b.engine.Progress().Offsets; len(at) > 0 && json.Unmarshal(at, &got) != nil {
		return false
	}
	for name := range b.sources {
		if !sameJSON(b.ends[name], got[name]) {
			return false
		}
	}
	return true
}

const (
	lookEvery = 50 * time.Millisecond
	// trailEvery is how often the old version's ledger is looked at: each is a place where a batch may end.
	trailEvery = 500 * time.Millisecond
	// nearlyThere is a round of catching up that is short enough for the old version to wait for the next.
	nearlyThere = time.Second
	// maxFutile bounds the rounds in a row that do not get shorter: the old version is as fast as the new one, and only
	// stopping it helps.
	maxFutile = 3
)

// catchUp follows the old version until little is left to read. Each round reads what was committed during the one
// before.
func (b *backfill) catchUp(ctx context.Context, ledger func(context.Context) (microbatch.Ledger, error)) error {
	best, futile := time.Duration(math.MaxInt64), 0
	for {
		began := time.Now()
		trail, err := b.arrive(ctx, ledger)
		if err != nil {
			return err
		}
		took := time.Since(began)
		if len(trail) == 0 || took <= nearlyThere {
			return nil
		}
		if futile++; took < best-best/10 {
			best, futile = took, 0
		}
		if futile == maxFutile {
			b.r.tell("the new version of %s is no faster than the one that runs, which waits for it now", b.r.l.Name)
			return nil
		}
		if err := b.follow(trail); err != nil {
			return err
		}
		b.r.phase = server.CatchingUp
	}
}

// arrive waits until the target is reached, and returns the ledgers seen meanwhile.
func (b *backfill) arrive(ctx context.Context, ledger func(context.Context) (microbatch.Ledger, error)) (trail []microbatch.Ledger, err error) {
	look, walk := time.NewTicker(lookEvery), time.NewTicker(trailEvery)
	defer look.Stop()
	defer walk.Stop()
	last := b.target
	for {
		select {
		case err := <-b.ended:
			b.ended <- err
			if err == nil {
				err = errors.New("its sources ended before the ledger's offsets")
			}
			return nil, err
		case <-look.C:
			b.show()
			if b.arrived() {
				return trail, nil
			}
		case <-walk.C:
			l, err := ledger(ctx)
			if err != nil {
				return nil, err
			}
			if l.Batch != last.Batch {
				trail, last = append(trail, l), l
			}
		}
	}
}

// finish reads to the end of the target, closes the engine and checks where it is.
func (b *backfill) finish() error {
	for _, s := range b.sources {
		s.finish(true)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-b.ended:
			b.ended <- err
			if err == nil && !b.arrived() {
				err = fmt.Errorf("the sources were read up to %s, and the ledger is at %s", b.engine.Progress().Offsets, b.target.Offsets)
			}
			return errors.Join(err, b.close())
		case <-tick.C:
			b.show()
		}
	}
}

// show tells how far it is.
func (b *backfill) show() {
	at := b.engine.Progress()
	p := server.RebuildProgress{Phase: b.r.phase, Batch: at.Batch, Rows: at.RowsIn + at.RowsLate + at.RowsBad, TargetBatch: b.target.Batch}
	for _, s := range b.sources {
		passed, all := s.steps()
		p.StepsDone, p.Steps = p.StepsDone+int64(passed), p.Steps+int64(all)
	}
	b.r.watch(p)
}

// close ends the engine; it may be called again.
func (b *backfill) close() error {
	var errs []error
	if b.engine != nil {
		if b.cancel != nil {
			b.cancel()
			<-b.ended
		}
		errs = append(errs, b.engine.Close())
		b.engine = nil
	}
	for _, s := range b.sources {
		errs = append(errs, s.Close())
	}
	b.sources = nil
	return errors.Join(errs...)
}

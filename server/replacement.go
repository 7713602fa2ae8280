package server

import (
	"context"
	"errors"
	"time"
)

// ReplacementState is how far a new version is that takes the place of the one before.
type ReplacementState string

const (
	// Backfilling: it computes its tables from the beginning of the sources, while the version before goes on.
	Backfilling ReplacementState = "backfilling"
	// CatchingUp: it reads what the version before has committed meanwhile.
	CatchingUp ReplacementState = "catching_up"
	// Swapping: the version before is stopped after a batch, and the new one takes its place.
	Swapping ReplacementState = "swapping"
	Replaced ReplacementState = "done"
	// NotReplaced: it failed, and the version before goes on.
	NotReplaced ReplacementState = "failed"
	// GivenUp: somebody cancelled it, and the version before goes on.
	GivenUp ReplacementState = "cancelled"
)

// Settled says that nothing more happens.
func (s ReplacementState) Settled() bool { return s == Replaced || s == NotReplaced || s == GivenUp }

// Replacement is a new version of a pipeline on its way, or what became of it.
type Replacement struct {
	State ReplacementState `json:"state"`
	// Rebuild: its tables are computed anew. Otherwise it goes on from the log.
	Rebuild     bool      `json:"rebuild"`
	File        string    `json:"file"`
	SubmittedAt time.Time `json:"submitted_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	// Progress is a rebuild's.
	Progress *RebuildProgress `json:"progress,omitempty"`
	Problem  *Error           `json:"problem,omitempty"`
}

// RebuildProgress is how far a rebuild is.
type RebuildProgress struct {
	Phase ReplacementState `json:"-"`
	// Batch and Rows are what the new version has committed and read, TargetBatch the old one's that it is to reach.
	Batch       int64 `json:"batch"`
	Rows        int64 `json:"rows"`
	TargetBatch int64 `json:"target_batch"`
	// StepsDone of Steps pieces of the input are read; there are more of them as the old version goes on.
	StepsDone int64 `json:"steps_done"`
	Steps     int64 `json:"steps"`
}

var (
	errGivenUp    = errors.New("the rebuild was given up")
	errDaemonEnds = errors.New("the daemon ends")
)

// replacing is a replacement at work. The pipeline's mu guards what changes.
type replacing struct {
	next    *Spec
	rebuild bool
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when the goroutine has ended
	// start: the new version is to run, because nobody has stopped the pipeline since it was submitted.
	start bool
	// stopped: the version before is stopped, and nobody but the replacement starts anything.
	stopped bool
}

// replace has a new version take the pipeline's place, and returns when that has begun.
func (p *pipeline) replace(ctx context.Context, next Spec, rebuild bool) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := p.replaceable(ctx); err != nil {
		return err
	}
	var about Description
	var why error
	err = guarded(func() (err error) {
		about, why, err = p.launcher.Review(ctx, next)
		return err
	})
	if err != nil {
		return err
	}
	if why != nil && !rebuild {
		return why
	}
	return p.beginReplacing(next, about, why != nil)
}

// replaceable refuses what cannot be replaced now.
func (p *pipeline) replaceable(ctx context.Context) error {
	p.mu.Lock()
	state, broken, busy, running, pending := p.state, p.rec.Format == 0, p.replacing != nil, p.run != nil, p.rec.Next
	p.mu.Unlock()
	switch {
	case broken:
		return newError(CodeState, "repair its pipeline.json and restart the daemon", "pipeline %q could not be read", p.name)
	case state == Standby:
		return newError(CodeState, "submit it to the daemon that runs it", "pipeline %q is run by another daemon; this one stands by", p.name)
	case state == Dropping:
		return newError(CodeState, "submit it again when it is gone", "pipeline %q is being dropped", p.name)
	case busy:
		return newError(CodeState, "see `sluice status "+p.name+"`; `sluice stop "+p.name+" --rebuild` gives a rebuild up", "pipeline %q is being replaced already", p.name)
	case pending != nil && running:
		return newError(CodeState, "see `sluice status "+p.name+"` for what it waits for", "the version of pipeline %q that was submitted before is not started yet", p.name)
	case pending != nil:
		// It failed to start. What it left is settled before something else takes its place.
		return guarded(func() error {
			_, err := p.launcher.Settle(ctx, *pending)
			return err
		})
	}
	return nil
}

// beginReplacing makes the new version durable and starts the goroutine that brings it.
func (p *pipeline) beginReplacing(next Spec, about Description, rebuild bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return newError(CodeShutdown, "try again when it is back", "the daemon is shutting down")
	}
	old := p.rec
	p.rec.Next = &next
	if !rebuild {
		p.rec.Desired, p.rec.Finished = WantRunning, false
	}
	if err := p.store.save(p.rec); err != nil {
		p.rec = old
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	c := &replacing{next: &next, rebuild: rebuild, cancel: cancel, done: make(chan struct{}), start: true}
	state := Swapping
	if rebuild {
		state = Backfilling
	}
	p.replacing = c
	p.replacement = &Replacement{State: state, Rebuild: rebuild, File: next.File, SubmittedAt: time.Now().UTC()}
	p.logger.Info("a new version was submitted", "file", next.File, "rebuild", rebuild, "plan", about.Plan)
	go p.carryOut(ctx, c)
	return nil
}

// carryOut is the life of a replacement.
func (p *pipeline) carryOut(ctx context.Context, c *replacing) {
	defer close(c.done)
	defer c.cancel(nil)
	var release func()
	ran := false
	stop := func(ctx context.Context) (err error) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if release, err = p.lock(ctx); err != nil {
			return err
		}
		ran = p.makeWay(c)
		return context.Cause(ctx)
	}
	var err error
	if c.rebuild {
		err = guarded(func() error {
			return p.launcher.Rebuild(ctx, *c.next, Handover{Stop: stop, Progress: func(at RebuildProgress) { p.showProgress(at) }})
		})
	}
	if err == nil && release == nil {
		err = stop(ctx)
	}
	if p.conclude(ctx, c, err, ran) {
		if err := p.start(); err != nil {
			p.logger.Error("the pipeline was not started after its replacement", "error", err)
		}
	}
	if release != nil {
		release()
	}
}

// makeWay ends the version before after its batch, and says whether it ran. The command slot is held: nobody starts
// it again.
func (p *pipeline) makeWay(c *replacing) bool {
	p.mu.Lock()
	c.stopped = true
	p.replacement.State = Swapping
	p.mu.Unlock()
	p.launcher.Replacing(p.name, true)
	defer p.launcher.Replacing(p.name, false)
	r := p.halt(finishBatch)
	if r == nil {
		return false
	}
	<-r.done
	return true
}

func (p *pipeline) showProgress(at RebuildProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replacement.State, p.replacement.Progress = at.Phase, &at
}

// conclude records what became of a replacement, and says whether the pipeline is to be started; which version,
// the start finds out.
func (p *pipeline) conclude(ctx context.Context, c *replacing, err error, ran bool) (start bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replacing = nil
	switch {
	case err == nil:
		if start = c.start; start {
			p.rec.Desired, p.rec.Finished = WantRunning, false
		} else {
			p.replaced(Replaced, nil)
		}
	case p.shut:
		// The next daemon finds out which version it has.
		p.replaced(NotReplaced, errDaemonEnds)
	default:
		start = c.stopped && ran
		if !c.stopped || !c.rebuild {
			p.rec.Next = nil // nothing of it can have happened
		}
		state := NotReplaced
		if errors.Is(context.Cause(ctx), errGivenUp) {
			state = GivenUp
		}
		p.replaced(state, err)
		p.logger.Warn("the pipeline was not replaced by the new version", "state", state, "error", err)
	}
	if err := p.store.save(p.rec); err != nil {
		p.logger.Error("the pipeline's state could not be saved; a new daemon may find an older one", "error", err)
	}
	return start && !p.shut
}

// replaced sets how a replacement ended. The caller holds mu.
func (p *pipeline) replaced(s ReplacementState, err error) {
	if p.replacement == nil {
		return
	}
	p.replacement.State, p.replacement.EndedAt, p.replacement.Problem = s, time.Now().UTC(), nil
	if err != nil && s != GivenUp {
		p.replacement.Problem = failure(err)
	}
}

// interrupted is for a record with a new version that no daemon has brought to its end: it ended first. The caller
// holds mu, or nobody else has the pipeline.
func (p *pipeline) interrupted() {
	if p.rec.Next == nil {
		return
	}
	p.replacement = &Replacement{State: NotReplaced, File: p.rec.Next.File, EndedAt: time.Now().UTC(), Problem: failure(
		newError(CodeState, "submit it again; the version before goes on", "the daemon ended before the new version had taken the pipeline's place"))}
}

// version is what is to run: the version before, or a new one that is decided for.
func (p *pipeline) version(ctx context.Context) (Spec, *Spec, error) {
	p.mu.Lock()
	spec, next, busy := p.rec.Spec, p.rec.Next, p.replacing != nil
	p.mu.Unlock()
	if next == nil || busy {
		return spec, nil, nil
	}
	goesOn := false
	err := guarded(func() (err error) {
		goesOn, err = p.launcher.Settle(ctx, *next)
		return err
	})
	switch {
	case err != nil:
		return spec, next, err
	case goesOn:
		return *next, next, nil
	}
	// A rebuild that did not get to its end leads here.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rec.Next = nil
	if r := p.replacement; r != nil && !r.State.Settled() {
		p.replaced(NotReplaced, newError(CodeRefused, "see `sluice diff "+p.name+" FILE.sql`", "the new version cannot go on from the pipeline's log"))
	}
	return spec, nil, p.store.save(p.rec)
}

// became records that the new version runs.
func (p *pipeline) became(next *Spec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if next == nil || p.rec.Next != next {
		return
	}
	p.rec.Spec, p.rec.Next, p.rec.SubmittedAt = *next, nil, time.Now().UTC()
	p.replaced(Replaced, nil)
	// The text first: a record that still has the new version in it is read again.
	if err := errors.Join(writeFile(p.store.path(p.name, "pipeline.sql"), []byte(next.SQL)), p.store.save(p.rec)); err != nil {
		p.logger.Error("the pipeline's new version could not be recorded; a new daemon will look at the log", "error", err)
	}
	p.logger.Info("the pipeline is the new version now", "file", next.File)
}

// fallBack gives a new version up that does not start, if the version before can still go on.
func (p *pipeline) fallBack(ctx context.Context, why error) bool {
	p.mu.Lock()
	old, next := p.rec.Spec, p.rec.Next
	p.mu.Unlock()
	if next == nil {
		return false
	}
	goesOn := false
	err := guarded(func() (err error) {
		goesOn, err = p.launcher.Settle(ctx, old)
		return err
	})
	if err != nil || !goesOn {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rec.Next = nil
	p.replaced(NotReplaced, why)
	p.logger.Warn("the new version does not start; the one before goes on", "error", why)
	if err := p.store.save(p.rec); err != nil {
		p.logger.Error("the pipeline's state could not be saved; a new daemon may find an older one", "error", err)
	}
	return true
}

// giveUp cancels a replacement and waits for its end.
func (p *pipeline) giveUp(ctx context.Context, cause error) error {
	p.mu.Lock()
	c := p.replacing
	p.mu.Unlock()
	if c == nil {
		return newError(CodeState, "see `sluice status "+p.name+"`", "no new version of pipeline %q is on its way", p.name)
	}
	c.cancel(cause)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return newError(CodeTimeout, "look at `sluice status "+p.name+"`", "the rebuild of pipeline %q does not end", p.name)
	}
}

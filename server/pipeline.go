package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// pipeline is one submitted pipeline, running or not.
type pipeline struct {
	name     string
	launcher Launcher
	store    store
	logger   *slog.Logger
	// command is held by one stop, resume or drop at a time; a channel, so that waiting for it can end.
	command chan struct{}

	// posting is held, shared, by requests that bring rows: a drop waits for them.
	posting sync.RWMutex

	mu     sync.Mutex
	rec    record
	state  State
	since  time.Time
	runner Runner // nil unless launched
	// best is the newest batch seen committed: what "it advanced" is measured by.
	best     int64
	problem  *Error
	restarts int
	retryAt  time.Time
	run      *run // nil when no goroutine keeps the pipeline going
	// standby is nil unless this daemon stands by for another; owner is then who runs the pipeline.
	standby *standby
	owner   string
	// fenced hears of a run that ended because another engine took over.
	fenced func(error)
	shut   bool // by the daemon's end: nothing starts any more
	// replacing is nil unless a new version is on its way; replacement tells of it, or of the last one.
	replacing   *replacing
	replacement *Replacement
}

// run is the goroutine that starts a pipeline, starts it again after failures, and ends with it.
type run struct {
	halt  context.CancelFunc      // finish the batch and end
	abort context.CancelCauseFunc // give the batch up
	done  chan struct{}           // closed when the goroutine has ended
}

// errHalted is the cause that a launch or a batch was cancelled for.
var errHalted = errors.New("the pipeline was stopped")

func newPipeline(rec record, l Launcher, s store, logger *slog.Logger) *pipeline {
	p := &pipeline{name: rec.Spec.Name, launcher: l, store: s, logger: logger.With("pipeline", rec.Spec.Name),
		command: make(chan struct{}, 1), rec: rec, state: Stopped, since: time.Now()}
	if rec.Finished {
		p.state = Finished
	}
	p.interrupted()
	if rec.Progress != nil {
		p.best = rec.Progress.Batch
	}
	return p
}

// start begins a run. Invariant: at most one run of a pipeline exists, so no two engines of this process
// meet on one log.
func (p *pipeline) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begin(Starting, p.keep)
}

// begin starts body on a goroutine as the pipeline's run. The caller holds mu.
func (p *pipeline) begin(s State, body func(ctx, halted context.Context)) error {
	if p.shut {
		return newError(CodeShutdown, "try again when it is back", "the daemon is shutting down")
	}
	if p.run != nil {
		panic(fmt.Sprintf("server: pipeline %s was started while %s", p.name, p.state))
	}
	halted, halt := context.WithCancel(context.Background())
	ctx, abort := context.WithCancelCause(context.Background())
	r := &run{halt: halt, abort: abort, done: make(chan struct{})}
	p.run, p.problem, p.restarts = r, nil, 0
	p.enter(s)
	go func() {
		defer close(r.done)
		defer abort(nil)
		defer halt()
		body(ctx, halted)
	}()
	return nil
}

// enter sets the state. The caller holds mu.
func (p *pipeline) enter(s State) {
	if p.state != s {
		p.state, p.since = s, time.Now()
	}
	p.retryAt = time.Time{}
}

// keep is the life of a run: attempts until one ends it.
func (p *pipeline) keep(ctx, halted context.Context) {
	for tries := 1; ; tries++ {
		if p.standby != nil && !p.await(ctx, halted) {
			p.end(Stopped, nil)
			return
		}
		advanced, err := p.attempt(ctx, halted)
		if advanced {
			tries = 1
		}
		a := attempt{err: err, halted: halted.Err() != nil, tries: tries}
		if err != nil {
			a.fault = p.launcher.Classify(err)
		}
		// A batch that was cut short by a stop fails with whatever it was doing: no failure of its own.
		if a.halted && a.fault != Permanent && (ctx.Err() != nil || errors.Is(err, errHalted) || errors.Is(err, context.Canceled)) {
			err = nil
		}
		next := a.next()
		if next == Failed && p.fallBack(ctx, err) {
			tries = 0
			continue
		}
		if p.standby != nil && next == Failed && errors.Is(err, microbatch.ErrFenced) {
			p.logger.Warn("another engine has taken the pipeline over; this daemon stands by", "error", err)
			tries = 0
			continue
		}
		if next != Restarting {
			p.end(next, err)
			if next == Failed && errors.Is(err, microbatch.ErrFenced) && p.fenced != nil {
				p.fenced(err)
			}
			return
		}
		if !p.pause(halted, err, backoff(tries)) {
			p.end(Stopped, err)
			return
		}
	}
}

// attempt is one engine, from launch to close.
func (p *pipeline) attempt(ctx, halted context.Context) (advanced bool, err error) {
	runner, err := p.launch(ctx, halted)
	if err != nil {
		return false, err
	}
	p.attach(runner, halted)
	unhook := context.AfterFunc(halted, runner.Stop)
	err = guarded(func() error { return runner.Run(ctx) })
	unhook()
	advanced = p.detach()
	if errors.Is(err, errPanicked) {
		// Why not Close: goroutines of the engine may still use the log. It stays locked until the daemon
		// ends, so that nobody takes it over from them.
		return advanced, err
	}
	return advanced, errors.Join(err, guarded(runner.Close))
}

func (p *pipeline) launch(ctx, halted context.Context) (runner Runner, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A launch may have a large state to read: a stop does not wait for it. Recovery begins anew next time.
	defer context.AfterFunc(halted, func() { cancel(errHalted) })()
	spec, next, err := p.version(ctx)
	if err != nil {
		return nil, err
	}
	err = guarded(func() error {
		runner, err = p.launcher.Launch(ctx, spec)
		return err
	})
	if err == nil {
		p.became(next)
	}
	return runner, err
}

func (p *pipeline) attach(r Runner, halted context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runner = r
	p.rec.Description = r.Describe()
	if halted.Err() == nil {
		p.enter(Running)
	}
}

// detach keeps the runner's last progress and reports whether it committed a batch that is new.
func (p *pipeline) detach() (advanced bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	progress := p.runner.Progress()
	p.recall(&progress)
	p.runner, p.rec.Progress = nil, &progress
	advanced = progress.Batch > p.best
	p.best = max(p.best, progress.Batch)
	return advanced
}

// recall fills in what the last run knew, when this one has committed nothing yet. The caller holds mu.
func (p *pipeline) recall(now *microbatch.Progress) {
	if last := p.rec.Progress; last != nil && now.CommittedAt.IsZero() && last.Batch == now.Batch {
		now.CommittedAt = last.CommittedAt
		if now.RemainingBytes < 0 && now.RemainingRows < 0 {
			now.RemainingBytes, now.RemainingRows = last.RemainingBytes, last.RemainingRows
		}
	}
}

// pause waits for the next attempt and reports false when a stop came first.
func (p *pipeline) pause(halted context.Context, err error, d time.Duration) bool {
	p.logger.Warn("the pipeline failed and will be started again", "after", d, "error", err)
	p.mu.Lock()
	p.problem = failure(err)
	if halted.Err() == nil {
		p.enter(Restarting)
		p.retryAt = time.Now().Add(d)
	}
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-halted.Done():
		return false
	case <-t.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if halted.Err() == nil {
		p.restarts++
		p.enter(Starting)
	}
	return true
}

// end records how a run ended. A failed pipeline should still run: the next daemon tries it again.
func (p *pipeline) end(s State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run = nil
	p.enter(s)
	if err != nil {
		p.problem = failure(err)
	}
	if s == Failed {
		p.logger.Error("the pipeline failed and needs somebody", "error", err)
	} else {
		p.logger.Info("the pipeline ended", "state", s)
	}
	if s == Finished {
		p.rec.Finished = true
		if p.rec.Desired == WantRunning {
			p.rec.Desired = WantStopped
		}
	}
	if err := p.store.save(p.rec); err != nil {
		p.logger.Error("the pipeline's state could not be saved; a new daemon may find an older one", "error", err)
	}
}

func failure(err error) *Error {
	e := *describe(err)
	e.At = time.Now()
	if e.Hint == "" && e.Code == CodePanicked {
		e.Hint = "report it with the daemon's log; restart the daemon, then the pipeline resumes from its log"
	}
	return &e
}

// status is what the API shows.
func (p *pipeline) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Name: p.name, State: p.state, Desired: p.rec.Desired, File: p.rec.Spec.File, Dir: p.rec.Spec.Dir, Options: p.rec.Spec.Options,
		SubmittedAt: p.rec.SubmittedAt, StateSince: p.since, Progress: p.rec.Progress, Restarts: p.restarts, RetryAt: p.retryAt,
		Problem: p.problem, Description: p.rec.Description}
	if p.state == Standby {
		s.Owner = p.owner
	}
	if p.replacing != nil && p.replacing.stopped && p.run == nil {
		s.State = Replacing
	}
	if p.replacement != nil {
		r := *p.replacement
		s.Replacement = &r
	}
	if p.runner != nil {
		progress := p.runner.Progress()
		s.Progress = &progress
		if p.problem != nil && progress.CommittedAt.After(p.problem.At) {
			s.Problem = nil
		}
		p.recall(&progress)
	}
	return s
}

// guarded turns a panic into an error: one pipeline's defect must not end the others.
func guarded(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v\nDetail: %s", errPanicked, r, debug.Stack())
		}
	}()
	return fn()
}

// text is the pipeline's file.
func (p *pipeline) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rec.Spec.SQL
}

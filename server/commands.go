package server

import (
	"context"
	"errors"
	"fmt"
)

// lock takes the pipeline's command slot; the result gives it back.
func (p *pipeline) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case p.command <- struct{}{}:
		return func() { <-p.command }, nil
	case <-ctx.Done():
		return nil, newError(CodeTimeout, "try again", "another command on pipeline %q is not done yet", p.name)
	}
}

// update changes what pipeline.json says, and undoes the change when it cannot be saved.
func (p *pipeline) update(change func(*record)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.rec
	change(&p.rec)
	if err := p.store.save(p.rec); err != nil {
		p.rec = old
		return err
	}
	return nil
}

// halt asks the run to end, if there is one, and returns it.
func (p *pipeline) halt(how haltMode) *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.run
	if r == nil {
		return nil
	}
	p.enter(Stopping)
	r.halt()
	if how == giveUp {
		r.abort(errHalted)
	}
	return r
}

type haltMode int

const (
	finishBatch haltMode = iota
	giveUp
)

// stop returns when the run has ended, or when ctx is over and it is still stopping.
func (p *pipeline) stop(ctx context.Context, how haltMode) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// Before the run ends: a daemon killed meanwhile must not find that it should run.
	if err := p.update(func(r *record) { r.Desired = WantStopped }); err != nil {
		return err
	}
	p.mu.Lock()
	if p.replacing != nil {
		p.replacing.start = false
	}
	p.mu.Unlock()
	if r := p.halt(how); r != nil {
		select {
		case <-r.done:
		case <-ctx.Done():
		}
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Failed {
		p.enter(Stopped)
	}
	return nil
}

func (p *pipeline) resume(ctx context.Context) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	state, active, broken := p.state, p.run != nil, p.rec.Format == 0
	p.mu.Unlock()
	switch {
	case broken:
		return newError(CodeState, "repair its pipeline.json and restart the daemon", "pipeline %q could not be read", p.name)
	case state == Stopping:
		return newError(CodeState, "wait until it has stopped, or give its batch up with `sluice stop --abort "+p.name+"`", "pipeline %q is still stopping", p.name)
	case state == Dropping:
		return newError(CodeState, "submit it again when it is gone", "pipeline %q is being dropped", p.name)
	case active:
		return nil
	}
	if err := p.update(func(r *record) { r.Desired, r.Finished = WantRunning, false }); err != nil {
		return err
	}
	return p.start()
}

// drop ends the run without finishing its batch and removes everything. When it fails half-way the pipeline
// stays, stopped, and drop can be repeated.
func (p *pipeline) drop(ctx context.Context, how DropOptions) ([]string, error) {
	unlock, err := p.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	p.mu.Lock()
	elsewhere := p.state == Standby
	p.mu.Unlock()
	if elsewhere {
		return nil, newError(CodeState, "drop it at the daemon that runs it", "pipeline %q is run by another daemon; this one stands by", p.name)
	}
	// The slot is held, so the replacement has not stopped the version before, and begins no exchange.
	if err := p.giveUp(ctx, errGivenUp); err != nil && describe(err).Code == CodeTimeout {
		return nil, err
	}
	if err := p.update(func(r *record) { r.Desired, r.Tables, r.KeepRemote = WantDropped, how.Tables, how.KeepRemote }); err != nil {
		return nil, err
	}
	if r := p.halt(giveUp); r != nil {
		select {
		case <-r.done:
		case <-ctx.Done():
			err := newError(CodeTimeout, "look at `sluice status "+p.name+"` and try again when it has stopped", "pipeline %q does not stop", p.name)
			return nil, errors.Join(err, p.update(func(r *record) { r.Desired = WantStopped }))
		}
	}
	p.mu.Lock()
	p.enter(Dropping)
	p.mu.Unlock()
	// Who comes from now on sees the state; who came before is waited for.
	p.posting.Lock()
	//lint:ignore SA2001 it is the waiting that counts
	p.posting.Unlock()
	return p.clear(ctx, how)
}

// clear does the removing.
func (p *pipeline) clear(ctx context.Context, how DropOptions) (dropped []string, err error) {
	p.mu.Lock()
	spec := p.rec.Spec
	p.mu.Unlock()
	err = guarded(func() error {
		dropped, err = p.launcher.Drop(ctx, spec, how)
		return err
	})
	if err == nil {
		err = p.store.remove(spec.Name)
	}
	if err == nil {
		return dropped, nil
	}
	err = fmt.Errorf("drop pipeline %q: %w", spec.Name, err)
	p.mu.Lock()
	p.enter(Failed)
	p.problem = failure(err)
	p.mu.Unlock()
	return nil, errors.Join(err, p.update(func(r *record) { r.Desired = WantStopped }))
}

// close is for the daemon's end: nothing starts any more, and the run and a replacement are asked to end.
func (p *pipeline) close() (*run, *replacing) {
	p.mu.Lock()
	p.shut = true
	c := p.replacing
	p.mu.Unlock()
	if c != nil {
		c.cancel(errDaemonEnds)
	}
	return p.halt(finishBatch), c
}

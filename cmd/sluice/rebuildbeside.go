package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// What a daemon does to replace a pipeline that it runs.

// has and note look a pipeline up in a set of the launcher's, and change it.
func (n *launcher) has(set map[string]bool, name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return set[name]
}

func (n *launcher) note(set map[string]bool, name string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	set[name] = on
}

// Replacing implements server.Launcher.
func (n *launcher) Replacing(name string, on bool) { n.note(n.replaced, name, on) }

// rebuilder loads a version and says where it goes.
func (n *launcher) rebuilder(ctx context.Context, s server.Spec) (*rebuilder, error) {
	l, err := n.load(ctx, s)
	if err != nil {
		return nil, err
	}
	db, err := n.databaseFor(ctx, l)
	if err != nil {
		return nil, err
	}
	r := newRebuilder(l, place{dir: n.state.pipeline(l.Name), db: db, log: n.log})
	r.tell = func(format string, args ...any) { n.log.Info(fmt.Sprintf(format, args...), "pipeline", l.Name) }
	return r, nil
}

// Review implements server.Launcher.
func (n *launcher) Review(ctx context.Context, s server.Spec) (d server.Description, why, err error) {
	r, err := n.rebuilder(ctx, s)
	if err != nil {
		return d, nil, err
	}
	needed, err := r.needed()
	if err != nil {
		return d, nil, err
	}
	if err := errors.Join(r.l.checkSources(ctx, &checkReport{}, r.p.dir, r.p.url()), r.l.checkFileSinks(), r.l.checkCopies(ctx, &checkReport{}, r.p)); err != nil {
		return d, nil, err
	}
	switch {
	case needed:
		err = r.checkSwap(ctx)
	case r.p.db != nil:
		err = r.l.checkTargets(ctx, r.p.db)
	}
	return r.l.describe(r.p.db), r.why, err
}

// checkSwap refuses what the swap would, before anything is done.
func (r *rebuilder) checkSwap(ctx context.Context) (err error) {
	own, err := postgres.New(postgres.Options{URL: r.p.url()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	return own.CheckSwap(ctx, r.l.Name, r.l.targets(toPostgres), postgres.SwapInfo{Columns: r.columns})
}

// Settle implements server.Launcher.
func (n *launcher) Settle(ctx context.Context, s server.Spec) (goesOn bool, err error) {
	r, err := n.rebuilder(ctx, s)
	if err != nil {
		return false, err
	}
	if err := r.l.settleRebuild(ctx, r.p); err != nil {
		return false, err
	}
	needed, err := r.needed()
	var changed *microbatch.ChangedError
	if r.why != nil || errors.As(err, &changed) {
		return false, nil
	}
	return err == nil && !needed, err
}

// Rebuild implements server.Launcher.
func (n *launcher) Rebuild(ctx context.Context, s server.Spec, h server.Handover) (err error) {
	r, err := n.rebuilder(ctx, s)
	if err != nil {
		return err
	}
	r.beside, r.watch = true, h.Progress
	r.handover = func(ctx context.Context, exchange func(context.Context) error) error {
		if err := h.Stop(ctx); err != nil {
			return err
		}
		return n.keepLease(ctx, s.Name, exchange)
	}
	// Before the lock: an engine that is started again from here on leaves the rebuild's directory alone.
	n.note(n.rebuilt, s.Name, true)
	defer n.note(n.rebuilt, s.Name, false)
	unlock, err := r.dir.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock.Close()) }()
	if err := r.settle(ctx); err != nil {
		return err
	}
	needed, err := r.needed()
	if err != nil || !needed {
		return err
	}
	if err := r.run(ctx); err != nil {
		// A failure after the swap leads here, too: the new version is in place all the same.
		if again, nerr := n.rebuilder(context.WithoutCancel(ctx), s); nerr == nil {
			needed, nerr := again.needed()
			pending, perr := again.dir.pending()
			if nerr == nil && perr == nil && !needed && !pending {
				n.log.Warn("the rebuild failed after the swap, and was completed", "pipeline", s.Name, "error", err)
				return nil
			}
		}
		return err
	}
	return nil
}

// keepLease runs fn between two engines of a pipeline, with its lease: a standby must not take over a pipeline that
// has an owner, only because nothing runs for a moment.
func (n *launcher) keepLease(ctx context.Context, name string, fn func(context.Context) error) error {
	ls, err := n.leases(ctx, name)
	if err != nil {
		return err
	}
	defer ls.Close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for end := time.Now().Add(2 * postgres.LeaseFor); ; {
		l, err := ls.Read(ctx, name)
		switch {
		case err != nil:
			return err
		case l == nil: // an older sluice ran it, and no standby can know it
			return fn(ctx)
		case !n.lastHere(*l):
			return fmt.Errorf("pipeline %s: %w: %s has its lease\nHint: submit it to the daemon that runs it", name, errElsewhere, l.Owner)
		}
		held := false
		if l.Owner == engineOwner() {
			held, err = ls.Retake(ctx, name)
		} else {
			held, err = ls.Claim(ctx, *l) // of a process that had this directory before
		}
		if err != nil {
			return err
		}
		if held {
			return ls.Hold(ctx, name, fn)
		}
		if time.Now().After(end) {
			return fmt.Errorf("pipeline %s: %w: its lease is renewed all the time\nHint: sluice status %s at the daemon that runs it", name, errElsewhere, name)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

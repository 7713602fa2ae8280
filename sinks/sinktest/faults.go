package sinktest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// slow: batches get through, however slowly, and one that is cancelled meanwhile is half visible nowhere.
func slow(t *testing.T, cfg Config) {
	target := cfg.New(t)
	if target.Slow == nil {
		t.Skip("the target has no way that could be slow")
	}
	e := newEngine(t, target)
	all := scenario()
	mend := target.Slow()
	for _, c := range all[:3] {
		e.run(c)
		e.shows()
	}
	mend()
	e.run(all[3])
	e.shows()
}

// faults has the n-th operation of a batch meet each fault, for n = 1, 2, … until a batch has none, while a reader
// watches. Either the fault passes, or the engine gives up, and another one takes over when it has passed.
func faults(t *testing.T, cfg Config) {
	for _, name := range slices.Sorted(maps.Keys(cfg.New(t).Faults)) {
		t.Run(name+" passes", func(t *testing.T) {
			t.Parallel()
			sweep(t, cfg, name, func(_ context.CancelCauseFunc, mend func()) { mend() }, 1)
		})
		t.Run(name+" and cancelled", func(t *testing.T) {
			t.Parallel()
			sweep(t, cfg, name, func(cancel context.CancelCauseFunc, _ func()) { cancel(errStop) }, 3)
		})
	}
}

// sweep tries n = 1, 1+stride, 1+2·stride, …
func sweep(t *testing.T, cfg Config, name string, react func(cancel context.CancelCauseFunc, mend func()), stride int) {
	target := cfg.New(t)
	e := newEngine(t, target)
	defer watch(t, target, func(n int) content { return small(int64(n)) })()
	met := 0
	for n := 1; ; n += stride {
		batch := e.Committed + 1
		hit, err := e.struck(target.Faults[name], n, react)
		if err != nil {
			t.Logf("operation %d: %v", n, err)
			_ = e.sink.Close()
			e.start()
		}
		if e.Committed < batch {
			e.run(small(batch))
		}
		e.shows()
		if !hit {
			break
		}
		met++
	}
	t.Logf("%d operations of a batch met the fault", met)
	if met == 0 {
		t.Error("no operation of a batch met the fault")
	}
	e.run(small(e.Committed + 1))
	e.shows()
}

// struck runs the next batch, whose n-th operation meets a fault.
func (e *engine) struck(fault func(int, func()) func(), n int, react func(context.CancelCauseFunc, func())) (met bool, err error) {
	e.t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	hit := make(chan struct{})
	mend := fault(n, sync.OnceFunc(func() { close(hit) }))
	defer mend()
	b := e.next(small(e.Committed + 1))
	done := make(chan error, 1)
	go func() { done <- e.put(ctx, e.sink, b, infoOf(b.Batch)) }()
	select {
	case err := <-done:
		select {
		case <-hit:
			return true, err
		default:
			return false, err
		}
	case <-hit:
	}
	react(cancel, mend)
	// Why a limit: a call that never returns is what this test is to find. It is no measure of what is prompt.
	const limit = 2 * time.Minute
	select {
	case err := <-done:
		return true, err
	case <-time.After(limit):
		mend()
		e.t.Fatalf("the engine did not return within %s after operation %d met the fault", limit, n)
		return true, nil
	}
}

package sinktest

import (
	"context"
	"errors"
	"testing"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// phases takes the scenario through the phases of each batch: it is visible when its Commit has returned, whole, and
// not before. The engine is another one every two batches.
func phases(t *testing.T, cfg Config) {
	target := cfg.New(t)
	e := newEngine(t, target)
	e.found(1)
	all := scenario()
	defer watch(t, target, func(n int) content {
		if n > len(all) {
			return content{}
		}
		return all[n-1]
	})()
	epoch := int64(1)
	for i, c := range all {
		b := e.next(c)
		e.has(b.Batch, digests(b), false)
		e.stage(b)
		e.has(b.Batch, digests(b), true)
		e.has(b.Batch+1, digests(b), false)
		e.has(b.Batch, []checkpointlog.OutputDigest{{Output: Output.Name, Rows: b.Outputs[0].Rows, Sum: "another"}}, false)
		e.shows()
		e.Prepare(b)
		e.shows()
		e.commit()
		e.shows()
		if i%2 == 1 && !cfg.Volatile {
			epoch++
			e.start()
			e.found(epoch)
			e.shows()
		}
	}
}

// stagedTwice: a batch that is staged again replaces what was staged of it before.
func stagedTwice(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	e.run(small(1))
	first, second := small(2).batch(2), content{rows: []string{"299999 z"}}
	e.stage(first)
	b := e.next(second)
	e.stage(b)
	e.has(2, digests(first), false)
	e.has(2, digests(b), true)
	e.Prepare(b)
	e.commit()
	e.shows()
}

// committedTwice: a commit whose answer was lost is asked for again, of the same engine and of the next.
func committedTwice(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	e.run(small(1))
	e.run(small(2))
	e.commit()
	e.shows()
	if cfg.Volatile {
		return
	}
	e.start()
	e.commit()
	e.shows()
	// Neither does another history's batch of that number count, nor can the batch be staged any more.
	info := infoOf(2)
	info.ContentHash = "another"
	if err := e.sink.Commit(t.Context(), e.Permit, info); err == nil {
		t.Error("another content of a committed batch was committed")
	}
	if err := e.sink.Stage(t.Context(), small(2).batch(2)); err == nil {
		t.Error("a committed batch was staged")
	}
	e.shows()
	e.run(small(3))
	e.shows()
}

// notAsPrepared: what the log did not prepare, or what is not next, is not committed.
func notAsPrepared(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	e.run(small(1))
	later := NewDiary(t) // of an engine that is further
	for n := int64(1); n <= 3; n++ {
		later.Prepare(small(n).batch(n))
		later.Done(n)
	}
	wrong := func(what string, permit checkpointlog.CommitPermit) {
		t.Helper()
		if err := e.sink.Commit(t.Context(), permit, Info); err == nil {
			t.Errorf("%s was committed", what)
		}
		e.shows()
	}
	e.stage(small(3).batch(3))
	wrong("batch 3 after batch 1", later.Permit)
	b := e.next(small(2))
	permit := e.Prepare(b)
	wrong("a batch that is not staged", permit)
	e.stage(content{rows: []string{"299999 z"}}.batch(2))
	wrong("a batch with other rows than are logged", permit)
	e.stage(b)
	e.commit()
	e.shows()
}

// cancelled: a call whose context is over returns, with an error or with the whole of what it was to do.
func cancelled(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errStop)
	e.run(small(1))
	b := e.next(small(2))
	_ = e.sink.Stage(over, b)
	e.shows()
	e.stage(b)
	e.Prepare(b)
	err := e.sink.Commit(over, e.Permit, infoOf(2))
	if err != nil {
		e.shows()
		if !cfg.Volatile {
			_ = e.sink.Close()
			e.start()
		}
	}
	if e.Committed < 2 {
		e.commit()
	}
	e.shows()
}

var errStop = errors.New("enough")

// closed: a sink that was closed does nothing more, and says so.
func closed(t *testing.T, cfg Config) {
	target := cfg.New(t)
	unopened := target.Sink(t)
	for range 2 {
		if err := unopened.Close(); err != nil {
			t.Errorf("Close of a sink that was never opened: %v", err)
		}
	}
	e := newEngine(t, target)
	e.run(small(1))
	b := e.next(small(2))
	e.stage(b)
	permit := e.Prepare(b)
	for range 2 {
		if err := e.sink.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := e.sink.Stage(t.Context(), b); err == nil {
		t.Error("staged after Close")
	}
	if _, err := e.sink.HasStaged(t.Context(), 2, digests(b)); err == nil {
		t.Error("looked for staged rows after Close")
	}
	if err := e.sink.Commit(t.Context(), permit, infoOf(2)); err == nil {
		t.Error("committed after Close")
	}
	if _, err := e.sink.Open(t.Context(), Pipeline, targets()); err == nil {
		t.Error("opened after Close")
	}
	e.shows()
	if !cfg.Volatile {
		e.start()
		e.shows()
	}
}

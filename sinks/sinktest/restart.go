package sinktest

import (
	"errors"
	"testing"

	"github.com/sluice-sql/sluice/microbatch"
)

// abandoned: a batch that was staged and never prepared did not happen. Its number is another's.
func abandoned(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	for n := int64(1); n <= 2; n++ {
		e.stage(small(9).batch(n))
		e.start()
		e.found(2 * n)
		e.shows()
		e.stage(small(8).batch(n)) // once more, and this engine is closed
		if err := e.sink.Close(); err != nil {
			t.Error(err)
		}
		e.start()
		e.found(2*n + 1)
		e.run(small(n))
		e.shows()
	}
}

// prepared: a batch that was prepared has happened, and the next engine commits it; from what is staged, if that
// outlived the engine.
func prepared(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	for i, c := range scenario() {
		b := e.next(c)
		e.stage(b)
		e.Prepare(b)
		if i%2 == 0 {
			if err := e.sink.Close(); err != nil {
				t.Error(err)
			}
		}
		if !cfg.InMemory { // who does not keep it has it executed again
			other := e.target.Sink(t)
			defer other.Close()
			if _, err := other.Open(t.Context(), Pipeline, targets()); err != nil {
				t.Fatal(err)
			}
			if has, err := other.HasStaged(t.Context(), b.Batch, digests(b)); !has || err != nil {
				t.Errorf("batch %d was staged, and the next engine says %t, %v", b.Batch, has, err)
			}
		}
		e.start()
		if e.Committed != b.Batch {
			t.Fatalf("after a start the log is at batch %d, want %d", e.Committed, b.Batch)
		}
		e.shows()
	}
}

// committedUnheard: an engine that dies between the sink's commit and the log's record of it finds the batch in the
// ledger.
func committedUnheard(t *testing.T, cfg Config) {
	e := newEngine(t, cfg.New(t))
	for _, c := range scenario() {
		b := e.next(c)
		e.stage(b)
		e.Prepare(b)
		if err := e.sink.Commit(t.Context(), e.Permit, infoOf(b.Batch)); err != nil {
			t.Fatal(err)
		}
		e.start()
		if e.ledger.Batch != b.Batch || e.Committed != b.Batch {
			t.Fatalf("after a start the ledger is at batch %d and the log at %d, want %d", e.ledger.Batch, e.Committed, b.Batch)
		}
		e.shows()
	}
}

// fenced: two engines. The older one can do nothing more, whatever it had begun, and what it tries disturbs nobody.
func fenced(t *testing.T, cfg Config) {
	target := cfg.New(t)
	e := newEngine(t, target)
	defer watch(t, target, func(n int) content { return small(int64(n)) })()
	e.run(small(1))
	b := e.next(small(2))
	e.stage(b)
	permit := e.Prepare(b)
	old := e.sink
	refused := func(when string) {
		t.Helper()
		if err := old.Commit(t.Context(), permit, infoOf(2)); !errors.Is(err, microbatch.ErrFenced) {
			t.Errorf("%s the older engine's commit: %v, want ErrFenced", when, err)
		}
		if err := old.Stage(t.Context(), b); !cfg.InMemory && !errors.Is(err, microbatch.ErrFenced) {
			t.Errorf("%s the older engine's stage: %v, want ErrFenced", when, err)
		}
		e.shows()
	}
	young := target.Sink(t)
	t.Cleanup(func() { _ = young.Close() })
	l, err := young.Open(t.Context(), Pipeline, targets())
	if err != nil || l.Epoch != 2 || l.Batch != 1 {
		t.Fatalf("the younger engine's ledger is %+v, %v", l, err)
	}
	e.sink = young
	refused("before the younger has done anything,")
	e.stage(b)
	refused("when the younger has staged,")
	e.commit()
	refused("when the younger has committed,")
	e.run(small(3))
	refused("when the younger has gone on,")
	e.start()
	e.found(3)
	e.shows()
}

// fencedAfterwards: an engine that was taken over before it staged anything, and then begins.
func fencedAfterwards(t *testing.T, cfg Config) {
	target := cfg.New(t)
	e := newEngine(t, target)
	old := e.sink
	e.start()
	b := e.next(small(1))
	err := old.Stage(t.Context(), b)
	if !cfg.InMemory && !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("the older engine's stage: %v, want ErrFenced", err)
	}
	e.stage(b)
	permit := e.Prepare(b)
	if err == nil {
		err = old.Commit(t.Context(), permit, infoOf(1))
	}
	if !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("the older engine's commit: %v, want ErrFenced", err)
	}
	e.shows()
	e.commit()
	e.shows()
}

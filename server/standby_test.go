package server

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// fakeDeputy knows who owns which pipeline; an owner is gone when the test says so.
type fakeDeputy struct {
	mu    sync.Mutex
	mine  map[string]bool
	gone  map[string]bool
	taken map[string]int
	fetch func(name string)
}

func (d *fakeDeputy) Mine(_ context.Context, name string, other bool) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mine[name] || !other, nil
}

func (d *fakeDeputy) TakeOver(ctx context.Context, name string, wanted func() bool, told func(string)) error {
	told("owner-of-" + name)
	for {
		d.mu.Lock()
		gone := d.gone[name]
		d.mu.Unlock()
		if gone && wanted() {
			d.fetch(name)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.mine[name] = true
			d.taken[name]++
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (d *fakeDeputy) set(m map[string]bool, name string, to bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m[name] = to
}

// TestStandby: what the other daemon has is stood by for and nothing else is done with it; it is taken over when its
// owner is gone and it should run, with the options it has by then; when it is lost it is stood by for again.
func TestStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs, own := t.TempDir(), t.TempDir()
		other := testFleet(t, theirs, newFake())
		mustSubmit(t, other, "runs", "stopped", "dropped")
		p, _ := other.get("stopped")
		if err := p.stop(t.Context(), finishBatch); err != nil {
			t.Fatal(err)
		}
		l := newFake()
		d := &fakeDeputy{mine: map[string]bool{}, gone: map[string]bool{}, taken: map[string]int{}}
		by, err := openStandby(theirs, own, d)
		if err != nil {
			t.Fatal(err)
		}
		f, err := openFleet(own, l, quiet(), by)
		if err != nil {
			t.Fatal(err)
		}
		d.fetch = func(name string) {
			rec, err := by.store.load(name)
			if err != nil {
				t.Error(err)
			}
			rec.Spec.Options.UntilEnd = true
			if err := f.store.create(rec); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.follow(ctx)
		time.Sleep(3 * time.Second) // of the bubble's clock
		for _, name := range []string{"runs", "stopped", "dropped"} {
			expectState(t, f, name, Standby)
		}
		if s := statusOf(t, f, "runs"); s.Owner != "owner-of-runs" {
			t.Errorf("the owner is %q", s.Owner)
		}
		if _, err := f.drop(t.Context(), "runs", DropOptions{}); err == nil {
			t.Error("a pipeline of the other daemon was dropped")
		}
		mustSubmit(t, f, "own") // in the meantime the standby runs pipelines of its own
		if _, err := other.drop(t.Context(), "dropped", DropOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"runs", "stopped"} {
			d.set(d.gone, name, true)
		}
		time.Sleep(3 * time.Second) // of the bubble's clock
		expectState(t, f, "runs", Running)
		expectState(t, f, "stopped", Standby)
		expectState(t, f, "own", Running)
		if s := statusOf(t, f, "runs"); !s.Options.UntilEnd || s.Owner != "" {
			t.Errorf("taken over with options %+v and owner %q", s.Options, s.Owner)
		}
		if _, err := f.get("dropped"); err == nil {
			t.Error("a pipeline that the other daemon dropped is still stood by for")
		}

		// Fenced: somebody else has it now.
		d.set(d.mine, "runs", false)
		d.set(d.gone, "runs", false)
		l.mu.Lock()
		l.script["runs"] = []ending{{batches: 1, run: fmt.Errorf("stage: %w", microbatch.ErrFenced)}}
		l.mu.Unlock()
		p, _ = f.get("runs")
		if err := p.stop(t.Context(), finishBatch); err != nil {
			t.Fatal(err)
		}
		d.set(d.mine, "runs", true)
		if err := p.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.set(d.mine, "runs", false)
		time.Sleep(3 * time.Second) // of the bubble's clock
		expectState(t, f, "runs", Standby)
		select {
		case err := <-f.lost:
			t.Errorf("a daemon that stands by wants to end: %v", err)
		default:
		}
		cancel()
		end(t, f)
		end(t, other)
	})
}

// TestLastFenced: a daemon whose last pipeline was taken over has nothing left to do.
func TestLastFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		fenced := fmt.Errorf("stage: %w", microbatch.ErrFenced)
		l.script["a"] = []ending{{batches: 1, run: fenced}}
		l.script["b"] = []ending{{batches: 3, run: fenced}}
		f := testFleet(t, t.TempDir(), l)
		mustSubmit(t, f, "a", "b")
		time.Sleep(2 * time.Second) // of the bubble's clock
		expectState(t, f, "a", Failed)
		select {
		case err := <-f.lost:
			t.Fatalf("one pipeline still runs: %v", err)
		default:
		}
		if err := <-f.lost; err == nil {
			t.Error("no error")
		}
		end(t, f)
	})
}

package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/microbatch"
)

// different compares rows in any order.
func different(want, got []string) string {
	want, got = slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))
	if slices.Equal(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

func texts(letters []microbatch.DeadLetter) (out []string) {
	for _, l := range letters {
		out = append(out, fmt.Sprintf("%+v", l))
	}
	return out
}

// watch reads all the time what is visible: it must be the first batches, each whole, and never fewer than before. all
// are those that will be written. What it returns ends it.
func watch(t testing.TB, target *Target, all func(batch int) content) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		w := watcher{target: target, all: all}
		// Why a pace: the readers of parallel tests would have the machine to themselves.
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for {
			if err := w.look(ctx); err != nil {
				done <- err
				return
			}
			<-pace.C
		}
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("a reader: %v", err)
		}
	}
}

// maxBatches is more than any test writes.
const maxBatches = 1000

// A watcher has seen so many batches, whose rows are these.
type watcher struct {
	target  *Target
	all     func(batch int) content
	batches int
	rows    []string
}

func (w *watcher) look(ctx context.Context) error {
	got, err := w.target.Rows(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	// Batches without rows cannot be seen; they do not matter.
	for len(w.rows) < len(got) && w.batches < maxBatches {
		w.batches++
		w.rows = append(w.rows, w.all(w.batches).rows...)
	}
	if diff := different(w.rows, got); diff != "" {
		return fmt.Errorf("rows are not those of the first %d batches (-want +got):\n%s", w.batches, diff)
	}
	return nil
}

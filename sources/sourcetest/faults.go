package sourcetest

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/microbatch"
)

// seek polls one source from recorded offsets in any order, which it must not mind: a position is what a call
// passes in. What it gives is what another source reads of that range.
func seek(t *testing.T, cfg Config, steps []step, rng *rand.Rand) {
	t.Helper()
	src, other := cfg.Open(t), cfg.Open(t)
	defer closeSource(t, src)
	defer closeSource(t, other)
	for range min(len(steps), 8) {
		from := steps[rng.IntN(len(steps))].from
		got, _ := poll(t, src, from, microbatch.Limits{MaxRows: 1 + rng.Int64N(50)})
		if string(got.to) == string(from) {
			continue
		}
		want := read(t, cfg, other, from, got.to)
		if diff := cmp.Diff(want.chunks, got.chunks); diff != "" {
			t.Fatalf("Poll(%s) after other Polls differs from what is read of its range (-read +polled):\n%s", from, diff)
		}
	}
}

// RunFaults runs the part of the suite that breaks what the source reads from: for more data than Run is fast with.
func RunFaults(t *testing.T, cfg Config) {
	t.Helper()
	runFaults(t, cfg, drain(t, cfg, func() microbatch.Limits { return microbatch.Limits{} }))
}

func runFaults(t *testing.T, cfg Config, whole []step) {
	for name, fault := range cfg.Faults {
		t.Run(name, func(t *testing.T) { broken(t, cfg, whole, fault) })
	}
}

// broken breaks what the source reads from when it has given some rows, and mends it. An engine that gets an error
// ends and opens the source again where the log says.
func broken(t *testing.T, cfg Config, whole []step, fault func(testing.TB) func()) {
	src := cfg.Open(t)
	defer func() { closeSource(t, src) }()
	var got []string
	var from json.RawMessage
	lim := microbatch.Limits{MaxRows: max(1, int64(len(cfg.rowsOf(whole)))/10)}
	var mend func()
	for n := 0; ; n++ {
		if n == 3 {
			mend = fault(t)
		}
		r, err := src.Poll(context.Background(), from, lim)
		if mend != nil && n >= 5 {
			mend()
			mend = nil
		}
		if err != nil {
			if n < 3 || n > 10_000 {
				t.Fatalf("Poll(%s): %v", from, err)
			}
			closeSource(t, src)
			src = cfg.Open(t)
			continue
		}
		if string(r.To) == string(from) && n > 5 && (r.Done || !cfg.Bounded) {
			break
		}
		got, from = append(got, newStep(from, r).rows...), r.To
	}
	if diff := cmp.Diff(cfg.rowsOf(whole), cfg.sorted(got)); diff != "" {
		t.Errorf("rows differ from those without the fault (-without +with):\n%s", diff)
	}
}

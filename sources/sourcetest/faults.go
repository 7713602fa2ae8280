package sourcetest

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
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

// closed: a source that was closed gives nothing more, and says so.
func closed(t *testing.T, cfg Config) {
	src := cfg.Open(t)
	s, _ := poll(t, src, nil, microbatch.Limits{MaxRows: 1})
	for range 2 {
		closeSource(t, src)
	}
	if _, err := src.Poll(context.Background(), nil, microbatch.Limits{}); !errors.Is(err, microbatch.ErrSourceClosed) {
		t.Errorf("Poll after Close: %v", err)
	}
	if _, err := src.Read(context.Background(), nil, s.to); !errors.Is(err, microbatch.ErrSourceClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

// cancelled: a call whose context is over returns, be it with rows, and what comes after it is as if it had not been.
func cancelled(t *testing.T, cfg Config, whole []step) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	src := cfg.Open(t)
	defer closeSource(t, src)
	var got []string
	var from json.RawMessage
	lim := microbatch.Limits{MaxRows: max(1, int64(len(cfg.rowsOf(whole)))/5)}
	for n := 0; ; n++ {
		ctx := context.Background()
		if n%2 == 0 && n < 10 {
			ctx = over
		}
		r, err := src.Poll(ctx, from, lim)
		if err != nil {
			if ctx != over {
				t.Fatalf("Poll(%s) after one that was cancelled: %v", from, err)
			}
			continue
		}
		if string(r.To) == string(from) && n >= 10 && (r.Done || !cfg.Bounded) {
			break
		}
		s := newStep(from, r)
		if _, err := src.Read(over, from, r.To); err == nil {
			if again := read(t, cfg, src, from, r.To); cmp.Diff(s.chunks, again.chunks) != "" {
				t.Fatalf("Read(%s, %s) after one that was cancelled differs from Poll", from, r.To)
			}
		}
		got, from = append(got, s.rows...), r.To
	}
	if diff := cmp.Diff(cfg.rowsOf(whole), cfg.sorted(got)); diff != "" {
		t.Errorf("rows differ from those without cancelled calls (-without +with):\n%s", diff)
	}
}

// lost: what was read and can be read no more is refused, with what to do, and not replaced by other rows.
func lost(t *testing.T, cfg Config, l Losable) {
	src := l.Open(t)
	var steps []step
	var from json.RawMessage
	for len(steps) < 5 {
		s, r := poll(t, src, from, microbatch.Limits{MaxRows: 3})
		if string(s.to) == string(from) {
			if cfg.Bounded && !r.Done {
				continue
			}
			break
		}
		steps, from = append(steps, s), s.to
	}
	closeSource(t, src)
	if len(steps) == 0 {
		t.Fatal("the source has no rows that could be lost")
	}
	l.Lose(t)
	for _, s := range steps {
		after := l.Open(t)
		_, err := after.Read(context.Background(), s.from, s.to)
		RangeChanged(t, err)
		if err != nil && !strings.Contains(err.Error(), "\nHint: ") {
			t.Errorf("the error does not say what to do: %v", err)
		}
		closeSource(t, after)
	}
}

// Package sourcetest checks that a source keeps microbatch.Source's contract: the same range gives the
// same rows, wherever it is cut and whoever reads it.
package sourcetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

// Config describes a source over data that does not change while the suite runs.
type Config struct {
	// Open returns a new source over the data. It is called many times.
	Open func(t testing.TB) microbatch.Source
	// Columns are the declared columns.
	Columns []vector.Field
	// Weighted says that rows have a weight, and Keyed that they have a key, too. A record of a weighted
	// source may be two rows, of one _seq unless it is keyed.
	Weighted, Keyed bool
	// Together is how many rows a Poll may have over its limit, because they belong together, as those of one
	// transaction do. Defaults to none.
	Together int64
	// Rows and Bad are how many good and bad rows the data has; -1 if not known.
	Rows, Bad int64
	// Partitioned says that a Poll takes from several partitions at once: the order of rows is fixed within each,
	// and within one range, but how far each has been read depends on the limits and the moment.
	Partitioned bool
	// Bounded says that the source reports Done at its end, and that Polls before may find nothing for now.
	Bounded bool
	// Faults break what the source reads from, by name; what they return mends it. A Poll meanwhile may give rows,
	// nothing or an error, but must return; afterwards nothing is missing.
	Faults map[string]func(t testing.TB) (mend func())
	// Lost are ways to lose what was read, by name.
	Lost map[string]func(t testing.TB) Losable
	// Seed makes the random cuts. Defaults to a random one, which a failure prints.
	Seed uint64
}

// Losable is a source over data of its own. Lose loses or changes all of it that was read.
type Losable struct {
	Open func(t testing.TB) microbatch.Source
	Lose func(t testing.TB)
}

// A step is one Poll and what it gave.
type step struct {
	from, to json.RawMessage
	chunks   []string // one entry a row, with a marker between chunks
	bad      []microbatch.BadRow
	rows     []string
	count    int64
	bytes    int64
	keep     []*vector.Chunk
}

// Run runs the whole suite.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	t.Logf("sourcetest: seed %d", cfg.Seed)
	rng := rand.New(rand.NewPCG(cfg.Seed, 1))
	whole := drain(t, cfg, func() microbatch.Limits { return microbatch.Limits{} })
	t.Run("whole", func(t *testing.T) { checkWhole(t, cfg, whole) })
	for name, next := range map[string]func() microbatch.Limits{
		"one row at a time": func() microbatch.Limits { return microbatch.Limits{MaxRows: 1} },
		"random rows":       func() microbatch.Limits { return microbatch.Limits{MaxRows: 1 + rng.Int64N(300)} },
		"chunk and one":     func() microbatch.Limits { return microbatch.Limits{MaxRows: vector.Size + 1} },
		"random bytes":      func() microbatch.Limits { return microbatch.Limits{MaxBytes: 1 + rng.Int64N(5000)} },
		"both": func() microbatch.Limits {
			return microbatch.Limits{MaxRows: 1 + rng.Int64N(100), MaxBytes: 1 + rng.Int64N(20000)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cut := drain(t, cfg, next)
			if diff := cmp.Diff(cfg.rowsOf(whole), cfg.rowsOf(cut)); diff != "" {
				t.Errorf("rows differ from those of one Poll (-whole +cut):\n%s", diff)
			}
			if diff := cmp.Diff(cfg.badOf(whole), cfg.badOf(cut)); diff != "" {
				t.Errorf("bad rows differ (-whole +cut):\n%s", diff)
			}
			replay(t, cfg, cut, rng)
			resume(t, cfg, cut, rng)
			joined(t, cfg, cut, rng)
			seek(t, cfg, cut, rng)
			owned(t, cut)
		})
	}
	runFaults(t, cfg, whole)
	t.Run("closed unread", func(t *testing.T) { closeSource(t, cfg.Open(t)) })
	t.Run("closed", func(t *testing.T) { closed(t, cfg) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, cfg, whole) })
	for name, make := range cfg.Lost {
		t.Run(name, func(t *testing.T) { lost(t, cfg, make(t)) })
	}
}

// drain polls one source to its end.
func drain(t *testing.T, cfg Config, next func() microbatch.Limits) []step {
	t.Helper()
	src := cfg.Open(t)
	defer closeSource(t, src)
	var steps []step
	var from json.RawMessage
	for {
		lim := next()
		s, r := poll(t, src, from, lim)
		checkRows(t, cfg, r, lim)
		if string(s.to) == string(from) {
			if r.Count != 0 || len(r.Bad) != 0 {
				t.Fatalf("Poll gave %d rows and %d bad rows, but To equals from: %s", r.Count, len(r.Bad), from)
			}
			if cfg.Bounded && !r.Done {
				continue
			}
			return steps
		}
		if len(steps) > 1<<20 {
			t.Fatal("the source does not come to an end")
		}
		steps = append(steps, s)
		from = s.to
	}
}

func poll(t *testing.T, src microbatch.Source, from json.RawMessage, lim microbatch.Limits) (step, *microbatch.Rows) {
	t.Helper()
	r, err := src.Poll(context.Background(), from, lim)
	if err != nil {
		t.Fatalf("Poll(%s): %v", from, err)
	}
	return newStep(from, r), r
}

func newStep(from json.RawMessage, r *microbatch.Rows) step {
	s := step{from: from, to: r.To, bad: r.Bad, count: r.Count, bytes: r.Bytes, keep: r.Chunks}
	for _, c := range r.Chunks {
		rows := Render(c)
		s.rows = append(s.rows, rows...)
		s.chunks = append(append(s.chunks, rows...), fmt.Sprintf("-- %d", c.N))
	}
	return s
}

// checkRows checks one Poll's result against the limits and the contract's words.
func checkRows(t *testing.T, cfg Config, r *microbatch.Rows, lim microbatch.Limits) {
	t.Helper()
	var n int64
	for _, c := range r.Chunks {
		n += int64(c.N)
		if c.N < 1 || c.N > vector.Size {
			t.Errorf("a chunk has %d rows", c.N)
		}
		if want := len(cfg.Columns) + cfg.hidden(); len(c.Cols) != want {
			t.Fatalf("a chunk has %d columns, want %d", len(c.Cols), want)
		}
		for i := range c.Cols {
			want := vector.Of(vector.Int64)
			if i < len(cfg.Columns) {
				want = cfg.Columns[i].Type
			}
			if !c.Cols[i].Type.Equal(want) {
				t.Fatalf("column %d is %s, want %s", i, c.Cols[i].Type, want)
			}
			c.Cols[i].Check(c.N)
		}
		checkWeights(t, cfg, c)
	}
	if n != r.Count {
		t.Errorf("Count is %d, the chunks have %d rows", r.Count, n)
	}
	if lim.MaxRows > 0 && n > lim.MaxRows+int64(cfg.hidden()-1)+cfg.Together {
		t.Errorf("Poll gave %d rows, the limit was %d", n, lim.MaxRows)
	}
	if r.Done && r.More {
		t.Error("Done and More at once")
	}
}

// hidden is how many columns follow the declared ones; the last but one row of a weighted Poll may be half a
// record, which is then given whole.
func (cfg Config) hidden() int {
	if cfg.Weighted {
		return 2
	}
	return 1
}

// checkWeights checks that weights are there, and that only an update's rows share a _seq.
func checkWeights(t *testing.T, cfg Config, c *vector.Chunk) {
	t.Helper()
	if !cfg.Weighted {
		return
	}
	w, seq := &c.Cols[len(c.Cols)-2], &c.Cols[len(c.Cols)-1]
	for i := range c.N {
		if w.IsNull(i) || w.I64(i) == 0 {
			t.Fatalf("row %d has no weight", i)
		}
		if i > 0 && seq.I64(i) == seq.I64(i-1) && (cfg.Keyed || w.I64(i-1) != -1 || w.I64(i) != 1) {
			t.Fatalf("rows %d and %d have the same _seq and weights %d and %d", i-1, i, w.I64(i-1), w.I64(i))
		}
	}
}

func checkWhole(t *testing.T, cfg Config, steps []step) {
	rows, bad := cfg.rowsOf(steps), cfg.badOf(steps)
	if cfg.Rows >= 0 && int64(len(rows)) != cfg.Rows {
		t.Errorf("got %d rows, want %d", len(rows), cfg.Rows)
	}
	if cfg.Bad >= 0 && int64(len(bad)) != cfg.Bad {
		t.Errorf("got %d bad rows, want %d: %v", len(bad), cfg.Bad, bad)
	}
	seen := map[int64]bool{}
	for _, s := range steps {
		for _, c := range s.keep {
			seq := &c.Cols[len(c.Cols)-1]
			for i := range c.N {
				if seen[seq.I64(i)] && !(cfg.Weighted && i > 0 && seq.I64(i-1) == seq.I64(i)) {
					t.Fatalf("_seq %d appears twice", seq.I64(i))
				}
				seen[seq.I64(i)] = true
			}
		}
	}
}

// replay reads random recorded ranges, out of order, with a source that saw none of the Polls: chunks
// must be the same, cuts included.
func replay(t *testing.T, cfg Config, steps []step, rng *rand.Rand) {
	t.Helper()
	src := cfg.Open(t)
	defer closeSource(t, src)
	for range min(len(steps), 20) {
		want := steps[rng.IntN(len(steps))]
		got := read(t, cfg, src, want.from, want.to)
		if diff := cmp.Diff(want.chunks, got.chunks); diff != "" {
			t.Fatalf("Read(%s, %s) differs from Poll (-poll +read):\n%s", want.from, want.to, diff)
		}
		if diff := cmp.Diff(want.bad, got.bad); diff != "" {
			t.Fatalf("bad rows of Read(%s, %s) differ (-poll +read):\n%s", want.from, want.to, diff)
		}
		if got.bytes != want.bytes {
			t.Errorf("Read(%s, %s) counted %d bytes, Poll %d", want.from, want.to, got.bytes, want.bytes)
		}
	}
}

// joined reads ranges that span several Polls.
func joined(t *testing.T, cfg Config, steps []step, rng *rand.Rand) {
	t.Helper()
	src := cfg.Open(t)
	defer closeSource(t, src)
	for range min(len(steps), 5) {
		i := rng.IntN(len(steps))
		j := i + rng.IntN(len(steps)-i)
		got := read(t, cfg, src, steps[i].from, steps[j].to)
		if diff := cmp.Diff(cfg.rowsOf(steps[i:j+1]), cfg.sorted(got.rows)); diff != "" {
			t.Fatalf("Read(%s, %s) differs from the Polls between (-polls +read):\n%s", steps[i].from, steps[j].to, diff)
		}
	}
}

func read(t *testing.T, cfg Config, src microbatch.Source, from, to json.RawMessage) step {
	t.Helper()
	r, err := src.Read(context.Background(), from, to)
	if err != nil {
		t.Fatalf("Read(%s, %s): %v", from, to, err)
	}
	if string(r.To) != string(to) {
		t.Errorf("Read to %s says To = %s", to, r.To)
	}
	checkRows(t, cfg, r, microbatch.Limits{})
	return newStep(from, r)
}

// resume starts a new source at a random To and polls to the end.
func resume(t *testing.T, cfg Config, steps []step, rng *rand.Rand) {
	t.Helper()
	for range min(len(steps), 3) {
		i := rng.IntN(len(steps))
		src := cfg.Open(t)
		var got []string
		from := steps[i].to
		for {
			s, r := poll(t, src, from, microbatch.Limits{MaxRows: 1 + rng.Int64N(4000)})
			if string(s.to) == string(from) {
				if cfg.Bounded && !r.Done {
					continue
				}
				break
			}
			got = append(got, s.rows...)
			from = s.to
		}
		closeSource(t, src)
		if diff := cmp.Diff(cfg.rowsOf(steps[i+1:]), cfg.sorted(got)); diff != "" {
			t.Fatalf("resumed at %s, the rest differs (-straight +resumed):\n%s", steps[i].to, diff)
		}
	}
}

// owned checks that chunks did not change while the source went on.
func owned(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if diff := cmp.Diff(s.rows, RenderAll(s.keep)); diff != "" {
			t.Fatalf("a chunk changed after later Polls:\n%s", diff)
		}
	}
}

// RangeChanged fails the test unless err is microbatch.ErrRangeChanged.
func RangeChanged(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, microbatch.ErrRangeChanged) {
		t.Errorf("got error %v, want one that wraps ErrRangeChanged", err)
	}
}

func closeSource(t testing.TB, src microbatch.Source) {
	t.Helper()
	if err := src.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

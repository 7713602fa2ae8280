package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errOutage = errors.New("connect to Postgres: connection refused\nHint: is the server running?")
	errOdd    = errors.New("something odd")
)

// fakeLauncher runs pipelines that commit a batch a second and do what the test scripted. The real engines
// are run by cmd/sluice's tests; here it is the daemon's own behaviour that counts.
type fakeLauncher struct {
	mu sync.Mutex
	// script gives what the attempts of a pipeline end with, in order; after it they run until stopped.
	script   map[string][]ending
	launches map[string][]time.Time
	dropped  map[string]DropOptions
	checkErr error
	dropErr  error
	// deaf pipelines do not heed Stop, only their context.
	deaf map[string]bool
	live map[string]int

	// log is the text that a pipeline's log is of, as far as a test cares; needs are texts that ask for a rebuild.
	log   map[string]string
	needs map[string]error
	// rebuild is what Rebuild does instead of filling tables.
	rebuild func(ctx context.Context, h Handover) error
}

// ending is how an attempt ends, and after how many batches.
type ending struct {
	launch  error
	batches int
	run     error
	panics  bool
}

func newFake() *fakeLauncher {
	return &fakeLauncher{script: map[string][]ending{}, launches: map[string][]time.Time{}, dropped: map[string]DropOptions{}, deaf: map[string]bool{}, live: map[string]int{},
		log: map[string]string{}, needs: map[string]error{}}
}

func (l *fakeLauncher) Check(_ context.Context, s Spec) (Description, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Description{Plan: "plan-of-" + s.Name, Tables: []string{s.Name + "_t"}}, l.checkErr
}

func (l *fakeLauncher) Launch(ctx context.Context, s Spec) (Runner, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[s.Name] > 0 {
		panic("two engines of one pipeline: " + s.Name)
	}
	l.launches[s.Name] = append(l.launches[s.Name], time.Now())
	r := &fakeRunner{l: l, name: s.Name, stop: make(chan struct{}), deaf: l.deaf[s.Name]}
	if next := l.script[s.Name]; len(next) > 0 {
		r.end, l.script[s.Name] = &next[0], next[1:]
		if r.end.launch != nil {
			return nil, r.end.launch
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l.live[s.Name]++
	l.log[s.Name] = s.SQL
	return r, nil
}

func (l *fakeLauncher) Review(ctx context.Context, s Spec) (Description, error, error) {
	d, err := l.Check(ctx, s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.goesOn(s) {
		return d, cmp.Or(l.needs[s.SQL], l.needs[l.log[s.Name]]), err
	}
	return d, nil, err
}

// Rebuild swaps the log, unless the test has it do something else first.
func (l *fakeLauncher) Rebuild(ctx context.Context, s Spec, h Handover) error {
	h.Progress(RebuildProgress{Phase: Backfilling, Steps: 2, StepsDone: 1})
	if l.rebuild != nil {
		if err := l.rebuild(ctx, h); err != nil {
			return err
		}
	} else if err := h.Stop(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[s.Name] > 0 {
		panic("swapped while the version before ran: " + s.Name)
	}
	l.log[s.Name] = s.SQL
	return nil
}

func (l *fakeLauncher) Settle(_ context.Context, s Spec) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.goesOn(s), nil
}

func (l *fakeLauncher) goesOn(s Spec) bool {
	return l.log[s.Name] == "" || l.log[s.Name] == s.SQL || l.needs[s.SQL] == nil && l.needs[l.log[s.Name]] == nil
}

func (l *fakeLauncher) Replacing(string, bool) {}

func (l *fakeLauncher) Drop(_ context.Context, s Spec, how DropOptions) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[s.Name] > 0 {
		panic("dropped while it ran: " + s.Name)
	}
	if l.dropErr != nil {
		return nil, l.dropErr
	}
	l.dropped[s.Name] = how
	return []string{s.Name + "_t"}, nil
}

func (l *fakeLauncher) Classify(err error) Fault {
	if errors.Is(err, errOutage) {
		return Transient
	}
	return Classify(err)
}

func (l *fakeLauncher) count(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.launches[name])
}

// gaps are the times between the launches of a pipeline.
func (l *fakeLauncher) gaps(name string) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []time.Duration
	for i, at := range l.launches[name] {
		if i > 0 {
			out = append(out, at.Sub(l.launches[name][i-1]))
		}
	}
	return out
}

type fakeRunner struct {
	l    *fakeLauncher
	name string
	end  *ending
	deaf bool

	once sync.Once
	stop chan struct{}
	mu   sync.Mutex
	p    microbatch.Progress
}

func (r *fakeRunner) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stop := r.stop
	if r.deaf {
		stop = nil
	}
	for n := 0; ; n++ {
		if r.end != nil && n == r.end.batches {
			if r.end.panics {
				panic("impossible: 1 = 2")
			}
			return r.end.run
		}
		select {
		case <-tick.C:
			r.mu.Lock()
			r.p.Batch++
			r.p.CommittedAt = time.Now()
			r.mu.Unlock()
		case <-stop:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stage batch: %w", context.Cause(ctx))
		}
	}
}

func (r *fakeRunner) Stop() { r.once.Do(func() { close(r.stop) }) }

func (r *fakeRunner) Progress() microbatch.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.p
}

func (r *fakeRunner) Describe() Description { return Description{Plan: "plan-of-" + r.name} }

func (r *fakeRunner) Close() error {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.live[r.name]--
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testFleet opens a fleet over a state directory.
func testFleet(t *testing.T, dir string, l Launcher) *fleet {
	t.Helper()
	f, err := openFleet(dir, l, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustSubmit(t *testing.T, f *fleet, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := f.submit(t.Context(), Spec{Name: name, SQL: "SELECT 1", File: name + ".sql", Dir: "/"}); err != nil {
			t.Fatalf("submit %s: %v", name, err)
		}
	}
}

func statusOf(t *testing.T, f *fleet, name string) Status {
	t.Helper()
	p, err := f.get(name)
	if err != nil {
		t.Fatal(err)
	}
	return p.status()
}

func expectState(t *testing.T, f *fleet, name string, want State) {
	t.Helper()
	if s := statusOf(t, f, name); s.State != want {
		t.Errorf("%s is %s, want %s (problem %v)", name, s.State, want, s.Problem)
	}
}

// end shuts a fleet down as the first signal does.
func end(t *testing.T, f *fleet) {
	t.Helper()
	if err := f.shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

func badSQL() error {
	src := "CREATE VIEW v AS\nSELEC 1;\n"
	f := &ddl.File{Name: "bad.sql", Text: src}
	return ddl.Join(f.Errorf(ddl.Span{Start: 17, End: 22}, "syntax error at or near \"SELEC\"").WithHint("did you mean SELECT?"))
}

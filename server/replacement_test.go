package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

const (
	secondSQL  = "SELECT 2"
	rebuiltSQL = "SELECT other"
)

func newVersion(name, sql string) Spec {
	return Spec{Name: name, SQL: sql, File: name + "_2.sql", Dir: "/"}
}

var errNeeds = &microbatch.RefusedError{Detail: "the filter changed", Hint: "start it with --rebuild"}

// replacing runs a pipeline under a launcher for which rebuiltSQL asks for a rebuild.
func replacingFleet(t *testing.T, dir string) (*fakeLauncher, *fleet) {
	l := newFake()
	l.needs[rebuiltSQL] = errNeeds
	f := testFleet(t, dir, l)
	mustSubmit(t, f, "p")
	time.Sleep(2500 * time.Millisecond)
	synctest.Wait()
	return l, f
}

func mustReplace(t *testing.T, f *fleet, sql string) {
	t.Helper()
	if _, err := f.replace(t.Context(), newVersion("p", sql), true); err != nil {
		t.Fatal(err)
	}
}

// expectVersion checks what runs, what a new daemon would find, and how the replacement ended.
func expectVersion(t *testing.T, f *fleet, sql string, ended ReplacementState) {
	t.Helper()
	p, err := f.get("p")
	if err != nil {
		t.Fatal(err)
	}
	s := p.status()
	if p.text() != sql || s.Replacement == nil || s.Replacement.State != ended || s.Replacement.EndedAt.IsZero() {
		t.Errorf("it runs %q, and the replacement is %+v; want %q, %s", p.text(), s.Replacement, sql, ended)
	}
	rec, err := f.store.load("p")
	if err != nil || rec.Spec.SQL != sql || rec.Next != nil {
		t.Errorf("the record has %q and the next version %+v, %v", rec.Spec.SQL, rec.Next, err)
	}
}

// TestReplaceGoesOn: a version that the log allows is started when the one before has finished its batch.
func TestReplaceGoesOn(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, f := replacingFleet(t, dir)
		if _, err := f.replace(t.Context(), newVersion("p", secondSQL), false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expectState(t, f, "p", Running)
		expectVersion(t, f, secondSQL, Replaced)
		if n := l.count("p"); n != 2 {
			t.Errorf("%d launches, want 2", n)
		}
		if _, err := f.replace(t.Context(), newVersion("q", secondSQL), false); describe(err).Code != CodeNotFound {
			t.Errorf("replacing what is not there: %v", err)
		}
		end(t, f)
		f = testFleet(t, dir, l)
		f.resumeAll()
		synctest.Wait()
		p, _ := f.get("p")
		if p.text() != secondSQL || p.status().File != "p_2.sql" {
			t.Errorf("a new daemon runs %q of %s", p.text(), p.status().File)
		}
		end(t, f)
	})
}

// TestReplaceByRebuild: the version before runs until the rebuild wants it stopped, and nobody may be in the way.
func TestReplaceByRebuild(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, f := replacingFleet(t, dir)
		if _, err := f.replace(t.Context(), newVersion("p", rebuiltSQL), false); !errors.Is(err, errNeeds) {
			t.Errorf("without leave to rebuild: %v", err)
		}
		l.rebuild = func(ctx context.Context, h Handover) error {
			time.Sleep(10 * time.Second)
			h.Progress(RebuildProgress{Phase: CatchingUp, Steps: 2, StepsDone: 2})
			if err := h.Stop(ctx); err != nil {
				return err
			}
			time.Sleep(10 * time.Second)
			return nil
		}
		mustReplace(t, f, rebuiltSQL)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := statusOf(t, f, "p"); s.State != Running || s.Progress.Batch < 7 || s.Replacement.State != Backfilling || s.Replacement.Progress.Steps != 2 {
			t.Errorf("in the backfill: %s at batch %d, replacement %+v", s.State, s.Progress.Batch, s.Replacement)
		}
		if _, err := f.replace(t.Context(), newVersion("p", secondSQL), true); describe(err).Code != CodeState {
			t.Errorf("a second replacement: %v", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := statusOf(t, f, "p"); s.State != Replacing || s.Replacement.State != Swapping {
			t.Errorf("in the exchange: %s, replacement %+v", s.State, s.Replacement)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expectState(t, f, "p", Running)
		expectVersion(t, f, rebuiltSQL, Replaced)
		end(t, f)
	})
}

// TestRebuildThatFails: before and after the version before was stopped, and in a way that should be impossible.
func TestRebuildThatFails(t *testing.T) {
	for name, rebuild := range map[string]func(context.Context, Handover) error{
		"in the backfill": func(context.Context, Handover) error { return errOdd },
		"in the exchange": func(ctx context.Context, h Handover) error { return errors.Join(h.Stop(ctx), errOdd) },
		"by a panic":      func(ctx context.Context, h Handover) error { _ = h.Stop(ctx); panic("impossible: 1 = 2") },
	} {
		dir := t.TempDir()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, f := replacingFleet(t, dir)
				l.rebuild = rebuild
				mustReplace(t, f, rebuiltSQL)
				synctest.Wait()
				expectState(t, f, "p", Running)
				expectVersion(t, f, "SELECT 1", NotReplaced)
				if s := statusOf(t, f, "p"); s.Replacement.Problem == nil || s.Problem != nil {
					t.Errorf("the replacement's problem is %v, the pipeline's %v", s.Replacement.Problem, s.Problem)
				}
				// The next one does.
				l.rebuild = nil
				mustReplace(t, f, rebuiltSQL)
				synctest.Wait()
				expectVersion(t, f, rebuiltSQL, Replaced)
				end(t, f)
			})
		})
	}
}

// waits is a backfill that goes on until it is cancelled.
func waits(ctx context.Context, _ Handover) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestRebuildGivenUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, f := replacingFleet(t, dir)
		p, _ := f.get("p")
		if err := p.giveUp(t.Context(), errGivenUp); describe(err).Code != CodeState {
			t.Errorf("giving up nothing: %v", err)
		}
		l.rebuild = waits
		mustReplace(t, f, rebuiltSQL)
		synctest.Wait()
		if err := p.giveUp(t.Context(), errGivenUp); err != nil {
			t.Fatal(err)
		}
		expectState(t, f, "p", Running)
		expectVersion(t, f, "SELECT 1", GivenUp)
		if n := l.count("p"); n != 1 {
			t.Errorf("%d launches: the version before was disturbed", n)
		}
		mustReplace(t, f, rebuiltSQL)
		synctest.Wait()
		if _, err := f.drop(t.Context(), "p", DropOptions{Tables: DropTables}); err != nil {
			t.Errorf("drop in the backfill: %v", err)
		}
		end(t, f)
	})
}

// TestStopInARebuild: who stops the pipeline does not find it running when the rebuild is done.
func TestStopInARebuild(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, f := replacingFleet(t, dir)
		l.rebuild = func(ctx context.Context, h Handover) error {
			time.Sleep(10 * time.Second)
			return h.Stop(ctx)
		}
		mustReplace(t, f, rebuiltSQL)
		synctest.Wait()
		p, _ := f.get("p")
		if err := p.stop(t.Context(), finishBatch); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		s := statusOf(t, f, "p")
		if s.State != Stopped || s.Replacement.State != Replaced {
			t.Errorf("%s, replacement %+v", s.State, s.Replacement)
		}
		if err := p.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expectVersion(t, f, rebuiltSQL, Replaced)
		end(t, f)
	})
}

// TestDaemonEndsInARebuild: the next one has the version that the log is of.
func TestDaemonEndsInARebuild(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		dir := t.TempDir()
		t.Run(fmt.Sprintf("swapped %t", swapped), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, f := replacingFleet(t, dir)
				l.rebuild = func(ctx context.Context, h Handover) error {
					if swapped {
						if err := h.Stop(ctx); err != nil {
							return err
						}
						l.mu.Lock()
						l.log["p"] = rebuiltSQL
						l.mu.Unlock()
					}
					return waits(ctx, h)
				}
				mustReplace(t, f, rebuiltSQL)
				synctest.Wait()
				end(t, f)
				f = testFleet(t, dir, l)
				f.resumeAll()
				synctest.Wait()
				expectState(t, f, "p", Running)
				if swapped {
					expectVersion(t, f, rebuiltSQL, Replaced)
				} else {
					expectVersion(t, f, "SELECT 1", NotReplaced)
				}
				end(t, f)
			})
		})
	}
}

// TestReplacementThatDoesNotStart: the version before goes on if it still can.
func TestReplacementThatDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, f := replacingFleet(t, dir)
		l.script["p"] = []ending{{launch: badSQL()}}
		mustReplace(t, f, secondSQL)
		synctest.Wait()
		expectState(t, f, "p", Running)
		expectVersion(t, f, "SELECT 1", NotReplaced)

		// Where it cannot, the new one stays, and may be replaced in turn.
		l.script["p"] = []ending{{launch: badSQL()}}
		mustReplace(t, f, rebuiltSQL)
		synctest.Wait()
		expectState(t, f, "p", Failed)
		mustReplace(t, f, secondSQL)
		synctest.Wait()
		expectState(t, f, "p", Running)
		expectVersion(t, f, secondSQL, Replaced)
		end(t, f)
	})
}

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
)

func repeat(e ending, n int) []ending {
	var out []ending
	for range n {
		out = append(out, e)
	}
	return out
}

// TestBackoff: an outage is waited for, ever longer up to a minute, for as long as it lasts.
func TestBackoff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		l.script["p"] = repeat(ending{launch: errOutage}, 20)
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		s := statusOf(t, f, "p")
		if s.State != Restarting || s.RetryAt.IsZero() || s.Problem == nil || s.Problem.Hint != "is the server running?" || s.Restarts == 0 {
			t.Errorf("status in an outage: %+v, problem %+v", s, s.Problem)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		expectState(t, f, "p", Running)
		if s := statusOf(t, f, "p"); s.Restarts != 20 || s.Problem != nil {
			t.Errorf("after the outage: %d restarts, problem %v; want 20, none", s.Restarts, s.Problem)
		}
		for i, gap := range l.gaps("p") {
			most := min(time.Minute, time.Second<<min(i, 10))
			if gap > most || gap < most*4/5 {
				t.Errorf("launch %d came %s after the one before, want %s to %s", i+2, gap, most*4/5, most)
			}
		}
		end(t, f)
	})
}

// TestFaults: which failures end a pipeline, and after how many attempts.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		end      ending
		launches int
		code     Code
	}{
		"fenced":       {ending{batches: 2, run: fmt.Errorf("commit: %w", microbatch.ErrFenced)}, 1, CodeFenced},
		"range":        {ending{run: fmt.Errorf("read: %w", microbatch.ErrRangeChanged)}, 1, CodeRangeChanged},
		"refused":      {ending{launch: &microbatch.RefusedError{Detail: "the ledger is ahead", Hint: "restore it"}}, 1, CodeRefused},
		"corrupt":      {ending{launch: &checkpointlog.CorruptError{Path: "x", Reason: "bad checksum", Hint: "verify"}}, 1, CodeCorrupt},
		"sql":          {ending{launch: badSQL()}, 1, CodeSQL},
		"panic":        {ending{batches: 1, panics: true}, 1, CodePanicked},
		"odd":          {ending{run: errOdd}, 1 + maxTries, CodeFailed},
		"odd progress": {ending{batches: 1, run: errOdd}, 1 + maxTries, CodeFailed}, // always the same batch: no progress after the first
	} {
		dir := t.TempDir()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFake()
				l.script["bad"] = repeat(c.end, 50)
				f := testFleet(t, dir, l)
				mustSubmit(t, f, "bad", "good")
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				s := statusOf(t, f, "bad")
				if s.State != Failed || s.Problem == nil || s.Problem.Code != c.code {
					t.Fatalf("status %s, problem %+v; want failed, code %s", s.State, s.Problem, c.code)
				}
				if s.Desired != WantRunning {
					t.Errorf("a failed pipeline is wanted %s: the next daemon would not try it", s.Desired)
				}
				if n := l.count("bad"); n != c.launches {
					t.Errorf("%d launches, want %d", n, c.launches)
				}
				// Isolation: the other one never noticed.
				if s := statusOf(t, f, "good"); s.State != Running || s.Progress.Batch < 590 || s.Restarts != 0 {
					t.Errorf("the other pipeline: %s at batch %d", s.State, s.Progress.Batch)
				}
				end(t, f)
			})
		})
	}
}

func TestFinished(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		l.script["p"] = []ending{{batches: 3}}
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p")
		time.Sleep(5 * time.Second) // of the bubble's clock
		synctest.Wait()
		expectState(t, f, "p", Finished)
		end(t, f)

		f = testFleet(t, dir, l)
		f.resumeAll()
		synctest.Wait()
		expectState(t, f, "p", Finished)
		if s := statusOf(t, f, "p"); s.Progress == nil || s.Progress.Batch != 3 {
			t.Errorf("a new daemon has lost the progress: %+v", s.Progress)
		}
		p, _ := f.get("p")
		if err := p.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // of the bubble's clock
		synctest.Wait()
		expectState(t, f, "p", Running)
		end(t, f)
	})
}

// TestDaemonRestart: what should run is resumed, what was stopped is not.
func TestDaemonRestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		l.script["failed"] = []ending{{run: microbatch.ErrRangeChanged}}
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "runs", "stopped", "failed", "gaveup")
		time.Sleep(3 * time.Second) // of the bubble's clock
		for _, name := range []string{"stopped", "gaveup"} {
			p, _ := f.get(name)
			if err := p.stop(t.Context(), finishBatch); err != nil {
				t.Fatal(err)
			}
			expectState(t, f, name, Stopped)
		}
		expectState(t, f, "failed", Failed)
		end(t, f)
		expectState(t, f, "runs", Stopped)
		if p, _ := f.get("stopped"); p.resume(t.Context()) == nil {
			t.Error("a fleet that is shut down started a pipeline")
		}
		if err := os.WriteFile(filepath.Join(dir, "pipelines", "gaveup", "pipeline.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		// A foreground run's directory is none of ours.
		if err := os.MkdirAll(filepath.Join(dir, "pipelines", "foreground", "log"), 0o700); err != nil {
			t.Fatal(err)
		}

		f = testFleet(t, dir, l)
		f.resumeAll()
		time.Sleep(3 * time.Second) // of the bubble's clock
		synctest.Wait()
		expectState(t, f, "runs", Running)
		expectState(t, f, "failed", Running)
		expectState(t, f, "gaveup", Failed)
		if n := len(f.all()); n != 4 {
			t.Errorf("%d pipelines, want 4", n)
		}
		if s := statusOf(t, f, "runs"); s.File != "runs.sql" || s.Plan != "plan-of-runs" {
			t.Errorf("status after a restart: %+v", s)
		}
		end(t, f)
	})
}

// TestStoppedStays is TestDaemonRestart's other half: a stop is durable before it is answered, and resume
// undoes it.
func TestStoppedStays(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p")
		p, _ := f.get("p")
		if err := p.stop(t.Context(), finishBatch); err != nil {
			t.Fatal(err)
		}
		end(t, f)
		launches := l.count("p")
		f = testFleet(t, dir, l)
		f.resumeAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		expectState(t, f, "p", Stopped)
		if l.count("p") != launches {
			t.Error("a stopped pipeline was launched by a new daemon")
		}
		p, _ = f.get("p")
		for range 2 { // twice: resuming what runs changes nothing
			if err := p.resume(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		expectState(t, f, "p", Running)
		end(t, f)
	})
}

// TestStopWhileRestarting: a stop does not wait for the backoff.
func TestStopWhileRestarting(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		l.script["p"] = repeat(ending{launch: errOutage}, 100)
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		p, _ := f.get("p")
		before := time.Now()
		if err := p.stop(t.Context(), finishBatch); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(before); d != 0 {
			t.Errorf("the stop took %s", d)
		}
		expectState(t, f, "p", Stopped)
		if s := statusOf(t, f, "p"); s.Problem == nil {
			t.Error("the problem that it had was forgotten")
		}
		end(t, f)
	})
}

// TestDeaf: a batch that does not end (a database that does not answer) keeps a stop waiting until it is
// aborted, and the daemon until the second signal.
func TestDeaf(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		l.deaf["p"], l.deaf["q"] = true, true
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p", "q")
		time.Sleep(time.Second)
		p, _ := f.get("p")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.stop(ctx, finishBatch); err != nil {
			t.Fatal(err)
		}
		expectState(t, f, "p", Stopping)
		var e *Error
		if err := p.resume(t.Context()); !errors.As(err, &e) || e.Code != CodeState {
			t.Errorf("resume while stopping: %v", err)
		}
		if err := p.stop(t.Context(), giveUp); err != nil {
			t.Fatal(err)
		}
		expectState(t, f, "p", Stopped)
		if s := statusOf(t, f, "p"); s.Problem != nil {
			t.Errorf("giving a batch up is no problem: %v", s.Problem)
		}

		abort, second := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.shutdown(abort) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("the shutdown did not wait for the batch")
		default:
		}
		second()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestDrop(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		l.deaf["p"] = true // dropping does not wait for its batch
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p")
		time.Sleep(time.Second)
		l.dropErr = errOutage
		if _, err := f.drop(t.Context(), "p", DropOptions{Tables: DropTables}); !errors.Is(err, errOutage) {
			t.Fatalf("drop without a database: %v", err)
		}
		if s := statusOf(t, f, "p"); s.State != Failed || s.Desired != WantStopped || s.Problem == nil {
			t.Errorf("after a drop that failed: %+v", s)
		}
		if !exists(dir, "pipelines", "p", "pipeline.json") {
			t.Error("a drop that failed removed the pipeline")
		}
		l.dropErr, l.deaf["p"] = nil, false
		d, err := f.drop(t.Context(), "p", DropOptions{Tables: KeepTables})
		if err != nil || len(d.Tables) != 1 || l.dropped["p"].Tables != KeepTables {
			t.Errorf("drop: %+v, %v, %+v", d, err, l.dropped["p"])
		}
		if exists(dir, "pipelines", "p") {
			t.Error("its directory is still there")
		}
		if _, err := f.get("p"); err == nil {
			t.Error("it is still known")
		}
		mustSubmit(t, f, "p") // the name is free again
		end(t, f)
	})
}

// TestDropSurvivesTheDaemon: a crash in the middle of a drop leads to a record that wants dropped.
func TestDropSurvivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := newFake()
		f := testFleet(t, dir, l)
		mustSubmit(t, f, "p")
		p, _ := f.get("p")
		time.Sleep(time.Second)
		end(t, f)
		if err := p.update(func(r *record) { r.Desired, r.Tables, r.KeepRemote = WantDropped, KeepTables, true }); err != nil {
			t.Fatal(err)
		}
		f = testFleet(t, dir, l)
		f.resumeAll()
		synctest.Wait()
		if l.dropped["p"] != (DropOptions{KeepTables, true}) || exists(dir, "pipelines", "p") || len(f.all()) != 0 {
			t.Errorf("the drop was not completed: %v", l.dropped)
		}
		end(t, f)
	})
}

func TestSubmitRefuses(t *testing.T) {
	dir := t.TempDir()
	l := newFake()
	f := testFleet(t, dir, l)
	mustSubmit(t, f, "Orders")
	for name, c := range map[string]struct {
		spec Spec
		code Code
	}{
		"exists":       {Spec{Name: "Orders", SQL: "SELECT 1"}, CodeExists},
		"exists, case": {Spec{Name: "orders", SQL: "SELECT 1"}, CodeExists},
		"no name":      {Spec{SQL: "SELECT 1"}, CodeBadRequest},
		"path":         {Spec{Name: "../x", SQL: "SELECT 1"}, CodeBadRequest},
		"dot":          {Spec{Name: ".x", SQL: "SELECT 1"}, CodeBadRequest},
		"no sql":       {Spec{Name: "x", SQL: " \n"}, CodeBadRequest},
		"relative dir": {Spec{Name: "x", SQL: "SELECT 1", Dir: "data"}, CodeBadRequest},
	} {
		var e *Error
		if _, err := f.submit(t.Context(), c.spec); !errors.As(err, &e) || e.Code != c.code || e.Hint == "" {
			t.Errorf("%s: %v, want code %s and a hint", name, err, c.code)
		}
	}
	l.checkErr = badSQL()
	if _, err := f.submit(t.Context(), Spec{Name: "x", SQL: "SELEC 1"}); err == nil {
		t.Error("wrong SQL was accepted")
	}
	if exists(dir, "pipelines", "x") || len(f.all()) != 1 {
		t.Error("a rejected pipeline left something behind")
	}
	end(t, f)
}

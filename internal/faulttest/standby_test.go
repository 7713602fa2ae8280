package faulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/s3test"
)

// A pair is two daemons with state directories on storage that both see.
type pair struct{ a, b *pipeline }

// newPair makes the directories. Why not t.TempDir: a socket's path must be short.
func newPair(t *testing.T, sql string, input []byte) pair {
	t.Helper()
	a := newPipeline(t, pgtest.URL(t), sql, map[string][]byte{"events.ndjson": input})
	root, err := os.MkdirTemp("", "pair")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	b := *a
	a.state, b.state = filepath.Join(root, "a"), filepath.Join(root, "b")
	return pair{a, &b}
}

// serve starts a daemon and waits until it takes requests.
func (p *pipeline) serve(t *testing.T, failpoints string, args ...string) *process {
	t.Helper()
	c := p.start(t, failpoints, append([]string{"serve", "--listen", "off"}, args...)...)
	eventually(t, "the daemon takes requests", func() bool { return p.ask(t, "/v1/version", new(any)) })
	return c
}

// ask reads from the daemon's API, and says whether it had an answer.
//
// Why not by a command: who waits asks often, and the start of a process takes far more than the question.
func (p *pipeline) ask(t testing.TB, path string, answer any) bool {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.state, "sluice.sock"))
	}}}
	res, err := client.Get("http://sluice" + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(answer) == nil
}

// eventually waits for a condition, looking again every 50 ms.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !done(); <-tick.C {
		if time.Since(start) > commandTimeout/2 {
			t.Fatalf("waited %s: %s", time.Since(start).Round(time.Second), what)
		}
	}
}

type daemonStatus struct {
	State       string `json:"state"`
	Owner       string `json:"owner"`
	Replacement struct {
		State string `json:"state"`
	} `json:"replacement"`
}

func (p *pipeline) status(t *testing.T) (s daemonStatus) {
	t.Helper()
	p.ask(t, "/v1/pipelines/"+p.name, &s)
	return s
}

func (p *pipeline) awaitState(t *testing.T, want string) {
	t.Helper()
	last := daemonStatus{}
	eventually(t, "state "+want, func() bool {
		last = p.status(t)
		if last.State == "failed" && want != "failed" {
			t.Fatalf("the pipeline failed:\n%v", p.sluice(t, nil, "status", p.name))
		}
		return last.State == want
	})
}

func (p *pipeline) epoch(t *testing.T) string {
	t.Helper()
	return strings.Join(pgtest.Rows(t, p.url, "SELECT epoch FROM sluice.ledger"), " ")
}

// TestStandbyTakesOver: the owner is paused for longer than the takeover, killed, or ended in good order, at
// different steps of a batch. The standby runs the pipeline to its end, with its file and options; the paused one
// commits nothing afterwards and exits with 5.
func TestStandbyTakesOver(t *testing.T) {
	for _, tc := range []struct {
		name, step string
		signal     syscall.Signal
	}{
		{"paused with a batch prepared", "batch.after_prepare", syscall.SIGSTOP},
		{"paused in its commit", "sink.commit.before_commit", syscall.SIGSTOP},
		{"killed with a batch staged", "batch.after_stage", syscall.SIGKILL},
		{"ended in good order", "batch.after_done", syscall.SIGTERM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			two := newPair(t, eventsSQL, events())
			a := two.a.serve(t, tc.step+"=sleep(1s):6")
			if r := two.a.sluice(t, nil, "submit", two.a.file(), "--until-end", "--detach"); r.code != 0 {
				t.Fatal(r)
			}
			b := two.b.serve(t, "", "--standby", two.a.state)
			a.waitFired(t)
			two.b.awaitState(t, "standby")
			epoch := two.b.epoch(t)
			if s := two.b.status(t); !strings.Contains(s.Owner, fmt.Sprintf(":%d:", a.cmd.Process.Pid)) {
				t.Errorf("the owner is %q, want process %d", s.Owner, a.cmd.Process.Pid)
			}
			two.b.sluice(t, nil, "drop", two.b.name, "--yes").mustFail(t, 1, "run by another daemon", "hint: ")
			start := time.Now()
			a.signal(t, tc.signal)
			eventually(t, "takeover", func() bool { return two.b.epoch(t) != epoch })
			if took := time.Since(start); took > 5*time.Second && tc.signal != syscall.SIGTERM {
				t.Errorf("the takeover began after %s", took)
			} else {
				t.Logf("the takeover began after %s", took)
			}
			two.b.awaitState(t, "finished")
			want := two.b.contents(t)
			if tc.signal == syscall.SIGSTOP {
				a.signal(t, syscall.SIGCONT)
				a.wait(t).mustFail(t, 5, "fenced by a newer engine")
			} else {
				a.wait(t)
			}
			if diff := cmp.Diff(want, two.b.contents(t)); diff != "" {
				t.Errorf("the older engine changed something after it was taken over from:\n%s", diff)
			}
			two.b.verify(t)
			two.b.sameTables(t)
			b.signal(t, syscall.SIGTERM)
			if r := b.wait(t); r.code != 0 {
				t.Errorf("the standby did not end well:\n%v", r)
			}
		})
	}
}

// TestStandbyForEachOther: a pipeline goes to the standby and back, with input in between; a daemon that comes back
// stands by, and without --standby it does not take the pipeline from the living.
func TestStandbyForEachOther(t *testing.T) {
	t.Parallel()
	lines := slices.Collect(bytes.Lines(events()))
	half := bytes.Join(lines[:len(lines)/2], nil)
	two := newPair(t, eventsSQL, half)
	count := func(want int) func() bool {
		return func() bool {
			got := pgtest.Rows(t, two.a.url, `SELECT (SELECT n FROM total) + (SELECT count(*) FROM sluice.dead_letter)`)
			return slices.Equal(got, []string{fmt.Sprint(want)})
		}
	}
	a := two.a.serve(t, "")
	if r := two.a.sluice(t, nil, "submit", two.a.file()); r.code != 0 {
		t.Fatal(r)
	}
	b := two.b.serve(t, "", "--standby", two.a.state)
	two.b.awaitState(t, "standby")
	eventually(t, "the first half", count(len(lines)/2))
	a.signal(t, syscall.SIGKILL)
	a.wait(t)
	two.b.awaitState(t, "running")

	// Somebody restarts the first daemon as it was: the living one keeps the pipeline.
	epoch := two.a.epoch(t)
	a = two.a.serve(t, "")
	two.a.awaitState(t, "restarting")
	if r := two.a.sluice(t, nil, "status", two.a.name); !strings.Contains(r.stdout, "another engine runs it") || !strings.Contains(r.stdout, "--standby") {
		t.Errorf("the status does not say what to do:\n%v", r)
	}
	a.signal(t, syscall.SIGTERM)
	a.wait(t)
	if got := two.a.epoch(t); got != epoch {
		t.Errorf("the epoch went from %s to %s", epoch, got)
	}

	// And as a standby.
	a = two.a.serve(t, "", "--standby", two.b.state)
	two.a.awaitState(t, "standby")
	b.signal(t, syscall.SIGKILL)
	b.wait(t)
	two.a.awaitState(t, "running")
	two.a.write(t, "events.ndjson", events())
	eventually(t, "all of the input", count(len(lines)))
	a.signal(t, syscall.SIGTERM)
	if r := a.wait(t); r.code != 0 {
		t.Errorf("the daemon did not end well:\n%v", r)
	}
	two.a.verify(t)
	two.a.replay(t)
}

// TestStandbyWithoutASharedDisk: the owner dies with its disk and a batch in flight, and the other daemon goes on from the copy
// in the bucket, with the file and the options that the bucket has, too. A pipeline that is stopped is nobody's to take over.
func TestStandbyWithoutASharedDisk(t *testing.T) {
	t.Parallel()
	s := s3test.New(t)
	lines := slices.Collect(bytes.Lines(events()))
	half := bytes.Join(lines[:len(lines)/2], nil)
	two := newPair(t, "SET checkpoint_sync = 'batch';\n"+eventsSQL, half)
	two.a.env, two.b.env = s3test.Env(), s3test.Env()
	count := func(want int) func() bool {
		return func() bool {
			got := pgtest.Rows(t, two.a.url, `SELECT (SELECT n FROM total) + (SELECT count(*) FROM sluice.dead_letter)`)
			return slices.Equal(got, []string{fmt.Sprint(want)})
		}
	}
	bucketSays := func(what string) bool { return strings.Contains(string(s.Get("pair/records/"+two.a.name)), what) }
	a := two.a.serve(t, "batch.after_prepare=pause:12", "--standby", s.URL("pair"))
	if r := two.a.sluice(t, nil, "submit", two.a.file(), "--max-batch-rows", "140"); r.code != 0 {
		t.Fatal(r)
	}
	b := two.b.serve(t, "", "--standby", s.URL("pair"))
	two.b.awaitState(t, "standby")
	eventually(t, "the first half", count(len(lines)/2))

	// The lease is given up after the bucket says so: it does when the command is back.
	if r := two.a.sluice(t, nil, "stop", two.a.name); r.code != 0 || !bucketSays(`"desired":"stopped"`) {
		t.Errorf("the bucket does not say that the pipeline is stopped:\n%v", r)
	}
	if r := two.a.sluice(t, nil, "resume", two.a.name); r.code != 0 {
		t.Fatal(r)
	}
	eventually(t, "the bucket says that the pipeline runs", func() bool { return bucketSays(`"desired":"running"`) })
	if got := two.b.status(t).State; got != "standby" {
		t.Errorf("the other daemon is in state %s", got)
	}

	two.a.write(t, "events.ndjson", events())
	a.waitFired(t)
	a.signal(t, syscall.SIGKILL)
	a.wait(t)
	if err := os.RemoveAll(two.a.state); err != nil {
		t.Fatal(err)
	}
	two.b.awaitState(t, "running")
	eventually(t, "all of the input", count(len(lines)))
	if r := two.b.sluice(t, nil, "status", two.b.name, "--json"); !strings.Contains(r.stdout, `"max_batch_rows": "140"`) {
		t.Errorf("the options did not come along:\n%v", r)
	}
	two.b.verify(t)
	if r := two.b.sluice(t, nil, "drop", two.b.name, "--yes", "--keep-tables"); r.code != 0 || len(s.Keys("pair/")) > 0 {
		t.Errorf("left in the bucket are %q:\n%v", s.Keys("pair/"), r)
	}
	b.signal(t, syscall.SIGTERM)
	if r := b.wait(t); r.code != 0 {
		t.Errorf("the daemon did not end well:\n%v", r)
	}
}

// TestStandbyWithACopyThatIsBehind: a takeover from a copy that lacks what is committed would be refused, and the engine that
// has it fenced off. So there is none; the owner's disk is what helps.
func TestStandbyWithACopyThatIsBehind(t *testing.T) {
	t.Parallel()
	s := s3test.New(t)
	lines := slices.Collect(bytes.Lines(events()))
	half := bytes.Join(lines[:len(lines)/2], nil)
	two := newPair(t, eventsSQL, half)
	two.a.env, two.b.env = s3test.Env(), s3test.Env()
	committed := func() string {
		return strings.Join(pgtest.Rows(t, two.a.url, "SELECT (SELECT n FROM total) + (SELECT count(*) FROM sluice.dead_letter)"), " ")
	}
	a := two.a.serve(t, "", "--standby", s.URL("pair"))
	if r := two.a.sluice(t, nil, "submit", two.a.file()); r.code != 0 {
		t.Fatal(r)
	}
	eventually(t, "the first half", func() bool { return committed() == fmt.Sprint(len(lines)/2) })
	b := two.b.serve(t, "", "--standby", s.URL("pair"))
	two.b.awaitState(t, "standby")
	s.Fault(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodPut {
			return s3test.SlowDown
		}
		return s3test.None
	})
	two.a.write(t, "events.ndjson", events())
	eventually(t, "all of the input", func() bool { return committed() == fmt.Sprint(len(lines)) })
	a.signal(t, syscall.SIGKILL)
	a.wait(t)
	before, epoch := len(s.Requests()), two.a.epoch(t)
	eventually(t, "the standby looks at the copy, and again", func() bool {
		looks := 0
		for _, r := range s.Requests()[before:] {
			if strings.Contains(r, "manifest") && strings.HasPrefix(r, http.MethodGet) {
				looks++
			}
		}
		return looks >= 3
	})
	b.signal(t, syscall.SIGTERM)
	b.wait(t).mustFail(t, 0, "the copy of its log in s3://", "it is not taken over", "start its own daemon again")
	if got := two.a.epoch(t); got != epoch {
		t.Errorf("the epoch went from %s to %s", epoch, got)
	}
	s.Fault(nil)
	a = two.a.serve(t, "", "--standby", s.URL("pair"))
	two.a.awaitState(t, "running")
	a.signal(t, syscall.SIGTERM)
	a.wait(t)
	two.a.verify(t)
}

// TestStandbyNeedsADatabase: what cannot work is refused at once, with the next step.
func TestStandbyNeedsADatabase(t *testing.T) {
	t.Parallel()
	two := newPair(t, eventsSQL, nil)
	if err := os.MkdirAll(two.a.state, 0o700); err != nil {
		t.Fatal(err)
	}
	two.b.sluice(t, []string{"SLUICE_POSTGRES="}, "serve", "--standby", two.a.state).mustFail(t, 2, "--standby needs the database")
	two.b.sluice(t, nil, "serve", "--standby", "s3://me:secret@b").mustFail(t, 2, "user name or password")
	two.b.sluice(t, nil, "serve", "--standby", two.b.state, "--listen", "off").mustFail(t, 1, "its own state directory", "hint: ")
	two.b.sluice(t, nil, "serve", "--standby", filepath.Join(two.b.state, "away"), "--listen", "off").mustFail(t, 1, "there is no state directory", "hint: ")
}

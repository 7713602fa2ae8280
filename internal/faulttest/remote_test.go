package faulttest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/s3test"
)

// ofCopies says that a point is passed only when the log is copied to a bucket; TestRemoteCrashMatrix reaches it.
func ofCopies(point string) bool {
	return strings.HasPrefix(point, "mirror.") || strings.HasPrefix(point, "restore.")
}

// newCopied makes the events pipeline with its log in a bucket, and in a second one if there is one.
func newCopied(t testing.TB, sync string, servers ...*s3test.Server) *pipeline {
	t.Helper()
	sql := fmt.Sprintf("SET checkpoint = '%s';\nSET checkpoint_sync = '%s';\nSET checkpoint_interval = '1ms';\n", servers[0].URL("here"), sync)
	if len(servers) > 1 {
		sql += fmt.Sprintf("SET replica = '%s';\n", servers[1].URL("there"))
	}
	p := newPipeline(t, pgtest.URL(t), sql+eventsSQL, map[string][]byte{"events.ndjson": events()})
	p.env = s3test.Env()
	return p
}

// loseDisk deletes all that the engine keeps.
func (p *pipeline) loseDisk(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(p.state); err != nil {
		t.Fatal(err)
	}
}

// The engine is killed at whatever step, its disk is lost, and the bucket alone is enough.
func TestDiskLost(t *testing.T) {
	for _, point := range []string{"batch.after_stage=exit:5", "batch.after_prepare=exit:6", "batch.after_commit=exit:6", "batch.after_done=exit:9", "snapshot.after_manifest=exit:2", "log.prepare.after_sync=exit:7"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := newCopied(t, "batch", s3test.New(t))
			if names, r := p.faulty(t, point); !r.killed {
				t.Fatalf("fired %v:\n%v", names, r)
			}
			p.loseDisk(t)
			r := p.mustRun(t)
			if !strings.Contains(r.stderr, "the log was restored from s3://") {
				t.Errorf("it does not say that it restored the log:\n%v", r)
			}
			if strings.Contains(r.stderr, "verysecret") {
				t.Errorf("it prints a secret:\n%v", r)
			}
			p.finish(t)
		})
	}
}

// The first bucket is gone with the disk, and the replica is there.
func TestPrimaryBucketLost(t *testing.T) {
	t.Parallel()
	primary, replica := s3test.New(t), s3test.New(t)
	p := newCopied(t, "batch", primary, replica)
	if names, r := p.faulty(t, "batch.after_commit=exit:8"); !r.killed {
		t.Fatalf("fired %v:\n%v", names, r)
	}
	p.loseDisk(t)
	// What is left in the first one must not be taken for whole.
	for _, key := range primary.Keys("here/") {
		if strings.Contains(key, "/objects/") {
			primary.Delete(key)
		}
	}
	r := p.mustRun(t)
	if !strings.Contains(r.stderr, "restored from s3://"+s3test.Bucket+"/there") {
		t.Errorf("it was not restored from the replica:\n%v", r)
	}
	p.finish(t)
	if len(primary.Keys("here/")) < 3 {
		t.Errorf("the first bucket was not filled again: %v", primary.Keys("here/"))
	}
}

// The disk is lost while the copy is behind: the ledger is ahead, and the start says what is missing and the way out.
func TestDiskLostWhileCopyIsBehind(t *testing.T) {
	t.Parallel()
	s := s3test.New(t)
	p := newCopied(t, "background", s)
	if names, r := p.faulty(t, "batch.after_done=exit:4"); !r.killed {
		t.Fatalf("fired %v:\n%v", names, r)
	}
	s.Fault(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodPut {
			return s3test.SlowDown
		}
		return s3test.None
	})
	if names, r := p.faulty(t, "batch.after_done=exit:5"); !r.killed {
		t.Fatalf("fired %v:\n%v", names, r)
	}
	s.Fault(nil)
	p.loseDisk(t)
	before := p.contents(t)
	r := p.run(t)
	r.mustFail(t, 1, "the ledger says that batch", "s3://"+s3test.Bucket+"/here", "drop the pipeline", "checkpoint_sync = 'batch'")
	// Nothing was changed, and it says the same again.
	p.mustEqual(t, before)
	p.run(t).mustFail(t, 1, "the ledger says that batch")
}

// An engine on another disk takes over while the first one still runs: only one commits, and the tables are right.
func TestTakeoverFromBucket(t *testing.T) {
	t.Parallel()
	s := s3test.New(t)
	first := newCopied(t, "batch", s)
	c := first.start(t, "batch.after_stage=pause:6", "run", first.file(), "--until-end")
	c.waitFired(t)
	second := *first
	second.state = t.TempDir()
	second.mustRun(t)
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.wait(t)
	second.finish(t)
	// The first machine comes back with its old disk: the bucket has the newer log.
	r := first.mustRun(t)
	if !strings.Contains(r.stderr, "the log was restored from s3://") {
		t.Errorf("it went on with an old log:\n%v", r)
	}
	first.finish(t)
}

// TestRemoteCrashMatrix: every point of copying and restoring kills or fails the engine; then the disk is lost.
func TestRemoteCrashMatrix(t *testing.T) {
	t.Parallel()
	restores := func(point string) bool { return strings.HasPrefix(point, "restore.") }
	matrix{
		points: pointsOf(t, restores, ofCopies),
		fails:  restores, // TestCopyingFails has the others
		fresh: func(t testing.TB) *subject {
			p, young := newCopied(t, "batch", s3test.New(t)), true
			p.write(t, p.name+".sql", []byte(strings.Replace(p.read(t), eventsSQL, smallBatchesSQL, 1)))
			return &subject{pipeline: p,
				feed: func(t testing.TB, l life) bool {
					// What is restored, and what is swept, is what another engine left.
					if restores(l.point) && young || l.point == "mirror.before_delete" {
						p.faulty(t, "batch.after_commit=exit:7")
					}
					if young = false; restores(l.point) {
						p.loseDisk(t)
					}
					return false
				},
				check: func(t *testing.T, l life, r result) {
					switch {
					case l.action == "exit" && !r.killed:
						t.Errorf("the run outlived SIGKILL:\n%v", r)
					case l.action == "error" && strings.HasPrefix(l.point, "mirror.") && r.code != 0:
						t.Errorf("what fails in copying is to be tried again:\n%v", r)
					}
				},
				prove: func(t *testing.T, l life) {
					if !restores(l.point) { // verify wants the text, which a start writes when it got through
						p.verifyIfBegun(t)
					}
					p.loseDisk(t)
				},
				finish: func(t *testing.T) {
					p.mustRun(t)
					p.verify(t)
					p.mustEqual(t, referenceOf(t, smallBatchesSQL))
				}}
		},
	}.run(t)
}

// TestCopyingFails: every step of copying fails once in one run, at the same pass. All is tried again, and the copy is good.
func TestCopyingFails(t *testing.T) {
	points := pointsOf(t, func(point string) bool { return strings.HasPrefix(point, "mirror.") && point != "mirror.before_delete" })
	for _, hit := range []int{1, 7} {
		t.Run(fmt.Sprint(hit), func(t *testing.T) {
			t.Parallel()
			p := newCopied(t, "batch", s3test.New(t))
			var spec []string
			for _, point := range points {
				spec = append(spec, life{point, "error", hit}.String())
			}
			names, r := p.faulty(t, strings.Join(spec, ";"))
			slices.Sort(names)
			if !slices.Equal(names, points) || r.code != 0 {
				t.Errorf("fired %v of %v:\n%v", names, points, r)
			}
			p.verify(t)
			p.loseDisk(t)
			p.finish(t)
		})
	}
}

// The log is as good in the bucket, and after a restore, as it was on the disk.
func TestLogCommandsReadTheCopy(t *testing.T) {
	t.Parallel()
	s := s3test.New(t)
	p := newCopied(t, "batch", s)
	p.mustRun(t)
	if r := p.sluice(t, nil, "log", "verify", s.URL("here/"+p.name)); r.code != 0 || !strings.Contains(r.stderr, "up to batch 16, no damage") {
		t.Errorf("the copy of the log is not whole:\n%v", r)
	}
	p.sluice(t, nil, "log", "verify", s.URL("here/nobody")).mustFail(t, 1, "there is no log of pipeline nobody")
	if r := p.sluice(t, nil, "check", p.file()); r.code != 0 || !strings.Contains(r.stdout, "holds the log up to batch 16") {
		t.Errorf("check does not look at the copy:\n%v", r)
	}
	p.loseDisk(t)
	p.mustRun(t)
	if r := p.sluice(t, nil, "log", "verify", p.name); r.code != 0 {
		t.Errorf("the restored log is not whole:\n%v", r)
	}
	p.replay(t)
	torn, err := filepath.Glob(filepath.Join(p.logDir(), "*.torn"))
	if err != nil || len(torn) > 0 {
		t.Errorf("torn tails %v, %v", torn, err)
	}
}

// Tables and disk were deleted to begin again, and the copy was forgotten: the start says where it is.
func TestBeginAgainNamesTheCopy(t *testing.T) {
	t.Parallel()
	p := newCopied(t, "batch", s3test.New(t))
	p.mustRun(t)
	p.loseDisk(t)
	p.url = pgtest.URL(t)
	for _, dir := range []string{"files", "changes"} {
		if err := os.RemoveAll(filepath.Join(p.dir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	p.run(t).mustFail(t, 1, "the ledger knows no batch", "delete s3://"+s3test.Bucket+"/here/"+p.name)
}

// A rebuild is killed while it exchanges the logs: for a moment there is none, and the copy, which is of the old
// version, must not take its place. After that the copy is of the new version.
func TestRebuildIsNoLostDisk(t *testing.T) {
	t.Parallel()
	p := newCopied(t, "batch", s3test.New(t))
	head, _, _ := strings.Cut(p.read(t), "\nSET max_batch_rows")
	write := func(part string) {
		p.write(t, p.name+".sql", fmt.Appendf(nil, "%s\n"+changedSQL, head, part))
	}
	write(viewThatGoes)
	p.mustRun(t)
	write(viewThatMore)
	p.rebuildFaulty(t, "change.exchange.between_renames", "exit")
	r := p.mustRun(t)
	if strings.Contains(r.stderr, "restored") {
		t.Errorf("the old log was restored:\n%v", r)
	}
	p.verify(t)
	p.loseDisk(t)
	if r := p.mustRun(t); !strings.Contains(r.stderr, "the log was restored") {
		t.Errorf("nothing was restored:\n%v", r)
	}
	p.verify(t)
	if got := p.columnsOf(t, "spread"); got != "3" {
		t.Errorf("spread has %s columns", got)
	}
}

// read is the pipeline's file.
func (p *pipeline) read(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.file())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

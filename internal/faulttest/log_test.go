package faulttest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// logFiles lists the log's files with an extension, oldest first.
func (p *pipeline) logFiles(t testing.TB, ext string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.logDir(), "*"+ext))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s files in %s: %v", ext, p.logDir(), err)
	}
	slices.Sort(files)
	return files
}

// edit rewrites a file in place.
func edit(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flipBit(at func(size int) int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at(len(b))] ^= 0x10
		return b
	}
}

// crashed runs until a failpoint kills the engine.
func (p *pipeline) crashed(t testing.TB, spec string) {
	t.Helper()
	if names, r := p.faulty(t, spec); !r.killed {
		t.Fatalf("fired %v:\n%v", names, r)
	}
}

// TestTornTail: the machine lost power, and of the last write, which was not synced, a part is missing or
// is not what was written. It never happened.
func TestTornTail(t *testing.T) {
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	for _, tc := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"one byte short", cut(1)},
		{"a hundred bytes short", cut(100)},
		{"two thousand bytes short", cut(2000)},
		{"zeros at the end", func(b []byte) []byte { return append(b[:len(b)-300], make([]byte, 300)...) }},
		{"zeros after the end", func(b []byte) []byte { return append(b, make([]byte, 4096)...) }},
		{"garbage after the end", func(b []byte) []byte { return append(b, bytes.Repeat([]byte("noise"), 100)...) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			p.crashed(t, "log.prepare.after_write=exit:8")
			segments := p.logFiles(t, ".log")
			edit(t, segments[len(segments)-1], tc.change)
			p.finish(t)
			p.replay(t)
		})
	}
}

// TestDurableTailLost: bytes are missing that were synced, and whose batch is committed: a disk that lies,
// or an older copy. Going on would count that batch twice.
func TestDurableTailLost(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	p.crashed(t, "batch.after_done=exit:9")
	segments := p.logFiles(t, ".log")
	edit(t, segments[len(segments)-1], func(b []byte) []byte { return b[:len(b)/3] })
	before := p.contents(t)
	r := p.run(t)
	if r.code != 1 && r.code != 4 {
		t.Errorf("exit code %d:\n%v", r.code, r)
	}
	r.mustFail(t, r.code, "hint: ")
	p.mustEqual(t, before)
	t.Log(lastLines(r.stderr))
}

// noSnapshotsSQL makes recovery read the log from its first segment on.
var noSnapshotsSQL = strings.Replace(eventsSQL, "snapshot_log_bytes = '4KiB'", "snapshot_log_bytes = '1GiB'", 1)

// TestFlippedBit: damage to bytes that were durable is refused with exit 4, and the message names file and
// byte; nothing in the database changes.
func TestFlippedBit(t *testing.T) {
	for _, tc := range []struct {
		name string
		file func(segments []string) string
		at   func(size int) int
		says string
	}{
		{"in the first segment", func(s []string) string { return s[0] }, func(n int) int { return n / 2 }, "at byte"},
		{"at the end of a sealed segment", func(s []string) string { return s[3] }, func(n int) int { return n - 2 }, "at byte"},
		{"in the head of a segment", func(s []string) string { return s[4] }, func(int) int { return 20 }, ""},
		{"in the last segment, before its end", func(s []string) string { return s[len(s)-1] }, func(n int) int { return n / 2 }, "at byte"},
		{"in the manifest", func(s []string) string { return filepath.Join(filepath.Dir(s[0]), "MANIFEST") }, func(n int) int { return n / 2 }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline(t, pgtest.URL(t), noSnapshotsSQL, map[string][]byte{"events.ndjson": events()})
			p.mustRun(t)
			path := tc.file(p.logFiles(t, ".log"))
			edit(t, path, flipBit(tc.at))
			before := p.contents(t)
			r := p.run(t)
			r.mustFail(t, 4, "checkpoint log is corrupt", path, tc.says, "hint: ")
			p.mustEqual(t, before)
			p.sluice(t, nil, "log", "verify", p.name).mustFail(t, 4, filepath.Base(path))
			t.Log(lastLines(r.stderr))
			edit(t, path, flipBit(tc.at)) // restored from a replica
			p.finish(t)
		})
	}
}

// TestFlippedBitBeforeTheNewestSnapshot: recovery does not need those bytes, so the pipeline goes on; the
// command that reads the whole log tells.
func TestFlippedBitBeforeTheNewestSnapshot(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	p.crashed(t, "batch.after_done=exit:15")
	path := p.logFiles(t, ".log")[0]
	edit(t, path, flipBit(func(n int) int { return n / 2 }))
	p.sluice(t, nil, "log", "verify", p.name).mustFail(t, 4, filepath.Base(path), "hint: ")
	p.finish(t)
}

// TestDamagedSnapshot: a damaged snapshot costs nothing, be it what others are relative to; with all damaged the
// state is rebuilt from the log, and the engine says so when the log before them is gone.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	p.crashed(t, "batch.after_done=exit:15")
	snapshots := p.logFiles(t, ".snap")
	if len(snapshots) < 2 {
		t.Fatalf("snapshots %q, want two at least", snapshots)
	}
	whole := strings.HasSuffix(p.logFiles(t, ".log")[0], "0001.log")
	damage := flipBit(func(n int) int { return n / 2 })
	newest := snapshots[len(snapshots)-1]
	if !whole {
		intact := map[string][]byte{}
		for _, path := range snapshots {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			intact[path] = content
			edit(t, path, damage)
		}
		r := p.run(t)
		r.mustFail(t, 4, "hint: ")
		t.Log(lastLines(r.stderr))
		for path, content := range intact {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit(t, newest, damage)
	p.finish(t)
}

// TestDiskFull: the log's file system has no space left. The engine stops with a message, what is in
// the tables stays right, and with space it goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	dir := filepath.Join(p.state, "pipelines", p.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small file system takes root and a kernel that allows mounts: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	r := p.run(t)
	r.mustFail(t, 1, "no space left on device", "hint: the disk is full")
	t.Log(lastLines(r.stderr))
	p.verifyPrefix(t)
	p.run(t).mustFail(t, 1, "no space left on device")
	if out, err := exec.Command("mount", "-o", "remount,size=16m", dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %s", out)
	}
	p.finish(t)
}

// TestFileSizeLimit is the same by a limit of the process, which needs no rights. Limits from a handful of
// kilobytes on hit segments, snapshots and the records beside them; under SLUICE_SOAK there are more of them.
func TestFileSizeLimit(t *testing.T) {
	limits := []int{1, 5, 12, 24}
	if soaking() {
		limits = []int{1, 2, 3, 5, 8, 12, 16, 24, 32}
	}
	for _, kib := range limits {
		t.Run(fmt.Sprintf("%dKiB", kib), func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			cmd, stdout, stderr := p.command(t.Context(), nil, "run", p.file(), "--until-end")
			cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", fmt.Sprintf(`ulimit -f %d && exec "$0" "$@"`, 2*kib)}, cmd.Args...)
			r := ended(t, cmd, cmd.Run(), stdout, stderr)
			r.mustFail(t, 1, "file too large")
			if strings.Contains(r.stderr, "checkpoint log") {
				r.mustFail(t, 1, "hint: a limit on the size of files")
			}
			t.Log(lastLines(r.stderr))
			p.verifyPrefix(t)
			p.finish(t)
		})
	}
}

// TestLogAndLedgerDisagree: a state directory or a database that is not the newest is refused, with the
// reason and what to do, and nothing changes but the epoch. With the right one the pipeline goes on.
func TestLogAndLedgerDisagree(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, p *pipeline) (undo func())
		says   string
	}{
		{"state directory deleted", func(t *testing.T, p *pipeline) func() {
			dir := filepath.Join(p.state, "pipelines")
			rename(t, dir, dir+".away")
			return func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				rename(t, dir+".away", dir)
			}
		}, "but the log has no batch"},
		{"ledger row deleted", ledgerChange(`DELETE FROM sluice.ledger`), "the ledger knows no batch of this pipeline"},
		{"ledger rewound", ledgerChange(`UPDATE sluice.ledger SET batch = batch - 3`), "commits were lost"},
		{"ledger of another history", ledgerChange(`UPDATE sluice.ledger SET content_hash = repeat('0', length(content_hash))`), "the log belongs to another history"},
		{"epoch went back", ledgerChange(`UPDATE sluice.ledger SET epoch = epoch - 2`), "the ledger's epoch is now"},
		{"target table dropped", func(t *testing.T, p *pipeline) func() {
			pgtest.Exec(t, p.url, "ALTER TABLE total RENAME TO total_away")
			return func() { pgtest.Exec(t, p.url, "ALTER TABLE total_away RENAME TO total") }
		}, `"public"."total" is gone`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			p.crashed(t, "batch.after_done=exit:4")
			p.crashed(t, "batch.after_done=exit:4")
			undo := tc.change(t, p)
			r := p.run(t)
			r.mustFail(t, 1, tc.says, "hint: ")
			t.Log(strings.TrimSpace(r.stderr))
			undo()
			p.finish(t)
		})
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// ledgerChange changes the ledger behind the engine's back, as restoring a backup does.
func ledgerChange(sql string) func(*testing.T, *pipeline) func() {
	return func(t *testing.T, p *pipeline) func() {
		pgtest.Exec(t, p.url, "CREATE TABLE backup AS SELECT * FROM sluice.ledger", sql)
		return func() {
			pgtest.Exec(t, p.url, "DELETE FROM sluice.ledger", "INSERT INTO sluice.ledger SELECT * FROM backup", "DROP TABLE backup")
		}
	}
}

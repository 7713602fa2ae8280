package checkpointlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// repairLog is a log of twelve batches in several segments, with snapshots of batches 4 and 8 and nothing
// deleted before them but what they replace.
func repairLog(t testing.TB, closeIt bool) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 5000, KeepSnapshots: 3})
	for b := int64(1); b <= 12; b++ {
		must(t, runBatch(l, b, 1))
		if b == 4 || b == 8 {
			must(t, takeSnapshot(l, b, 1))
		}
		if b == 5 || b == 7 || b == 10 {
			must(t, takeDelta(l, b, 1, 1<<20))
		}
	}
	if closeIt {
		must(t, l.Close())
	}
	return fsys.CrashClone(vfs.Crash{KeepPercent: 100})
}

// liveFiles are the log's files by name.
func liveFiles(t testing.TB, fsys vfs.FS, suffix string) (out []string) {
	t.Helper()
	names, err := fsys.ReadDir(testDir)
	must(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, suffix) {
			out = append(out, n)
		}
	}
	return out
}

// checkRepaired opens a log that must end with a batch, and goes on with it.
func checkRepaired(fsys vfs.FS, last int64) error {
	l, rec, err := Open(testDir, testHeader, Options{FS: fsys, SegmentBytes: 5000, KeepSnapshots: 3})
	if err != nil {
		return err
	}
	if err := checkRecovered(rec, last); err != nil {
		return err
	}
	if rec.Torn != nil {
		return fmt.Errorf("a torn tail is left: %v", rec.Torn)
	}
	if f := rec.Facts(); f.Committed < last {
		if err := l.Commit(Committed{Batch: last, Epoch: 2}); err != nil {
			return err
		}
	}
	if err := runBatch(l, last+1, 2); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	_, err = Verify(testDir, fsys)
	return err
}

func TestRepairOfATornTail(t *testing.T) {
	fsys := repairLog(t, false)
	segments := liveFiles(t, fsys, segmentSuffix)
	path := filepath.Join(testDir, segments[len(segments)-1])
	f, err := fsys.OpenAppend(path)
	must(t, err)
	_, err = f.Write([]byte("half a record"))
	must(t, errors.Join(err, f.Close()))
	p, err := PlanRepair(testDir, fsys, 0)
	must(t, err)
	if !p.Needed() || p.Torn == nil || p.CutBytes != 13 || p.Facts.preparedBatch() != 12 || len(p.Lost) != 0 {
		t.Fatalf("%+v", p)
	}
	kept, err := p.Apply()
	must(t, err)
	if got := string(readAll(t, fsys, kept)); got != "half a record" {
		t.Errorf("kept %q", got)
	}
	p, err = PlanRepair(testDir, fsys, 0)
	must(t, err)
	if p.Needed() {
		t.Errorf("there is still something to do: %+v", p)
	}
	must(t, checkRepaired(fsys, 12))
}

// TestRepairRefusesDamage: nothing but a torn tail is cut without being asked to, and the message names the
// last batch that can be kept.
func TestRepairRefusesDamage(t *testing.T) {
	fsys := repairLog(t, true)
	segments := liveFiles(t, fsys, segmentSuffix)
	path := filepath.Join(testDir, segments[len(segments)-1])
	flip(t, fsys, path, int64(len(readAll(t, fsys, path)))/2)
	before := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
	_, err := PlanRepair(testDir, fsys, 0)
	var refused *RepairRefusedError
	var bad *CorruptError
	if !errors.As(err, &refused) || !errors.As(err, &bad) || bad.Path != path {
		t.Fatal(err)
	}
	from := int64(0)
	if _, err := fmt.Sscanf(refused.Hint[strings.Index(refused.Hint, "--force-from"):], "--force-from %d", &from); err != nil || from < 9 || from > 12 {
		t.Fatalf("%v: %v", err, refused)
	}
	for _, name := range liveFiles(t, before, "") {
		if string(readAll(t, before, filepath.Join(testDir, name))) != string(readAll(t, fsys, filepath.Join(testDir, name))) {
			t.Errorf("planning changed %s", name)
		}
	}
	p, err := PlanRepair(testDir, fsys, from)
	must(t, err)
	if got := int64(len(p.Lost)) + p.Unreadable; p.Facts.preparedBatch() != from-1 || got < 1 {
		t.Fatalf("%+v", p)
	}
	_, err = PlanRepair(testDir, fsys, from+1)
	if !errors.As(err, &refused) || !strings.Contains(refused.Hint, fmt.Sprintf("--force-from %d", from)) {
		t.Fatalf("%v", err)
	}
	_, err = p.Apply()
	must(t, err)
	must(t, checkRepaired(fsys, from-1))
}

// TestRepairFromEveryBatch goes back to every batch whose state the log can rebuild, in a log that reads well
// and in one with a damaged segment behind the cut.
func TestRepairFromEveryBatch(t *testing.T) {
	whole := repairLog(t, true)
	for from := int64(1); from <= 13; from++ {
		fsys := whole.CrashClone(vfs.Crash{KeepPercent: 100})
		p, err := PlanRepair(testDir, fsys, from)
		must(t, err)
		if want := 13 - from; int64(len(p.Lost)) != want || p.Unreadable != 0 || p.Facts.preparedBatch() != from-1 {
			t.Fatalf("from %d: %+v", from, p)
		}
		var rows int64
		for _, b := range p.Lost {
			rows += b.Rows
		}
		if want := (from + 12) * (13 - from) / 2; rows != want {
			t.Errorf("from %d: %d rows are lost, want %d", from, rows, want)
		}
		files := len(liveFiles(t, fsys, ""))
		_, err = p.Apply()
		must(t, err)
		if got := len(liveFiles(t, fsys, "")); got < files {
			t.Errorf("from %d: %d files became %d", from, files, got)
		}
		if err := checkRepaired(fsys, from-1); err != nil {
			t.Fatalf("from %d: %v", from, err)
		}
	}
}

// TestRepairIsCrashSafe makes every file operation of a repair fail once, and be the last before a power cut
// once. What is left is refused by a start or has all that was kept, and the same repair gets to the end.
func TestRepairIsCrashSafe(t *testing.T) {
	whole := repairLog(t, true)
	segments := liveFiles(t, whole, segmentSuffix)
	path := filepath.Join(testDir, segments[len(segments)-1])
	flip(t, whole, path, int64(len(readAll(t, whole, path)))-60)
	for _, from := range []int64{3, 9, 12} {
		n := 0
		fsys := whole.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, repair(vfs.Inject(fsys, func(vfs.Op) error { n++; return nil }), from))
		must(t, checkRepaired(fsys, from-1))
		for k := range n {
			for _, keep := range []int{-1, 0, 50, 100} {
				fsys := whole.CrashClone(vfs.Crash{KeepPercent: 100})
				at := 0
				failed := repair(vfs.Inject(fsys, func(vfs.Op) error {
					if at++; at == k+1 || keep >= 0 && at > k {
						return syscall.EIO
					}
					return nil
				}), from)
				left := fsys
				if keep >= 0 {
					left = fsys.CrashClone(vfs.Crash{KeepPercent: keep})
				}
				if err := checkHalfRepaired(left, from, from-1); err != nil {
					t.Fatalf("from %d, operation %d of %d, keep %d (%v): %v", from, k, n, keep, failed, err)
				}
			}
		}
	}
}

func repair(fsys vfs.FS, from int64) error {
	p, err := PlanRepair(testDir, fsys, from)
	if err == nil {
		_, err = p.Apply()
	}
	return err
}

// checkHalfRepaired: a start refuses what half a repair left, unless that is the log as it was or all done.
func checkHalfRepaired(fsys *vfs.Mem, from, was int64) error {
	c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
	var bad *CorruptError
	_, rec, err := Open(testDir, testHeader, Options{FS: c})
	if err == nil {
		if last := rec.Facts().preparedBatch(); last != from-1 && last != was {
			return fmt.Errorf("half a repair opens, at batch %d", last)
		}
	} else if !errors.As(err, &bad) {
		return err
	}
	if err := repair(fsys, from); err != nil {
		return fmt.Errorf("the same repair again: %w", err)
	}
	return checkRepaired(fsys, from-1)
}

// TestRepairDropsSnapshotsOfADamagedBase: what stands on a snapshot that does not read is of no use either.
func TestRepairDropsSnapshotsOfADamagedBase(t *testing.T) {
	fsys := repairLog(t, true)
	flip(t, fsys, filepath.Join(testDir, snapshotName(8)), 400)
	p, err := PlanRepair(testDir, fsys, 12)
	must(t, err)
	if !slices.Contains(p.SetAside, snapshotName(8)) || !slices.Contains(p.SetAside, snapshotName(10)) {
		t.Errorf("set aside: %q", p.SetAside)
	}
	_, err = p.Apply()
	must(t, err)
	must(t, checkRepaired(fsys, 11))
}

// TestRepairFailpoints kills a repair at each of its points.
func TestRepairFailpoints(t *testing.T) {
	for _, point := range failpoint.Names() {
		if !strings.HasPrefix(point, "log.repair.") && !strings.HasPrefix(point, "manifest.") {
			continue
		}
		fsys := repairLog(t, true)
		disarm, err := failpoint.Arm(point + "=error")
		must(t, err)
		err = repair(fsys, 6)
		disarm()
		if !errors.Is(err, failpoint.ErrInjected) {
			t.Fatalf("%s: %v", point, err)
		}
		if err := checkHalfRepaired(fsys, 6, 12); err != nil {
			t.Fatalf("%s: %v", point, err)
		}
	}
}

func TestRepairBesideAnEngine(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	must(t, runBatch(l, 1, 1))
	p, err := PlanRepair(testDir, fsys, 1)
	must(t, err)
	if _, err := p.Apply(); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	must(t, l.Close())
	if _, err := p.Apply(); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Fatal(err)
	}
}

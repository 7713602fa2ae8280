package checkpointlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vfs"
)

var errCrashed = errors.New("the machine has lost power")

// life runs the log as an engine does: open, work, close, open again, work on. It stops at the first
// error and says what it saw succeed.
func life(fsys vfs.FS) (done progress, err error) {
	o := Options{FS: fsys, SegmentBytes: 2500, KeepSnapshots: 1}
	for epoch := int64(1); epoch <= 2; epoch++ {
		l, rec, err := Open(testDir, testHeader, o)
		if err != nil {
			return done, err
		}
		if last := rec.Facts().preparedBatch(); last != done.prepared {
			return done, fmt.Errorf("opened at batch %d, want %d", last, done.prepared)
		}
		now, err := workload(l, done.prepared, epoch)
		done = now
		if closeErr := l.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// checkLife opens what is left, checks it against what was seen to succeed, and works on.
func checkLife(fsys *vfs.Mem, done progress) error {
	o := Options{FS: fsys, SegmentBytes: 2500, KeepSnapshots: 1}
	l, rec, err := Open(testDir, testHeader, o)
	if err != nil {
		return err
	}
	last := rec.Facts().preparedBatch()
	if err := checkDurable(fsys, last); err != nil {
		return err
	}
	if last < done.prepared || last > done.prepared+1 {
		return fmt.Errorf("Prepare returned for %d batches, %d are there", done.prepared, last)
	}
	if done.snapshot > 0 && (rec.Snapshot == nil || rec.Snapshot.Batch < done.snapshot) {
		return fmt.Errorf("the published snapshot of batch %d is gone: %+v", done.snapshot, rec.Snapshot)
	}
	if len(rec.BadSnapshots) > 0 {
		return fmt.Errorf("damaged snapshot: %v", rec.BadSnapshots)
	}
	if err := checkRecovered(rec, last); err != nil {
		return err
	}
	if rec.Facts().Committed < last {
		if err := l.Commit(Committed{Batch: last, Epoch: 3}); err != nil {
			return err
		}
	}
	if err := runBatch(l, last+1, 3); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	_, rec, err = Open(testDir, testHeader, o)
	if err != nil {
		return err
	}
	if err := checkRecovered(rec, last+1); err != nil {
		return err
	}
	_, err = Verify(testDir, fsys)
	return err
}

// checkDurable cuts the power right after Open: what it reported must be there again, because an engine
// acts on it at once.
func checkDurable(fsys *vfs.Mem, last int64) error {
	_, rec, err := Open(testDir, testHeader, Options{FS: fsys.CrashClone(vfs.Crash{})})
	if err != nil {
		return err
	}
	if again := rec.Facts().preparedBatch(); again != last {
		return fmt.Errorf("Open gave batch %d and, after a power cut, batch %d", last, again)
	}
	return nil
}

// countOps says how many file operations a life makes.
func countOps(t *testing.T) int {
	var n int
	done, err := life(vfs.Inject(vfs.NewMem(), func(vfs.Op) error { n++; return nil }))
	must(t, err)
	if done.prepared != 24 || done.snapshot != 24 {
		t.Fatalf("the workload did %+v", done)
	}
	return n
}

// TestEveryOperationFailsOnce makes each file operation of open, append, rotate, snapshot, retention and
// close fail once.
func TestEveryOperationFailsOnce(t *testing.T) {
	n := countOps(t)
	var survived int
	for k := range n {
		mem := vfs.NewMem()
		var i int
		var failed vfs.Op
		done, err := life(vfs.Inject(mem, func(op vfs.Op) error {
			if i++; i == k+1 {
				failed = op
				return syscall.EIO
			}
			return nil
		}))
		if err == nil {
			survived++
		} else if !errors.Is(err, syscall.EIO) {
			t.Fatalf("operation %d of %d, %v: %v", k, n, failed, err)
		}
		if err := checkLife(mem, done); err != nil {
			t.Fatalf("operation %d of %d, %v, failed (%v): %v", k, n, failed, err, err)
		}
	}
	t.Logf("%d operations, %d failures were survived without an error", n, survived)
}

// TestEveryOperationIsACrashOnce cuts the power before each file operation, keeping none, half and all
// of what was not synced, and some of it out of order; and does so again during the recovery.
func TestEveryOperationIsACrashOnce(t *testing.T) {
	n := countOps(t)
	var recoveries int
	for k := range n {
		mem := vfs.NewMem()
		var i int
		var at vfs.Op
		left := make(map[string]*vfs.Mem)
		done, err := life(vfs.Inject(mem, func(op vfs.Op) error {
			if i++; i == k+1 {
				at = op
				left = crashes(mem, uint64(k))
			}
			if i > k {
				return errCrashed
			}
			return nil
		}))
		if err == nil {
			t.Fatalf("operation %d of %d: the crash went unnoticed", k, n)
		}
		for how, clone := range left {
			recoveries += crashDuringRecovery(t, clone, done, uint64(k), fmt.Sprintf("crash before operation %d of %d, %v, keeping %s", k, n, at, how))
			if err := checkLife(clone, done); err != nil {
				t.Fatalf("crash before operation %d of %d, %v, keeping %s: %v", k, n, at, how, err)
			}
		}
	}
	t.Logf("%d operations, %d crashes during recovery", n, recoveries)
}

func crashes(mem *vfs.Mem, seed uint64) map[string]*vfs.Mem {
	left := make(map[string]*vfs.Mem)
	for _, keep := range []int{0, 50, 100} {
		left[fmt.Sprintf("%d%%", keep)] = mem.CrashClone(vfs.Crash{KeepPercent: keep})
	}
	for i := range uint64(4) {
		left[fmt.Sprintf("50%% at random (seed %d, %d)", seed, i)] =
			mem.CrashClone(vfs.Crash{KeepPercent: 50, Rand: rand.New(rand.NewPCG(seed, i))})
	}
	return left
}

// crashDuringRecovery crashes the recovery of fsys before one of its operations that change something,
// a different one each time, and checks the recovery of that.
func crashDuringRecovery(t *testing.T, fsys *vfs.Mem, done progress, seed uint64, what string) int {
	t.Helper()
	changes := func(op vfs.Op) bool {
		return !strings.Contains("open read readdir size lock close", op.Kind)
	}
	var n uint64
	count := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
	_, _, err := Open(testDir, testHeader, Options{FS: vfs.Inject(count, func(op vfs.Op) error {
		if changes(op) {
			n++
		}
		return nil
	})})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if n == 0 {
		return 0
	}
	mem := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
	var i uint64
	var left *vfs.Mem
	_, _, err = Open(testDir, testHeader, Options{FS: vfs.Inject(mem, func(op vfs.Op) error {
		if changes(op) {
			if i++; i == seed%n+1 {
				left = mem.CrashClone(vfs.Crash{KeepPercent: int(seed%3) * 50})
			}
		}
		if left != nil {
			return errCrashed
		}
		return nil
	})})
	if !errors.Is(err, errCrashed) {
		t.Fatalf("%s: recovery did not notice the crash: %v", what, err)
	}
	if err := checkLife(left, done); err != nil {
		t.Fatalf("%s, then a crash before change %d of %d of the recovery: %v", what, seed%n, n, err)
	}
	return 1
}

// smallLog is a log of three batches in one segment, and its path. It is left open, as a crash does.
func smallLog(t testing.TB, closeIt bool) (*vfs.Mem, string) {
	t.Helper()
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	for b := int64(1); b <= 3; b++ {
		must(t, runBatch(l, b, 1))
	}
	if closeIt {
		must(t, l.Close())
	}
	return fsys.CrashClone(vfs.Crash{KeepPercent: 100}), filepath.Join(testDir, segmentName(1))
}

// preparedEnds returns for every Prepared where its record ends.
func preparedEnds(t testing.TB, fsys vfs.FS) (ends []int64) {
	t.Helper()
	for e, err := range Read(testDir, fsys) {
		must(t, err)
		if e.Prepared != nil {
			ends = append(ends, e.Offset+e.Bytes)
		}
	}
	return ends
}

// TestTornTailAtEveryByte truncates a log everywhere, and fills the rest with zeros as well.
func TestTornTailAtEveryByte(t *testing.T) {
	fsys, path := smallLog(t, true)
	whole := readAll(t, fsys, path)
	ends := preparedEnds(t, fsys)
	head := int64(headFixedBytes+4) + int64(uint32(whole[12])|uint32(whole[13])<<8)
	for cut := head; cut < int64(len(whole)); cut++ {
		var last int64
		for _, end := range ends {
			if end <= cut {
				last++
			}
		}
		for _, zeros := range []bool{false, true} {
			c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
			f, err := c.OpenAppend(path)
			must(t, err)
			must(t, f.Truncate(cut))
			if zeros {
				_, err := f.WriteAt(make([]byte, 3000), cut)
				must(t, err)
			}
			must(t, f.Close())
			l, rec, err := Open(testDir, testHeader, Options{FS: c})
			if err != nil {
				t.Fatalf("cut at %d, zeros %v: %v", cut, zeros, err)
			}
			if err := checkRecovered(rec, last); err != nil {
				t.Fatalf("cut at %d, zeros %v: %v", cut, zeros, err)
			}
			checkTorn(t, c, rec.Torn, whole[:cut], zeros)
			must(t, l.Close())
		}
	}
}

// checkTorn checks that what was cut off can be put back together from the segment and the copy.
func checkTorn(t *testing.T, fsys vfs.FS, torn *TornTail, before []byte, zeros bool) {
	t.Helper()
	if torn == nil {
		if zeros {
			t.Fatalf("%d bytes and zeros: no torn tail was reported", len(before))
		}
		return
	}
	// Zeros can complete a record that ends in zeros.
	want := strings.TrimRight(string(before[min(torn.Offset, int64(len(before))):]), "\x00")
	var got string
	if torn.Copy != "" {
		got = string(readAll(t, fsys, torn.Copy))
	}
	if got != want {
		t.Fatalf("%d bytes, zeros %v: the copy differs from what was cut: %+v", len(before), zeros, torn)
	}
}

// TestFlippedBitAtEveryByte damages every byte of a segment, a snapshot and the manifest of a log that
// was closed cleanly. Every flip must be refused as damage or, in the last frames that nothing written
// later witnesses, be cut as a torn tail that holds no batch.
func TestFlippedBitAtEveryByte(t *testing.T) {
	fsys, path := smallLog(t, true)
	size := int64(len(readAll(t, fsys, path)))
	var torn int
	for off := range size {
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		flip(t, c, path, off)
		_, verifyErr := Verify(testDir, c)
		_, rec, err := Open(testDir, testHeader, Options{FS: c})
		var bad *CorruptError
		switch {
		case errors.As(err, &bad):
			if bad.Path != path || bad.Offset > off || verifyErr == nil {
				t.Errorf("flip at %d: %v; Verify: %v", off, err, verifyErr)
			}
		case errors.Is(err, ErrVersion) && off >= 8 && off < 12:
		case err != nil:
			t.Errorf("flip at %d: %v", off, err)
		default:
			torn++
			if err := checkRecovered(rec, 3); err != nil || rec.Torn == nil {
				t.Errorf("flip at %d: torn %v: %v", off, rec.Torn, err)
			}
		}
	}
	if torn != frameHeaderBytes { // the Mark, which nothing follows
		t.Errorf("%d of %d flips were taken for a torn tail, want %d", torn, size, frameHeaderBytes)
	}
}

// TestFlippedBitWithoutWitness does the same to a log that a crash left right after its last Prepare:
// the record is then not told from a torn one, but nothing before it may be lost.
func TestFlippedBitWithoutWitness(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	for b := int64(1); b <= 2; b++ {
		must(t, runBatch(l, b, 1))
	}
	must(t, l.Plan(planOf(3, 1)))
	_, err := l.Prepare(preparedOf(3, 1))
	must(t, err)
	path := filepath.Join(testDir, segmentName(1))
	size := int64(len(readAll(t, fsys, path)))
	for off := range size {
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 0})
		flip(t, c, path, off)
		_, rec, err := Open(testDir, testHeader, Options{FS: c})
		var bad *CorruptError
		if errors.As(err, &bad) || errors.Is(err, ErrVersion) {
			continue
		}
		must(t, err)
		if err := checkRecovered(rec, 2); err != nil {
			t.Fatalf("flip at %d: %v", off, err)
		}
	}
}

func TestFlippedBitInManifestAndSnapshot(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 1, KeepSnapshots: 1})
	for b := int64(1); b <= 3; b++ {
		must(t, runBatch(l, b, 1))
	}
	must(t, takeSnapshot(l, 3, 1))
	must(t, l.Close())
	for _, name := range []string{manifestName, snapshotName(3)} {
		path := filepath.Join(testDir, name)
		for off := range int64(len(readAll(t, fsys, path))) {
			c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
			flip(t, c, path, off)
			_, _, err := Open(testDir, testHeader, Options{FS: c})
			var bad *CorruptError
			if !errors.As(err, &bad) && !errors.Is(err, ErrVersion) {
				t.Errorf("%s: flip at %d: %v", name, off, err)
			}
		}
	}
}

// TestMissingFiles deletes each live file in turn.
func TestMissingFiles(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 1500, KeepSnapshots: 1})
	for b := int64(1); b <= 6; b++ {
		must(t, runBatch(l, b, 1))
	}
	must(t, takeSnapshot(l, 6, 1))
	must(t, runBatch(l, 7, 1))
	must(t, l.Close())
	names, err := fsys.ReadDir(testDir)
	must(t, err)
	for _, name := range names {
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, c.Remove(filepath.Join(testDir, name)))
		_, _, err := Open(testDir, testHeader, Options{FS: c})
		var bad *CorruptError
		if !errors.As(err, &bad) {
			t.Errorf("without %s: %v", name, err)
		}
		if _, err := Verify(testDir, c); err == nil {
			t.Errorf("without %s: Verify found nothing", name)
		}
	}
}

func TestTruncatedSealedSegmentIsDamage(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 1500})
	for b := int64(1); b <= 6; b++ {
		must(t, runBatch(l, b, 1))
	}
	must(t, l.Close())
	path := filepath.Join(testDir, segmentName(2))
	size := int64(len(readAll(t, fsys, path)))
	for _, cut := range []int64{size - 1, size / 2, 10} {
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		f, err := c.OpenAppend(path)
		must(t, err)
		must(t, f.Truncate(cut))
		must(t, f.Close())
		_, _, err = Open(testDir, testHeader, Options{FS: c})
		var bad *CorruptError
		if !errors.As(err, &bad) || bad.Path != path {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

// TestUnsyncedFramesOutOfOrder: a power cut may keep a later unsynced record and lose an earlier one.
// Nothing was promised about either, so this is a torn tail and not damage.
func TestUnsyncedFramesOutOfOrder(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	must(t, runBatch(l, 1, 1))
	must(t, l.Sync())
	path := filepath.Join(testDir, segmentName(1))
	start := int64(len(readAll(t, fsys, path)))
	must(t, l.Plan(planOf(2, 1)))
	must(t, l.Plan(planOf(2, 2)))
	c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
	flip(t, c, path, start+30)
	_, rec := openLog(t, c, Options{})
	if rec.Torn == nil || rec.Torn.Offset != start {
		t.Errorf("torn %+v, want a cut at %d", rec.Torn, start)
	}
	must(t, checkRecovered(rec, 1))
}

func TestReadersWithoutAnEngine(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 1500})
	for b := int64(1); b <= 4; b++ {
		must(t, runBatch(l, b, 1)) // beside the engine: it is still open
	}
	var kinds string
	for e, err := range Read(testDir, fsys) {
		must(t, err)
		switch {
		case e.Planned != nil:
			kinds += "P"
		case e.Prepared != nil:
			kinds += "R"
			if len(e.Deltas) != 3 || e.Deltas[2].Bytes != 300 {
				t.Errorf("deltas %+v", e.Deltas)
			}
		case e.Committed != nil:
			kinds += "C"
		}
	}
	if kinds != "PRCPRCPRCPRC" {
		t.Errorf("records %s", kinds)
	}
	report, err := Verify(testDir, fsys)
	must(t, err)
	if report.Records != 12 || report.LastPrepared.Batch != 4 || report.LastCommitted.Batch != 4 || report.Header.Plan != "p1" {
		t.Errorf("%+v", report)
	}
	var names []string
	for _, s := range report.Segments {
		names = append(names, s.Name)
	}
	if d := cmp.Diff([]string{segmentName(1), segmentName(2)}, names); d != "" {
		t.Error(d)
	}
	if _, err := Verify("/nowhere", fsys); err == nil || !strings.Contains(err.Error(), "holds no checkpoint log") {
		t.Errorf("%v", err)
	}
}

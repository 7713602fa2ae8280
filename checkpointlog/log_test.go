package checkpointlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var testHeader = Header{Pipeline: "demo", DuckDB: "v1.5.5", Plan: "p1"}

const testDir = "/state/demo"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLog(t testing.TB, fsys vfs.FS, o Options) (*Log, *Recovered) {
	t.Helper()
	o.FS = fsys
	l, rec, err := Open(testDir, testHeader, o)
	must(t, err)
	return l, rec
}

// planOf, preparedOf and committedOf make records whose content follows from the batch number, so that
// a check after a crash needs nothing but the number.
func planOf(batch, epoch int64) Planned {
	to, _ := json.Marshal(map[string]int64{"f": batch * 10})
	from, _ := json.Marshal(map[string]int64{"f": (batch - 1) * 10})
	if batch == 1 {
		from = nil
	}
	return Planned{
		Batch: batch, Epoch: epoch, At: time.Unix(batch, 0).UTC(),
		Ranges:     []SourceRange{{Source: "bid", From: from, To: to}},
		Watermarks: map[string]int64{"bid": batch - 1},
	}
}

func preparedOf(batch, epoch int64) Prepared {
	rng := rand.New(rand.NewPCG(uint64(batch), 1))
	noise := make([]byte, 40+batch%5*30)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	return Prepared{
		Batch: batch, Epoch: epoch, Watermarks: map[string]int64{"bid": batch},
		Outputs: []OutputDigest{{Output: "hot", Rows: batch, Sum: fmt.Sprintf("%032x", batch)}},
		States:  []StateDigest{{State: "s", Rows: batch, Sum: fmt.Sprintf("%032x", batch+1)}},
		Counts:  Counts{RowsIn: batch, RowsOut: 1},
		Delta:   map[string][]byte{"noise": noise, "runs": bytes.Repeat([]byte{byte(batch)}, 300), "empty": {}},
	}
}

func runBatch(l *Log, batch, epoch int64) error {
	if err := l.Plan(planOf(batch, epoch)); err != nil {
		return err
	}
	permit, err := l.Prepare(preparedOf(batch, epoch))
	if err != nil {
		return err
	}
	if permit.Batch() != batch {
		return fmt.Errorf("permit is for batch %d, want %d", permit.Batch(), batch)
	}
	return l.Commit(Committed{Batch: batch, Epoch: epoch, At: time.Unix(batch, 1).UTC()})
}

// blocksOf is the state after a batch, as a snapshot holds it.
func blocksOf(batch int64) map[string][]byte {
	return map[string][]byte{"s": bytes.Repeat([]byte{byte(batch), 7}, 200), "t": {byte(batch)}}
}

func takeSnapshot(l *Log, batch, epoch int64) error {
	return writeSnapshot(l, batch, SnapshotMeta{Epoch: epoch})
}

// takeDelta takes a delta snapshot on the newest. Others on which it stands are taken in as far as gathered says.
func takeDelta(l *Log, batch, epoch, gathered int64) error {
	return writeSnapshot(l, batch, SnapshotMeta{Epoch: epoch, Base: l.Stats().SnapshotBatch, GatheredBytes: gathered})
}

// writeSnapshot writes the state after the batch, and in table "path" which way a restore has to go.
func writeSnapshot(l *Log, batch int64, meta SnapshotMeta) error {
	offsets, _ := json.Marshal(map[string]int64{"f": batch * 10})
	meta.Watermarks, meta.Offsets = map[string]int64{"bid": batch}, map[string]json.RawMessage{"bid": offsets}
	w, err := l.BeginSnapshot(batch, meta)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, table := range []string{"s", "t"} {
		if err := w.Block(table, blocksOf(batch)[table]); err != nil {
			return err
		}
	}
	if err := w.Block("path", fmt.Appendf(nil, "%d>%d ", meta.Base, batch)); err != nil {
		return err
	}
	return w.Publish()
}

// readState restores a snapshot. The path must lead from nothing to its batch.
func readState(rec *Recovered) (map[string][]byte, error) {
	got := make(map[string][]byte)
	var at int64
	step := func(table string, block []byte, isFull bool) error {
		if table != "path" {
			got[table] = append([]byte(nil), block...)
			return nil
		}
		var from, to int64
		if _, err := fmt.Sscanf(string(block), "%d>%d ", &from, &to); err != nil {
			return err
		}
		if from != at || isFull != (from == 0) {
			return fmt.Errorf("a step from %d to %d at %d, full: %v", from, to, at, isFull)
		}
		at = to
		return nil
	}
	err := rec.EachSnapshotBlock(SnapshotLoader{
		Full: func(table string, block []byte) (func() error, error) {
			return func() error { return step(table, block, true) }, nil
		},
		Delta: func(table string, block []byte) (func() error, error) {
			return func() error { return step(table, block, false) }, nil
		},
	})
	// A snapshot written before there were paths has none.
	if err == nil && at != rec.Snapshot.Batch && (at != 0 || rec.Snapshot.FormatVersion > 1) {
		err = fmt.Errorf("the snapshot of batch %d restores batch %d", rec.Snapshot.Batch, at)
	}
	return got, err
}

// same describes the difference; DeepEqual comes first because the sweeps compare millions of times.
func same[T any](want, got T) error {
	if reflect.DeepEqual(want, got) {
		return nil
	}
	if d := cmp.Diff(want, got); d != "" {
		return errors.New(d)
	}
	return nil
}

// checkRecovered checks that a log holds exactly the batches 1 to last, bit for bit, and nothing else.
func checkRecovered(rec *Recovered, last int64) error {
	var first int64 = 1
	if rec.Snapshot != nil {
		first = rec.Snapshot.Batch + 1
		got, err := readState(rec)
		if err != nil {
			return err
		}
		if err := same(blocksOf(rec.Snapshot.Batch), got); err != nil {
			return fmt.Errorf("snapshot of batch %d: %w", rec.Snapshot.Batch, err)
		}
	}
	next := first
	err := rec.EachBatch(func(plan *Planned, p *Prepared) error {
		want, wantPlan := preparedOf(next, p.Epoch), planOf(next, p.Epoch)
		if err := same(&want, p); err != nil {
			return fmt.Errorf("batch %d: %w", next, err)
		}
		if err := same(&wantPlan, plan); err != nil {
			return fmt.Errorf("plan of batch %d: %w", next, err)
		}
		next++
		return nil
	})
	if err != nil {
		return err
	}
	if got := rec.Facts().preparedBatch(); got != last || next != max(last+1, first) {
		return fmt.Errorf("last prepared is %d and batches end before %d, want %d", got, next, last)
	}
	if last > 0 {
		want := fmt.Sprintf(`{"f":%d}`, last*10)
		if got := string(rec.Offsets["bid"]); got != want {
			return fmt.Errorf("offsets %s, want %s", got, want)
		}
	}
	return nil
}

func TestRoundTrip(t *testing.T) {
	for name, tc := range map[string]struct{ batches, snapshotEvery, segment int64 }{
		"empty":               {0, 0, 0},
		"one segment":         {5, 0, 0},
		"many segments":       {20, 0, 2000},
		"with snapshots":      {20, 6, 2000},
		"snapshot at the end": {12, 6, 1},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			o := Options{SegmentBytes: tc.segment}
			l, rec := openLog(t, fsys, o)
			must(t, checkRecovered(rec, 0))
			for b := int64(1); b <= tc.batches; b++ {
				must(t, runBatch(l, b, 1))
				if tc.snapshotEvery > 0 && b%tc.snapshotEvery == 0 {
					must(t, takeSnapshot(l, b, 1))
				}
			}
			must(t, l.Close())
			l, rec = openLog(t, fsys, o)
			must(t, checkRecovered(rec, tc.batches))
			if rec.Torn != nil || rec.Facts().Committed != tc.batches {
				t.Errorf("torn %v, committed %d", rec.Torn, rec.Facts().Committed)
			}
			must(t, runBatch(l, tc.batches+1, 2))
			must(t, l.Close())
			_, rec = openLog(t, fsys, o)
			must(t, checkRecovered(rec, tc.batches+1))
			if _, err := Verify(testDir, fsys); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPlanNextWhilePreparing(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	must(t, l.Plan(planOf(1, 1)))
	must(t, l.Plan(planOf(2, 1)))
	for b := int64(1); b <= 5; b++ {
		_, err := l.Prepare(preparedOf(b, 1))
		must(t, err)
		must(t, l.Plan(planOf(b+2, 1)))
		must(t, l.Commit(Committed{Batch: b, Epoch: 1}))
	}
	_, rec := openLog(t, fsys.CrashClone(vfs.Crash{KeepPercent: 100}), Options{})
	must(t, checkRecovered(rec, 5))
	if rec.LastPlanned.Batch != 7 || rec.PreparedPlan.Batch != 5 {
		t.Errorf("last planned %d, executed %d", rec.LastPlanned.Batch, rec.PreparedPlan.Batch)
	}
}

func TestOutOfSequenceIsRefusedAndHarmless(t *testing.T) {
	l, _ := openLog(t, vfs.NewMem(), Options{})
	must(t, runBatch(l, 1, 3))
	must(t, l.Plan(planOf(2, 3)))
	prepare := func(b, e int64) error { _, err := l.Prepare(preparedOf(b, e)); return err }
	snapshot := func(b int64) error { _, err := l.BeginSnapshot(b, SnapshotMeta{}); return err }
	for name, err := range map[string]error{
		"plan a prepared batch":       l.Plan(planOf(1, 3)),
		"plan too far ahead":          l.Plan(planOf(4, 3)),
		"plan in an older epoch":      l.Plan(planOf(2, 2)),
		"prepare again":               prepare(1, 3),
		"prepare what is not planned": prepare(3, 3),
		"prepare another's plan":      prepare(2, 4),
		"commit what is not prepared": l.Commit(Committed{Batch: 2, Epoch: 3}),
		"commit in an older epoch":    l.Commit(Committed{Batch: 1, Epoch: 2}),
		"snapshot of the future":      snapshot(2),
		"snapshot of nothing":         snapshot(0),
	} {
		if !errors.Is(err, ErrSequence) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, prepare(2, 3))
	must(t, l.Plan(planOf(3, 3)))
	if err := prepare(3, 3); !errors.Is(err, ErrSequence) {
		t.Errorf("preparing before the commit: %v", err)
	}
	must(t, l.Commit(Committed{Batch: 2, Epoch: 3}))
	must(t, l.Commit(Committed{Batch: 2, Epoch: 3})) // again, as after a restart
	must(t, prepare(3, 3))
}

func TestTwoEnginesOnOneDirectory(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		dir := filepath.Join(t.TempDir(), "log")
		l, _, err := Open(dir, testHeader, Options{FS: fsys})
		must(t, err)
		_, _, err = Open(dir, testHeader, Options{FS: fsys})
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "in use by another engine") {
			t.Errorf("%s: second open: %v", name, err)
		}
		must(t, l.Close())
		l, _, err = Open(dir, testHeader, Options{FS: fsys})
		must(t, err)
		must(t, l.Close())
	}
}

func TestAnotherPipelineIsRefused(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	must(t, l.Close())
	_, _, err := Open(testDir, Header{Pipeline: "other"}, Options{FS: fsys})
	if err == nil || !strings.Contains(err.Error(), `holds the log of pipeline "demo"`) {
		t.Errorf("%v", err)
	}
}

func TestChangedPlanIsReportedAndLabelled(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{})
	must(t, runBatch(l, 1, 1))
	must(t, l.Close())
	changed := testHeader
	changed.Plan = "p2"
	l, rec, err := Open(testDir, changed, Options{FS: fsys})
	must(t, err)
	if rec.Header.Plan != "p1" || rec.Header.FormatVersion != FormatVersion {
		t.Errorf("stored header %+v", rec.Header)
	}
	must(t, runBatch(l, 2, 2))
	must(t, l.Close())
	_, rec, err = Open(testDir, changed, Options{FS: fsys})
	must(t, err)
	must(t, checkRecovered(rec, 2))
	if rec.Header.Plan != "p2" {
		t.Errorf("stored header %+v", rec.Header)
	}
}

func TestLargeDeltaIsCutInPieces(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{MaxDeltaBytes: 40 << 20})
	p := preparedOf(1, 1)
	random := make([]byte, 2*deltaPieceBytes+1)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	p.Delta = map[string][]byte{"random": random, "zeros": make([]byte, 3*deltaPieceBytes)}
	must(t, l.Plan(planOf(1, 1)))
	_, err := l.Prepare(p)
	must(t, err)
	must(t, l.Commit(Committed{Batch: 1, Epoch: 1}))
	must(t, l.Plan(planOf(2, 1)))
	over := preparedOf(2, 1)
	over.Delta = map[string][]byte{"s": make([]byte, 41<<20)}
	if _, err := l.Prepare(over); err == nil || !strings.Contains(err.Error(), "over the limit") {
		t.Errorf("an oversized delta: %v", err)
	}
	_, err = l.Prepare(preparedOf(2, 1)) // the refusal poisoned nothing
	must(t, err)
	must(t, l.Close())
	_, rec := openLog(t, fsys, Options{})
	var batches int
	must(t, rec.EachPrepared(func(got *Prepared) error {
		if batches++; got.Batch == 1 {
			for table, want := range p.Delta {
				if !bytes.Equal(got.Delta[table], want) {
					t.Errorf("table %q differs", table)
				}
			}
		}
		return nil
	}))
	if batches != 2 {
		t.Errorf("%d batches", batches)
	}
}

func TestFailedWritePoisons(t *testing.T) {
	for _, kind := range []string{"write", "sync"} {
		fsys := vfs.NewMem()
		var full bool
		l, _ := openLog(t, vfs.Inject(fsys, func(op vfs.Op) error {
			if full && op.Kind == kind {
				return syscall.ENOSPC
			}
			return nil
		}), Options{})
		must(t, runBatch(l, 1, 1))
		must(t, l.Plan(planOf(2, 1)))
		full = true
		_, err := l.Prepare(preparedOf(2, 1))
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full; free space") {
			t.Errorf("%s: %v", kind, err)
		}
		full = false
		_, prepareErr := l.Prepare(preparedOf(2, 1))
		for what, err := range map[string]error{
			"Plan": l.Plan(planOf(3, 1)), "Prepare": prepareErr, "Commit": l.Commit(Committed{Batch: 2, Epoch: 1}),
			"Sync": l.Sync(), "BeginSnapshot": takeSnapshot(l, 1, 1),
		} {
			if !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s: %s after the failure: %v", kind, what, err)
			}
		}
		must(t, l.Close())
		_, rec := openLog(t, fsys, Options{})
		if got := rec.Facts().preparedBatch(); got < 1 || got > 2 {
			t.Errorf("%s: last prepared %d", kind, got)
		}
	}
}

func TestRetentionKeepsWhatSnapshotsNeed(t *testing.T) {
	for _, segment := range []int64{1, 700, 1500, 2500, 10000} {
		fsys := vfs.NewMem()
		l, _ := openLog(t, fsys, Options{SegmentBytes: segment, KeepSnapshots: 2})
		for b := int64(1); b <= 30; b++ {
			must(t, runBatch(l, b, 1))
			if b%5 == 0 {
				must(t, takeSnapshot(l, b, 1))
			}
			if s := l.Stats(); b >= 10 && (s.Snapshots != 2 || s.Segments > 12) || s.SegmentBytes == 0 {
				t.Errorf("batch %d: %+v", b, s)
			}
		}
		must(t, l.Close())
		m, err := readManifest(fsys, testDir)
		must(t, err)
		if got := []int64{m.Snapshots[0].Batch, m.Snapshots[1].Batch}; !cmp.Equal(got, []int64{25, 30}) {
			t.Errorf("snapshots %v", got)
		}
		names, err := fsys.ReadDir(testDir)
		must(t, err)
		if want := len(m.Segments) + len(m.Snapshots) + 1; len(names) != want {
			t.Errorf("%d files, want %d: %v", len(names), want, names)
		}
		// The older snapshot still works when the newer is damaged.
		flip(t, fsys, filepath.Join(testDir, snapshotName(30)), 600)
		_, rec := openLog(t, fsys, Options{})
		if rec.Snapshot.Batch != 25 || len(rec.BadSnapshots) != 1 {
			t.Errorf("snapshot %d, bad %v", rec.Snapshot.Batch, rec.BadSnapshots)
		}
		must(t, checkRecovered(rec, 30))
	}
}

func TestAllSnapshotsDamaged(t *testing.T) {
	for _, tc := range []struct {
		name    string
		batches int64
		ok      bool
	}{{"the log goes back to the beginning", 5, true}, {"it does not", 30, false}} {
		fsys := vfs.NewMem()
		l, _ := openLog(t, fsys, Options{SegmentBytes: 1500})
		for b := int64(1); b <= tc.batches; b++ {
			must(t, runBatch(l, b, 1))
			if b%5 == 0 {
				must(t, takeSnapshot(l, b, 1))
			}
		}
		must(t, l.Close())
		m, err := readManifest(fsys, testDir)
		must(t, err)
		for _, s := range m.Snapshots {
			flip(t, fsys, filepath.Join(testDir, snapshotName(s.Batch)), s.Bytes-1)
		}
		_, rec, err := Open(testDir, testHeader, Options{FS: fsys})
		var bad *CorruptError
		if tc.ok {
			must(t, err)
			must(t, checkRecovered(rec, tc.batches))
		} else if !errors.As(err, &bad) || !strings.HasSuffix(bad.Path, snapSuffix) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if _, err := Verify(testDir, fsys); !tc.ok && !errors.As(err, &bad) {
			t.Errorf("%s: Verify: %v", tc.name, err)
		}
	}
}

func TestSnapshotOfUncommittedBatchWaits(t *testing.T) {
	l, _ := openLog(t, vfs.NewMem(), Options{})
	must(t, l.Plan(planOf(1, 1)))
	_, err := l.Prepare(preparedOf(1, 1))
	must(t, err)
	w, err := l.BeginSnapshot(1, SnapshotMeta{Epoch: 1})
	must(t, err)
	if _, err := l.BeginSnapshot(1, SnapshotMeta{}); !errors.Is(err, ErrSequence) {
		t.Errorf("two at a time: %v", err)
	}
	must(t, w.Block("s", []byte("x")))
	if err := w.Publish(); !errors.Is(err, ErrSequence) {
		t.Errorf("published before the commit: %v", err)
	}
	must(t, l.Commit(Committed{Batch: 1, Epoch: 1}))
	must(t, w.Publish())
	w.Abort() // does nothing any more
	if s := l.Stats(); s.SnapshotBatch != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFailpointsFire proves that every failpoint of this package is passed by an ordinary run, that an
// error there never loses a batch, and that the log opens again.
func TestFailpointsFire(t *testing.T) {
	for _, name := range failpoint.Names() {
		if strings.HasPrefix(name, "log.repair.") {
			continue // TestRepairFailpoints has them
		}
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			o := Options{SegmentBytes: 1500, KeepSnapshots: 1}
			l, _ := openLog(t, fsys, o)
			disarm, err := failpoint.Arm(name + "=error:2")
			must(t, err)
			defer disarm()
			done, err := workload(l, 0, 1)
			if err == nil {
				if err = l.Sync(); err == nil && l.Stats().DeleteFailures == 0 {
					t.Fatal("the point never fired")
				}
			}
			if err != nil && !errors.Is(err, failpoint.ErrInjected) {
				t.Fatal(err)
			}
			disarm()
			_ = l.Close()
			_, rec := openLog(t, fsys, o)
			last := rec.Facts().preparedBatch()
			if last < done.prepared || last > done.prepared+1 {
				t.Errorf("%d batches were prepared, %d recovered", done.prepared, last)
			}
			must(t, checkRecovered(rec, last))
		})
	}
}

// progress is what a workload saw succeed.
type progress struct{ prepared, committed, snapshot int64 }

// workload runs twelve batches after from, with a snapshot after every fourth, until something fails.
func workload(l *Log, from, epoch int64) (done progress, err error) {
	done.prepared, done.committed = from, from
	for b := from + 1; b <= from+12; b++ {
		if err := l.Plan(planOf(b, epoch)); err != nil {
			return done, err
		}
		if _, err := l.Prepare(preparedOf(b, epoch)); err != nil {
			return done, err
		}
		done.prepared = b
		if err := l.Commit(Committed{Batch: b, Epoch: epoch, At: time.Unix(b, 1).UTC()}); err != nil {
			return done, err
		}
		done.committed = b
		if b%4 == 0 {
			if err := workloadSnapshot(l, b, epoch); err != nil {
				return done, err
			}
			done.snapshot = b
		}
		if b%3 == 0 {
			if err := l.Sync(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// workloadSnapshot takes a full snapshot, deltas on it, and one that takes the one before in.
func workloadSnapshot(l *Log, batch, epoch int64) error {
	switch {
	case batch%20 == 0 || l.Stats().SnapshotBatch == 0:
		return takeSnapshot(l, batch, epoch)
	case batch == 12:
		return takeDelta(l, batch, epoch, 1<<20)
	}
	return takeDelta(l, batch, epoch, 0)
}

func readAll(t testing.TB, fsys vfs.FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
		t.Fatal(err)
	}
	must(t, f.Close())
	return b
}

// flip inverts one bit of a file.
func flip(t testing.TB, fsys vfs.FS, path string, off int64) {
	t.Helper()
	f, err := fsys.OpenAppend(path)
	must(t, err)
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (off % 8)
	_, err = f.WriteAt(b[:], off)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

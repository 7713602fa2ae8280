package checkpointlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// kept lists the snapshots of a log as base>batch.
func kept(l *Log) (out []string) {
	for _, s := range l.manifest.Snapshots {
		out = append(out, fmt.Sprintf("%d>%d", s.Base, s.Batch))
	}
	return out
}

// TestChain: deltas stand on what is before them, retention counts full snapshots, and a larger delta takes the
// smaller ones before it in.
func TestChain(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 1, KeepSnapshots: 2})
	steps := []struct {
		take func(batch int64) error
		want []string
		// first is the first batch that the log still has: a plan of the next stands in a batch's segment.
		first int64
	}{
		{func(b int64) error { return takeSnapshot(l, b, 1) }, []string{"0>1"}, 1},
		{func(b int64) error { return takeDelta(l, b, 1, 0) }, []string{"0>1", "1>2"}, 1},
		{func(b int64) error { return takeDelta(l, b, 1, 0) }, []string{"0>1", "1>2", "2>3"}, 1},
		{func(b int64) error { return takeDelta(l, b, 1, 1<<20) }, []string{"0>1", "1>4"}, 1},
		{func(b int64) error { return takeSnapshot(l, b, 1) }, []string{"0>1", "1>4", "0>5"}, 4},
		{func(b int64) error { return takeDelta(l, b, 1, 0) }, []string{"0>1", "1>4", "0>5", "5>6"}, 4},
		{func(b int64) error { return takeSnapshot(l, b, 1) }, []string{"0>5", "5>6", "0>7"}, 6},
	}
	for i, s := range steps {
		batch := int64(i + 1)
		must(t, runBatch(l, batch, 1))
		must(t, s.take(batch))
		if d := cmp.Diff(s.want, kept(l)); d != "" {
			t.Errorf("after batch %d: %s", batch, d)
		}
		var first int64
		for e, err := range Read(testDir, fsys) {
			must(t, err)
			if e.Prepared != nil && first == 0 {
				first = e.Prepared.Batch
			}
		}
		if first != 0 && first != s.first {
			t.Errorf("after batch %d the log begins with batch %d, want %d", batch, first, s.first)
		}
		rec := reopened(t, fsys)
		must(t, checkRecovered(rec, batch))
	}
	if _, err := l.BeginSnapshot(7, SnapshotMeta{Base: 6}); !errors.Is(err, ErrSequence) {
		t.Errorf("a delta on an older snapshot: %v", err)
	}
}

// reopened opens what a power cut leaves of a log that is open.
func reopened(t *testing.T, fsys *vfs.Mem) *Recovered {
	t.Helper()
	l, rec := openLog(t, fsys.CrashClone(vfs.Crash{}), Options{KeepSnapshots: 2})
	must(t, l.Close())
	return rec
}

// TestKeepSnapshotsFor: age keeps more chains than the count does.
func TestKeepSnapshotsFor(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{KeepSnapshots: 1, KeepSnapshotsFor: time.Hour})
	for b := int64(1); b <= 3; b++ {
		must(t, runBatch(l, b, 1))
		must(t, takeSnapshot(l, b, 1))
	}
	if d := cmp.Diff([]string{"0>1", "0>2", "0>3"}, kept(l)); d != "" {
		t.Error(d)
	}
	l.manifest.Snapshots[0].At = time.Now().Add(-2 * time.Hour)
	must(t, runBatch(l, 4, 1))
	must(t, takeSnapshot(l, 4, 1))
	if d := cmp.Diff([]string{"0>2", "0>3", "0>4"}, kept(l)); d != "" {
		t.Error(d)
	}
}

// TestSmallDeltasStayFew: however many small deltas are taken, a chain stays short, and each is rewritten seldom.
func TestSmallDeltasStayFew(t *testing.T) {
	m := &manifest{Snapshots: []snapshotRef{{Batch: 1, Bytes: 1 << 30}}}
	var written int64
	for b := int64(2); b <= 2000; b++ {
		size := int64(1000)
		absorbed := m.absorbable(size)
		for _, a := range absorbed {
			size += a.Bytes
		}
		written += size
		m.Snapshots = append(m.Snapshots[:len(m.Snapshots)-len(absorbed)], snapshotRef{Batch: b, Bytes: size})
		m.Snapshots[len(m.Snapshots)-1].Base = m.Snapshots[len(m.Snapshots)-2].Batch
		if len(m.Snapshots) > 16 {
			t.Fatalf("%d snapshots in a chain after %d deltas", len(m.Snapshots), b)
		}
	}
	if each := written / 1999 / 1000; each > 12 {
		t.Errorf("each delta was written %d times", each)
	}
}

// TestDamagedChain damages each file of a chain. What stands before it is used with more of the log; when the
// log no longer has what is missing, the start is refused with the path, intact deltas or not.
func TestDamagedChain(t *testing.T) {
	build := func(keep int) *vfs.Mem {
		fsys := vfs.NewMem()
		l, _ := openLog(t, fsys, Options{SegmentBytes: 1, KeepSnapshots: keep})
		for b := int64(1); b <= 8; b++ {
			must(t, runBatch(l, b, 1))
			switch b {
			case 2, 5:
				must(t, takeSnapshot(l, b, 1))
			case 3, 6, 7:
				must(t, takeDelta(l, b, 1, 0))
			}
		}
		must(t, l.Close())
		return fsys
	}
	for bad, falls := range map[int64]int64{7: 6, 6: 5, 5: 3} {
		fsys := build(2)
		flip(t, fsys, filepath.Join(testDir, snapshotName(bad)), 500)
		l, rec := openLog(t, fsys, Options{})
		if rec.Snapshot == nil || rec.Snapshot.Batch != falls || len(rec.BadSnapshots) != 1 {
			t.Errorf("snapshot %d damaged: restored %+v, bad %v", bad, rec.Snapshot, rec.BadSnapshots)
		}
		must(t, checkRecovered(rec, 8))
		must(t, l.Close())
		_, rec = openLog(t, fsys, Options{}) // the manifest names none that stands on the damaged one
		must(t, checkRecovered(rec, 8))
	}
	fsys := build(1)
	path := filepath.Join(testDir, snapshotName(5))
	flip(t, fsys, path, 500)
	_, _, err := Open(testDir, testHeader, Options{FS: fsys})
	var damage *CorruptError
	if !errors.As(err, &damage) || damage.Path != path {
		t.Errorf("a damaged base with intact deltas: %v", err)
	}
	// A file of the same name that is not the one that the delta is relative to.
	fsys = build(2)
	m, err := readManifest(fsys, testDir)
	must(t, err)
	i := slices.IndexFunc(m.Snapshots, func(s snapshotRef) bool { return s.Batch == 6 })
	info, err := readSnapshot(fsys, testDir, m.Snapshots[i], nil)
	must(t, err)
	if info.baseChain != m.Snapshots[i-1].Chain {
		t.Error("a delta does not know the file that it stands on")
	}
	m.Snapshots[i-1].Chain++
	if _, _, err := readChain(fsys, testDir, m.Snapshots[i-1:i+1], nil); !errors.As(err, &damage) {
		t.Errorf("a delta on another file: %v", err)
	}
}

// modelLog is a log whose state is a map, driven at random beside a plain one.
type modelLog struct {
	t    *testing.T
	r    *rand.Rand
	fsys *vfs.Mem
	o    Options
	l    *Log

	epoch, last, began int64
	// states are the maps after every batch; since is what changed since the last snapshot began.
	states     []map[string]int
	since      map[string]bool
	savepoints map[string]int64 // directory → batch
	made       int
}

// TestModel interleaves batches, snapshots, savepoints, deletions and crashes at random. After every crash, the state
// that a recovery gives equals the plain map, and so does that of every savepoint, whatever retention did.
func TestModel(t *testing.T) {
	n := 150
	if testing.Short() {
		n = 30
	}
	for seed := range uint64(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			m := &modelLog{t: t, r: r, fsys: vfs.NewMem(), states: []map[string]int{{}}, savepoints: map[string]int64{}}
			m.o = Options{SegmentBytes: 1 + r.Int64N(4000), KeepSnapshots: 1 + r.IntN(3)}
			m.open()
			for range 60 {
				switch r.IntN(10) {
				case 0:
					m.crash()
				case 1, 2, 3:
					m.snapshot()
				case 4:
					m.savepoint()
				case 5:
					m.remove()
				default:
					m.batch()
				}
			}
			m.crash()
		})
	}
}

func (m *modelLog) open() {
	m.epoch++
	m.o.FS = m.fsys
	var rec *Recovered
	var err error
	m.l, rec, err = Open(testDir, testHeader, m.o)
	must(m.t, err)
	last := rec.Facts().preparedBatch()
	if last < m.last {
		m.t.Fatalf("batch %d was prepared, and the log ends with batch %d", m.last, last)
	}
	m.last, m.states, m.began = last, m.states[:last+1], 0
	if rec.Snapshot != nil {
		m.began = rec.Snapshot.Batch
	}
	m.compare("recovered", rec, last)
	if last > rec.Facts().Committed {
		must(m.t, m.l.Commit(Committed{Batch: last, Epoch: m.epoch}))
	}
	m.since = map[string]bool{}
	for b := m.began; b < last; b++ {
		m.note(m.states[b], m.states[b+1])
	}
}

func (m *modelLog) note(before, after map[string]int) map[string]*int {
	change := map[string]*int{}
	for k, v := range after {
		if old, ok := before[k]; !ok || old != v {
			change[k] = &v
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			change[k] = nil
		}
	}
	for k := range change {
		m.since[k] = true
	}
	return change
}

func (m *modelLog) compare(what string, rec *Recovered, last int64) {
	m.t.Helper()
	got := map[string]int{}
	apply := func(b []byte) error {
		change := map[string]*int{}
		if err := json.Unmarshal(b, &change); err != nil {
			return err
		}
		for k, v := range change {
			if delete(got, k); v != nil {
				got[k] = *v
			}
		}
		return nil
	}
	later := func(_ string, b []byte) (func() error, error) { return func() error { return apply(b) }, nil }
	must(m.t, rec.EachSnapshotBlock(SnapshotLoader{Full: later, Delta: later}))
	must(m.t, rec.EachPrepared(func(p *Prepared) error { return apply(p.Delta["m"]) }))
	if !maps.Equal(got, m.states[last]) {
		m.t.Fatalf("%s after batch %d: %v, want %v", what, last, got, m.states[last])
	}
}

func (m *modelLog) batch() {
	after := maps.Clone(m.states[m.last])
	for range m.r.IntN(6) {
		k := fmt.Sprint(m.r.IntN(20))
		if m.r.IntN(3) == 0 {
			delete(after, k)
		} else {
			after[k] = m.r.IntN(1000)
		}
	}
	delta, err := json.Marshal(m.note(m.states[m.last], after))
	must(m.t, err)
	b := m.last + 1
	must(m.t, m.l.Plan(planOf(b, m.epoch)))
	m.states = append(m.states, after)
	p := Prepared{Batch: b, Epoch: m.epoch, Delta: map[string][]byte{"m": delta}}
	if m.r.IntN(15) == 0 { // a crash before the sync
		m.fsys = m.fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		m.open()
		return
	}
	_, err = m.l.Prepare(p)
	must(m.t, err)
	m.last = b
	must(m.t, m.l.Commit(Committed{Batch: b, Epoch: m.epoch}))
}

func (m *modelLog) snapshot() {
	if m.last == 0 || m.last == m.began {
		return
	}
	meta := SnapshotMeta{Epoch: m.epoch}
	content := map[string]*int{}
	for k, v := range m.states[m.last] {
		content[k] = &v
	}
	if newest := m.l.Stats().SnapshotBatch; newest > 0 && newest == m.began && m.r.IntN(3) > 0 {
		meta.Base, meta.GatheredBytes = newest, m.r.Int64N(3)*400
		content = map[string]*int{}
		for k := range m.since {
			if v, ok := m.states[m.last][k]; ok {
				content[k] = &v
			} else {
				content[k] = nil
			}
		}
	}
	w, err := m.l.BeginSnapshot(m.last, meta)
	must(m.t, err)
	block, err := json.Marshal(content)
	must(m.t, err)
	must(m.t, w.Block("m", block))
	if m.r.IntN(6) == 0 {
		w.Abort()
		return
	}
	must(m.t, w.Publish())
	m.began, m.since = m.last, map[string]bool{}
}

func (m *modelLog) savepoint() {
	if m.last == 0 {
		return
	}
	batch := m.last
	if m.r.IntN(2) == 0 && batch > 1 { // the sink is a batch behind
		batch--
	}
	m.made++
	dir := fmt.Sprintf("/savepoints/%d", m.made)
	c, err := Copy(m.fsys, testDir, dir, CopyOptions{Batch: batch})
	if err != nil && batch < m.last {
		return // a snapshot that is newer may have taken the place of what it needs
	}
	must(m.t, err)
	if c.Prepared.Batch != batch {
		m.t.Fatalf("a copy up to batch %d has batch %d", batch, c.Prepared.Batch)
	}
	must(m.t, m.fsys.SyncDir("/savepoints"))
	m.savepoints[dir] = batch
}

func (m *modelLog) remove() {
	for dir := range m.savepoints {
		must(m.t, emptyDir(m.fsys, dir))
		delete(m.savepoints, dir)
		return
	}
}

func (m *modelLog) crash() {
	m.fsys = m.fsys.CrashClone(vfs.Crash{KeepPercent: 50, Rand: m.r})
	m.open()
	for dir, batch := range m.savepoints {
		clone := m.fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		head := testHeader
		head.Pipeline = "another"
		target := "/state/another"
		_, err := Copy(clone, dir, target, CopyOptions{Pipeline: head.Pipeline})
		must(m.t, err)
		l, rec, err := Open(target, head, Options{FS: clone})
		must(m.t, err)
		if last := rec.Facts().preparedBatch(); last != batch {
			m.t.Fatalf("a savepoint of batch %d has batch %d", batch, last)
		}
		m.compare("a savepoint", rec, batch)
		if rec.Facts().Committed < batch {
			must(m.t, l.Commit(Committed{Batch: batch, Epoch: m.epoch}))
		}
		must(m.t, runBatch(l, batch+1, m.epoch))
		must(m.t, l.Close())
		l, _, err = Open(target, head, Options{FS: clone})
		must(m.t, err)
		must(m.t, l.Close())
	}
}

// TestCopyFailsCleanly: every operation of a copy fails once, and is the last before a power cut once. The copy is
// then none, and the log as it was.
func TestCopyFailsCleanly(t *testing.T) {
	build := func() *vfs.Mem {
		fsys := vfs.NewMem()
		l, _ := openLog(t, fsys, Options{SegmentBytes: 1500})
		for b := int64(1); b <= 6; b++ {
			must(t, runBatch(l, b, 1))
			if b == 3 {
				must(t, takeSnapshot(l, b, 1))
			}
			if b == 4 {
				must(t, takeDelta(l, b, 1, 0))
			}
		}
		must(t, l.Close())
		return fsys
	}
	var n int
	c, err := Copy(vfs.Inject(build(), func(vfs.Op) error { n++; return nil }), testDir, "/copy", CopyOptions{Batch: 5})
	must(t, err)
	if c.Prepared.Batch != 5 || string(c.Offsets) != `{"bid":{"f":50}}` {
		t.Errorf("%+v, offsets %s", c, c.Offsets)
	}
	for k := range n {
		for _, power := range []bool{false, true} {
			mem := build()
			var i int
			left := mem
			_, err := Copy(vfs.Inject(mem, func(op vfs.Op) error {
				if i++; i == k+1 || power && i > k {
					if i == k+1 && power {
						left = mem.CrashClone(vfs.Crash{KeepPercent: 50})
					}
					return errCrashed
				}
				return nil
			}), testDir, "/copy", CopyOptions{Batch: 5})
			if err == nil {
				t.Fatalf("operation %d of %d failed, and nobody noticed", k, n)
			}
			_, rec := openLog(t, left, Options{})
			must(t, checkRecovered(rec, 6))
			must(t, left.MkdirAll("/copy"))
			must(t, emptyDir(left, "/copy"))
			_, err = Copy(left, testDir, "/copy", CopyOptions{Batch: 5})
			must(t, err)
		}
	}
}

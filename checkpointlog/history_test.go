package checkpointlog

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// TestHistoryAfterRetentionBeganAtBatchOne: asked for all there is, History wanted the state before batch
// 1, which a log that retention has shortened cannot give.
func TestHistoryAfterRetentionBeganAtBatchOne(t *testing.T) {
	fsys := vfs.NewMem()
	l, _ := openLog(t, fsys, Options{SegmentBytes: 700, KeepSnapshots: 2})
	for b := int64(1); b <= 12; b++ {
		must(t, runBatch(l, b, 1))
		if b%5 == 0 {
			must(t, takeSnapshot(l, b, 1))
		}
		rec, err := History(testDir, fsys, 0)
		must(t, err)
		var before int64
		if b >= 10 { // two snapshots, and what they need
			before = 5
		}
		if got := snapshotOf(rec); got != before {
			t.Errorf("after batch %d history begins with snapshot %d, want %d", b, got, before)
		}
		if diff := cmp.Diff(between(before+1, b), replayable(t, rec)); diff != "" {
			t.Errorf("after batch %d:\n%s", b, diff)
		}
	}
	rec, err := History(testDir, fsys, 12)
	must(t, err)
	if got := snapshotOf(rec); got != 10 {
		t.Errorf("the state before batch 12 is rebuilt from snapshot %d, want 10", got)
	}
	if _, err := History(testDir, fsys, 3); err == nil || !strings.Contains(err.Error(), "the log begins at batch") {
		t.Errorf("the state before batch 3: %v", err)
	}
	must(t, l.Close())
	flip(t, fsys, filepath.Join(testDir, snapshotName(5)), 600)
	rec, err = History(testDir, fsys, 0)
	must(t, err)
	if got := snapshotOf(rec); got != 10 || len(rec.BadSnapshots) != 1 {
		t.Errorf("with snapshot 5 damaged history begins with %d (%d set aside), want 10", got, len(rec.BadSnapshots))
	}
}

func snapshotOf(rec *Recovered) int64 {
	if rec.Snapshot == nil {
		return 0
	}
	return rec.Snapshot.Batch
}

func between(from, to int64) (out []int64) {
	for b := from; b <= to; b++ {
		out = append(out, b)
	}
	return out
}

// replayable lists the batches that have both their plan and their outcome.
func replayable(t *testing.T, rec *Recovered) (out []int64) {
	t.Helper()
	must(t, rec.EachBatch(func(plan *Planned, logged *Prepared) error {
		if plan == nil {
			t.Errorf("batch %d has no plan", logged.Batch)
		}
		out = append(out, logged.Batch)
		return nil
	}))
	return out
}

// TestHistoryBeginsWithAPlan: a segment that retention deleted may hold the Planned of batches whose Prepared the
// next one begins with. History gave such a batch as one to execute again, and replay failed.
//
// It also tells that retention keeps what recovery may choose: every Planned after the last snapshot of the oldest
// chain that it keeps.
func TestHistoryBeginsWithAPlan(t *testing.T) {
	unplanned := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		fsys := vfs.NewMem()
		l, _ := openLog(t, fsys, Options{SegmentBytes: 1 + r.Int64N(2500), KeepSnapshots: 1 + r.IntN(3)})
		planned := int64(0)
		for b := int64(1); b <= 30; b++ {
			for ahead := b + r.Int64N(2); planned < ahead; planned++ {
				must(t, l.Plan(planOf(planned+1, 1)))
			}
			_, err := l.Prepare(preparedOf(b, 1))
			must(t, err)
			must(t, l.Commit(Committed{Batch: b, Epoch: 1}))
			switch r.IntN(5) {
			case 0:
				must(t, takeSnapshot(l, b, 1))
			case 1, 2:
				if b > 5 && l.Stats().SnapshotBatch > 0 {
					must(t, takeDelta(l, b, 1, 0))
				}
			}
			unplanned += checkHistory(t, fsys, l, b)
			if t.Failed() {
				t.Fatalf("seed %d, batch %d, snapshots %v", seed, b, kept(l))
			}
		}
		must(t, l.Close())
	}
	if unplanned == 0 {
		t.Error("no history had a batch without its plan, so nothing was tested")
	}
}

// checkHistory returns how many batches at the beginning of what there is have no plan.
func checkHistory(t *testing.T, fsys *vfs.Mem, l *Log, last int64) (unplanned int) {
	t.Helper()
	rec, err := History(testDir, fsys, 0)
	must(t, err)
	next := snapshotOf(rec) + 1
	must(t, rec.EachBatch(func(plan *Planned, p *Prepared) error {
		if p.Batch != next || plan == nil && p.Batch >= rec.FirstPlanned {
			t.Errorf("batch %d (plan %v) comes for batch %d; history is planned from %d on", p.Batch, plan, next, rec.FirstPlanned)
		}
		if plan == nil {
			unplanned++
		}
		next++
		return nil
	}))
	if next != last+1 || rec.FirstPlanned > last+1 {
		t.Errorf("history ends before batch %d and is planned from %d on, want up to %d", next, rec.FirstPlanned, last)
	}
	if rec.FirstPlanned > 1 {
		if _, err := History(testDir, fsys, rec.FirstPlanned-1); err == nil && rec.FirstPlanned > snapshotOf(rec)+1 {
			t.Errorf("batch %d has no plan and can be executed again", rec.FirstPlanned-1)
		}
	}
	if chains := l.manifest.chains(); len(chains) >= l.opt.KeepSnapshots {
		oldest := chains[0][len(chains[0])-1].Batch
		if rec.FirstPlanned > oldest+1 && oldest < last {
			t.Errorf("retention kept the snapshot of batch %d, and no plan before batch %d", oldest, rec.FirstPlanned)
		}
	}
	return unplanned
}

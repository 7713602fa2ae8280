package checkpointlog

import (
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

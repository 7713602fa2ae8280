package file

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

// scenario has batches with partitions, without rows, and with nothing but a dead letter.
func scenario() []*microbatch.StagedBatch {
	return []*microbatch.StagedBatch{
		sinktest.Batch(1, sinktest.Rows("1 a", "2 b", "3 a", "4 ?")),
		sinktest.Batch(2, sinktest.Rows()),
		sinktest.Batch(3, sinktest.Rows("5 b")),
		sinktest.Batch(4, sinktest.Rows(), microbatch.DeadLetter{Source: "s", Offset: 7, Reason: "late: …"}),
		sinktest.Batch(5, sinktest.Rows("6 a", "6 a")),
	}
}

func memory(fsys vfs.FS) Options {
	return Options{Dir: "/data/out", FS: fsys, DeadLetters: true, Layout: Layout{PartitionBy: []string{"dt"}}}
}

// drive goes on with the scenario from wherever directory and diary are, as microbatch does.
func drive(t *testing.T, fsys vfs.FS, d *sinktest.Diary) error {
	s, err := New(memory(fsys))
	if err != nil {
		return err
	}
	l, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: testOutput}})
	if err != nil {
		return err
	}
	if l.Batch < d.Committed {
		return fmt.Errorf("lost: the ledger is at batch %d, and %d was committed", l.Batch, d.Committed)
	}
	batches := scenario()
	if d.Permit.Valid() && d.Permit.Batch() > d.Committed {
		n := d.Permit.Batch()
		if l.Batch < n {
			has, err := s.HasStaged(t.Context(), n, d.Permit.Outputs())
			if err != nil {
				return err
			}
			if !has {
				return fmt.Errorf("lost: batch %d was staged before it was prepared", n)
			}
			if err := s.Commit(t.Context(), d.Permit, sinktest.Info); err != nil {
				return err
			}
		}
		d.Done(n)
	} else if l.Batch != d.Committed {
		return fmt.Errorf("lost: the ledger is at batch %d, and nothing after %d was prepared", l.Batch, d.Committed)
	}
	for _, b := range batches[d.Committed:] {
		if err := s.Stage(t.Context(), b); err != nil {
			return err
		}
		if err := s.Commit(t.Context(), d.Prepare(b), sinktest.Info); err != nil {
			return err
		}
		d.Done(b.Batch)
	}
	return s.Close()
}

// undisturbed is what the scenario shows in the end.
func undisturbed(t *testing.T) []string {
	t.Helper()
	fsys := vfs.NewMem()
	if err := drive(t, fsys, sinktest.NewDiary(t)); err != nil {
		t.Fatal(err)
	}
	out := shown(t, fsys, "/data/out")
	if len(out) != 7 || out[0] != `batch-000000000001/dt=__HIVE_DEFAULT_PARTITION__/part-0.ndjson {"id":4,"dt":null}` {
		t.Fatalf("%d lines:\n%s", len(out), strings.Join(out, "\n"))
	}
	return out
}

// Every single file operation fails once, or is the last before the process ends or the power goes with more
// or less of what was not synced. The next start gets to the same files, and what readers see meanwhile is
// a prefix of them.
func TestEveryOperationFailsOnce(t *testing.T) {
	want := undisturbed(t)
	crashes := map[string]func(m *vfs.Mem) *vfs.Mem{
		"killed":         func(m *vfs.Mem) *vfs.Mem { return m },
		"power cut":      func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.Crash{}) },
		"some survives":  func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.Crash{KeepPercent: 50}) },
		"power cut late": func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.Crash{KeepPercent: 100}) },
		"anything survives": func(m *vfs.Mem) *vfs.Mem {
			return m.CrashClone(vfs.Crash{KeepPercent: 50, Rand: rand.New(rand.NewPCG(3, 4))})
		},
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			for k := 1; ; k++ {
				mem, d, n := vfs.NewMem(), sinktest.NewDiary(t), 0
				err := drive(t, vfs.Inject(mem, func(op vfs.Op) error {
					if n++; n == k {
						return syscall.ENOSPC
					}
					return nil
				}), d)
				if n < k {
					if k < 100 {
						t.Errorf("only %d operations", k)
					}
					return
				}
				if err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("operation %d: %v", k, err)
				}
				if err == nil && name != "killed" {
					continue // what failed was litter
				}
				left := crash(mem)
				if _, err := left.ReadDir("/data/out"); err == nil {
					if got := shown(t, left, "/data/out"); len(got) > 0 && !slices.Equal(got, want[:len(got)]) {
						t.Fatalf("operation %d: readers saw\n%s", k, strings.Join(got, "\n"))
					}
				}
				if err := drive(t, left, d); err != nil {
					t.Fatalf("operation %d, then a start: %v", k, err)
				}
				if diff := cmp.Diff(want, shown(t, left, "/data/out")); diff != "" {
					t.Fatalf("operation %d: %s", k, diff)
				}
				checkKept(t, left)
			}
		})
	}
}

// checkKept wants every batch's time once, and the dead letter.
func checkKept(t *testing.T, fsys vfs.FS) {
	t.Helper()
	s, err := New(memory(fsys))
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Read(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range all.Times {
		if at.Batch != int64(i+1) || string(at.Offsets) != `{"s":1}` {
			t.Errorf("time %d is %+v", i, at)
		}
	}
	if len(all.Times) != 5 || len(all.Batches) != 4 || len(all.Batches[2].DeadLetters) != 1 || all.Batches[2].DeadLetters[0].Offset != 7 || all.Ledger.Batch != 5 {
		t.Fatalf("%+v", all)
	}
}

// A batch whose staged files are gone, or are not those that were logged, is not taken for staged.
func TestHasStaged(t *testing.T) {
	mem := vfs.NewMem()
	s, _ := open(t, memory(mem))
	b := sinktest.Batch(1, sinktest.Rows("1 a", "2 b"))
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	has := func(digest checkpointlog.OutputDigest) bool {
		t.Helper()
		has, err := s.HasStaged(t.Context(), 1, []checkpointlog.OutputDigest{digest})
		if err != nil {
			t.Fatal(err)
		}
		return has
	}
	digest := b.Outputs[0].Digest
	if !has(digest) || has(checkpointlog.OutputDigest{Output: "v", Rows: 2, Sum: "other"}) {
		t.Error("the digest does not decide")
	}
	if err := mem.Remove("/data/out/.sluice/staging/" + stagedName(1, 1) + "/dt=a/part-0.ndjson"); err != nil {
		t.Fatal(err)
	}
	if has(digest) {
		t.Error("a batch without one of its files counts as staged")
	}
	if err := s.Commit(t.Context(), sinktest.NewDiary(t).Prepare(b), sinktest.Info); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
}

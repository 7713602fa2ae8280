package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

var testTarget = microbatch.Target{Output: testOutput}

// A keeper is a savepoint of a directory, in memory.
type keeper struct {
	files map[string][]byte
	of    *Exported
	at    microbatch.Ledger
}

type kept struct {
	bytes.Buffer
	done func([]byte)
}

func (k *kept) Close() error { k.done(k.Bytes()); return nil }

func (k *keeper) create(path string) (io.WriteCloser, error) {
	return &kept{done: func(b []byte) { k.files[path] = slices.Clone(b) }}, nil
}

func (k *keeper) open(path string) (io.ReadCloser, error) {
	b, ok := k.files[path]
	if !ok {
		return nil, fmt.Errorf("the savepoint has no %s", path)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (k *keeper) point() RestorePoint {
	return RestorePoint{Ledger: k.at, Of: k.of, Open: k.open}
}

// played is a directory with the first batches of the scenario, and the ledger after each.
func played(t *testing.T, batches int) (fsys *vfs.Mem, after []microbatch.Ledger) {
	t.Helper()
	fsys = vfs.NewMem()
	s, _ := open(t, memory(fsys))
	d := sinktest.NewDiary(t)
	for _, b := range scenario()[:batches] {
		d.Put(s, b)
		l, err := s.State("p", testTarget)
		if err != nil {
			t.Fatal(err)
		}
		after = append(after, l.Ledger)
	}
	return fsys, after
}

// keep makes a savepoint at a batch of a directory that may have gone on.
func keep(t *testing.T, fsys vfs.FS, at microbatch.Ledger) *keeper {
	t.Helper()
	k := &keeper{files: map[string][]byte{}, at: at}
	s, err := New(memory(fsys))
	if err != nil {
		t.Fatal(err)
	}
	if k.of, err = s.Export(t.Context(), "p", testTarget, at.Batch, k.create); err != nil {
		t.Fatal(err)
	}
	return k
}

func restore(t *testing.T, fsys vfs.FS, pipeline string, k *keeper) error {
	t.Helper()
	s, err := New(memory(fsys))
	if err != nil {
		t.Fatal(err)
	}
	return s.Restore(t.Context(), pipeline, testTarget, k.point())
}

// same compares all that there is of a directory but its epoch, with what it was right after a batch.
func same(t *testing.T, fsys vfs.FS, pipeline string, batch int) {
	t.Helper()
	wantFS, after := played(t, batch)
	want, got := readAll(t, wantFS, "p"), readAll(t, fsys, pipeline)
	if got.Ledger.Epoch <= after[batch-1].Epoch {
		t.Errorf("the epoch is %d: an older engine could commit", got.Ledger.Epoch)
	}
	want.Ledger.Epoch, got.Ledger.Epoch = 0, 0
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("batch %d: %s", batch, d)
	}
	if d := cmp.Diff(shown(t, wantFS, "/data/out"), shown(t, fsys, "/data/out")); d != "" {
		t.Errorf("batch %d: %s", batch, d)
	}
}

func readAll(t *testing.T, fsys vfs.FS, pipeline string) *Shown {
	t.Helper()
	s, err := New(memory(fsys))
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Read(t.Context(), pipeline)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A savepoint of every batch, made right after it or when the directory had gone on, gives the directory back: into the
// same one, which goes on from there, and into a new one for a pipeline of another name.
func TestSavepointOfEveryBatch(t *testing.T) {
	last := len(scenario())
	whole, after := played(t, last)
	for batch := 1; batch <= last; batch++ {
		then, _ := played(t, batch)
		early, late := keep(t, then, after[batch-1]), keep(t, whole, after[batch-1])
		if d := cmp.Diff(early.of, late.of); d != "" {
			t.Errorf("batch %d, made later: %s", batch, d)
		}
		for _, k := range []*keeper{early, late} {
			fresh := vfs.NewMem()
			if err := restore(t, fresh, "q", k); err != nil {
				t.Fatal(err)
			}
			same(t, fresh, "q", batch)
			back, _ := played(t, last)
			if err := restore(t, back, "p", k); err != nil {
				t.Fatal(err)
			}
			same(t, back, "p", batch)
			goOn(t, back, batch)
		}
	}
}

// goOn plays the rest of the scenario and compares with a directory that nothing was done to.
func goOn(t *testing.T, fsys vfs.FS, batch int) {
	t.Helper()
	s, l := open(t, memory(fsys))
	if l.Batch != int64(batch) {
		t.Fatalf("the ledger is at batch %d, want %d", l.Batch, batch)
	}
	d := sinktest.NewDiary(t)
	for i, b := range scenario() {
		if i < batch {
			d.Prepare(b)
			d.Done(b.Batch)
			continue
		}
		d.Put(s, b)
	}
	want := undisturbed(t)
	if diff := cmp.Diff(want, shown(t, fsys, "/data/out")); diff != "" {
		t.Errorf("after batch %d was put back and all played again: %s", batch, diff)
	}
	checkKept(t, fsys)
}

// What the owner of the files took away stays away; what another history wrote does not stay.
func TestRestoreOverWhatIsThere(t *testing.T) {
	whole, after := played(t, 5)
	k := keep(t, whole, after[3])
	if err := removeAll(whole, "/data/out/"+batchName(1)); err != nil {
		t.Fatal(err)
	}
	if err := restore(t, whole, "p", k); err != nil {
		t.Fatal(err)
	}
	for _, line := range shown(t, whole, "/data/out") {
		if strings.HasPrefix(line, batchName(1)) || strings.HasPrefix(line, batchName(5)) {
			t.Errorf("put back: %s", line)
		}
	}
	other := vfs.NewMem()
	s, _ := open(t, memory(other))
	sinktest.NewDiary(t).Put(s, sinktest.Batch(1, sinktest.Rows("99 z")))
	if err := restore(t, other, "p", k); err != nil {
		t.Fatal(err)
	}
	same(t, other, "p", 4)
	if err := restore(t, other, "q", k); err == nil || !strings.Contains(err.Error(), "belongs to pipeline p") {
		t.Errorf("into the directory of another pipeline: %v", err)
	}
}

// An engine that was there before the directory was put back commits nothing more.
func TestRestoreFences(t *testing.T) {
	fsys := vfs.NewMem()
	s, _ := open(t, memory(fsys))
	d := sinktest.NewDiary(t)
	d.Put(s, scenario()[0])
	first, err := s.State("p", testTarget)
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, fsys, first.Ledger)
	b := scenario()[1]
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := restore(t, fsys, "p", k); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), d.Prepare(b), sinktest.Info); !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("the older engine's commit: %v", err)
	}
}

// Every file operation of putting a directory back fails once, or is the last before the power goes. Readers see a
// prefix of the batches all the time, a start is refused or finds the directory as it was or as it is to be, and
// the same again completes it.
func TestRestoreCrashes(t *testing.T) {
	for _, to := range []int{2, 3} {
		for _, from := range []int{0, 1, 5} {
			for _, cut := range []bool{false, true} {
				restoreCrashes(t, from, to, cut)
			}
		}
	}
}

func restoreCrashes(t *testing.T, from, to int, cut bool) {
	whole, after := played(t, 5)
	k := keep(t, whole, after[to-1])
	lines := undisturbed(t)
	for op := 1; ; op++ {
		mem := vfs.NewMem()
		if from > 0 {
			mem, _ = played(t, from)
		}
		n := 0
		err := restore(t, vfs.Inject(mem, func(vfs.Op) error {
			if n++; n == op {
				return syscall.EIO
			}
			return nil
		}), "p", k)
		if n < op {
			return
		}
		if err == nil {
			continue
		}
		if cut {
			mem = mem.CrashClone(vfs.Crash{})
		}
		checkBetween(t, mem, from, to, lines)
		if err := restore(t, mem, "p", k); err != nil {
			t.Fatalf("from batch %d, operation %d, then again: %v", from, op, err)
		}
		same(t, mem, "p", to)
		if t.Failed() {
			t.Fatalf("from batch %d to batch %d, operation %d, power cut %v", from, to, op, cut)
		}
	}
}

func checkBetween(t *testing.T, fsys vfs.FS, from, to int, lines []string) {
	t.Helper()
	if _, err := fsys.ReadDir("/data/out"); err != nil {
		return
	}
	if got := shown(t, fsys, "/data/out"); len(got) > 0 && !slices.Equal(got, lines[:min(len(got), len(lines))]) {
		t.Errorf("readers saw\n%s", strings.Join(got, "\n"))
	}
	s, err := New(memory(fsys))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(t.Context(), "p", []microbatch.Target{testTarget})
	switch {
	case err == nil && l.Batch != int64(from) && l.Batch != int64(to):
		t.Errorf("a start finds batch %d", l.Batch)
	case err != nil && !strings.Contains(err.Error(), "repeat the command with --from-savepoint"):
		t.Errorf("a start: %v", err)
	}
}

// Each of the package's points is passed, and an error there leaves what can be completed.
func TestRestoreFailpoints(t *testing.T) {
	whole, after := played(t, 5)
	k := keep(t, whole, after[2])
	for _, point := range failpoint.Names() {
		if !strings.HasPrefix(point, "savepoint.files.") {
			continue
		}
		mem, _ := played(t, 5)
		if point == "savepoint.files.after_batch" {
			mem = vfs.NewMem()
		}
		disarm, err := failpoint.Arm(point + "=error")
		if err != nil {
			t.Fatal(err)
		}
		err = restore(t, mem, "p", k)
		disarm()
		if !errors.Is(err, failpoint.ErrInjected) {
			t.Errorf("%s: %v", point, err)
		}
		if err := restore(t, mem, "p", k); err != nil {
			t.Fatal(err)
		}
		same(t, mem, "p", 3)
	}
}

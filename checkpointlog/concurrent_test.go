package checkpointlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// TestPipelined plans the next batch from another goroutine while one is prepared, and writes snapshots
// in a third: what the loop does. It is for the race detector and for the locks.
func TestPipelined(t *testing.T) {
	const batches = 60
	fsys := vfs.OS{}
	dir := filepath.Join(t.TempDir(), "log")
	o := Options{FS: fsys, SegmentBytes: 3000}
	l, _, err := Open(dir, testHeader, o)
	must(t, err)
	planned, snapshots := make(chan int64), make(chan int64, 1)
	failures := make(chan error, 3)
	go func() {
		defer close(planned)
		for b := int64(1); b <= batches; b++ {
			if err := l.Plan(planOf(b, 1)); err != nil {
				failures <- err
				return
			}
			planned <- b // waits until the batch before is being prepared
		}
	}()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for b := range snapshots {
			// The batches may have gone on too far by now to begin one; that is no failure.
			if err := takeSnapshot(l, b, 1); err != nil && !errors.Is(err, ErrSequence) {
				failures <- err
			}
			_ = l.Stats()
		}
	}()
	for b := range planned {
		_, err := l.Prepare(preparedOf(b, 1))
		must(t, err)
		must(t, l.Commit(Committed{Batch: b, Epoch: 1}))
		if b%5 == 0 {
			snapshots <- b
		}
	}
	close(snapshots)
	<-written
	select {
	case err := <-failures:
		t.Fatal(err)
	default:
	}
	must(t, l.Close())
	_, rec, err := Open(dir, testHeader, o)
	must(t, err)
	must(t, checkRecovered(rec, batches))
	if _, err := Verify(dir, fsys); err != nil {
		t.Error(err)
	}
}

func BenchmarkPrepare(b *testing.B) {
	for _, size := range []int{512, 64 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l, _, err := Open(filepath.Join(b.TempDir(), "log"), testHeader, Options{})
			must(b, err)
			delta := make([]byte, size)
			for i := range delta {
				delta[i] = byte(i * i >> 7)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			batch := int64(0)
			for b.Loop() {
				batch++
				must(b, l.Plan(planOf(batch, 1)))
				_, err := l.Prepare(Prepared{Batch: batch, Epoch: 1, Delta: map[string][]byte{"s": delta}})
				must(b, err)
				must(b, l.Commit(Committed{Batch: batch, Epoch: 1}))
			}
			s := l.Stats()
			b.ReportMetric(float64(s.SyncFor.Microseconds())/float64(s.Syncs), "µs-fsync/op")
			must(b, l.Close())
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	fsys := vfs.OS{}
	dir := filepath.Join(b.TempDir(), "log")
	l, _, err := Open(dir, testHeader, Options{FS: fsys})
	must(b, err)
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * i >> 7)
	}
	const blocks = 128
	must(b, runBatch(l, 1, 1))
	batch := int64(1)
	b.Run("write 128MiB", func(b *testing.B) {
		b.SetBytes(blocks << 20)
		for b.Loop() {
			batch++
			must(b, runBatch(l, batch, 1))
			w, err := l.BeginSnapshot(batch, SnapshotMeta{})
			must(b, err)
			for range blocks {
				must(b, w.Block("s", block))
			}
			must(b, w.Publish())
		}
	})
	must(b, l.Close())
	b.Run("open and restore 128MiB", func(b *testing.B) {
		b.SetBytes(blocks << 20)
		for b.Loop() {
			l, rec, err := Open(dir, testHeader, Options{FS: fsys})
			must(b, err)
			nothing := func() error { return nil }
			must(b, rec.EachSnapshotBlock(SnapshotLoader{Full: func(string, []byte) (func() error, error) { return nothing, nil }}))
			must(b, l.Close())
		}
	})
}

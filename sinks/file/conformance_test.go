package file

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	for name, on := range map[string]func(t testing.TB) *sinktest.Target{
		"os": func(t testing.TB) *sinktest.Target {
			d := directory(vfs.OS{}, filepath.Join(t.TempDir(), "out"), Layout{})
			delete(d.Faults, "broken disk") // the one in memory breaks at the same operations
			return d
		},
		"partitions": func(testing.TB) *sinktest.Target {
			return directory(vfs.NewMem(), "/data/out", Layout{PartitionBy: []string{"s"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, sinktest.Config{New: on})
		})
	}
}

// directory is a target whose sinks reach it through a file system that breaks.
func directory(fsys vfs.FS, dir string, layout Layout) *sinktest.Target {
	b := &breaking{}
	o := Options{Dir: dir, FS: vfs.Inject(fsys, b.check), DeadLetters: true, Layout: layout}
	return &sinktest.Target{
		Sink: func(t testing.TB) microbatch.Sink {
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Rows: func(context.Context) (out []string, err error) {
			all, err := lines(fsys, dir)
			for _, line := range all {
				var row struct {
					ID int64
					S  *string
				}
				if err := json.Unmarshal([]byte(line[strings.IndexByte(line, '{'):]), &row); err != nil {
					return nil, err
				}
				out = append(out, sinktest.Row(row.ID, row.S))
			}
			return out, err
		},
		DeadLetters: func(ctx context.Context) (out []microbatch.DeadLetter, err error) {
			s, err := New(Options{Dir: dir, FS: fsys, DeadLetters: true, Layout: layout})
			if err != nil {
				return nil, err
			}
			all, err := s.Read(ctx, sinktest.Pipeline)
			if err != nil {
				return nil, err
			}
			for _, b := range all.Batches {
				out = append(out, b.DeadLetters...)
			}
			return out, nil
		},
		Faults: map[string]func(int, func()) func(){
			"broken disk": func(n int, hit func()) func() { return b.set(n, hit, syscall.EIO, "") },
			"held by somebody": func(n int, hit func()) func() {
				return b.set(n, hit, fmt.Errorf("%w: by a test", vfs.ErrLocked), "lock")
			},
		},
	}
}

// breaking fails the operations of a kind, or all, from the n-th on.
type breaking struct {
	mu   sync.Mutex
	left int
	hit  func()
	err  error
	kind string
}

func (b *breaking) set(n int, hit func(), err error, kind string) (mend func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left, b.hit, b.err, b.kind = n, hit, err, kind
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.err = nil
	}
}

func (b *breaking) check(op vfs.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil || b.kind != "" && op.Kind != b.kind {
		return nil
	}
	if b.left--; b.left > 0 {
		return nil
	}
	b.hit()
	return b.err
}

package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

var fpOpenAfterEpoch = failpoint.New("filesink.open.after_epoch")

// Sink writes one output to one directory. See the package comment. Its methods are for one goroutine at a
// time.
type Sink struct {
	o         Options
	fs        vfs.FS
	pipeline  string
	output    planner.Output
	partition []int          // columns of the path
	columns   []vector.Field // of a file
	epoch     int64

	closed bool

	text    valuetext.Writer
	scratch []byte
	parquet *parquet
}

var _ microbatch.Sink = (*Sink)(nil)

// New returns a sink that touches nothing before Open.
func New(o Options) (*Sink, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	return &Sink{o: o, fs: o.FS, text: valuetext.Writer{DecimalText: true}}, nil
}

// ErrDisagree marks (errors.Is) a directory that is not as the sink left it.
var ErrDisagree = errors.New("the directory and the engine disagree")

// Open implements microbatch.Sink. There must be one target.
func (s *Sink) Open(ctx context.Context, pipeline string, targets []microbatch.Target) (l microbatch.Ledger, err error) {
	if s.closed {
		return l, s.explain("open", microbatch.ErrSinkClosed)
	}
	if err := s.bind(pipeline, targets); err != nil {
		return l, err
	}
	if err := s.fs.MkdirAll(s.stagingDir()); err != nil {
		return l, s.explain("make the directory", err)
	}
	for _, dir := range []string{filepath.Dir(s.o.Dir), s.o.Dir, filepath.Dir(s.stagingDir())} {
		if err := s.fs.SyncDir(dir); err != nil {
			return l, s.explain("sync "+dir, err)
		}
	}
	err = s.locked(ctx, func() error {
		l, err = s.takeOver()
		return err
	})
	if err != nil {
		return l, s.explain("open", err)
	}
	return l, fpOpenAfterEpoch.Hit()
}

func (s *Sink) bind(pipeline string, targets []microbatch.Target) (err error) {
	if len(targets) != 1 {
		return fmt.Errorf("file sink %s: %d views are to be written, and one directory is for one", s.o.Dir, len(targets))
	}
	s.pipeline, s.output = pipeline, targets[0].Output
	if err := s.o.Layout.Check(s.output); err != nil {
		return fmt.Errorf("file sink %s: %w", s.o.Dir, err)
	}
	s.columns = s.o.Layout.Fields(s.output)
	s.partition, err = s.o.Layout.partitionColumns(s.output)
	return err
}

// takeOver raises the epoch. The lock is held.
func (s *Sink) takeOver() (microbatch.Ledger, error) {
	l, _, err := s.look()
	if err != nil {
		return microbatch.Ledger{}, err
	}
	if err := s.belongs(l, s.pipeline); err != nil {
		return microbatch.Ledger{}, err
	}
	found := l != nil
	if !found {
		l = &ledger{}
	}
	l.Format, l.Pipeline, l.Output, l.Layout = documentFormat, s.pipeline, s.output.Name, s.o.Layout
	l.Epoch++
	if err := s.writeDocument(s.ledgerPath(), l); err != nil {
		return microbatch.Ledger{}, err
	}
	s.epoch = l.Epoch
	return l.public(found), s.sweep(l.Batch)
}

// sweep deletes staged batches that can never be committed: all but those of the next one.
func (s *Sink) sweep(committed int64) error {
	names, err := s.fs.ReadDir(s.stagingDir())
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, batch, ok := stagedOf(name); ok && batch == committed+1 {
			continue
		}
		if err := removeAll(s.fs, filepath.Join(s.stagingDir(), name)); err != nil {
			return err
		}
	}
	return nil
}

// lockEvery is how often a lock that another process holds is tried again.
const lockEvery = 20 * time.Millisecond

// locked runs fn while no other process looks at the ledger or changes it.
func (s *Sink) locked(ctx context.Context, fn func() error) (err error) {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return fn()
}

func (s *Sink) lock(ctx context.Context) (io.Closer, error) {
	deadline := time.Now().Add(s.o.LockTimeout)
	for {
		lock, err := s.fs.Lock(s.lockPath())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errGone(s.lockPath())
		}
		if !errors.Is(err, vfs.ErrLocked) {
			return lock, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w\nHint: that process was paused, or hangs, while it committed; end it", err)
		}
		t := time.NewTimer(lockEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, context.Cause(ctx)
		case <-t.C:
		}
	}
}

func errGone(path string) error {
	return fmt.Errorf("%w: %s is gone\nHint: the directory was deleted while the pipeline ran; drop the pipeline to begin again", ErrDisagree, path)
}

// own reads the ledger and checks that it is still this engine's.
func (s *Sink) own() (*ledger, error) {
	if s.closed {
		return nil, microbatch.ErrSinkClosed
	}
	l, err := s.readLedger()
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		return nil, errGone(s.ledgerPath())
	case l.Pipeline != s.pipeline:
		return nil, fmt.Errorf("%w: it now belongs to pipeline %s", ErrDisagree, l.Pipeline)
	case l.Epoch > s.epoch:
		return nil, fmt.Errorf("%w: this engine has epoch %d, the ledger %d", microbatch.ErrFenced, s.epoch, l.Epoch)
	case l.Epoch < s.epoch:
		return nil, fmt.Errorf("%w: the ledger went back from epoch %d to %d\nHint: an older copy of the directory was put in place; restart the pipeline to find out what is missing", ErrDisagree, s.epoch, l.Epoch)
	}
	return l, nil
}

// HasStaged implements microbatch.Sink. It looks at every file, because a manifest may come back from a
// backup without them.
func (s *Sink) HasStaged(_ context.Context, batch int64, outputs []checkpointlog.OutputDigest) (bool, error) {
	dir, _, err := s.findStaged(batch, outputs)
	if err != nil {
		return false, s.explain(fmt.Sprintf("look for batch %d", batch), err)
	}
	return dir != "", nil
}

// findStaged returns the directory and the manifest of a complete staged batch with the logged digest, "" if
// there is none.
func (s *Sink) findStaged(batch int64, outputs []checkpointlog.OutputDigest) (string, *manifest, error) {
	if s.closed {
		return "", nil, microbatch.ErrSinkClosed
	}
	names, err := s.fs.ReadDir(s.stagingDir())
	if err != nil {
		return "", nil, err
	}
	for _, name := range slices.Backward(names) { // the newest epoch first
		if _, b, ok := stagedOf(name); !ok || b != batch {
			continue
		}
		dir := filepath.Join(s.stagingDir(), name)
		m, err := s.readManifest(dir)
		if errors.Is(err, errForeign) {
			continue // a crash in phase 1 leads here
		}
		if err != nil {
			return "", nil, err
		}
		if m.Pipeline != s.pipeline || m.Output != s.output.Name || m.Staged != batch || !slices.Contains(outputs, m.Digest) {
			continue
		}
		if whole, err := s.complete(dir, m); whole || err != nil {
			return dir, m, err
		}
	}
	return "", nil, nil
}

// complete says whether a directory has every file that its manifest names, in full.
func (s *Sink) complete(dir string, m *manifest) (bool, error) {
	for _, w := range m.Files {
		f, err := s.fs.Open(filepath.Join(dir, w.Path))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		size, err := f.Size()
		if err = errors.Join(err, f.Close()); err != nil || size != w.Bytes {
			return false, err
		}
	}
	return true, nil
}

// Close implements microbatch.Sink.
func (s *Sink) Close() error {
	s.closed = true
	if s.parquet == nil {
		return nil
	}
	err := s.parquet.close()
	s.parquet = nil
	return err
}

// explain says which sink could not do what.
func (s *Sink) explain(what string, err error) error {
	return fmt.Errorf("file sink %s: %s: %w", s.o.Dir, what, err)
}

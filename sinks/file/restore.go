package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
)

// A pair round each durable step of putting a directory back.
var (
	fpRestoreAfterMark    = failpoint.New("savepoint.files.after_mark")
	fpRestoreAfterRemove  = failpoint.New("savepoint.files.after_remove")
	fpRestoreAfterBatch   = failpoint.New("savepoint.files.after_batch")
	fpRestoreBeforeLedger = failpoint.New("savepoint.files.before_ledger")
	fpRestoreAfterLedger  = failpoint.New("savepoint.files.after_ledger")
)

// RestorePoint is what the ledger is to say.
type RestorePoint struct {
	// Ledger is that of the batch. Its epoch is the savepoint's: the new one is above it.
	microbatch.Ledger
	// Of are the directory's batches; Open reads a file of them.
	Of   *Exported
	Open func(path string) (io.ReadCloser, error)
}

// A restoring is in the ledger while a savepoint is put back, so that nothing else is done with the directory.
type restoring struct {
	Batch int64 `json:"batch"`
	// Had is the newest batch of the savepoint's own history that the directory has had: one up to it that is missing was
	// taken away by its owner, and stays away.
	Had int64 `json:"had,omitempty"`
}

// Restore makes the directory what it was at a batch. Batches after it go, the newest first, so that readers see a
// prefix at every moment; those up to it stay, and come from the savepoint where they are another
// history's or were never there. Engines that were there before are fenced.
//
// Crash: the ledger says that the directory is being restored, which every start refuses; the same Restore again
// completes it.
func (s *Sink) Restore(ctx context.Context, pipeline string, target microbatch.Target, to RestorePoint) error {
	if err := s.bind(pipeline, []microbatch.Target{target}); err != nil {
		return err
	}
	if err := s.fs.MkdirAll(s.stagingDir()); err != nil {
		return s.explain("make the directory", err)
	}
	for _, dir := range []string{filepath.Dir(s.o.Dir), s.o.Dir, filepath.Dir(s.stagingDir())} {
		if err := s.fs.SyncDir(dir); err != nil {
			return s.explain("sync "+dir, err)
		}
	}
	if err := s.locked(ctx, func() error { return s.restore(ctx, &to) }); err != nil {
		return s.explain("restore", err)
	}
	return nil
}

// restore does it under the lock.
func (s *Sink) restore(ctx context.Context, to *RestorePoint) error {
	l, err := s.mark(to)
	if err != nil {
		return err
	}
	if err := fpRestoreAfterMark.Hit(); err != nil {
		return err
	}
	if err := s.removeOthers(to.Of); err != nil {
		return err
	}
	for _, b := range to.Of.Batches {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b.Batch <= l.Restoring.Had {
			continue // there, or taken away by its owner
		}
		if err := s.bringBack(b, to); err != nil {
			return err
		}
	}
	l.position = position{Batch: to.Batch, Offsets: to.Offsets, Plan: to.Plan, ContentHash: to.ContentHash, Directory: to.Of.Directory, Rows: to.Of.Rows,
		Watermark: to.Of.Watermark, Watermarks: to.Watermarks}
	if to.Of.Times {
		if l.Times, err = s.restoreTimes(to); err != nil {
			return err
		}
	}
	if err := fpRestoreBeforeLedger.Hit(); err != nil {
		return err
	}
	l.Restoring = nil
	if err := s.writeDocument(s.ledgerPath(), l); err != nil {
		return err
	}
	return fpRestoreAfterLedger.Hit()
}

// mark fences engines off, and says in the ledger what happens.
func (s *Sink) mark(to *RestorePoint) (*ledger, error) {
	l, err := s.readLedger()
	if err != nil {
		return nil, err
	}
	if l == nil {
		if dirs, err := s.directories(); err != nil || len(dirs) > 0 {
			return nil, errors.Join(err, fmt.Errorf("%s has batches, but no ledger: %w\nHint: give the sink another path, or move what is there away", s.o.Dir, errForeign))
		}
		l = &ledger{}
	} else if l.Pipeline != s.pipeline {
		return nil, s.belongs(l, s.pipeline)
	}
	if l.Restoring == nil {
		l.Restoring = &restoring{Had: l.Batch}
		if other, err := s.otherHistory(to); err != nil {
			return nil, err
		} else if other || l.Batch == to.Batch && l.ContentHash != to.ContentHash {
			l.Restoring.Had = 0
		}
	}
	l.Restoring.Batch = to.Batch
	l.Format, l.Pipeline, l.Output, l.Layout = documentFormat, s.pipeline, s.output.Name, s.o.Layout
	l.Epoch = max(l.Epoch, to.Epoch) + 1
	return l, s.writeDocument(s.ledgerPath(), l)
}

// otherHistory says whether a batch up to the savepoint's is another than the savepoint has.
func (s *Sink) otherHistory(to *RestorePoint) (bool, error) {
	dirs, err := s.directories()
	if err != nil {
		return false, err
	}
	for _, n := range dirs {
		same, err := s.hasBatch(to.Of, n)
		if err != nil || n <= to.Batch && !same {
			return true, err
		}
	}
	return false, nil
}

// removeOthers takes away every batch that is not the savepoint's, the newest first.
func (s *Sink) removeOthers(of *Exported) error {
	dirs, err := s.directories()
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(dirs) {
		same, err := s.hasBatch(of, n)
		if err != nil {
			return err
		}
		if same {
			continue
		}
		// Why a rename first: readers must see a batch whole or not at all.
		gone := filepath.Join(s.stagingDir(), "gone-"+batchName(n))
		if err := removeAll(s.fs, gone); err != nil {
			return err
		}
		if err := s.fs.Rename(s.batchDir(n), gone); err != nil {
			return err
		}
		// Why a sync each: after a power cut too readers see a prefix.
		if err := s.fs.SyncDir(s.o.Dir); err != nil {
			return err
		}
		if err := removeAll(s.fs, gone); err != nil {
			return err
		}
		if err := fpRestoreAfterRemove.Hit(); err != nil {
			return err
		}
	}
	return nil
}

// hasBatch says whether the directory's batch is the savepoint's. One without a manifest that makes sense is not
// the pipeline's, and an error: nothing else writes there.
func (s *Sink) hasBatch(of *Exported, batch int64) (bool, error) {
	m, err := s.readManifest(s.batchDir(batch))
	if err != nil {
		return false, fmt.Errorf("%w\nHint: move it away", err)
	}
	i := slices.IndexFunc(of.Batches, func(b ExportedBatch) bool { return b.Batch == batch })
	return i >= 0 && m.Pipeline == s.pipeline && m.Position != nil && m.Position.ContentHash == of.Batches[i].ContentHash, nil
}

// bringBack puts a batch of the savepoint in place, unless it is there.
func (s *Sink) bringBack(b ExportedBatch, to *RestorePoint) error {
	if _, err := s.fs.ReadDir(s.batchDir(b.Batch)); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp := filepath.Join(s.stagingDir(), "back-"+batchName(b.Batch))
	if err := removeAll(s.fs, temp); err != nil {
		return err
	}
	made := map[string]bool{}
	for _, path := range b.Files {
		into := filepath.Join(temp, filepath.FromSlash(path))
		if err := s.fs.MkdirAll(filepath.Dir(into)); err != nil {
			return err
		}
		for dir := filepath.Dir(into); dir != s.stagingDir(); dir = filepath.Dir(dir) {
			made[dir] = true
		}
		if err := s.bringFile(into, batchName(b.Batch)+"/"+filepath.ToSlash(path), to); err != nil {
			return err
		}
	}
	for _, dir := range deepestFirst(made) {
		if err := s.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := s.fs.Rename(temp, s.batchDir(b.Batch)); err != nil {
		return err
	}
	for _, parent := range []string{s.o.Dir, s.stagingDir()} {
		if err := s.fs.SyncDir(parent); err != nil {
			return err
		}
	}
	return fpRestoreAfterBatch.Hit()
}

// bringFile copies a file of the savepoint. A manifest gets the name of the pipeline that goes on from it.
func (s *Sink) bringFile(into, path string, to *RestorePoint) error {
	in, err := to.Open(path)
	if err != nil {
		return err
	}
	err = s.writeFile(into, func(w io.Writer) error {
		if filepath.Base(into) != manifestName {
			_, err := io.Copy(w, in)
			return err
		}
		var m manifest
		text, err := io.ReadAll(in)
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil {
			return err
		}
		m.Pipeline = s.pipeline
		if text, err = json.MarshalIndent(&m, "", "  "); err == nil {
			_, err = w.Write(append(text, '\n'))
		}
		return err
	})
	return errors.Join(err, in.Close())
}

// restoreTimes replaces the batch times and returns their length.
func (s *Sink) restoreTimes(to *RestorePoint) (size int64, err error) {
	in, err := to.Open(timesName)
	if err != nil {
		return 0, err
	}
	err = s.writeFile(s.timesPath()+".new", func(w io.Writer) error { size, err = io.Copy(w, in); return err })
	if err = errors.Join(err, in.Close()); err == nil {
		err = s.fs.Rename(s.timesPath()+".new", s.timesPath())
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(s.timesPath()))
	}
	return size, err
}

// State is a directory as a restoration finds it.
type State struct {
	microbatch.Ledger
	// Restoring says that a restoration was begun and not completed.
	Restoring bool
}

// State reads what the directory has of the pipeline; a batch of 0 is nothing. It changes nothing.
func (s *Sink) State(pipeline string, target microbatch.Target) (out State, err error) {
	if err := s.bind(pipeline, []microbatch.Target{target}); err != nil {
		return out, err
	}
	l, err := s.readLedger()
	if err == nil && l != nil && l.Pipeline == pipeline && l.Restoring != nil {
		return State{Ledger: l.public(true), Restoring: true}, nil
	}
	if l, _, err = s.look(); errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err == nil {
		err = s.belongs(l, pipeline)
	}
	if err != nil || l == nil {
		return out, s.orNil("look", err)
	}
	return State{Ledger: l.public(true)}, nil
}

// copyTo copies a file to one that create makes.
func copyTo(fsys vfs.FS, from string, create func(string) (io.WriteCloser, error), name string) error {
	in, err := fsys.Open(from)
	if err != nil {
		return err
	}
	out, err := create(name)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), in.Close())
}

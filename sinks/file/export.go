package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// Exported is what a savepoint has of a directory at a batch: every batch that is still there, as files below
// batch-NNN/, and what the ledger says of them all.
type Exported struct {
	Output string `json:"output"`
	Layout Layout `json:"layout"`
	// Batches are in order.
	Batches []ExportedBatch `json:"batches"`
	// Directory and Rows are the ledger's after the batch.
	Directory int64 `json:"directory,omitempty"`
	Rows      int64 `json:"rows"`
	// Watermark is that of the newest directory.
	Watermark time.Time `json:"watermark,omitzero"`
	// Times is whether there is a file batch_time.
	Times bool `json:"batch_time,omitempty"`
}

// ExportedBatch names the files of a batch, the manifest last.
type ExportedBatch struct {
	Batch       int64    `json:"batch"`
	ContentHash string   `json:"content_hash"`
	Files       []string `json:"files"`
}

// lookEvery is how often a directory is looked at that does not have a batch yet which another sink has.
const lookEvery = 20 * time.Millisecond

// Export copies what the directory has up to a batch, beside the engine if need be: what it copies is never changed.
// The engine commits to one sink after the other, so this waits until the directory has the batch. create
// makes a file.
func (s *Sink) Export(ctx context.Context, pipeline string, target microbatch.Target, batch int64, create func(path string) (io.WriteCloser, error)) (*Exported, error) {
	if err := s.await(ctx, pipeline, target, batch); err != nil {
		return nil, err
	}
	out, err := s.export(ctx, batch, create)
	return out, s.orNil("copy", err)
}

func (s *Sink) orNil(what string, err error) error {
	if err == nil {
		return nil
	}
	return s.explain(what, err)
}

func (s *Sink) await(ctx context.Context, pipeline string, target microbatch.Target, batch int64) error {
	deadline := time.Now().Add(s.o.LockTimeout)
	for {
		at, err := s.State(pipeline, target)
		if err != nil || at.Batch >= batch {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("file sink %s: it is at batch %d, and another sink of the pipeline at batch %d\nHint: the engine ended between the two; start the pipeline once, which settles the batch", s.o.Dir, at.Batch, batch)
		}
		t := time.NewTimer(lookEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

func (s *Sink) export(ctx context.Context, batch int64, create func(string) (io.WriteCloser, error)) (*Exported, error) {
	l, _, err := s.look()
	if err != nil {
		return nil, err
	}
	dirs, err := s.directories()
	if err != nil {
		return nil, err
	}
	out := &Exported{Output: l.Output, Layout: l.Layout, Batches: []ExportedBatch{}, Directory: l.Directory, Rows: l.Rows, Watermark: l.Watermark}
	for _, n := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := s.readManifest(s.batchDir(n))
		if err == nil && m.Position == nil {
			err = fmt.Errorf("%s was not committed: %w", s.batchDir(n), errForeign)
		}
		if err != nil {
			return nil, err
		}
		if n > batch {
			if out.Directory > batch { // the first after the batch knows the one before it
				out.Directory, out.Rows = m.Previous, m.Position.Rows-m.rows()
			}
			break
		}
		if l.Batch > batch {
			out.Watermark = m.Position.Watermark
		}
		b := ExportedBatch{Batch: n, ContentHash: m.Position.ContentHash, Files: m.paths()}
		for _, path := range b.Files {
			if err := copyTo(s.fs, filepath.Join(s.batchDir(n), path), create, batchName(n)+"/"+filepath.ToSlash(path)); err != nil {
				return nil, err
			}
		}
		out.Batches = append(out.Batches, b)
	}
	if out.Directory > batch {
		return nil, fmt.Errorf("the directories after batch %d are gone\nHint: they were moved while the savepoint was made; make it again", batch)
	}
	out.Times, err = s.exportTimes(l.Times, batch, create)
	return out, err
}

// exportTimes copies the batch times up to a batch.
func (s *Sink) exportTimes(size, batch int64, create func(string) (io.WriteCloser, error)) (bool, error) {
	times, err := s.readTimes(size)
	if err != nil || len(times) == 0 {
		return false, err
	}
	w, err := create(timesName)
	if err != nil {
		return false, err
	}
	for _, at := range times {
		if at.Batch > batch || err != nil {
			break
		}
		var line []byte
		if line, err = at.line(); err == nil {
			_, err = w.Write(line)
		}
	}
	return true, errors.Join(err, w.Close())
}

// rows counts those of the batch alone.
func (m *manifest) rows() (n int64) {
	for _, f := range m.Files {
		n += f.Rows
	}
	return n
}

// paths are the batch's files below its directory, the manifest last: it vouches for the others.
func (m *manifest) paths() (out []string) {
	for _, f := range m.Files {
		out = append(out, f.Path)
	}
	if m.DeadLetters > 0 {
		out = append(out, deadLetterName)
	}
	return append(out, manifestName)
}

package file

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
)

// ErrUnknownPipeline marks (errors.Is) a directory without a ledger.
var ErrUnknownPipeline = errors.New("there is no ledger of pipeline")

// Check compares a directory with what is to be written there, and changes nothing.
func (s *Sink) Check(pipeline string, target microbatch.Target) error {
	if err := s.bind(pipeline, []microbatch.Target{target}); err != nil {
		return err
	}
	if _, err := s.fs.ReadDir(s.o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, _, err := s.look()
	if err == nil {
		err = s.belongs(l, pipeline)
	}
	if err != nil {
		return s.explain("check", err)
	}
	return nil
}

// Shown is what a directory holds.
type Shown struct {
	Ledger  microbatch.Ledger
	Batches []ShownBatch
	// Times are those of all batches, of a pipeline with a batch_time column.
	Times []BatchTime
}

// ShownBatch is a batch that has a directory.
type ShownBatch struct {
	Batch       int64
	Rows        int64
	Files       []string // paths
	DeadLetters []microbatch.DeadLetter
}

// Read returns what is committed, without taking the directory over. Directories of committed batches are
// never changed, so this is a snapshot however long the caller takes. It fails with ErrUnknownPipeline when there
// is nothing, and when a directory was deleted or moved.
func (s *Sink) Read(ctx context.Context, pipeline string) (*Shown, error) {
	l, _, err := s.look()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, s.explain("read", err)
	}
	if l == nil || l.Pipeline != pipeline {
		return nil, fmt.Errorf("%w %s in %s", ErrUnknownPipeline, pipeline, s.o.Dir)
	}
	out := &Shown{Ledger: l.public(true)}
	if out.Times, err = s.readTimes(l.Times); err != nil {
		return nil, s.explain("read", err)
	}
	for batch := l.Directory; batch > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, previous, err := s.readBatch(batch)
		if err != nil {
			return nil, s.explain("read", err)
		}
		out.Batches = append(out.Batches, b)
		batch = previous
	}
	for i, j := 0, len(out.Batches)-1; i < j; i, j = i+1, j-1 {
		out.Batches[i], out.Batches[j] = out.Batches[j], out.Batches[i]
	}
	return out, nil
}

func (s *Sink) readBatch(batch int64) (b ShownBatch, previous int64, err error) {
	dir := s.batchDir(batch)
	if _, err := s.fs.ReadDir(dir); errors.Is(err, fs.ErrNotExist) {
		return b, 0, fmt.Errorf("%s is gone\nHint: it was moved or deleted, so what it had cannot be compared any more", dir)
	}
	m, err := s.readManifest(dir)
	if err != nil {
		return b, 0, err
	}
	b.Batch = batch
	for _, f := range m.Files {
		b.Rows += f.Rows
		b.Files = append(b.Files, filepath.Join(dir, f.Path))
	}
	if m.DeadLetters > 0 {
		b.DeadLetters, err = s.readLetters(filepath.Join(dir, deadLetterName))
	}
	return b, m.Previous, err
}

func (s *Sink) readLetters(path string) (out []microbatch.DeadLetter, err error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d := json.NewDecoder(bufio.NewReader(f))
	for {
		var l letter
		switch err := d.Decode(&l); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		out = append(out, microbatch.DeadLetter(l))
	}
}

// Drop removes what a pipeline has in the directory: all batches, or with keep only the ledger, which leaves
// the files as ordinary files. It says whether there was anything, and leaves what is not the pipeline's.
func (s *Sink) Drop(pipeline string, keep Kept) (bool, error) {
	l, err := s.readLedger()
	if err != nil {
		return false, s.explain("drop", err)
	}
	if l == nil || l.Pipeline != pipeline {
		return false, nil
	}
	if err := s.drop(pipeline, keep); err != nil {
		return false, s.explain("drop", err)
	}
	return true, nil
}

// Kept says what of a dropped pipeline's files stays.
type Kept bool

const (
	KeepFiles Kept = true
	DropFiles Kept = false
)

// drop takes the ledger away last: while it is there, a drop that was interrupted can be repeated.
func (s *Sink) drop(pipeline string, keep Kept) error {
	dirs, err := s.directories()
	if err != nil {
		return err
	}
	for _, batch := range dirs {
		if keep == KeepFiles {
			break
		}
		m, err := s.readManifest(s.batchDir(batch))
		if errors.Is(err, errForeign) || err == nil && m.Pipeline != pipeline {
			continue
		}
		if err != nil {
			return err
		}
		if err := removeAll(s.fs, s.batchDir(batch)); err != nil {
			return err
		}
	}
	if err := removeAll(s.fs, s.stagingDir()); err != nil {
		return err
	}
	if err := removeAll(s.fs, filepath.Join(s.o.Dir, workDir)); err != nil {
		return err
	}
	if names, err := s.fs.ReadDir(s.o.Dir); err != nil || len(names) > 0 {
		return err
	}
	return s.fs.Remove(s.o.Dir)
}

// Layout is how the sink's files are written.
func (s *Sink) Layout() Layout { return s.o.Layout }

// Dir is where the sink writes.
func (s *Sink) Dir() string { return s.o.Dir }

// Glob is a pattern that matches the files of all committed batches, and nothing else.
func (o Options) Glob() string {
	l := o.Layout.WithDefaults()
	return filepath.Join(o.Dir, batchPrefix+"*", strings.Repeat("*/", len(l.PartitionBy))+"*"+strings.TrimPrefix(partName(l), "part-0"))
}

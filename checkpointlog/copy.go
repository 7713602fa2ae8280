package checkpointlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// CopyOptions say what Copy copies.
type CopyOptions struct {
	// Batch is the last one that the copy has. It must be prepared. Defaults to the last prepared.
	Batch int64
	// Pipeline goes on from the copy. Defaults to the log's own.
	Pipeline string
}

// Copied is what a copy holds.
type Copied struct {
	Header   Header
	Prepared *Prepared // the last batch, without Delta
	Offsets  []byte    // {"source": offsets…} after it, nil if the copy is empty
	Epoch    int64
	Bytes    int64
}

// copyTries is how often a copy begins again because retention deleted a file beneath it.
const copyTries = 5

// Copy makes a log in directory dst, which must be empty or not exist, that ends with a batch of the log in
// src: the newest snapshots that it can, and the segments from there. It takes no lock and may run beside the
// engine. All is durable when it returns, but for the entry of dst in its parent.
//
// Why files and not state: they are immutable up to the batch, checked, and opened by the same code as any log, so
// a copy is as good as its original and costs reading and writing it once.
func Copy(fsys vfs.FS, src, dst string, o CopyOptions) (*Copied, error) {
	for try := 1; ; try++ {
		c, err := copyLog(fsys, src, dst, o)
		var bad *CorruptError
		// A file that the manifest named a moment ago is gone: the manifest names others now.
		if gone := errors.Is(err, fs.ErrNotExist) || errors.As(err, &bad) && bad.Offset < 0; !gone || try == copyTries {
			return c, err
		}
		if err := emptyDir(fsys, dst); err != nil {
			return nil, err
		}
	}
}

func emptyDir(fsys vfs.FS, dir string) error {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clearing the copy: %w", err)
	}
	for _, name := range names {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("clearing the copy: %w", err)
		}
	}
	return nil
}

func copyLog(fsys vfs.FS, src, dst string, o CopyOptions) (*Copied, error) {
	m, err := manifestOf(src, fsys)
	if err != nil {
		return nil, err
	}
	keep := manifest{Origin: m.Origin}
	cut, err := keep.plan(fsys, src, m, o.Batch)
	if err != nil {
		return nil, err
	}
	s := &scan{fs: fsys, dir: src, manifest: keep.clone(), rec: &Recovered{fs: fsys, dir: src}, end: cut.end}
	if err := s.run(); err != nil {
		return nil, err
	}
	if len(s.rec.BadSnapshots) > 0 {
		return nil, s.rec.BadSnapshots[0]
	}
	out := &Copied{Header: s.rec.Header, Prepared: s.rec.LastPrepared, Epoch: s.rec.epoch}
	if out.Prepared == nil || o.Batch > 0 && out.Prepared.Batch != o.Batch {
		return nil, fmt.Errorf("copying the log up to batch %d: it reads up to batch %d", o.Batch, s.last.seq.Prepared)
	}
	if out.Offsets, err = encodeJSON(typePlanned, s.rec.Offsets); err != nil {
		return nil, err
	}
	if o.Pipeline != "" && o.Pipeline != s.rec.Header.Pipeline {
		keep.Origin = s.rec.Header.Pipeline
	}
	out.Bytes, err = keep.copyFiles(fsys, src, dst, cut.end)
	return out, err
}

// plan takes over from m what a log that ends with a batch needs, and finds where that is.
func (m *manifest) plan(fsys vfs.FS, dir string, from *manifest, batch int64) (*cutPoint, error) {
	newest := -1
	for i, s := range from.Snapshots {
		if batch == 0 || s.Batch <= batch {
			newest = i
		}
	}
	var snap int64
	if newest >= 0 {
		m.Snapshots = slices.Clone(from.Snapshots[from.chainStart(newest) : newest+1])
		snap = from.Snapshots[newest].Batch
	}
	segments := from.Segments
	for len(segments) > 1 && segments[0].MaxBatch <= snap {
		segments = segments[1:]
	}
	until := int64(0)
	if batch > 0 {
		until = batch + 1
	}
	reader := &RepairPlan{Dir: dir, fs: fsys, manifest: manifest{Segments: segments}}
	cut, err := reader.readable(until)
	if err != nil {
		return nil, err
	}
	m.Segments = slices.Clone(segments[:cut.segments])
	last := &m.Segments[cut.segments-1]
	last.Bytes, last.MaxBatch = 0, 0
	return cut, nil
}

// copyFiles writes the manifest last: without it the copy is none.
func (m *manifest) copyFiles(fsys vfs.FS, src, dst string, end int64) (total int64, err error) {
	if err := fsys.MkdirAll(dst); err != nil {
		return 0, fmt.Errorf("making the copy's directory: %w", err)
	}
	copyOne := func(name string, bytes int64) error {
		total += bytes
		return copyFile(fsys, filepath.Join(src, name), filepath.Join(dst, name), bytes)
	}
	for _, s := range m.Snapshots {
		if err := copyOne(snapshotName(s.Batch), s.Bytes); err != nil {
			return 0, err
		}
	}
	for i, s := range m.Segments {
		bytes := s.Bytes
		if i == len(m.Segments)-1 {
			bytes = end
		}
		if err := copyOne(segmentName(s.Seq), bytes); err != nil {
			return 0, err
		}
	}
	if err := fsys.SyncDir(dst); err != nil {
		return 0, fmt.Errorf("copying the log: %w", err)
	}
	return total, writeManifest(fsys, dst, *m)
}

// copyFile copies the beginning of a file and syncs it.
func copyFile(fsys vfs.FS, from, to string, bytes int64) (err error) {
	in, err := fsys.Open(from)
	if err != nil {
		return missing(from, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := fsys.Create(to)
	if err != nil {
		return fmt.Errorf("copying the log: %w", err)
	}
	_, err = io.CopyN(out, io.NewSectionReader(in, 0, bytes), bytes)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copying %s: %w%s", from, err, ioHint(err))
	}
	return nil
}

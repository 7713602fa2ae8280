package ingestlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var (
	fpCreated = failpoint.New("ingest.segment.after_create")
	fpCut     = failpoint.New("ingest.open.after_copy")
)

// Open opens a log for appending, or makes it. It checks the last segment; the ones before are checked as they
// are read. The error wraps vfs.ErrLocked if another process has it open, or is a *CorruptError.
func Open(dir string, opt Options) (_ *Log, err error) {
	if opt.FS == nil {
		opt.FS = vfs.OS{}
	}
	if opt.SegmentBytes == 0 {
		opt.SegmentBytes = 64 << 20
	}
	l := &Log{fs: opt.FS, dir: dir, opt: opt}
	l.synced = sync.NewCond(&l.mu)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open ingest log %s: %w", dir, err), l.release())
		}
	}()
	if err := l.fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	if l.lock, err = l.fs.Lock(filepath.Join(dir, "LOCK")); err != nil {
		return nil, err
	}
	firsts, err := list(l.fs, dir)
	if err != nil {
		return nil, err
	}
	if firsts, err = l.dropUnborn(firsts); err != nil {
		return nil, err
	}
	for _, first := range firsts {
		l.segments = append(l.segments, segment{first: first})
	}
	if len(firsts) == 0 {
		l.segments = []segment{{}}
		l.active, err = l.create(0)
		return l, err
	}
	return l, l.resume()
}

// Torn describes the tail that Open cut off; nil if there was none.
func (l *Log) Torn() *Torn { return l.torn }

// End is the position after the last durable row.
func (l *Log) End() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// First is the position of the first row that was not released.
func (l *Log) First() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].first
}

// Close ends the log. A mark is left that proves all before it durable, so that damage to the last rows is
// told from a torn tail.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.syncing {
		l.synced.Wait()
	}
	var err error
	if l.failed == nil && l.active.file != nil && l.active.synced == l.active.size && l.active.size > headerBytes {
		mark := appendFrame(nil, l.active.seed, frame{first: l.end, synced: l.active.synced}, nil)
		if _, err = l.active.file.Write(mark); err == nil {
			err = l.active.file.Sync()
		}
	}
	if l.failed == nil {
		l.failed = fmt.Errorf("ingest log %s is closed", l.dir)
	}
	return errors.Join(err, l.release())
}

// release frees the file and the lock.
func (l *Log) release() error {
	var errs []error
	if l.active.file != nil {
		errs = append(errs, l.active.file.Close())
		l.active.file = nil
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
		l.lock = nil
	}
	return errors.Join(errs...)
}

func segmentPath(dir string, first Position) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// list returns the first positions of the segments, in order.
func list(fsys vfs.FS, dir string) ([]Position, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var firsts []Position
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, segmentSuffix)
		var first Position
		if !ok || len(digits) != 20 {
			continue
		}
		if _, err := fmt.Sscanf(digits, "%d", &first); err == nil {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// create makes a segment and its header durable.
func (l *Log) create(first Position) (w writer, err error) {
	path := segmentPath(l.dir, first)
	header, seed, err := newHeader(first)
	if err != nil {
		return w, err
	}
	f, err := l.fs.Create(path)
	if err != nil {
		return w, err
	}
	if _, err = f.Write(header); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fpCreated.Hit()
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		return w, errors.Join(err, f.Close())
	}
	return writer{file: f, seed: seed, size: headerBytes, synced: headerBytes}, nil
}

// dropUnborn removes the last segment if its header was never synced: a crash while the segment was begun
// leads here. Rows are only written after that, so it has none.
func (l *Log) dropUnborn(firsts []Position) ([]Position, error) {
	if len(firsts) == 0 {
		return firsts, nil
	}
	last := firsts[len(firsts)-1]
	path := segmentPath(l.dir, last)
	f, err := l.fs.Open(path)
	if err != nil {
		return nil, err
	}
	header, size, err := readHeader(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	_, reason := parseHeader(header, last)
	switch {
	case reason == "":
		return firsts, nil
	case size > headerBytes || len(header) == headerBytes && string(header[:8]) == magic && le.Uint32(header[32:]) != 0:
		return nil, &CorruptError{path, 0, reason}
	}
	if err := errors.Join(l.fs.Remove(path), l.fs.SyncDir(l.dir)); err != nil {
		return nil, err
	}
	return firsts[:len(firsts)-1], nil
}

func readHeader(f vfs.File) (header []byte, size int64, err error) {
	if size, err = f.Size(); err != nil {
		return nil, 0, err
	}
	header = make([]byte, min(size, headerBytes))
	if _, err := f.ReadAt(header, 0); err != nil && len(header) > 0 {
		return nil, size, err
	}
	return header, size, nil
}

// resume reads the last segment, cuts a torn tail, and goes on after it.
func (l *Log) resume() (err error) {
	last := &l.segments[len(l.segments)-1]
	path := segmentPath(l.dir, last.first)
	f, err := l.fs.OpenAppend(path)
	if err != nil {
		return err
	}
	l.active.file = f
	header, size, err := readHeader(f)
	if err != nil {
		return err
	}
	seed, reason := parseHeader(header, last.first)
	if reason != "" {
		return &CorruptError{path, 0, reason}
	}
	good, proven, at := int64(headerBytes), int64(headerBytes), last.first
	end := last.first // after whole Appends
	var bad *badFrame
	for off := good; ; {
		fr, _, err := readFrame(f, seed, off, size)
		if errors.As(err, &bad) || err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if fr.first != at {
			return &CorruptError{path, off, fmt.Sprintf("a record begins at row %d instead of %d", fr.first, at)}
		}
		last.pass(at, off)
		proven = max(proven, fr.synced)
		off, at = off+fr.bytes(), at+Position(fr.rows)
		if !fr.more {
			good, end = off, at
		}
	}
	l.end, l.durable = end, end
	l.active.seed, l.active.size, l.active.synced = seed, good, good
	last.points = slices.DeleteFunc(last.points, func(p point) bool { return p.off >= good })
	if good < size {
		if bad == nil {
			bad = &badFrame{good, "an append is not complete"}
		}
		if err := l.cut(path, bad, proven, size); err != nil {
			return err
		}
	}
	// Why sync: what is there may be in the page cache of a process that was killed before its own sync.
	return l.active.file.Sync()
}

// cut decides whether the end of the last segment is the torn end of writes that were never synced, or damage
// to bytes that were, and cuts the former off, with a copy.
//
// Crash after the copy: the next Open does the same again, under the same name.
func (l *Log) cut(path string, bad *badFrame, proven, size int64) error {
	f, good := l.active.file, l.active.size
	if good < proven {
		return &CorruptError{path, bad.off, fmt.Sprintf("%s, and a record says that %d bytes were durable", bad.reason, proven)}
	}
	tail := make([]byte, size-good)
	if _, err := f.ReadAt(tail, good); err != nil {
		return err
	}
	if at := witness(tail, l.active.seed, good); at >= 0 {
		return &CorruptError{path, bad.off, fmt.Sprintf("%s, and the record at byte %d says that it was durable", bad.reason, at)}
	}
	l.torn = &Torn{Path: path, Offset: good, Bytes: size - good, Reason: bad.reason}
	if tail = bytes.TrimRight(tail, "\x00"); len(tail) > 0 {
		l.torn.Copy = fmt.Sprintf("%s-%d-%08x%s", strings.TrimSuffix(path, segmentSuffix), good, crc32.Checksum(tail, castagnoli), tornSuffix)
		if err := l.copyTail(tail); err != nil {
			return fmt.Errorf("keep a copy of the torn tail: %w", err)
		}
	}
	if err := fpCut.Hit(); err != nil {
		return err
	}
	return l.truncate(path, good)
}

// truncate cuts the active segment and opens it again, so that the handle stands at its end.
func (l *Log) truncate(path string, size int64) error {
	err := l.active.file.Truncate(size)
	err = errors.Join(err, l.active.file.Close())
	l.active.file = nil
	if err != nil {
		return err
	}
	l.active.file, err = l.fs.OpenAppend(path)
	return err
}

func (l *Log) copyTail(tail []byte) error {
	f, err := l.fs.Create(l.torn.Copy)
	if err != nil {
		return err
	}
	_, err = f.Write(tail)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), l.fs.SyncDir(l.dir))
}

// maxWitnessBytes bounds the checksumming in witness: bytes that look like records everywhere would cost the
// square of their length.
const maxWitnessBytes = 1 << 30

// witness looks in a tail, which begins at an offset of its segment, for a valid record that says bytes of
// the tail were durable, and returns its offset or -1.
func witness(tail []byte, seed uint32, start int64) int64 {
	budget := int64(maxWitnessBytes)
	for i := 0; i+frameBytes <= len(tail); i++ {
		f, ok := parseFrame(tail[i:])
		if !ok || f.synced <= start || f.synced > start+int64(i) || int64(i)+f.bytes() > int64(len(tail)) {
			continue
		}
		if budget -= f.bytes(); budget < 0 {
			return start + int64(i) // rather refuse than cut
		}
		if crc32.Update(seed, castagnoli, tail[i+4:int64(i)+f.bytes()]) == f.crc {
			return start + int64(i)
		}
	}
	return -1
}

// Remove deletes a log that no process has open.
func Remove(dir string, fsys vfs.FS) error {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		err = errors.Join(err, fsys.Remove(filepath.Join(dir, name)))
	}
	return err
}

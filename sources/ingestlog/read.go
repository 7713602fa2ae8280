package ingestlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Entries yields the entries with the rows [from, to), in order; the first may begin before from and the last
// end after to. It reads beside Append, by itself, and stops after an error.
func (l *Log) Entries(from, to Position) iter.Seq2[Entry, error] {
	l.mu.Lock()
	durable := l.durable
	// Why a copy is enough: the points of a segment are only ever appended to.
	r := &reader{fs: l.fs, dir: l.dir, segments: slices.Clone(l.segments)}
	l.mu.Unlock()
	if to > durable {
		return failing(fmt.Errorf("read rows %d to %d of ingest log %s: %w row %d\nHint: was an older copy of the directory put in its place?", from, to, l.dir, ErrEnd, durable))
	}
	return r.entries(from, to)
}

// Entries is Log.Entries for a process that does not have the log open. The caller knows that the rows are
// durable: their positions come from a ledger or a checkpoint log.
func Entries(fsys vfs.FS, dir string, from, to Position) iter.Seq2[Entry, error] {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	firsts, err := list(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(firsts) == 0 {
		err = fmt.Errorf("read ingest log %s: it is gone: %w row %d", dir, ErrEnd, to)
	}
	if err != nil {
		return failing(err)
	}
	r := &reader{fs: fsys, dir: dir}
	for _, first := range firsts {
		r.segments = append(r.segments, segment{first: first})
	}
	return r.entries(from, to)
}

func failing(err error) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { yield(Entry{}, err) }
}

// reader reads segments in order.
type reader struct {
	fs       vfs.FS
	dir      string
	segments []segment
}

// holding returns the index of the segment that has a position, -1 if it was released.
func (r *reader) holding(at Position) int {
	n, found := slices.BinarySearchFunc(r.segments, at, func(s segment, at Position) int {
		switch {
		case s.first < at:
			return -1
		case s.first > at:
			return 1
		}
		return 0
	})
	if found {
		return n
	}
	return n - 1
}

func (r *reader) entries(from, to Position) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if from >= to {
			return
		}
		first := r.holding(from)
		if first < 0 {
			yield(Entry{}, fmt.Errorf("read rows from %d of ingest log %s, which begins at row %d: %w", from, r.dir, r.segments[0].first, ErrReleased))
			return
		}
		at := r.segments[first].first
		for i := first; at < to; i++ {
			if i == len(r.segments) {
				yield(Entry{}, fmt.Errorf("read rows %d to %d of ingest log %s: %w row %d\nHint: was an older copy of the directory put in its place?", from, to, r.dir, ErrEnd, at))
				return
			}
			if r.segments[i].first != at {
				yield(Entry{}, &CorruptError{segmentPath(r.dir, r.segments[i].first), 0, fmt.Sprintf("it begins at row %d, and the segment before ends at row %d", r.segments[i].first, at)})
				return
			}
			end, more, err := r.segment(r.segments[i], from, to, yield)
			if err != nil {
				yield(Entry{}, err)
			}
			if err != nil || !more {
				return
			}
			at = end
		}
	}
}

// segment yields the entries of one segment and returns the position after it; more is false if nobody wants
// more.
func (r *reader) segment(s segment, from, to Position, yield func(Entry, error) bool) (at Position, more bool, err error) {
	path := segmentPath(r.dir, s.first)
	f, err := r.fs.Open(path)
	if err != nil {
		return 0, false, fmt.Errorf("read ingest log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	header, size, err := readHeader(f)
	if err != nil {
		return 0, false, fmt.Errorf("read ingest log: %w", err)
	}
	seed, reason := parseHeader(header, s.first)
	if reason != "" {
		return 0, false, &CorruptError{path, 0, reason}
	}
	off := int64(headerBytes)
	at = s.first
	for _, p := range s.points {
		if p.at <= from {
			at, off = p.at, p.off
		}
	}
	for at < to {
		fr, body, err := readFrame(f, seed, off, size)
		var bad *badFrame
		switch {
		case err == io.EOF:
			return at, true, nil
		case errors.As(err, &bad):
			return at, false, &CorruptError{path, bad.off, bad.reason + ", before rows that are known to be durable"}
		case err != nil:
			return at, false, fmt.Errorf("read ingest log: %w", err)
		case fr.first != at:
			return at, false, &CorruptError{path, off, fmt.Sprintf("a record begins at row %d instead of %d", fr.first, at)}
		}
		e := Entry{First: at, Rows: fr.rows, Body: body}
		off, at = off+fr.bytes(), e.End()
		if at > from && fr.rows > 0 && !yield(e, nil) {
			return at, false, nil
		}
	}
	return at, true, nil
}

// Release says that rows before a position will not be read again. Whole segments of such rows are deleted if
// the log's options allow it.
func (l *Log) Release(before Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.opt.Truncate || l.failed != nil {
		return l.failed
	}
	// Why the oldest first, one by one: after a crash the log is still without a gap.
	for len(l.segments) > 1 && l.segments[1].first <= before {
		if err := errors.Join(l.fs.Remove(segmentPath(l.dir, l.segments[0].first)), l.fs.SyncDir(l.dir)); err != nil {
			return fmt.Errorf("release rows of ingest log %s: %w", l.dir, err)
		}
		l.segments = l.segments[1:]
	}
	return nil
}

// Segments are the positions where the files of a log begin, of a log that may be another process's.
func Segments(fsys vfs.FS, dir string) ([]Position, error) {
	firsts, err := list(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("read ingest log %s: %w", dir, err)
	}
	return firsts, nil
}

// First is the position of the first row that was not released, of a log that may be another process's.
func First(fsys vfs.FS, dir string) (Position, error) {
	firsts, err := list(fsys, dir)
	if err == nil && len(firsts) == 0 {
		err = fmt.Errorf("%w row 1", ErrEnd)
	}
	if err != nil {
		return 0, fmt.Errorf("read ingest log %s: %w", dir, err)
	}
	return firsts[0], nil
}

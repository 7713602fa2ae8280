package checkpointlog

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Entry is a record as Read gives it. Exactly one of Planned, Prepared and Committed is set.
type Entry struct {
	Segment string // file name
	Offset  int64  // of the record; of its state change's first piece for a Prepared that has one
	Bytes   int64  // on disk, the state change included
	Plan    string // of the segment's header: which version of the pipeline wrote it

	Planned   *Planned
	Prepared  *Prepared // without Delta
	Committed *Committed
	// Deltas are the sizes of a Prepared's state change.
	Deltas []DeltaInfo
}

// DeltaInfo is the size of one table's change: as encoded by the state, and as stored.
type DeltaInfo struct {
	Table       string `json:"table"`
	Bytes       int64  `json:"bytes"`
	StoredBytes int64  `json:"stored_bytes"`
}

// Read gives the records of every live segment in order, without an engine and without the lock: it
// changes nothing and may run beside one. It ends with an error where it cannot go on: a *TornTail
// (or, beside a running engine, a record being written) or a *CorruptError.
func Read(dir string, fsys vfs.FS) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		m, err := manifestOf(dir, fsys)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for i, ref := range m.Segments {
			limit := int64(-1)
			if i < len(m.Segments)-1 {
				limit = ref.Bytes
			}
			r, err := openSegment(fsys, dir, ref.Seq, limit)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			more := readEntries(r, limit < 0, yield)
			if err := r.close(); err != nil && more {
				yield(Entry{}, fmt.Errorf("closing segment: %w", err))
				return
			}
			if !more {
				return
			}
		}
	}
}

// manifestOf reads the manifest of a log that must exist.
func manifestOf(dir string, fsys vfs.FS) (*manifest, error) {
	m, err := readManifest(fsys, dir)
	if err == nil && m == nil {
		err = fmt.Errorf("%s holds no checkpoint log\nHint: it is the directory with the file %s", dir, manifestName)
	}
	return m, err
}

// readEntries yields a segment's entries and says whether to go on with the next.
func readEntries(r *segmentReader, last bool, yield func(Entry, error) bool) bool {
	for {
		rec, err := r.next()
		var bad *badFrame
		switch {
		case err == io.EOF:
			return true
		case errors.As(err, &bad) && last:
			torn, err := judgeTail(r, bad)
			if err == nil {
				err = torn
			}
			yield(Entry{}, err)
			return false
		case err != nil:
			yield(Entry{}, asCorrupt(r.path, err))
			return false
		}
		if e, ok := entryOf(r, &rec); ok && !yield(e, nil) {
			return false
		}
	}
}

// entryOf turns a record into an entry; pieces of a delta and marks are not entries of their own.
func entryOf(r *segmentReader, rec *record) (Entry, bool) {
	e := Entry{Segment: filepath.Base(r.path), Offset: rec.off, Bytes: rec.bytes, Plan: r.head.Plan, Planned: rec.planned, Committed: rec.committed}
	if rec.prepared != nil {
		p := rec.prepared.Prepared
		e.Prepared = &p
		for _, d := range rec.prepared.Deltas {
			e.Deltas = append(e.Deltas, DeltaInfo{d.Table, d.Bytes, d.Stored})
			e.Offset -= d.Stored
			e.Bytes += d.Stored
		}
	}
	return e, e.Planned != nil || e.Prepared != nil || e.Committed != nil
}

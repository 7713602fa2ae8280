package checkpointlog

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// History opens a log for replay: read-only, without the lock, beside a running engine if need be. Its
// Snapshot is the newest undamaged one before the given batch, and EachBatch begins after that snapshot,
// so that the state before the batch can be rebuilt. Batch 0 asks for as much history as there is: the
// Snapshot is then the oldest one, or nil where the log goes back to the first batch. A torn tail, or a
// record that is being written, is where it ends.
func History(dir string, fsys vfs.FS, batch int64) (*Recovered, error) {
	m, err := manifestOf(dir, fsys)
	if err != nil {
		return nil, err
	}
	rec := &Recovered{fs: fsys, dir: dir}
	base, err := rec.base(m)
	if err != nil {
		return nil, err
	}
	var usable []int // best first
	for i, s := range m.Snapshots {
		switch {
		case batch > 0 && s.Batch < batch:
			usable = slices.Insert(usable, 0, i)
		case batch <= 0 && base > 0 && s.Batch >= base:
			usable = append(usable, i)
		}
	}
	if err := rec.readFirst(m, usable); err != nil {
		return nil, err
	}
	if base > 0 && (rec.Snapshot == nil || rec.Snapshot.Batch < base) {
		return nil, fmt.Errorf("the log begins at batch %d: what came before is in no snapshot that it still has\nHint: replay from a later batch with --from; `sluice log ls` lists what there is", base+1)
	}
	for i, ref := range m.Segments {
		limit := int64(-1)
		if i < len(m.Segments)-1 {
			limit = ref.Bytes
		}
		if err := rec.addExtent(ref, limit); err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// base is the last batch that was prepared before the oldest segment began.
func (r *Recovered) base(m *manifest) (_ int64, err error) {
	if len(m.Segments) == 0 {
		return 0, nil
	}
	limit := int64(-1)
	if len(m.Segments) > 1 {
		limit = m.Segments[0].Bytes
	}
	sr, err := openSegment(r.fs, r.dir, m.Segments[0].Seq, limit)
	if err != nil {
		return 0, err
	}
	return sr.head.Base.Prepared, sr.close()
}

// readFirst reads the first undamaged snapshot of several.
func (r *Recovered) readFirst(m *manifest, usable []int) error {
	for _, i := range usable {
		info, _, err := readChain(r.fs, r.dir, m.Snapshots[m.chainStart(i):i+1], nil)
		var bad *CorruptError
		switch {
		case errors.As(err, &bad):
			r.BadSnapshots = append(r.BadSnapshots, bad)
		case err != nil:
			return err
		default:
			r.Snapshot = info
			return nil
		}
	}
	return nil
}

// addExtent finds how much of a segment can be read, and takes the header of the newest.
func (r *Recovered) addExtent(ref segmentRef, limit int64) (err error) {
	sr, err := openSegment(r.fs, r.dir, ref.Seq, limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sr.close()) }()
	r.Header = sr.head.Header
	if limit >= 0 {
		r.segments = append(r.segments, segmentExtent{ref.Seq, limit})
		return nil
	}
	for {
		rec, err := sr.next()
		var bad *badFrame
		switch {
		case err == io.EOF:
			r.segments = append(r.segments, segmentExtent{ref.Seq, sr.size})
			return nil
		case errors.As(err, &bad):
			torn, err := judgeTail(sr, bad)
			if err != nil {
				return err
			}
			r.Torn = torn
			r.segments = append(r.segments, segmentExtent{ref.Seq, torn.Offset})
			return nil
		case err != nil:
			return asCorrupt(sr.path, err)
		}
		if rec.prepared != nil {
			p := rec.prepared.Prepared
			r.LastPrepared = &p
		}
	}
}

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
// record that is being written, is where it ends. FirstPlanned of what it returns is the first batch that can
// be executed again; of those before it only the outcome is known.
func History(dir string, fsys vfs.FS, batch int64) (*Recovered, error) {
	m, err := manifestOf(dir, fsys)
	if err != nil {
		return nil, err
	}
	rec := &Recovered{fs: fsys, dir: dir}
	base, err := rec.base(m)
	if err == nil {
		rec.FirstPlanned, err = rec.firstPlanned(m, base)
	}
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
	if base > 0 && (rec.Snapshot == nil || rec.Snapshot.Batch < base) || batch > 0 && batch < rec.FirstPlanned {
		return nil, fmt.Errorf("the log begins at batch %d: what came before is in no snapshot that it still has\nHint: replay from a later batch with --from; `sluice log ls` lists what there is", max(base+1, rec.FirstPlanned))
	}
	if rec.Snapshot != nil {
		rec.FirstPlanned = max(rec.FirstPlanned, rec.Snapshot.Batch+1)
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

// firstPlanned is the first batch after base whose Planned the log has, too; the one after its last if there is none.
//
// Why not each has: a segment is sealed between a batch's Planned and its Prepared, or those of two batches.
// Retention deletes it when the last snapshot of the oldest chain includes all that it speaks of; the batches whose
// Prepared the next segment begins with are then known without their Planned. Nothing that Open may choose needs
// it, but the chain's other snapshots are older, and history begins with the first of them that it can.
func (r *Recovered) firstPlanned(m *manifest, base int64) (int64, error) {
	if len(m.Segments) == 0 || m.Segments[0].Seq == 1 {
		return base + 1, nil // nothing was deleted
	}
	first, plans := base+1, make(map[int64]bool)
	for i, ref := range m.Segments {
		limit := int64(-1)
		if i < len(m.Segments)-1 {
			limit = ref.Bytes
		}
		found, err := r.planned(ref, limit, &first, plans)
		if found || err != nil {
			return first, err
		}
	}
	return first, nil
}

// planned reads a segment up to the first Prepared whose plan was seen; first is the batch after the last seen.
func (r *Recovered) planned(ref segmentRef, limit int64, first *int64, plans map[int64]bool) (found bool, err error) {
	sr, err := openSegment(r.fs, r.dir, ref.Seq, limit)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sr.close()) }()
	for {
		rec, err := sr.next()
		var bad *badFrame
		switch {
		case err == io.EOF || errors.As(err, &bad) && limit < 0:
			return false, nil // the end; what is wrong with it is found by addExtent
		case err != nil:
			return false, asCorrupt(sr.path, err)
		case rec.planned != nil:
			plans[rec.planned.Batch] = true
		case rec.prepared != nil && plans[rec.prepared.Batch]:
			*first = rec.prepared.Batch
			return true, nil
		case rec.prepared != nil:
			*first = rec.prepared.Batch + 1
		}
	}
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

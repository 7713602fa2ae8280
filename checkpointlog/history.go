package checkpointlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// History opens a log for replay: read-only, without the lock, beside a running engine if need be. Its
// Snapshot is the newest undamaged one before the given batch, and EachBatch begins after that snapshot,
// so that the state before the batch can be rebuilt. A torn tail, or a record that is being written, is
// where it ends.
func History(dir string, fsys vfs.FS, batch int64) (*Recovered, error) {
	m, err := manifestOf(dir, fsys)
	if err != nil {
		return nil, err
	}
	rec := &Recovered{fs: fsys, dir: dir}
	for i := len(m.Snapshots) - 1; i >= 0 && rec.Snapshot == nil; i-- {
		if m.Snapshots[i].Batch >= batch {
			continue
		}
		info, err := readSnapshot(fsys, dir, m.Snapshots[i], nil)
		var bad *CorruptError
		if errors.As(err, &bad) {
			rec.BadSnapshots = append(rec.BadSnapshots, bad)
			continue
		}
		if err != nil {
			return nil, err
		}
		rec.Snapshot = info
	}
	for i, ref := range m.Segments {
		limit := int64(-1)
		if i < len(m.Segments)-1 {
			limit = ref.Bytes
		}
		if err := rec.addExtent(ref, limit, i == 0); err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// addExtent finds how much of a segment can be read, and takes the header of the newest.
func (r *Recovered) addExtent(ref segmentRef, limit int64, first bool) (err error) {
	sr, err := openSegment(r.fs, r.dir, ref.Seq, limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sr.close()) }()
	r.Header = sr.head.Header
	var have int64
	if r.Snapshot != nil {
		have = r.Snapshot.Batch
	}
	if first && sr.head.Base.Prepared > have {
		return fmt.Errorf("the log begins at batch %d: what came before is in no snapshot that it still has\nHint: replay from a later batch with --from; `sluice log ls` lists what there is", sr.head.Base.Prepared+1)
	}
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

package checkpointlog

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// scan reads a log from its newest usable snapshot on. It changes nothing.
type scan struct {
	fs       vfs.FS
	dir      string
	manifest manifest
	rec      *Recovered
	all      bool // read segments that the snapshot makes unnecessary too
	// end, if set, is where the last segment ends for a repair that is going to cut it there.
	end int64

	last  *segmentReader // the last segment, closed, with what was found in it
	chain uint32         // last valid checksum of the last segment
	plans map[int64]*Planned
	// before are the offsets after all batches but the last prepared one.
	before map[string]json.RawMessage
	// bad are the snapshots to set aside.
	bad []snapshotRef
	// visit, if set, sees every record.
	visit func(segment string, rec *record) error
}

func (s *scan) lastSeq() uint64 { return s.manifest.Segments[len(s.manifest.Segments)-1].Seq }

func (s *scan) run() error {
	if err := s.pickSnapshot(); err != nil {
		return err
	}
	s.plans, s.before = make(map[int64]*Planned), make(map[string]json.RawMessage)
	var snap int64
	if s.rec.Snapshot != nil {
		snap = s.rec.Snapshot.Batch
		maps.Copy(s.before, s.rec.Snapshot.Offsets)
	}
	refs := s.manifest.Segments
	for len(refs) > 1 && refs[0].MaxBatch <= snap && !s.all {
		refs = refs[1:] // everything in it is older than the snapshot
	}
	for i, ref := range refs {
		if err := s.segment(ref, i == len(refs)-1, snap); err != nil {
			return err
		}
	}
	return s.finish(snap)
}

// segment reads one segment and checks that it continues the one before.
func (s *scan) segment(ref segmentRef, last bool, snap int64) (err error) {
	limit := int64(-1)
	if last && s.end > 0 {
		limit = s.end
	} else if !last {
		limit = ref.Bytes
	}
	r, err := openSegment(s.fs, s.dir, ref.Seq, limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	switch {
	case s.last == nil && !s.all && r.head.Base.Prepared > snap && len(s.rec.BadSnapshots) > 0:
		return s.rec.BadSnapshots[0] // and the log does not reach back far enough to do without
	case s.last == nil && !s.all && r.head.Base.Prepared > snap:
		return corrupt(r.path, 0, "it begins at batch %d, but batches %d to %d are in no snapshot and no segment", r.head.Base.Prepared+1, snap+1, r.head.Base.Prepared)
	case s.last != nil && (r.head.PrevBytes != s.last.size || r.head.PrevChain != s.chain || r.head.Base != s.last.seq):
		return corrupt(r.path, 0, "it does not continue %s, which ends otherwise than it says", filepath.Base(s.last.path))
	}
	s.last, s.rec.Header, s.chain = r, r.head.Header, r.frames.prev
	for {
		rec, err := r.next()
		var bad *badFrame
		switch {
		case err == io.EOF:
			s.chain = r.frames.prev
			s.rec.segments = append(s.rec.segments, segmentExtent{ref.Seq, r.size})
			return nil
		case errors.As(err, &bad) && last:
			s.rec.Torn, err = judgeTail(r, bad)
			if err != nil {
				return err
			}
			s.rec.segments = append(s.rec.segments, segmentExtent{ref.Seq, s.rec.Torn.Offset})
			return nil
		case err != nil:
			return asCorrupt(r.path, err)
		}
		if rec.typ != typeDelta {
			s.chain = r.frames.prev // where a group that turns out torn is cut off
		}
		if err := s.apply(r, &rec, snap); err != nil {
			return err
		}
	}
}

func (s *scan) apply(r *segmentReader, rec *record, snap int64) error {
	switch {
	case rec.planned != nil:
		s.rec.LastPlanned = rec.planned
		s.plans[rec.planned.Batch] = rec.planned
	case rec.prepared != nil:
		if err := s.prepared(r, rec, snap); err != nil {
			return err
		}
	case rec.committed != nil:
		s.rec.LastCommitted = rec.committed
	}
	if s.visit != nil {
		return s.visit(r.path, rec)
	}
	return nil
}

func (s *scan) prepared(r *segmentReader, rec *record, snap int64) error {
	p := rec.prepared.Prepared
	if s.rec.LastPrepared != nil {
		s.rec.prevHash = ContentHash(s.rec.LastPrepared)
		if s.rec.LastPrepared.Batch > snap {
			addOffsets(s.before, s.rec.PreparedPlan)
		}
	} else if snap := s.rec.Snapshot; snap != nil && snap.Batch == p.Batch-1 {
		s.rec.prevHash = ContentHash(snap.prepared)
	}
	plan := s.plans[p.Batch]
	if plan == nil && p.Batch > snap && len(s.rec.BadSnapshots) > 0 {
		return s.rec.BadSnapshots[0] // and the log does not reach back to the plans that an older one needs
	}
	if plan == nil && p.Batch > snap {
		return corrupt(r.path, rec.off, "batch %d is prepared but not planned", p.Batch)
	}
	if p.Batch > snap {
		for _, d := range rec.prepared.Deltas {
			s.rec.DeltaBytes += d.Stored
		}
	}
	s.rec.LastPrepared, s.rec.PreparedPlan = &p, plan
	delete(s.plans, p.Batch)
	return nil
}

func addOffsets(to map[string]json.RawMessage, plan *Planned) {
	for _, r := range plan.Ranges {
		to[r.Source] = r.To
	}
}

// finish fills in what only the snapshot knows and checks that the log reaches it.
func (s *scan) finish(snap int64) error {
	rec, seq := s.rec, s.last.seq
	if seq.Prepared < snap || seq.Committed < snap {
		return corrupt(s.last.path, s.last.end(), "it ends at batch %d, but the snapshot of batch %d was published after that batch was durable", seq.Prepared, snap)
	}
	if snap > 0 && (rec.LastPrepared == nil || rec.LastPrepared.Batch < snap) {
		rec.LastPrepared, rec.PreparedPlan = rec.Snapshot.prepared, nil
	}
	if rec.LastPrepared == nil && seq.Prepared > 0 {
		return corrupt(s.last.path, 0, "it begins after batch %d, which no segment holds", seq.Prepared)
	}
	if rec.LastCommitted == nil && seq.Committed > 0 {
		rec.LastCommitted = &Committed{Batch: seq.Committed, Epoch: seq.Epoch}
	}
	rec.epoch = seq.Epoch
	rec.Offsets = maps.Clone(s.before)
	if p := rec.LastPrepared; p != nil && p.Batch > snap && rec.PreparedPlan != nil {
		rec.OffsetsBefore = s.before
		addOffsets(rec.Offsets, rec.PreparedPlan)
	}
	return nil
}

package checkpointlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// open recovers the directory and makes l ready to append. The lock is held.
func (l *Log) open() (*Recovered, error) {
	m, err := readManifest(l.fs, l.dir)
	if err != nil {
		return nil, err
	}
	if err := sweep(l.fs, l.dir, m); err != nil {
		return nil, err
	}
	if m == nil {
		return l.create()
	}
	s := &scan{fs: l.fs, dir: l.dir, manifest: m.clone(), rec: &Recovered{fs: l.fs, dir: l.dir}}
	if err := s.run(); err != nil {
		return nil, err
	}
	if s.rec.Header.Pipeline != l.head.Pipeline {
		return nil, fmt.Errorf("%s holds the log of pipeline %q, not of %q\nHint: give each pipeline its own directory", l.dir, s.rec.Header.Pipeline, l.head.Pipeline)
	}
	if err := s.setBadSnapshotsAside(); err != nil {
		return nil, err
	}
	if s.rec.Torn != nil {
		if err := cutTail(l.fs, l.dir, s.lastSeq(), s.rec.Torn); err != nil {
			return nil, err
		}
	}
	return s.rec, l.resume(s)
}

// create makes the first segment of an empty directory.
//
// Crash before the manifest: the segment is a left-over without records, which sweep deletes.
func (l *Log) create() (*Recovered, error) {
	w, err := createSegment(l.fs, l.dir, segmentHead{Header: l.head, Seq: 1})
	if err != nil {
		return nil, err
	}
	l.active = w
	l.manifest = manifest{Segments: []segmentRef{{Seq: 1}}}
	l.planned, l.recent = make(map[int64]*Planned), make(map[int64]*Prepared)
	if err := writeManifest(l.fs, l.dir, l.manifest); err != nil {
		return nil, err
	}
	rec := &Recovered{Header: l.head, fs: l.fs, dir: l.dir}
	rec.Header.FormatVersion = FormatVersion
	return rec, nil
}

// resume makes the recovered end of the log durable and appends from there.
//
// Why: the engine may have died between writing a Prepared and syncing it. The record is readable now,
// so the batch is about to be rolled forward; it must not be lost by a power cut after that. And if that
// sync failed, the kernel may have dropped the pages from its list of dirty ones, so that a plain fsync
// now would succeed without writing them. So the bytes that no record proves durable are written again
// where they stand, and then synced.
func (l *Log) resume(s *scan) error {
	f, err := l.fs.OpenAppend(s.last.path)
	if err != nil {
		return fmt.Errorf("opening segment: %w", err)
	}
	end := s.last.end()
	l.active = &frameWriter{file: f, path: s.last.path, seed: s.last.frames.seed, prev: s.chain, size: end, synced: s.last.proven}
	if err := rewrite(f, s.last.proven, end); err != nil {
		return fmt.Errorf("making the end of the log durable: %w", err)
	}
	if err := l.active.sync(); err != nil {
		return fmt.Errorf("making the end of the log durable: %w", err)
	}
	l.manifest, l.seq, l.maxBatch = s.manifest, s.last.seq, s.last.max
	l.planned, l.recent = s.plans, make(map[int64]*Prepared)
	maps.DeleteFunc(l.planned, func(batch int64, _ *Planned) bool { return batch <= l.seq.Prepared })
	if p := s.rec.LastPrepared; p != nil {
		l.recent[p.Batch] = p
	}
	l.newHeader.Store(!s.rec.Header.same(l.head))
	return nil
}

func rewrite(f vfs.File, from, to int64) error {
	buf := make([]byte, min(to-from, 1<<20))
	for at := from; at < to; {
		b := buf[:min(to-at, int64(len(buf)))]
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			return err
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}

// sweep deletes what a crash left: temporary files, segments and snapshots that the manifest does not
// name. It refuses a segment from after the manifest that holds records, because a segment gets records
// only once the manifest names it: such a manifest is an old copy.
func sweep(fsys vfs.FS, dir string, m *manifest) error {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing checkpoint log: %w", err)
	}
	live := make(map[string]bool)
	var first uint64
	if m != nil {
		first = m.Segments[0].Seq
		for _, s := range m.Segments {
			live[segmentName(s.Seq)] = true
		}
		for _, s := range m.Snapshots {
			live[snapshotName(s.Batch)] = true
		}
	}
	for _, name := range names {
		if live[name] {
			continue
		}
		path := filepath.Join(dir, name)
		seq, isSegment := numbered(name, segmentSuffix)
		_, isSnapshot := numbered(name, snapSuffix)
		switch {
		case isSegment && seq >= first:
			if err := checkLeftOver(fsys, path, m); err != nil {
				return err
			}
		case isSnapshot && m == nil:
			return corrupt(filepath.Join(dir, manifestName), -1, "it is missing, but there is a snapshot, %s", name)
		case !isSegment && !isSnapshot && !strings.HasSuffix(name, tempSuffix):
			continue // not ours
		}
		if err := fsys.Remove(path); err != nil {
			return fmt.Errorf("deleting left-over file: %w", err)
		}
	}
	return nil
}

// checkLeftOver refuses a segment that the manifest should name because it holds records.
func checkLeftOver(fsys vfs.FS, path string, m *manifest) error {
	f, err := fsys.Open(path)
	if err != nil {
		return fmt.Errorf("opening left-over segment: %w", err)
	}
	defer f.Close()
	var head segmentHead
	h, err := readHead(f, path, magicSegment, &head)
	var bad *CorruptError
	if errors.As(err, &bad) {
		return nil // the header itself was not complete yet
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil || size == h.bytes {
		return err
	}
	manifestPath := filepath.Join(filepath.Dir(path), manifestName)
	if m == nil {
		return corrupt(manifestPath, -1, "it is missing, but there are records in %s", filepath.Base(path))
	}
	return corrupt(manifestPath, 0, "it does not name %s, which holds records: it is an old copy", filepath.Base(path))
}

// missing says that a file which the manifest names is not there.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(path, -1, "the manifest names it but it does not exist")
	}
	return fmt.Errorf("opening checkpoint log file: %w", err)
}

// scan reads a log from its newest usable snapshot on. It changes nothing.
type scan struct {
	fs       vfs.FS
	dir      string
	manifest manifest
	rec      *Recovered
	all      bool // read segments that the snapshot makes unnecessary too

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
	if !last {
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
	if plan == nil && p.Batch > snap {
		return corrupt(r.path, rec.off, "batch %d is prepared but not planned", p.Batch)
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

package checkpointlog

import (
	"fmt"
	"io"
	"maps"

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
	if label := s.rec.Header.Pipeline; label != l.head.Pipeline && (label != m.Origin || m.Origin == "") {
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
	l.active, l.label = w, l.head
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
	l.durable = l.seq.Prepared
	l.planned, l.recent = s.plans, make(map[int64]*Prepared)
	maps.DeleteFunc(l.planned, func(batch int64, _ *Planned) bool { return batch <= l.seq.Prepared })
	if p := s.rec.LastPrepared; p != nil {
		l.recent[p.Batch] = p
	}
	l.label = s.rec.Header
	l.newHeader.Store(!l.label.same(l.head))
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

package checkpointlog

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var (
	fpRotateBeforeCreate   = failpoint.New("log.segment.rotate.before_create")
	fpRotateBeforeManifest = failpoint.New("log.segment.rotate.before_manifest")
	fpRotateAfterManifest  = failpoint.New("log.segment.rotate.after_manifest")
)

// rotateIfFull begins a new segment when the active one is large enough; syncMu and mu are held. While a snapshot is
// published the segment just grows: no batch waits for that.
func (l *Log) rotateIfFull() error {
	if l.active.size < l.opt.SegmentBytes || !l.manifestMu.TryLock() {
		return nil
	}
	defer l.manifestMu.Unlock()
	return l.rotate()
}

// rotate seals the active segment and begins the next; syncMu, manifestMu and mu are held. A batch's pieces and its
// Prepared are never split over two segments.
//
// Crash before the manifest is replaced: the new file is a left-over that holds only its header, and
// Open deletes it. Crash after: it is the active segment, still empty.
func (l *Log) rotate() error {
	const doing = "starting a new segment"
	old := l.active
	if err := old.sync(); err != nil {
		return l.fail(doing, err)
	}
	if err := fpRotateBeforeCreate.Hit(); err != nil {
		return l.fail(doing, err)
	}
	last := len(l.manifest.Segments) - 1
	m := l.manifest.clone()
	m.Segments[last].Bytes, m.Segments[last].MaxBatch = old.size, l.maxBatch
	seq := m.Segments[last].Seq + 1
	m.Segments = append(m.Segments, segmentRef{Seq: seq})
	next, err := createSegment(l.fs, l.dir, segmentHead{Header: l.head, Seq: seq, Base: l.seq, PrevBytes: old.size, PrevChain: old.prev})
	if err != nil {
		return l.fail(doing, err)
	}
	if err := l.publishSegment(m); err != nil {
		return errors.Join(l.fail(doing, err), next.file.Close())
	}
	l.active, l.manifest, l.maxBatch = next, m, 0
	if err := old.file.Close(); err != nil {
		return l.fail(doing, err)
	}
	return nil
}

func (l *Log) publishSegment(m manifest) error {
	if err := fpRotateBeforeManifest.Hit(); err != nil {
		return err
	}
	if err := writeManifest(l.fs, l.dir, m); err != nil {
		return err
	}
	return fpRotateAfterManifest.Hit()
}

// createSegment makes a segment file whose header and directory entry are durable.
func createSegment(fsys vfs.FS, dir string, head segmentHead) (*frameWriter, error) {
	head.Salt, head.CreatedAt = newSalt(), time.Now().UTC()
	b, crc, err := encodeHead(magicSegment, &head)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, segmentName(head.Seq))
	f, err := fsys.Create(path)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	n := int64(len(b))
	return &frameWriter{file: f, path: path, seed: crc, prev: crc, size: n, synced: n}, nil
}

// Relabel changes what new segments and snapshots are labelled with; nothing is written yet. It is for the
// time between Open and the first Plan, when the caller knows what the log holds.
func (l *Log) Relabel(h Header) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newHeader.Store(!l.label.same(h))
	l.head = h
}

// StartSegment begins a new segment at once if the log is to be labelled otherwise than its last segment is;
// the label is durable when it returns.
func (l *Log) StartSegment() error { return l.startOwnSegment() }

// startOwnSegment begins a new segment when the active one is labelled with another plan or DuckDB
// version than this engine's, so that every record stands under the header of its writer.
func (l *Log) startOwnSegment() error {
	if !l.newHeader.Load() {
		return nil
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.manifestMu.Lock()
	defer l.manifestMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if !l.newHeader.Load() {
		return nil
	}
	if err := l.rotate(); err != nil {
		return err
	}
	l.newHeader.Store(false)
	l.label = l.head
	return nil
}

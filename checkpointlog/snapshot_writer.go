package checkpointlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

var (
	fpSnapshotBeforeWrite   = failpoint.New("snapshot.before_write")
	fpSnapshotBlock         = failpoint.New("snapshot.block")
	fpSnapshotBeforeSync    = failpoint.New("snapshot.before_sync")
	fpSnapshotBeforePublish = failpoint.New("snapshot.before_publish")
	fpSnapshotAfterRename   = failpoint.New("snapshot.after_rename")
	fpSnapshotAfterManifest = failpoint.New("snapshot.after_manifest")
)

// SnapshotMeta is what a snapshot says besides state.
type SnapshotMeta struct {
	Epoch      int64
	Watermarks map[string]int64           // after the batch
	Offsets    map[string]json.RawMessage // per source, after the batch
	// Base is the batch of the newest snapshot if the blocks are what changed since, 0 if they are everything.
	Base int64
	// GatheredBytes is how much log has gathered since the base began. Small delta snapshots before a larger
	// one are taken into it.
	GatheredBytes int64
}

// TableInfo counts what a snapshot holds of one state table.
type TableInfo struct {
	Table  string `json:"table"`
	Blocks int64  `json:"blocks"`
	Bytes  int64  `json:"bytes"` // raw
}

// footer ends a snapshot: without it the file is not complete.
type footer struct {
	Tables []TableInfo `json:"tables"`
	Blocks int64       `json:"blocks"`
}

// SnapshotWriter writes one snapshot, in its own goroutine if the caller likes, while batches go on.
// End it with Publish or Abort. A failure here does not poison the log: the snapshot is given up and the
// older ones stand. Only replacing the manifest is a write to the log itself.
type SnapshotWriter struct {
	log    *Log
	batch  int64
	temp   string
	path   string
	w      *frameWriter
	tables []TableInfo
	index  map[string]int
	blocks int64
	base   int64
	// absorb are the delta snapshots whose blocks come first in this one and which it replaces.
	absorb []snapshotRef
	begun  bool
	head   snapshotHead
	done   bool
	err    error
}

// syncEveryBytes spreads a snapshot's syncs.
//
// Why: one fsync of a gigabyte at the end would make the log's own syncs wait for it on a journalling
// file system.
const syncEveryBytes = 16 << 20

// BeginSnapshot starts a snapshot of the state after a batch, which must be the last prepared one or the
// one before. Only one is written at a time. Nothing is written yet, so that whoever begins one does not wait for the
// disk.
func (l *Log) BeginSnapshot(batch int64, meta SnapshotMeta) (*SnapshotWriter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	prepared := l.recent[batch]
	switch {
	case l.writing != nil:
		return nil, fmt.Errorf("beginning snapshot of batch %d while that of batch %d is being written: %w", batch, l.writing.batch, ErrSequence)
	case prepared == nil:
		return nil, fmt.Errorf("beginning snapshot of batch %d while the last prepared is %d: %w", batch, l.seq.Prepared, ErrSequence)
	}
	var newest snapshotRef
	if n := len(l.manifest.Snapshots); n > 0 {
		newest = l.manifest.Snapshots[n-1]
	}
	switch {
	case newest.Batch >= batch:
		return nil, fmt.Errorf("beginning snapshot of batch %d while there is one of batch %d: %w", batch, newest.Batch, ErrSequence)
	case meta.Base != 0 && meta.Base != newest.Batch:
		return nil, fmt.Errorf("beginning snapshot of what changed since batch %d while the newest is of batch %d: %w", meta.Base, newest.Batch, ErrSequence)
	}
	s := &SnapshotWriter{log: l, batch: batch, index: make(map[string]int)}
	var baseChain uint32
	if meta.Base != 0 {
		s.absorb = l.manifest.absorbable(meta.GatheredBytes)
		base := l.manifest.Snapshots[len(l.manifest.Snapshots)-1-len(s.absorb)]
		s.base, baseChain = base.Batch, base.Chain
	}
	s.path = filepath.Join(l.dir, snapshotName(batch))
	s.temp = s.path + tempSuffix
	s.head = snapshotHead{
		Header: l.head, Batch: batch, Base: s.base, BaseChain: baseChain, Epoch: meta.Epoch, Salt: newSalt(), CreatedAt: time.Now().UTC(),
		Watermarks: maps.Clone(meta.Watermarks), Offsets: maps.Clone(meta.Offsets), Prepared: prepared,
	}
	l.writing = s
	return s, nil
}

func (s *SnapshotWriter) create() error {
	if err := fpSnapshotBeforeWrite.Hit(); err != nil {
		return err
	}
	b, crc, err := encodeHead(magicSnapshot, &s.head)
	if err != nil {
		return err
	}
	f, err := s.log.fs.Create(s.temp)
	if err != nil {
		return err
	}
	s.w = &frameWriter{file: f, path: s.temp, seed: crc, prev: crc, size: int64(len(b))}
	_, err = f.Write(b)
	return err
}

// Batch is the batch that the snapshot is of.
func (s *SnapshotWriter) Batch() int64 { return s.batch }

// Block appends one block of a table's encoded state, at most MaxBlockBytes. Blocks come back in the
// order written, each as it was given.
func (s *SnapshotWriter) Block(table string, b []byte) error {
	if err := s.begin(); err != nil {
		return err
	}
	if len(b) > MaxBlockBytes || len(table) > maxNameBytes {
		return s.fail(fmt.Errorf("block of %d bytes is over the limit of %d", len(b), MaxBlockBytes))
	}
	return s.block(table, b)
}

func (s *SnapshotWriter) block(table string, b []byte) error {
	if err := fpSnapshotBlock.Hit(); err != nil {
		return s.fail(err)
	}
	err := s.w.append(typeBlock, func(dst []byte) []byte {
		return appendBlock(dst, s.batch, int64(len(b)), table, b)
	})
	if err == nil && s.w.size-s.w.synced >= syncEveryBytes {
		err = s.w.sync()
	}
	if err != nil {
		return s.fail(err)
	}
	i, ok := s.index[table]
	if !ok {
		i = len(s.tables)
		s.index[table] = i
		s.tables = append(s.tables, TableInfo{Table: table})
	}
	s.tables[i].Blocks++
	s.tables[i].Bytes += int64(len(b))
	s.blocks++
	return nil
}

// begin makes the file, and takes in the delta snapshots that this one replaces before anything else is written.
func (s *SnapshotWriter) begin() error {
	if err := s.usable(); err != nil || s.begun {
		return err
	}
	s.begun = true
	if err := s.create(); err != nil {
		return s.fail(err)
	}
	var raw []byte
	for _, ref := range s.absorb {
		_, err := readSnapshot(s.log.fs, s.log.dir, ref, func(b *block) (err error) {
			if raw, err = b.appendRaw(raw[:0]); err != nil {
				return err
			}
			return s.block(b.name, raw)
		})
		if err != nil {
			return s.fail(err)
		}
	}
	return nil
}

func (s *SnapshotWriter) usable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.done:
		return errors.New("snapshot is already published or aborted")
	}
	return nil
}

// fail gives the snapshot up: what was written is in doubt.
func (s *SnapshotWriter) fail(err error) error {
	s.err = fmt.Errorf("writing snapshot of batch %d: %w%s", s.batch, err, ioHint(err))
	return s.err
}

// Publish completes the snapshot and makes it the newest. Its batch must be recorded as committed; ask
// again later when that is the error (ErrSequence). Retention then deletes what no kept snapshot needs.
func (s *SnapshotWriter) Publish() error {
	if err := s.begin(); err != nil {
		return err
	}
	s.log.mu.Lock()
	committed := s.log.seq.Committed
	err := s.log.usable()
	s.log.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	if committed < s.batch {
		return fmt.Errorf("publishing snapshot of batch %d before the batch is committed: %w", s.batch, ErrSequence)
	}
	ref, err := s.complete()
	if err != nil {
		return s.fail(err)
	}
	dead, err := s.log.addSnapshot(ref, s.absorb)
	if err != nil {
		return s.fail(err)
	}
	s.done = true
	s.unregister()
	if err := fpSnapshotAfterManifest.Hit(); err != nil {
		return fmt.Errorf("publishing snapshot of batch %d: %w", s.batch, err)
	}
	s.log.deleteDead(dead)
	return nil
}

// complete writes the footer and gives the file its name.
//
// Crash before the rename: a temporary file is left, which Open deletes. Crash after it: the file is
// complete but the manifest does not name it, and Open deletes it as well.
func (s *SnapshotWriter) complete() (snapshotRef, error) {
	body, err := encodeJSON(typeFooter, footer{Tables: s.tables, Blocks: s.blocks})
	if err != nil {
		return snapshotRef{}, err
	}
	if err := s.w.append(typeFooter, verbatim(body)); err != nil {
		return snapshotRef{}, err
	}
	if err := fpSnapshotBeforeSync.Hit(); err != nil {
		return snapshotRef{}, err
	}
	if err := s.w.sync(); err != nil {
		return snapshotRef{}, err
	}
	err = s.w.file.Close()
	s.w.file = nil
	if err != nil {
		return snapshotRef{}, err
	}
	if err := fpSnapshotBeforePublish.Hit(); err != nil {
		return snapshotRef{}, err
	}
	if err := s.log.fs.Rename(s.temp, s.path); err != nil {
		return snapshotRef{}, err
	}
	s.temp = s.path
	if err := fpSnapshotAfterRename.Hit(); err != nil {
		return snapshotRef{}, err
	}
	if err := s.log.fs.SyncDir(s.log.dir); err != nil {
		return snapshotRef{}, err
	}
	return snapshotRef{Batch: s.batch, Bytes: s.w.size, Chain: s.w.prev, Base: s.base, At: time.Now().UTC()}, nil
}

// Abort gives the snapshot up and deletes its file. After Publish it does nothing, so it can be deferred.
func (s *SnapshotWriter) Abort() {
	if s.done {
		return
	}
	s.done = true
	s.unregister()
	_ = s.release() // a file that stays is deleted by the next Open
}

func (s *SnapshotWriter) unregister() {
	s.log.mu.Lock()
	s.log.writing = nil
	s.log.mu.Unlock()
}

// release closes and deletes the unpublished file. It leaves the file alone once the log is poisoned:
// the manifest may name it.
func (s *SnapshotWriter) release() error {
	var err error
	if s.w != nil && s.w.file != nil {
		err = s.w.file.Close()
		s.w.file = nil
	}
	if s.temp == s.path {
		s.log.mu.Lock()
		poisoned := s.log.poison != nil
		s.log.mu.Unlock()
		if poisoned {
			return err
		}
	}
	if removed := s.log.fs.Remove(s.temp); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

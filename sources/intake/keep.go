package intake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A pair of points round the step that makes keys durable apart from the log.
var (
	fpBeforeKeys = failpoint.New("intake.keys.before_rename")
	fpAfterKeys  = failpoint.New("intake.keys.after_rename")
)

// restore reads the keys: from their file, and from the log after the file's position.
func (b *Inbox) restore() error {
	path := filepath.Join(b.opt.Dir, keysFile)
	doc, err := readFile(b.opt.FS, path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("read the keys of deliveries: %w", err)
	}
	at := b.log.First()
	if !missing {
		from, acked, err := b.keys.decode(doc, b.log.End())
		switch {
		case err == nil:
			at, b.acked = max(at, from), acked
		case at > 0:
			return &KeysError{path, err}
		default:
			b.keys = newKeyTable(b.keys.max, b.keys.age)
			b.opt.Logger.Warn("the file of keys is damaged; they are read from the log instead", "path", path, "error", err)
		}
	}
	for e, err := range b.log.Entries(at, b.log.End()) {
		if err != nil {
			return err
		}
		if err := b.learn(e); err != nil {
			return fmt.Errorf("read rows %d to %d of %s: %w\nHint: the directory is of another source; put back the one that belongs there", e.First, e.End(), b.opt.Dir, err)
		}
	}
	return nil
}

// learn takes over the key of an entry.
func (b *Inbox) learn(e ingestlog.Entry) error {
	d, err := decodeEntry(e.Body)
	if err != nil {
		return err
	}
	b.last = max(b.last, d.received)
	b.unkept += int64(len(e.Body))
	if d.part == 0 && d.key != nil {
		b.keys.add(&keyed{string(d.key), d.sum, e.First, e.First + ingestlog.Position(d.total), d.received})
	}
	return nil
}

// keep writes the keys if enough was appended since the last time.
//
// Why an error is only told: the log has the keys, too. What fails here costs time at the next start.
func (b *Inbox) keep(bytes int64) {
	b.mu.Lock()
	b.unkept += bytes
	due := b.unkept >= b.opt.KeepEvery
	b.mu.Unlock()
	if !due || !b.keeping.TryLock() {
		return
	}
	defer b.keeping.Unlock()
	if err := b.saveKeys(); err != nil {
		b.opt.Logger.Warn("the keys of deliveries could not be written beside the log; the next start reads them from it", "error", err)
	}
}

// saveKeys replaces the file of keys. keeping is held.
//
// Invariant: every delivery before the position in the file is in the file, or out of the bounds. A delivery that is
// being appended has its place after floor.
func (b *Inbox) saveKeys() error {
	b.mu.Lock()
	at := b.log.End()
	for _, p := range b.pending {
		at = min(at, p.floor)
	}
	b.keys.forget(b.now())
	doc := b.keys.encode(at, b.acked)
	b.unkept = 0
	b.mu.Unlock()
	path := filepath.Join(b.opt.Dir, keysFile)
	if err := writeFile(b.opt.FS, path+".new", doc); err != nil {
		return fmt.Errorf("write the keys of deliveries: %w", err)
	}
	if err := fpBeforeKeys.Hit(); err != nil {
		return err
	}
	if err := errors.Join(b.opt.FS.Rename(path+".new", path), b.opt.FS.SyncDir(b.opt.Dir)); err != nil {
		return fmt.Errorf("write the keys of deliveries: %w", err)
	}
	return fpAfterKeys.Hit()
}

// ack notes that an engine has committed the rows before a position, and deletes segments that are neither needed nor
// wanted any more.
func (b *Inbox) ack(at ingestlog.Position) error {
	b.mu.Lock()
	b.acked = max(b.acked, at)
	b.mu.Unlock()
	if !b.opt.releases() {
		return nil
	}
	b.keeping.Lock()
	defer b.keeping.Unlock()
	before, err := b.releasable()
	if err != nil || before <= b.log.First() {
		return err
	}
	// Invariant: keys outlive their segments, so they are written first.
	if err := b.saveKeys(); err != nil {
		return err
	}
	return b.log.Release(before)
}

// releasable is the position before which segments may go.
func (b *Inbox) releasable() (before ingestlog.Position, err error) {
	b.mu.Lock()
	acked, now := b.acked, b.now()
	b.mu.Unlock()
	for _, first := range b.log.Segments()[1:] {
		if first > acked {
			break
		}
		old := false
		if b.opt.Retention > 0 {
			received, err := b.receivedAt(first)
			if err != nil {
				return 0, err
			}
			old = received < now-b.opt.Retention.Microseconds()
		}
		if b.opt.RetentionBytes > 0 && !old {
			after, err := b.log.BytesAfter(first)
			if err != nil {
				return 0, err
			}
			old = after >= b.opt.RetentionBytes
		}
		if !old {
			break
		}
		before = first
	}
	return before, nil
}

// receivedAt is when the row at a position arrived. All before came earlier, but for those that arrived at once.
func (b *Inbox) receivedAt(at ingestlog.Position) (int64, error) {
	if b.oldest.at == at && at > 0 {
		return b.oldest.received, nil
	}
	if at >= b.log.End() {
		return b.now64(), nil // a segment without rows yet
	}
	for e, err := range b.log.Entries(at, at+1) {
		if err != nil {
			return 0, err
		}
		d, err := decodeEntry(e.Body)
		if err != nil {
			return 0, err
		}
		b.oldest.at, b.oldest.received = at, d.received
	}
	return b.oldest.received, nil
}

func (b *Inbox) now64() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now()
}

func readFile(fsys vfs.FS, path string) (doc []byte, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(f)
}

func writeFile(fsys vfs.FS, path string, doc []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(doc)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

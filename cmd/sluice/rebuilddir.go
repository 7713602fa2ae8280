package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

var (
	fpExchangeBefore  = failpoint.New("change.exchange.before")
	fpExchangeBetween = failpoint.New("change.exchange.between_renames")
	fpExchangeAfter   = failpoint.New("change.exchange.after_renames")
	fpExchangeSaved   = failpoint.New("change.exchange.after_save")
	fpExchangeSettled = failpoint.New("change.exchange.after_settle")
)

// A rebuildDir is where a rebuild keeps its log, below the pipeline's directory:
//
//	rebuild/log/         the new version's checkpoint log
//	rebuild/tmp/         where DuckDB spills
//	rebuild/ready.json   written when all is filled: which swap takes these files into the pipeline's place
//	rebuild/old-log/     the old version's log, during the exchange
//	rebuild.lock         held by whoever rebuilds or settles
type rebuildDir struct {
	base pipelineDir
	fs   vfs.FS
}

func (d rebuildDir) root() string      { return filepath.Join(string(d.base), "rebuild") }
func (d rebuildDir) logDir() string    { return filepath.Join(d.root(), "log") }
func (d rebuildDir) tempDir() string   { return filepath.Join(d.root(), "tmp") }
func (d rebuildDir) oldLog() string    { return filepath.Join(d.root(), "old-log") }
func (d rebuildDir) readyFile() string { return filepath.Join(d.root(), "ready.json") }

// readyDoc is ready.json.
type readyDoc struct {
	// ID is of the swap in PostgreSQL.
	ID     string `json:"id"`
	Text   []byte `json:"text"` // of the pipeline's file
	Record record `json:"record"`
}

// lock keeps a second rebuild, and a start that would clear this one away, out.
func (d rebuildDir) lock() (io.Closer, error) {
	if err := d.fs.MkdirAll(string(d.base)); err != nil {
		return nil, fmt.Errorf("lock the rebuild: %w", err)
	}
	lock, err := d.fs.Lock(filepath.Join(string(d.base), "rebuild.lock"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("pipeline %s is being rebuilt: %w\nhint: wait until it is done, or stop it", filepath.Base(string(d.base)), err)
	}
	return lock, err
}

func (d rebuildDir) make() error {
	if err := d.fs.MkdirAll(d.tempDir()); err != nil {
		return fmt.Errorf("make the rebuild's directory: %w", err)
	}
	if err := errors.Join(d.fs.SyncDir(string(d.base)), d.fs.SyncDir(d.root())); err != nil {
		return fmt.Errorf("make the rebuild's directory: %w", err)
	}
	return nil
}

// exists says that a path is there. Why the error: to take a directory that cannot be read for one that is not there
// would begin a pipeline whose logs are half exchanged.
func (d rebuildDir) exists(path string) (bool, error) {
	names, err := d.fs.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", path, err)
	}
	return slices.Contains(names, filepath.Base(path)), nil
}

// pending says that a rebuild has left something to settle.
func (d rebuildDir) pending() (bool, error) { return d.exists(d.root()) }

// ready makes durable that the rebuild is complete, and what is to run when it is swapped in.
func (d rebuildDir) ready(id string, text []byte, r record) error {
	doc, err := json.Marshal(readyDoc{id, text, r})
	if err != nil {
		return fmt.Errorf("write %s: %w", d.readyFile(), err)
	}
	return d.write(d.readyFile(), doc)
}

// write replaces a file, whole and durably or not at all.
func (d rebuildDir) write(path string, text []byte) error {
	f, err := d.fs.Create(path + ".tmp")
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = d.fs.Rename(path+".tmp", path)
	}
	if err == nil {
		err = d.fs.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// read returns nil when there is no such file.
func (d rebuildDir) read(path string) ([]byte, error) {
	f, err := d.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// readReady returns nil when no rebuild is complete.
func (d rebuildDir) readReady() (*readyDoc, error) {
	b, err := d.read(d.readyFile())
	if err != nil || b == nil {
		return nil, err
	}
	doc := new(readyDoc)
	if err := json.Unmarshal(b, doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", d.readyFile(), err)
	}
	return doc, nil
}

// swapMarks are what the database says of rebuilds: its word is the decision. *postgres.Sink has them.
type swapMarks interface {
	// Swapped is the ID of the swap that was committed and whose files are not known to be in place.
	Swapped(ctx context.Context, pipeline string) (string, error)
	SettleSwap(ctx context.Context, pipeline string) error
	// DropShadow removes what a rebuild has filled.
	DropShadow(ctx context.Context, pipeline string) error
}

var _ swapMarks = (*postgres.Sink)(nil)

// settle completes a swap that was committed, and clears away a rebuild that was not. The lock is held. db is nil for
// a file that writes nothing to PostgreSQL.
func (d rebuildDir) settle(ctx context.Context, pipeline string, db swapMarks) error {
	if there, err := d.pending(); err != nil || !there {
		return err
	}
	ready, err := d.readReady()
	if err != nil {
		return err
	}
	if ready != nil && db == nil {
		return fmt.Errorf("a rebuild of pipeline %s was interrupted while it was swapped in, and this file writes nothing to PostgreSQL\nhint: start the file that was rebuilt once, which completes it", pipeline)
	}
	if ready != nil {
		id, err := db.Swapped(ctx, pipeline)
		if err != nil {
			return err
		}
		if id == ready.ID {
			// The crash came between the transaction and the end of the exchange.
			return d.exchange(ctx, pipeline, db)
		}
	}
	// The crash came before the transaction: the old version is whole, and what was filled is of no use. Or it came
	// at the very end, when only files are left over. The directory goes last: it is what asks for all this.
	if db != nil {
		if err := errors.Join(db.DropShadow(ctx, pipeline), db.SettleSwap(ctx, pipeline)); err != nil {
			return err
		}
	}
	return d.remove()
}

// exchange puts the rebuild's log and text in the place of the old version's. It can be repeated from any point.
func (d rebuildDir) exchange(ctx context.Context, pipeline string, db swapMarks) error {
	ready, err := d.readReady()
	if err != nil {
		return err
	}
	if err := fpExchangeBefore.Hit(); err != nil {
		return err
	}
	if err := d.renameLogs(); err != nil {
		return fmt.Errorf("put the rebuilt log of pipeline %s in place: %w\nhint: start it again, which goes on from here; its tables are the new version's", pipeline, err)
	}
	if err := fpExchangeAfter.Hit(); err != nil {
		return err
	}
	if err := d.save(ready); err != nil {
		return err
	}
	if err := fpExchangeSaved.Hit(); err != nil {
		return err
	}
	// Why the database forgets first: with ready.json and without the mark, a start clears the directory away, which
	// is all that is left to do. A mark without ready.json would stay for good.
	if err := db.SettleSwap(ctx, pipeline); err != nil {
		return err
	}
	if err := fpExchangeSettled.Hit(); err != nil {
		return err
	}
	return d.remove()
}

// save writes what runs from now on. It keeps the time when the pipeline was made.
func (d rebuildDir) save(ready *readyDoc) error {
	r := ready.Record
	if text, err := d.read(d.base.recordFile()); err == nil && text != nil {
		var old record
		if json.Unmarshal(text, &old) == nil && !old.CreatedAt.IsZero() {
			r.CreatedAt = old.CreatedAt
		}
	}
	doc, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", d.base.recordFile(), err)
	}
	return errors.Join(d.write(d.base.sqlFile(), ready.Text), d.write(d.base.recordFile(), append(doc, '\n')))
}

// renameLogs moves the old log out of the way and the new one into its place.
//
// Crash between: there is no log for a moment, and ready.json, with the mark in the database, says that the rebuild's
// is the one to take.
func (d rebuildDir) renameLogs() error {
	old, err := d.exists(d.base.logDir())
	if err != nil {
		return err
	}
	fresh, err := d.exists(d.logDir())
	if err != nil {
		return err
	}
	if old && fresh {
		if err := d.fs.Rename(d.base.logDir(), d.oldLog()); err != nil {
			return err
		}
		if err := d.syncBoth(); err != nil {
			return err
		}
	}
	if err := fpExchangeBetween.Hit(); err != nil {
		return err
	}
	if fresh {
		if err := d.fs.Rename(d.logDir(), d.base.logDir()); err != nil {
			return err
		}
	}
	return d.syncBoth()
}

func (d rebuildDir) syncBoth() error {
	return errors.Join(d.fs.SyncDir(d.root()), d.fs.SyncDir(string(d.base)))
}

// remove deletes what a rebuild left, ready.json first: what is without it is rubbish.
func (d rebuildDir) remove() error {
	if there, err := d.pending(); err != nil || !there {
		return err
	}
	if err := d.fs.Remove(d.readyFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what a rebuild left: %w", err)
	}
	if err := d.fs.SyncDir(d.root()); err != nil {
		return fmt.Errorf("remove what a rebuild left: %w", err)
	}
	if err := d.removeAll(d.root()); err != nil {
		return fmt.Errorf("remove what a rebuild left: %w", err)
	}
	return d.fs.SyncDir(string(d.base))
}

func (d rebuildDir) removeAll(path string) error {
	// A directory fails to be removed while there is something in it, and ReadDir fails for a file.
	names, notRead := d.fs.ReadDir(path)
	for _, n := range names {
		if err := d.removeAll(filepath.Join(path, n)); err != nil {
			return err
		}
	}
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, notRead)
	}
	return nil
}

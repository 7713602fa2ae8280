package savepoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// Names within a savepoint and a pipeline's directory.
const (
	LogDir    = "log"
	RowsDir   = "rows"
	TablesDir = "tables"
	FilesDir  = "files"
	SQLFile   = "pipeline.sql"
)

// Install puts a savepoint's log, and what was read of tables, in place of a pipeline's, whose engine must not
// run. Logs of rows that the pipeline has had since stay as they are (tables.go). between, if set, is called when the new log is complete and the old one still in place: whatever must
// happen before the exchange, and may fail.
//
// Crash before the exchange: the old log is in place, and *.new is left over. Crash in its middle: the log is
// missing, and the next Install of the same savepoint completes it. Both are seen by whoever starts the
// pipeline, since its ledger and its log do not agree.
func Install(fsys vfs.FS, dir, pipelineDir, pipeline string, between func() error) error {
	if err := fsys.MkdirAll(pipelineDir); err != nil {
		return fmt.Errorf("install savepoint: %w", err)
	}
	logDir := filepath.Join(pipelineDir, LogDir)
	unlock, err := lock(fsys, logDir)
	if err != nil {
		return err
	}
	defer unlock()
	tables := filepath.Join(pipelineDir, TablesDir)
	if err := putBack(fsys, pipelineDir, TablesDir); err != nil {
		return fmt.Errorf("install savepoint: %w", err)
	}
	unlockTables, err := lockTables(fsys, tables)
	if err != nil {
		return fmt.Errorf("install savepoint: %w", err)
	}
	defer unlockTables()
	fresh, freshTables := logDir+".new", filepath.Join(pipelineDir, TablesDir+".new")
	for _, left := range []string{fresh, freshTables} {
		if err := removeTree(fsys, left); err != nil {
			return fmt.Errorf("install savepoint: %w", err)
		}
	}
	if _, err := checkpointlog.Copy(fsys, filepath.Join(dir, LogDir), fresh, checkpointlog.CopyOptions{Pipeline: pipeline}); err != nil {
		return fmt.Errorf("install savepoint: %w", err)
	}
	if err := installTables(fsys, filepath.Join(dir, TablesDir), tables, freshTables); err != nil {
		return fmt.Errorf("install savepoint: %w", err)
	}
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	if err := fpBeforeInstall.Hit(); err != nil {
		return err
	}
	for _, d := range []string{TablesDir, LogDir} { // the log last: it is what a start goes by
		if err := exchange(fsys, pipelineDir, d); err != nil {
			return fmt.Errorf("install savepoint: %w", err)
		}
	}
	return fpAfterInstall.Hit()
}

// lock keeps engines away, if there is a log.
func lock(fsys vfs.FS, logDir string) (func(), error) {
	if _, err := fsys.ReadDir(logDir); errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	l, err := fsys.Lock(filepath.Join(logDir, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("the pipeline is running: %w\nHint: stop it first", err)
	}
	if err != nil {
		return nil, fmt.Errorf("install savepoint: %w", err)
	}
	return func() { _ = l.Close() }, nil // the file is gone or is about to be used by an engine
}

// putBack undoes an exchange of a directory that a crash has cut off between its renames.
func putBack(fsys vfs.FS, parent, name string) error {
	path := filepath.Join(parent, name)
	if _, err := fsys.ReadDir(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := fsys.ReadDir(path + ".old"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return errors.Join(fsys.Rename(path+".old", path), fsys.SyncDir(parent))
}

// installTables makes the new tables directory of a savepoint's files and the pipeline's own.
func installTables(fsys vfs.FS, saved, own, to string) error {
	from, err := tableFiles(fsys, saved, own)
	if err != nil {
		return err
	}
	dirs := map[string]bool{}
	for name, source := range from {
		target := filepath.Join(to, filepath.FromSlash(name))
		if err := fsys.MkdirAll(filepath.Dir(target)); err != nil {
			return err
		}
		for d := filepath.Dir(target); len(d) >= len(to); d = filepath.Dir(d) {
			dirs[d] = true
		}
		if err := copyFile(fsys, source, func() (io.WriteCloser, error) {
			f, err := fsys.Create(target)
			return &syncedFile{f}, err
		}); err != nil {
			return err
		}
	}
	for d := range dirs {
		err = errors.Join(err, fsys.SyncDir(d))
	}
	return err
}

// exchange replaces a directory by its *.new, or deletes it if there is none.
func exchange(fsys vfs.FS, parent, name string) error {
	path := filepath.Join(parent, name)
	old := path + ".old"
	if err := removeTree(fsys, old); err != nil {
		return err
	}
	err := fsys.Rename(path, old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fpBetween.Hit(); err != nil {
		return err
	}
	switch _, err := fsys.ReadDir(path + ".new"); {
	case err == nil:
		if err := fsys.Rename(path+".new", path); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := fsys.SyncDir(parent); err != nil {
		return err
	}
	return removeTree(fsys, old)
}

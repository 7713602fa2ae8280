package checkpointstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var (
	fpRestoreObject  = failpoint.New("restore.before_object")
	fpRestorePublish = failpoint.New("restore.before_publish")
	fpRestoreLog     = failpoint.New("restore.before_log")
	fpRestoreDone    = failpoint.New("restore.after_log")
)

// A stage is where a restore works: LOGDIR.restore. Its LOCK keeps a second restore out.
//
// Crash at any time: the log's directory gets its name last, so the next start restores again, from the
// beginning.
type stage struct {
	o    RestoreOptions
	dir  string
	lock io.Closer
}

const asideSuffix = ".aside"

func newStage(o RestoreOptions) (*stage, error) {
	s := &stage{o: o, dir: o.LogDir + ".restore"}
	if err := o.FS.MkdirAll(s.dir); err != nil {
		return nil, fmt.Errorf("prepare the restore: %w", err)
	}
	lock, err := o.FS.Lock(filepath.Join(s.dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("prepare the restore in %s: %w", s.dir, err)
	}
	s.lock = lock
	return s, nil
}

// close removes what is left of the stage; what cannot be removed is, at the next restore.
func (s *stage) close() {
	_ = errors.Join(s.clear(), s.o.FS.Remove(filepath.Join(s.dir, "LOCK")), s.lock.Close(), s.o.FS.Remove(s.dir))
}

func (s *stage) clear() error {
	names, err := s.o.FS.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != "LOCK" {
			if err := removeAll(s.o.FS, filepath.Join(s.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeAll(fsys vfs.FS, path string) error {
	if names, err := fsys.ReadDir(path); err == nil {
		for _, name := range names {
			if err := removeAll(fsys, filepath.Join(path, name)); err != nil {
				return err
			}
		}
	}
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fill makes the files of a copy, and the log's manifest as the last one.
func (s *stage) fill(ctx context.Context, c Copy) error {
	if err := s.clear(); err != nil {
		return err
	}
	var done int64
	told := func(n int64) {
		if done += n; s.o.OnBytes != nil {
			s.o.OnBytes(done, c.Bytes)
		}
	}
	dirs := map[string]bool{filepath.Join(s.dir, "log"): true}
	for _, f := range c.manifest.Files {
		if first, _, _ := strings.Cut(f.Name, "/"); first != "log" && !slices.ContainsFunc(s.o.Others, func(d Directory) bool { return d.Name == first }) {
			return fmt.Errorf("its manifest names %s, which this program does not know where to put", f.Name)
		}
		to := filepath.Join(s.dir, filepath.FromSlash(f.Name))
		for dir := filepath.Dir(to); dir != s.dir; dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
		if err := s.file(to, func(file vfs.File) error {
			return c.download(ctx, f, &writerAt{f: file, told: told}, s.o.MaxWait)
		}); err != nil {
			return err
		}
	}
	err := s.file(filepath.Join(s.dir, "log", "MANIFEST"), func(f vfs.File) error {
		_, err := f.Write([]byte(c.manifest.Log))
		return err
	})
	for dir := range dirs {
		err = errors.Join(err, s.o.FS.SyncDir(dir))
	}
	return errors.Join(err, s.o.FS.SyncDir(s.dir))
}

func (s *stage) file(to string, fill func(vfs.File) error) error {
	if err := s.o.FS.MkdirAll(filepath.Dir(to)); err != nil {
		return err
	}
	f, err := s.o.FS.Create(to)
	if err != nil {
		return err
	}
	if err := fill(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// verify reads every record of the restored log.
func (s *stage) verify() error {
	report, err := checkpointlog.Verify(filepath.Join(s.dir, "log"), s.o.FS)
	switch {
	case err != nil:
		return err
	case report.Torn != nil:
		return fmt.Errorf("a copy ends where records do, and this one does not: %w", report.Torn)
	case report.Header.Pipeline != s.o.Pipeline:
		return fmt.Errorf("it is the log of pipeline %q, not of %q", report.Header.Pipeline, s.o.Pipeline)
	}
	return nil
}

// publish moves everything to its place, the log last: while it is not there, the restore is not done.
func (s *stage) publish() error {
	if err := fpRestorePublish.Hit(); err != nil {
		return err
	}
	for _, d := range s.o.Others {
		from := filepath.Join(s.dir, d.Name)
		if _, err := s.o.FS.ReadDir(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := s.replace(from, d.Path); err != nil {
			return err
		}
	}
	if err := fpRestoreLog.Hit(); err != nil {
		return err
	}
	if err := s.replaceLog(); err != nil {
		return err
	}
	return fpRestoreDone.Hit()
}

// replaceLog takes the old log's lock before it is set aside: an engine may be using it.
func (s *stage) replaceLog() error {
	if _, err := s.o.FS.ReadDir(s.o.LogDir); err == nil {
		lock, err := s.o.FS.Lock(path.Join(s.o.LogDir, "LOCK"))
		if err != nil {
			return fmt.Errorf("set %s aside: %w", s.o.LogDir, err)
		}
		defer lock.Close()
	}
	return s.replace(filepath.Join(s.dir, "log"), s.o.LogDir)
}

// replace renames a directory to a place, and what is there to NAME.aside-1, or the next free number.
func (s *stage) replace(from, to string) error {
	parent := filepath.Dir(to)
	if err := s.o.FS.MkdirAll(parent); err != nil {
		return err
	}
	if _, err := s.o.FS.ReadDir(to); err == nil {
		aside, err := s.aside(to)
		if err != nil {
			return err
		}
		if err := s.o.FS.Rename(to, aside); err != nil {
			return fmt.Errorf("set %s aside: %w", to, err)
		}
		s.o.Logger.Warn("what was there before the restore was set aside", "pipeline", s.o.Pipeline, "directory", aside)
	}
	if err := s.o.FS.Rename(from, to); err != nil {
		return fmt.Errorf("put the restored directory in its place: %w", err)
	}
	return errors.Join(s.o.FS.SyncDir(parent), s.o.FS.SyncDir(s.dir))
}

func (s *stage) aside(to string) (string, error) {
	names, err := s.o.FS.ReadDir(filepath.Dir(to))
	if err != nil {
		return "", err
	}
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s%s-%d", filepath.Base(to), asideSuffix, i)
		if !slices.Contains(names, name) {
			return filepath.Join(filepath.Dir(to), name), nil
		}
	}
}

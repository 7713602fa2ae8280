package savepoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// What stands in a pipeline's tables directory are logs, a directory each, of rows that nobody can be asked for again:
// rows that were posted, changes that a replication slot gave once. They only grow, and their positions never change
// their meaning. So a pipeline that is put back to a savepoint keeps what its logs have had since: it reads that again,
// as it reads a topic again. What was acknowledged to whoever sent it, or confirmed to the database, is in no other place.

const (
	logSuffix = ".ing"
	// logHeader is how much of a log's file says which file it is: it has random bytes.
	logHeader = 36
	lockName  = "LOCK"
)

// tableFiles says for each file of the new tables directory where it comes from: the savepoint, or the pipeline's own
// directory, which may not be there.
func tableFiles(fsys vfs.FS, saved, own string) (map[string]string, error) {
	ofSaved, err := files(fsys, saved)
	if err != nil {
		return nil, err
	}
	ofOwn, err := files(fsys, own)
	if err != nil {
		return nil, err
	}
	from := map[string]string{}
	for _, dir := range dirsOf(ofSaved, ofOwn) {
		before, now := within(ofSaved, dir), within(ofOwn, dir)
		grown, err := isGrown(fsys, saved, own, before, now)
		if err != nil {
			return nil, err
		}
		if len(before) == 0 && !slices.ContainsFunc(now, isLog) {
			continue // nothing that is worth keeping
		}
		for _, name := range before {
			from[name] = filepath.Join(saved, filepath.FromSlash(name))
		}
		if grown {
			for _, name := range now {
				from[name] = filepath.Join(own, filepath.FromSlash(name))
			}
			err = isWhole(dir, before, now)
		}
		if err != nil {
			return nil, err
		}
	}
	return from, nil
}

// isGrown says that a log of the pipeline is the savepoint's, with what was appended since.
func isGrown(fsys vfs.FS, saved, own string, before, now []string) (bool, error) {
	before, now = slices.Clone(before), slices.Clone(now)
	before, now = slices.DeleteFunc(before, isNoLog), slices.DeleteFunc(now, isNoLog)
	if len(now) == 0 || len(before) > 0 && now[len(now)-1] < before[len(before)-1] {
		return false, nil
	}
	for _, name := range before {
		if !slices.Contains(now, name) {
			continue // it was deleted since, by a retention
		}
		a, err := head(fsys, filepath.Join(saved, filepath.FromSlash(name)))
		if err != nil {
			return false, err
		}
		b, err := head(fsys, filepath.Join(own, filepath.FromSlash(name)))
		if err != nil || !bytes.HasPrefix(b, a) {
			return false, err
		}
	}
	return true, nil
}

// isWhole fails if rows that came after the savepoint are gone: its last file went on after it was copied.
func isWhole(dir string, before, now []string) error {
	before = slices.DeleteFunc(slices.Clone(before), isNoLog)
	if len(before) == 0 || slices.Contains(now, before[len(before)-1]) {
		return nil
	}
	return fmt.Errorf("rows of %s that came after the savepoint were deleted, by the source's retention: going back to it would leave them out\n"+
		"Hint: start another pipeline from the savepoint, with --name; or take a newer savepoint", dir)
}

func isLog(name string) bool   { return strings.HasSuffix(name, logSuffix) }
func isNoLog(name string) bool { return !isLog(name) }

// files lists the files below a directory, locks left out, as slash-separated paths, sorted.
func files(fsys vfs.FS, dir string) (out []string, err error) {
	if _, err := fsys.ReadDir(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = eachFile(fsys, dir, "", func(name string) error {
		if path.Base(name) != lockName {
			out = append(out, name)
		}
		return nil
	})
	slices.Sort(out)
	return out, err
}

func dirsOf(lists ...[]string) (out []string) {
	for _, list := range lists {
		for _, name := range list {
			out = append(out, path.Dir(name))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func within(list []string, dir string) (out []string) {
	for _, name := range list {
		if path.Dir(name) == dir {
			out = append(out, name)
		}
	}
	return out
}

// head is the beginning of a file, shorter if the file is.
func head(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	b := make([]byte, logHeader)
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], errors.Join(err, f.Close())
}

// lockTables keeps whoever appends to the logs away: a daemon may take posted rows for a pipeline that does not run.
func lockTables(fsys vfs.FS, dir string) (unlock func(), err error) {
	var locks []io.Closer
	unlock = func() {
		for _, l := range locks {
			_ = l.Close() // as in lock
		}
	}
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return unlock, nil
	}
	for _, name := range names {
		in, err := fsys.ReadDir(filepath.Join(dir, name))
		if err != nil && !isFile(err) {
			unlock()
			return nil, err
		}
		if !slices.Contains(in, lockName) {
			continue
		}
		l, err := fsys.Lock(filepath.Join(dir, name, lockName))
		if err != nil {
			unlock()
			if errors.Is(err, vfs.ErrLocked) {
				err = fmt.Errorf("%s is being written: %w\nHint: stop the daemon, which may take rows for a pipeline that does not run", filepath.Join(dir, name), err)
			}
			return nil, err
		}
		locks = append(locks, l)
	}
	return unlock, err
}

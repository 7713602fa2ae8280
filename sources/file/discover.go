package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"
	"unicode/utf8"
)

// refreshEvery is how old the listing may get while there is still something to read from it. When there
// is nothing left it is refreshed at once.
const refreshEvery = time.Second

// A found file is one that the patterns matched at the last refresh.
type found struct {
	path  string
	size  int64
	inode uint64
	mtime time.Time
	// The bytes from scannedFrom to scannedTo are known to hold no whole row.
	scannedFrom, scannedTo int64
}

// exhausted reports whether nothing can be read from an offset on.
func (f *found) exhausted(offset int64) bool {
	return f.size <= offset || offset == f.scannedFrom && f.size <= f.scannedTo
}

// A listing is what the patterns matched, in order of discovery.
type listing struct {
	files []*found
	byKey map[string]*found
	at    time.Time
}

// refresh lists and stats the files. Directories are skipped.
func (s *Source) refresh() error {
	patterns, err := s.opt.patterns()
	if err != nil {
		return err
	}
	l := &listing{byKey: map[string]*found{}, at: time.Now()}
	for _, p := range patterns {
		paths := []string{p}
		if isGlob(p) && !exists(s.opt.abs(p)) {
			if paths, err = s.glob(p); err != nil {
				return err
			}
		}
		for _, path := range paths {
			if err := s.add(l, path, isGlob(p)); err != nil {
				return err
			}
		}
	}
	if s.opt.Mode == "bounded" && len(l.files) == 0 {
		return fmt.Errorf("source %s: no file matches %s\nHint: relative paths start at %s; mode = 'tail' waits for files to appear",
			s.opt.Name, s.opt.Path, s.opt.abs("."))
	}
	s.list = l
	return nil
}

func (s *Source) add(l *listing, path string, globbed bool) error {
	if l.byKey[path] != nil {
		return nil
	}
	if !utf8.ValidString(path) {
		return fmt.Errorf("source %s: file name %q is not valid UTF-8\nHint: rename the file", s.opt.Name, path)
	}
	info, err := os.Stat(s.opt.abs(path))
	switch {
	case errors.Is(err, fs.ErrNotExist) && (globbed || s.opt.Mode == "tail"):
		return nil
	case err != nil:
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	case info.IsDir():
		return nil
	}
	f := &found{path: path, size: info.Size(), inode: inodeOf(info), mtime: info.ModTime()}
	if s.list != nil {
		if old := s.list.byKey[path]; old != nil && old.inode == f.inode {
			f.scannedFrom, f.scannedTo = old.scannedFrom, old.scannedTo
		}
	}
	l.files = append(l.files, f)
	l.byKey[path] = f
	return nil
}

// glob returns the matches of a pattern, sorted, relative to the same directory as the pattern.
func (s *Source) glob(p string) ([]string, error) {
	matches, err := filepath.Glob(s.opt.abs(p))
	if err != nil {
		return nil, fmt.Errorf("source %s: %s: %w", s.opt.Name, p, err)
	}
	if s.opt.BaseDir != "" && !filepath.IsAbs(p) {
		for i, m := range matches {
			if rel, err := filepath.Rel(s.opt.BaseDir, m); err == nil {
				matches[i] = rel
			}
		}
	}
	sort.Strings(matches)
	return matches, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

package ingestlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// ErrMoved marks (errors.Is) a directory that somebody else goes on from.
var ErrMoved = errors.New("another process goes on from a copy of the log")

// MovedFile is in a directory that somebody else goes on from. It is no part of a copy.
const MovedFile = "moved"

// MarkMoved is called by whoever is about to copy a directory and go on from the copy, while the old owner may have it
// open: from then on that one tells nobody that anything is durable.
//
// Invariant: what somebody was told is in the copy. The owner looks for the mark (Stayed) after something is durable and
// before it says so; if there was none, the copy begins later.
func MarkMoved(fsys vfs.FS, dir string) error {
	f, err := fsys.Create(filepath.Join(dir, MovedFile))
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), fsys.SyncDir(dir))
	}
	if err != nil {
		return fmt.Errorf("mark a log as moved: %w", err)
	}
	return nil
}

// Stayed is an error that wraps ErrMoved if somebody else goes on.
func Stayed(fsys vfs.FS, dir string) error {
	f, err := fsys.Open(filepath.Join(dir, MovedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err = f.Close(); err == nil {
			err = ErrMoved
		}
	}
	return fmt.Errorf("look who owns %s: %w", dir, err)
}

// Own takes the mark away: the directory has an owner again.
func Own(fsys vfs.FS, dir string) error {
	err := fsys.Remove(filepath.Join(dir, MovedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, fsys.SyncDir(dir))
}

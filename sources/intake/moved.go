package intake

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

// MarkMoved is called by whoever is about to copy a directory and go on from the copy, while the Inbox of the old owner may
// be open: from then on that one acknowledges nothing.
//
// Invariant: what is acknowledged is in the copy. Put looks for the mark after its rows are durable and before it
// returns; if there was none, the copy begins later.
func MarkMoved(fsys vfs.FS, dir string) error {
	if err := errors.Join(writeFile(fsys, filepath.Join(dir, MovedFile), nil), fsys.SyncDir(dir)); err != nil {
		return fmt.Errorf("mark a log as moved: %w", err)
	}
	return nil
}

// stayed is an error that wraps ErrMoved if somebody else goes on.
func stayed(fsys vfs.FS, dir string) error {
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

func (b *Inbox) stayed() error { return stayed(b.opt.FS, b.opt.Dir) }

// Own takes the mark away: whoever has the Inbox open owns what it is a part of now.
func (b *Inbox) Own() error { return unmark(b.opt.FS, b.opt.Dir) }

// unmark takes the mark away: the directory has an owner again.
func unmark(fsys vfs.FS, dir string) error {
	err := fsys.Remove(filepath.Join(dir, MovedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, fsys.SyncDir(dir))
}

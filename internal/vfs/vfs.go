// Package vfs is the small part of a file system that the checkpoint log stands on, behind an interface,
// so that a test can make every single operation fail or be the last one before a power cut.
//
// OS is the real one. Mem keeps everything in memory and knows what was not synced: CrashClone gives
// the directory as a machine might find it after losing power. Inject wraps either and fails the
// operations a test chooses.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked marks (errors.Is) a lock that another process or another handle holds.
var ErrLocked = errors.New("locked")

// A File is an open file. Write appends at the handle's position, which Create and OpenAppend place at
// the end of the file; ReadAt and WriteAt do not move it.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync returns once the file's bytes and length are durable; its directory entry is not (SyncDir).
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// An FS holds files by path. Missing files give errors that are fs.ErrNotExist.
type FS interface {
	// Create makes an empty file, or empties the one that is there, open for reading and writing.
	Create(path string) (File, error)
	// OpenAppend opens an existing file for reading and writing, positioned at its end.
	OpenAppend(path string) (File, error)
	// Open opens an existing file for reading.
	Open(path string) (File, error)
	// ReadDir lists the names in a directory, sorted, those of directories included.
	ReadDir(dir string) ([]string, error)
	// Rename replaces newPath atomically. A directory can be renamed, too, into another directory of the same
	// file system, if newPath does not exist; it is durable when both parents are synced.
	Rename(oldPath, newPath string) error
	// Remove deletes a file or an empty directory.
	Remove(path string) error
	MkdirAll(dir string) error
	// SyncDir makes the directory's entries (creations, renames, removals) durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock that dies with the process, and fails with ErrLocked when it is held.
	Lock(path string) (io.Closer, error)
}

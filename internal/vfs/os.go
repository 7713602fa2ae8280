package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the machine's file system.
type OS struct {
	// Shared gives new files and directories the mode that the process's umask allows, because they are for
	// others to read. Defaults to files that only their owner can read: state can hold anything.
	Shared bool
}

func (o OS) mode(private, shared os.FileMode) os.FileMode {
	if o.Shared {
		return shared
	}
	return private
}

var _ FS = OS{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o OS) Create(path string) (File, error) {
	return wrap(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, o.mode(0o600, 0o666)))
}

func (OS) OpenAppend(path string) (File, error) {
	// Not O_APPEND, which would forbid WriteAt.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func (OS) Open(path string) (File, error) { return wrap(os.Open(path)) }

func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (OS) Rename(oldPath, newPath string) error { return os.Rename(oldPath, newPath) }
func (OS) Remove(path string) error             { return os.Remove(path) }
func (o OS) MkdirAll(dir string) error          { return os.MkdirAll(dir, o.mode(0o700, 0o777)) }

func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Lock uses flock: the kernel releases it when the process ends, however it ends. The file holds the
// owner's process id, for the message only.
func (OS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is held by process %s: %w", path, strings.TrimSpace(string(owner)), ErrLocked)
		}
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

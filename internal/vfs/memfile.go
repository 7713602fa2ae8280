package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// memFile is a handle of a Mem file.
type memFile struct {
	fs       *Mem
	node     *node
	path     string
	pos      int64
	writable bool
	closed   bool
}

// begin checks the handle; the caller holds the file system's lock.
func (f *memFile) begin(op string, write bool) error {
	switch {
	case f.closed:
		return pathErr(op, f.path, fs.ErrClosed)
	case write && !f.writable:
		return pathErr(op, f.path, errors.New("opened for reading only"))
	}
	return nil
}

func (f *memFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("read", false); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("write", true); err != nil {
		return 0, err
	}
	n := f.node
	if gap := int(off) - len(n.data); gap > 0 {
		n.dirtyFrom = min(n.dirtyFrom, len(n.data))
		n.data = append(n.data, make([]byte, gap)...)
	}
	n.dirtyFrom = min(n.dirtyFrom, int(off))
	overlap := copy(n.data[off:], p)
	n.data = append(n.data, p[overlap:]...)
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("sync", false); err != nil {
		return err
	}
	f.node.synced = f.node.written()
	f.node.dirtyFrom = len(f.node.data)
	return nil
}

// written is the durable content once all dirty bytes are written.
func (n *node) written() []byte {
	return overlay(n.synced[:min(len(n.synced), len(n.data))], n.data[n.dirtyFrom:], n.dirtyFrom)
}

// dropDirty does what Linux does when a sync fails: the pages stay readable but are no longer dirty, so
// that another sync succeeds without writing them.
func (f *memFile) dropDirty() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.dirtyFrom = len(f.node.data)
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("truncate", true); err != nil {
		return err
	}
	f.node.truncate(int(size))
	return nil
}

func (n *node) truncate(size int) {
	if size < len(n.data) {
		n.data = n.data[:size]
		n.dirtyFrom = min(n.dirtyFrom, size)
	}
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("stat", false); err != nil {
		return 0, err
	}
	return int64(len(f.node.data)), nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("close", false); err != nil {
		return err
	}
	f.closed = true
	return nil
}

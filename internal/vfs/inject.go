package vfs

import "io"

// Op names one operation that Inject is about to do.
type Op struct {
	Kind string // the method: create, open, openappend, readdir, rename, remove, mkdir, syncdir, lock, read, write, sync, truncate, size, close
	Path string
}

// Inject wraps a file system: before every operation it asks check, and an error makes the operation
// fail with it. A write that fails has written the first half of its bytes, as a full disk leaves it; a
// sync that fails has synced nothing, and on a Mem no later one will write those bytes, as on Linux.
func Inject(under FS, check func(Op) error) FS { return &inject{under, check} }

type inject struct {
	fs    FS
	check func(Op) error
}

type injectFile struct {
	File
	path  string
	check func(Op) error
}

func (i *inject) file(kind, path string, open func(string) (File, error)) (File, error) {
	if err := i.check(Op{kind, path}); err != nil {
		return nil, pathErr(kind, path, err)
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	return &injectFile{f, path, i.check}, nil
}

func (i *inject) do(kind, path string, op func() error) error {
	if err := i.check(Op{kind, path}); err != nil {
		return pathErr(kind, path, err)
	}
	return op()
}

func (i *inject) Create(path string) (File, error) { return i.file("create", path, i.fs.Create) }
func (i *inject) Open(path string) (File, error)   { return i.file("open", path, i.fs.Open) }
func (i *inject) OpenAppend(path string) (File, error) {
	return i.file("openappend", path, i.fs.OpenAppend)
}

func (i *inject) ReadDir(dir string) (names []string, err error) {
	err = i.do("readdir", dir, func() (err error) { names, err = i.fs.ReadDir(dir); return err })
	return names, err
}

func (i *inject) Rename(oldPath, newPath string) error {
	return i.do("rename", oldPath, func() error { return i.fs.Rename(oldPath, newPath) })
}

func (i *inject) Remove(path string) error {
	return i.do("remove", path, func() error { return i.fs.Remove(path) })
}

func (i *inject) MkdirAll(dir string) error {
	return i.do("mkdir", dir, func() error { return i.fs.MkdirAll(dir) })
}

func (i *inject) SyncDir(dir string) error {
	return i.do("syncdir", dir, func() error { return i.fs.SyncDir(dir) })
}

func (i *inject) Lock(path string) (c io.Closer, err error) {
	err = i.do("lock", path, func() (err error) { c, err = i.fs.Lock(path); return err })
	return c, err
}

func (f *injectFile) Read(p []byte) (int, error) {
	if err := f.check(Op{"read", f.path}); err != nil {
		return 0, pathErr("read", f.path, err)
	}
	return f.File.Read(p)
}

func (f *injectFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check(Op{"read", f.path}); err != nil {
		return 0, pathErr("read", f.path, err)
	}
	return f.File.ReadAt(p, off)
}

func (f *injectFile) Write(p []byte) (int, error) {
	if err := f.check(Op{"write", f.path}); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, pathErr("write", f.path, err)
	}
	return f.File.Write(p)
}

func (f *injectFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check(Op{"write", f.path}); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, pathErr("write", f.path, err)
	}
	return f.File.WriteAt(p, off)
}

func (f *injectFile) Sync() error {
	if err := f.check(Op{"sync", f.path}); err != nil {
		if mem, ok := f.File.(*memFile); ok {
			mem.dropDirty()
		}
		return pathErr("sync", f.path, err)
	}
	return f.File.Sync()
}

func (f *injectFile) Truncate(size int64) error {
	if err := f.check(Op{"truncate", f.path}); err != nil {
		return pathErr("truncate", f.path, err)
	}
	return f.File.Truncate(size)
}

func (f *injectFile) Size() (int64, error) {
	if err := f.check(Op{"size", f.path}); err != nil {
		return 0, pathErr("size", f.path, err)
	}
	return f.File.Size()
}

// Close always closes: a test that fails it must not leak the handle underneath.
func (f *injectFile) Close() error {
	err := f.check(Op{"close", f.path})
	if closeErr := f.File.Close(); err == nil {
		return closeErr
	}
	return pathErr("close", f.path, err)
}

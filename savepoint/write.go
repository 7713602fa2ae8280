package savepoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

var (
	fpBeforePublish = failpoint.New("savepoint.before_publish")
	fpAfterPublish  = failpoint.New("savepoint.after_publish")
	fpBeforeInstall = failpoint.New("savepoint.before_install")
	fpBetween       = failpoint.New("savepoint.between_renames")
	fpAfterInstall  = failpoint.New("savepoint.after_install")
)

// Writer makes a savepoint. End it with Publish or Abort.
type Writer struct {
	fs          vfs.FS
	root, name  string
	temp, final string
	dirs        []string
	done        bool
}

// Begin starts a savepoint in a directory of savepoints. What an earlier attempt left is deleted.
func Begin(fsys vfs.FS, root, name string) (*Writer, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	w := &Writer{fs: fsys, root: root, name: name, final: filepath.Join(root, name)}
	w.temp = w.final + tempSuffix
	if _, err := fsys.ReadDir(w.final); err == nil {
		return nil, fmt.Errorf("create savepoint %s: %w\nHint: choose another name, or delete it with sluice savepoint rm %s", name, ErrExists, name)
	}
	if err := fsys.MkdirAll(root); err != nil {
		return nil, fmt.Errorf("create savepoint %s: %w", name, err)
	}
	if err := removeTree(fsys, w.temp); err != nil {
		return nil, fmt.Errorf("create savepoint %s: %w", name, err)
	}
	_, err := w.Dir(".")
	return w, err
}

// Dir makes a directory of the savepoint and returns its path.
func (w *Writer) Dir(name string) (string, error) {
	path := filepath.Join(w.temp, filepath.FromSlash(name))
	if err := w.fs.MkdirAll(path); err != nil {
		return "", fmt.Errorf("create savepoint %s: %w", w.name, err)
	}
	if !slices.Contains(w.dirs, path) {
		w.dirs = append(w.dirs, path)
	}
	return path, nil
}

// Create makes a file of the savepoint, which is durable when it is closed without an error.
func (w *Writer) Create(name string) (io.WriteCloser, error) {
	dir, err := w.Dir(filepath.Dir(filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	f, err := w.fs.Create(filepath.Join(dir, filepath.Base(name)))
	if err != nil {
		return nil, fmt.Errorf("create savepoint %s: %w", w.name, err)
	}
	return &syncedFile{f}, nil
}

type syncedFile struct{ vfs.File }

func (f *syncedFile) Close() error { return errors.Join(f.File.Sync(), f.File.Close()) }

// Put writes a small file.
func (w *Writer) Put(name string, content []byte) error {
	f, err := w.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("create savepoint %s: %w", w.name, err)
	}
	return nil
}

// PutTree copies a directory with what is below it; a missing one is nothing. Locks and files that are being made stay out:
// whoever makes them gives them their names meanwhile.
func (w *Writer) PutTree(name, from string) error {
	return copyTree(w.fs, from, func(path string) (io.WriteCloser, error) { return w.Create(name + "/" + path) })
}

// Publish completes the savepoint. All its files are read once more for their checksums, so what is recorded is
// what the disk gives back.
func (w *Writer) Publish(info Info) (*Info, error) {
	info.Format, info.Name, info.Files = Format, w.name, nil
	err := eachFile(w.fs, w.temp, "", func(path string) error {
		f, err := sum(w.fs, filepath.Join(w.temp, filepath.FromSlash(path)))
		f.Path = path
		info.Files = append(info.Files, f)
		return err
	})
	if err == nil {
		err = w.publish(&info)
	}
	if err != nil {
		return nil, fmt.Errorf("create savepoint %s: %w", w.name, err)
	}
	return &info, nil
}

func (w *Writer) publish(info *Info) error {
	body, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	body = append(body, '\n')
	if err := w.Put(indexName, append([]byte(firstLine(body)), body...)); err != nil {
		return err
	}
	for _, dir := range w.dirs {
		if err := w.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := fpBeforePublish.Hit(); err != nil {
		return err
	}
	if err := w.fs.Rename(w.temp, w.final); err != nil {
		return err
	}
	w.done = true
	for _, dir := range []string{w.root, filepath.Dir(w.root)} {
		if err := w.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return fpAfterPublish.Hit()
}

// Abort deletes an unpublished savepoint. After Publish it does nothing, so it can be deferred.
func (w *Writer) Abort() {
	if !w.done {
		w.done = true
		_ = removeTree(w.fs, w.temp) // what stays is deleted by the next Begin of that name
	}
}

// Remove deletes a savepoint.
//
// Crash after the rename: what is left has a temporary name, and the next Begin or Remove of that name deletes it.
func Remove(fsys vfs.FS, root, name string) error {
	temp := filepath.Join(root, name+tempSuffix)
	if err := removeTree(fsys, temp); err != nil {
		return fmt.Errorf("delete savepoint %s: %w", name, err)
	}
	err := fsys.Rename(filepath.Join(root, name), temp)
	if err == nil {
		err = fsys.SyncDir(root)
	}
	if err == nil {
		err = removeTree(fsys, temp)
	}
	if err != nil {
		return fmt.Errorf("delete savepoint %s: %w", name, err)
	}
	return nil
}

// eachFile calls fn with the path of every file below a directory.
func eachFile(fsys vfs.FS, dir, prefix string, fn func(path string) error) error {
	names, err := fsys.ReadDir(filepath.Join(dir, filepath.FromSlash(prefix)))
	if err != nil {
		return err
	}
	for _, name := range names {
		path := strings.TrimPrefix(prefix+"/"+name, "/")
		_, err := fsys.ReadDir(filepath.Join(dir, filepath.FromSlash(path)))
		switch {
		case err == nil:
			err = eachFile(fsys, dir, path, fn)
		case isFile(err):
			err = fn(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isFile says of ReadDir's error that there is no directory: a directory that cannot be read must not pass for a file.
func isFile(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func copyTree(fsys vfs.FS, from string, create func(path string) (io.WriteCloser, error)) error {
	if _, err := fsys.ReadDir(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return eachFile(fsys, from, "", func(path string) error {
		if base := filepath.Base(path); base == lockName || strings.HasSuffix(base, ".new") {
			return nil
		}
		return copyFile(fsys, filepath.Join(from, filepath.FromSlash(path)), func() (io.WriteCloser, error) { return create(path) })
	})
}

func copyFile(fsys vfs.FS, from string, create func() (io.WriteCloser, error)) error {
	in, err := fsys.Open(from)
	if err != nil {
		return err
	}
	out, err := create()
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), in.Close())
}

// removeTree deletes a directory with what is below it; a missing one is fine.
func removeTree(fsys vfs.FS, dir string) error {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := fsys.ReadDir(path); err == nil {
			err = removeTree(fsys, path)
			if err != nil {
				return err
			}
			continue
		}
		if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fsys.Remove(dir)
}

type checked struct {
	io.ReadCloser
	h    hash.Hash32
	left int64
	want File
	path string
}

// Read checks the file when it is at its end.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	_, _ = c.h.Write(p[:n]) // never fails
	c.left -= int64(n)
	if err == io.EOF && (c.left != 0 || c.h.Sum32() != c.want.CRC32C) {
		return n, &DamagedError{c.path, "its checksum does not match"}
	}
	return n, err
}

// Reader opens a file of a savepoint; the last Read fails if the file is not as it was written.
func (i *Info) Reader(fsys vfs.FS, dir, name string) (io.ReadCloser, error) {
	path := filepath.Join(dir, filepath.FromSlash(name))
	at := slices.IndexFunc(i.Files, func(f File) bool { return f.Path == name })
	if at < 0 {
		return nil, &DamagedError{path, "it is not among its files"}
	}
	f, err := fsys.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read savepoint: %w", err)
	}
	return &checked{f, crc32.New(castagnoli), i.Files[at].Bytes, i.Files[at], path}, nil
}

package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Mem is a file system in memory that remembers what has been synced. Directories are durable as soon
// as they are made; files and their directory entries are durable only after Sync and SyncDir.
type Mem struct {
	mu      sync.Mutex
	files   map[string]*node // as programs see it
	durable map[string]*node // entries that a power cut leaves
	pending []entryOp        // changes of entries since their directory was synced, in order
	dirs    map[string]bool
	locks   map[string]bool
}

var _ FS = (*Mem)(nil)

// node is a file's content, shared by its handles and its names.
type node struct {
	data   []byte
	synced []byte
	// dirtyFrom is where the bytes begin that the next sync writes.
	dirtyFrom int
}

// entryOp is a change of directory entries: at each path the node that it names afterwards, nil if none.
// A rename changes two at once; that of a directory takes along what it finds below.
type entryOp struct {
	dir   string
	paths []string
	nodes []*node
	// from and to are set for the rename of a directory.
	from, to string
}

func (op entryOp) apply(to map[string]*node) {
	if op.from != "" {
		for p, n := range maps.Clone(to) {
			if inside(p, op.from) {
				delete(to, p)
				to[op.to+p[len(op.from):]] = n
			}
		}
	}
	for i, p := range op.paths {
		if op.nodes[i] == nil {
			delete(to, p)
		} else {
			to[p] = op.nodes[i]
		}
	}
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{
		files:   make(map[string]*node),
		durable: make(map[string]*node),
		dirs:    map[string]bool{"/": true, ".": true},
		locks:   make(map[string]bool),
	}
}

func pathErr(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

// change does an entry change and remembers it until the directory is synced. The caller holds mu.
func (m *Mem) change(op entryOp) {
	op.apply(m.files)
	m.pending = append(m.pending, op)
}

func (m *Mem) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if !m.dirs[filepath.Dir(path)] {
		return nil, pathErr("create", path, fs.ErrNotExist)
	}
	n := m.files[path]
	if n == nil {
		n = &node{}
		m.change(entryOp{dir: filepath.Dir(path), paths: []string{path}, nodes: []*node{n}})
	}
	n.truncate(0)
	return &memFile{fs: m, node: n, path: path, writable: true}, nil
}

func (m *Mem) open(path string, writable bool) (*memFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	n := m.files[path]
	if n == nil {
		return nil, pathErr("open", path, fs.ErrNotExist)
	}
	f := &memFile{fs: m, node: n, path: path, writable: writable}
	if writable {
		f.pos = int64(len(n.data))
	}
	return f, nil
}

func (m *Mem) OpenAppend(path string) (File, error) { return asFile(m.open(path, true)) }
func (m *Mem) Open(path string) (File, error)       { return asFile(m.open(path, false)) }

func asFile(f *memFile, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (m *Mem) ReadDir(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = filepath.Clean(dir)
	if !m.dirs[dir] {
		return nil, pathErr("readdir", dir, fs.ErrNotExist)
	}
	var names []string
	for path := range m.files {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	for path := range m.dirs {
		if filepath.Dir(path) == dir && path != dir {
			names = append(names, filepath.Base(path))
		}
	}
	sort.Strings(names)
	return names, nil
}

func (m *Mem) Rename(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldPath, newPath = filepath.Clean(oldPath), filepath.Clean(newPath)
	if m.dirs[oldPath] {
		return m.renameDir(oldPath, newPath)
	}
	n := m.files[oldPath]
	if n == nil {
		return pathErr("rename", oldPath, fs.ErrNotExist)
	}
	m.change(entryOp{dir: filepath.Dir(newPath), paths: []string{oldPath, newPath}, nodes: []*node{nil, n}})
	return nil
}

// renameDir moves a directory. Entries in it that were not synced before are lost if the power goes, even when
// the rename survives. The caller holds mu.
func (m *Mem) renameDir(oldPath, newPath string) error {
	switch {
	case !m.dirs[filepath.Dir(newPath)]:
		return pathErr("rename", newPath, fs.ErrNotExist)
	case m.files[newPath] != nil || m.dirs[newPath]:
		return pathErr("rename", newPath, fs.ErrExist)
	}
	moveDirs(m.dirs, oldPath, newPath)
	m.change(entryOp{dir: filepath.Dir(newPath), from: oldPath, to: newPath})
	return nil
}

// moveDirs renames a directory and those below.
func moveDirs(dirs map[string]bool, from, to string) {
	for d := range maps.Clone(dirs) {
		if d == from || inside(d, from) {
			delete(dirs, d)
			dirs[to+d[len(from):]] = true
		}
	}
}

func inside(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

// empty says whether nothing is in a directory.
func (m *Mem) empty(dir string) bool {
	for p := range m.files {
		if inside(p, dir) {
			return false
		}
	}
	for p := range m.dirs {
		if inside(p, dir) {
			return false
		}
	}
	return true
}

func (m *Mem) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if m.dirs[path] {
		if !m.empty(path) {
			return pathErr("remove", path, unix.ENOTEMPTY)
		}
		delete(m.dirs, path)
		return nil
	}
	if m.files[path] == nil {
		return pathErr("remove", path, fs.ErrNotExist)
	}
	m.change(entryOp{dir: filepath.Dir(path), paths: []string{path}, nodes: []*node{nil}})
	return nil
}

func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := filepath.Clean(dir); !m.dirs[d]; d = filepath.Dir(d) {
		m.dirs[d] = true
	}
	return nil
}

func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = filepath.Clean(dir)
	var rest []entryOp
	for _, op := range m.pending {
		if op.dir == dir {
			op.apply(m.durable)
		} else {
			rest = append(rest, op)
		}
	}
	m.pending = rest
	return nil
}

func (m *Mem) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if m.locks[path] {
		return nil, fmt.Errorf("%s is held: %w", path, ErrLocked)
	}
	m.locks[path] = true
	return &memLock{fs: m, path: path}, nil
}

type memLock struct {
	fs   *Mem
	path string
}

func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.path)
	return nil
}

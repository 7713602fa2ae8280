package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, fsys FS, path string) string {
	t.Helper()
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, err)
	must(t, f.Close())
	return string(b)
}

// TestSameBehaviour runs one script against both file systems: Mem is only worth testing with if it
// does what the real one does.
func TestSameBehaviour(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS{}, "mem": NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			must(t, fsys.MkdirAll(dir))
			path := filepath.Join(dir, "f")
			f, err := fsys.Create(path)
			must(t, err)
			_, err = f.Write([]byte("hello world"))
			must(t, err)
			must(t, f.Sync())
			must(t, f.Truncate(5))
			_, err = f.WriteAt([]byte("J"), 0)
			must(t, err)
			must(t, f.Close())
			if err := f.Close(); err == nil {
				t.Error("closing twice succeeded")
			}
			f, err = fsys.OpenAppend(path)
			must(t, err)
			_, err = f.Write([]byte("!"))
			must(t, err)
			size, err := f.Size()
			must(t, err)
			buf := make([]byte, 4)
			n, err := f.ReadAt(buf, 4)
			if size != 6 || string(buf[:n]) != "o!" || err != io.EOF {
				t.Errorf("size %d, ReadAt %q %v", size, buf[:n], err)
			}
			must(t, f.Close())
			must(t, fsys.Rename(path, filepath.Join(dir, "g")))
			must(t, fsys.SyncDir(dir))
			if got := content(t, fsys, filepath.Join(dir, "g")); got != "Jello!" {
				t.Errorf("content %q", got)
			}
			names, err := fsys.ReadDir(dir)
			must(t, err)
			if !slices.Equal(names, []string{"g"}) {
				t.Errorf("names %v", names)
			}
			must(t, fsys.Remove(filepath.Join(dir, "g")))
			for what, err := range map[string]error{
				"remove": fsys.Remove(path), "rename": fsys.Rename(path, path),
				"open": second(fsys.Open(path)), "openappend": second(fsys.OpenAppend(path)),
				"readdir": second(fsys.ReadDir(filepath.Join(dir, "none"))),
			} {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of a missing file: %v", what, err)
				}
			}
			testLock(t, fsys, filepath.Join(dir, "LOCK"))
		})
	}
}

func second[T any](_ T, err error) error { return err }

func testLock(t *testing.T, fsys FS, path string) {
	t.Helper()
	lock, err := fsys.Lock(path)
	must(t, err)
	if _, err := fsys.Lock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	must(t, lock.Close())
	lock, err = fsys.Lock(path)
	must(t, err)
	must(t, lock.Close())
}

// Directories behave the same, too: they are listed, renamed with what is in them, and removed when empty.
func TestSameDirectories(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS{}, "mem": NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(p string) string { return filepath.Join(dir, p) }
			must(t, fsys.MkdirAll(at("a/sub")))
			must(t, fsys.MkdirAll(at("full/sub")))
			must(t, fsys.MkdirAll(at("empty")))
			f, err := fsys.Create(at("a/sub/f"))
			must(t, err)
			must(t, f.Close())
			names, err := fsys.ReadDir(dir)
			must(t, err)
			if !slices.Equal(names, []string{"a", "empty", "full"}) {
				t.Errorf("listed %q", names)
			}
			for _, p := range []string{"full", "empty", "missing/x"} {
				if err := fsys.Rename(at("a"), at(p)); err == nil {
					t.Errorf("renamed onto %s", p)
				}
			}
			if err := fsys.Remove(at("a")); err == nil {
				t.Error("a directory with files was removed")
			}
			must(t, fsys.Rename(at("a"), at("full/b")))
			if content(t, fsys, at("full/b/sub/f")) != "" || content(t, fsys, at("a/sub/f")) != "(none)" {
				t.Error("the file did not move along")
			}
			if _, err := fsys.ReadDir(at("a")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the old name lists: %v", err)
			}
			must(t, fsys.Remove(at("full/sub")))
		})
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("/synced")
	_, _ = f.Write([]byte("0123"))
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	_, _ = f.Write([]byte("4567"))
	g, _ := m.Create("/new")
	_, _ = g.Write([]byte("abcd"))
	must(t, g.Sync())
	must(t, m.Rename("/new", "/renamed"))
	for _, tc := range []struct {
		keep                   int
		synced, fresh, renamed string
	}{
		{0, "0123", "(none)", "(none)"},
		{50, "012345", "abcd", "(none)"},
		{100, "01234567", "(none)", "abcd"},
	} {
		c := m.CrashClone(Crash{KeepPercent: tc.keep})
		if got := content(t, c, "/synced"); got != tc.synced {
			t.Errorf("keep %d: synced file %q, want %q", tc.keep, got, tc.synced)
		}
		if got := content(t, c, "/new"); got != tc.fresh {
			t.Errorf("keep %d: new file %q, want %q", tc.keep, got, tc.fresh)
		}
		if got := content(t, c, "/renamed"); got != tc.renamed {
			t.Errorf("keep %d: renamed file %q, want %q", tc.keep, got, tc.renamed)
		}
	}
}

func TestCrashWithRandTearsOutOfOrder(t *testing.T) {
	m := NewMem()
	f, _ := m.Create("/f")
	must(t, m.SyncDir("/"))
	data := make([]byte, 100*crashBlock)
	for i := range data {
		data[i] = 1
	}
	_, _ = f.Write(data)
	got := content(t, m.CrashClone(Crash{KeepPercent: 50, Rand: rand.New(rand.NewPCG(1, 2))}), "/f")
	if i := slices.Index([]byte(got), 0); i < 0 || slices.Index([]byte(got)[i:], 1) < 0 {
		t.Errorf("no hole with bytes after it in %d bytes", len(got))
	}
}

func TestInjectFailsOneOperation(t *testing.T) {
	broken := errors.New("broken")
	m := NewMem()
	var ops []Op
	failAt := 1
	fsys := Inject(m, func(op Op) error {
		ops = append(ops, op)
		if len(ops)-1 == failAt {
			return broken
		}
		return nil
	})
	f, err := fsys.Create("/f")
	must(t, err)
	if n, err := f.Write([]byte("abcd")); n != 2 || !errors.Is(err, broken) {
		t.Errorf("Write = %d, %v", n, err)
	}
	must(t, f.Sync())
	must(t, f.Close())
	if got := content(t, m, "/f"); got != "ab" {
		t.Errorf("content %q", got)
	}
	want := []Op{{"create", "/f"}, {"write", "/f"}, {"sync", "/f"}, {"close", "/f"}}
	if !slices.Equal(ops, want) {
		t.Errorf("ops %v, want %v", ops, want)
	}
}

func TestFailedSyncCannotBeRetried(t *testing.T) {
	m := NewMem()
	fail := true
	fsys := Inject(m, func(op Op) error {
		if op.Kind == "sync" && fail {
			return errors.New("broken")
		}
		return nil
	})
	f, _ := fsys.Create("/f")
	must(t, m.SyncDir("/"))
	_, _ = f.Write([]byte("abcd"))
	if f.Sync() == nil {
		t.Fatal("the sync did not fail")
	}
	fail = false
	must(t, f.Sync())
	if got := content(t, m, "/f"); got != "abcd" {
		t.Errorf("before the power cut: %q", got)
	}
	if got := content(t, m.CrashClone(Crash{KeepPercent: 100}), "/f"); got != "\x00\x00\x00\x00" {
		t.Errorf("after it: %q", got)
	}
	_, _ = f.WriteAt([]byte("abcd"), 0)
	must(t, f.Sync())
	if got := content(t, m.CrashClone(Crash{}), "/f"); got != "abcd" {
		t.Errorf("written again: %q", got)
	}
}

// The rename of a directory is there after a power cut or it is not, with the synced files in either place.
func TestCrashRenamesDirectoriesAtOnce(t *testing.T) {
	for _, synced := range []bool{false, true} {
		m := NewMem()
		must(t, m.MkdirAll("/d/staging/a/sub"))
		f, err := m.Create("/d/staging/a/sub/f")
		must(t, err)
		_, err = f.Write([]byte("x"))
		must(t, err)
		must(t, errors.Join(f.Sync(), f.Close(), m.SyncDir("/d/staging/a/sub")))
		must(t, m.Rename("/d/staging/a", "/d/b"))
		if synced {
			must(t, m.SyncDir("/d"))
		}
		c := m.CrashClone(Crash{})
		was, is := content(t, c, "/d/staging/a/sub/f"), content(t, c, "/d/b/sub/f")
		_, oldErr := c.ReadDir("/d/staging/a")
		_, newErr := c.ReadDir("/d/b")
		if synced != (is == "x") || synced == (was == "x") || synced != (newErr == nil) || synced != (oldErr != nil) {
			t.Errorf("synced %t: old %q (%v), new %q (%v)", synced, was, oldErr, is, newErr)
		}
	}
}

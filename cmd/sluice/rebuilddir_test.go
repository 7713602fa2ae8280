package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// marks is what PostgreSQL would keep of a rebuild through any crash of the engine: here it is the files that fail.
type marks struct {
	mark    string // of the swap
	swapped bool
	shadow  bool
}

func (m *marks) Swapped(context.Context, string) (string, error) { return m.mark, nil }
func (m *marks) SettleSwap(context.Context, string) error        { m.mark = ""; return nil }
func (m *marks) DropShadow(context.Context, string) error        { m.shadow = false; return nil }

const exchangeBase = pipelineDir("/state/pipelines/p")

func exchangeFiles(version string) map[string]string {
	return map[string]string{"MANIFEST": version, "0000000000000001.log": strings.Repeat(version, 60), "0000000000000002.snap": version + " state"}
}

// putFiles makes files durable, as the checkpoint log does with its own.
func putFiles(fsys vfs.FS, dir string, files map[string]string) error {
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for name, text := range files {
		f, err := fsys.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		_, err = f.Write([]byte(text))
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

// beforeExchange is a pipeline that the old version has run, and the log of a rebuild beside it.
func beforeExchange(t *testing.T) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	d := rebuildDir{base: exchangeBase, fs: mem}
	doc, err := json.Marshal(record{Name: "p", File: "old.sql"})
	err = errors.Join(err, putFiles(mem, d.base.logDir(), exchangeFiles("old")), putFiles(mem, string(d.base), map[string]string{"pipeline.sql": "old", "run.json": string(doc)}),
		d.make(), putFiles(mem, d.logDir(), exchangeFiles("new")))
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

// exchangeOnce is the end of a rebuild, from the moment that all is filled.
func exchangeOnce(ctx context.Context, fsys vfs.FS, db *marks) error {
	d := rebuildDir{base: exchangeBase, fs: fsys}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock.Close()
	if err := d.ready("id", []byte("new"), record{Name: "p", File: "new.sql"}); err != nil {
		return err
	}
	*db = marks{mark: "id", swapped: true} // the transaction drops the shadow, too
	return d.exchange(ctx, "p", db)
}

// startAfter is what any start does before it opens the log.
func startAfter(ctx context.Context, fsys vfs.FS, db *marks) error {
	d := rebuildDir{base: exchangeBase, fs: fsys}
	if there, err := d.pending(); err != nil || !there {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock.Close()
	return d.settle(ctx, "p", db)
}

// below reads all files of a directory.
func below(t *testing.T, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := fsys.Open(filepath.Join(dir, name))
		if err != nil {
			out[name] = "a directory"
			continue
		}
		text, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

// mustBeWhole wants one version, the one that the database says, and nothing of the other.
func mustBeWhole(t *testing.T, k int, fsys vfs.FS, db *marks) {
	t.Helper()
	version := "old"
	if db.swapped {
		version = "new"
	}
	if diff := cmp.Diff(exchangeFiles(version), below(t, fsys, exchangeBase.logDir())); diff != "" {
		t.Errorf("operation %d, swapped %t: the log: %s", k, db.swapped, diff)
	}
	files := below(t, fsys, string(exchangeBase))
	var r record
	if err := json.Unmarshal([]byte(files["run.json"]), &r); err != nil || files["pipeline.sql"] != version || r.File != version+".sql" {
		t.Errorf("operation %d, swapped %t: the text is %q, the record %q (%v)", k, db.swapped, files["pipeline.sql"], files["run.json"], err)
	}
	if _, left := files["rebuild"]; left || db.mark != "" || db.shadow {
		t.Errorf("operation %d, swapped %t: rebuild/ is there: %t; the database has %+v", k, db.swapped, left, *db)
	}
}

// TestEveryOperationOfAnExchangeFailsOnce: each file operation fails, or is the last before the process ends or the
// power goes with more or less of what was not synced. The same then happens to the start after it. In the end the log,
// the text and the record are those of the version that the database has.
func TestEveryOperationOfAnExchangeFailsOnce(t *testing.T) {
	crashes := map[string]func(*vfs.Mem) *vfs.Mem{
		"killed":         func(m *vfs.Mem) *vfs.Mem { return m },
		"power cut":      func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.Crash{}) },
		"some survives":  func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.Crash{KeepPercent: 50}) },
		"power cut late": func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.Crash{KeepPercent: 100}) },
		"anything survives": func(m *vfs.Mem) *vfs.Mem {
			return m.CrashClone(vfs.Crash{KeepPercent: 50, Rand: rand.New(rand.NewPCG(5, 6))})
		},
	}
	// failing runs do with its k-th operation failing, and says whether it came to that.
	failing := func(mem *vfs.Mem, k int, do func(vfs.FS) error) (reached bool, err error) {
		n := 0
		err = do(vfs.Inject(mem, func(vfs.Op) error {
			if n++; n == k {
				return syscall.EIO
			}
			return nil
		}))
		return n >= k, err
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			swapped := []bool{}
			for k := 1; ; k++ {
				mem, db := beforeExchange(t), marks{shadow: true}
				reached, err := failing(mem, k, func(f vfs.FS) error { return exchangeOnce(t.Context(), f, &db) })
				if !reached {
					if err != nil || k < 40 {
						t.Fatalf("%d operations, %v", k, err)
					}
					break
				}
				swapped = append(swapped, db.swapped)
				left := crash(mem)
				for j := 1; ; j++ {
					again, then := left.CrashClone(vfs.Crash{KeepPercent: 100}), db
					reached, err := failing(again, j, func(f vfs.FS) error { return startAfter(t.Context(), f, &then) })
					if err == nil && !reached {
						mustBeWhole(t, k, again, &then)
						break
					}
					if !reached || err != nil && !errors.Is(err, syscall.EIO) {
						t.Fatalf("operation %d, then a start whose operation %d fails: %v", k, j, err)
					}
					again = crash(again)
					if err := startAfter(t.Context(), again, &then); err != nil {
						t.Fatalf("operation %d, then %d, then a start: %v", k, j, err)
					}
					mustBeWhole(t, k, again, &then)
				}
				if t.Failed() {
					return
				}
			}
			if !slices.Contains(swapped, true) || !slices.Contains(swapped, false) {
				t.Error("all failures came on one side of the swap")
			}
		})
	}
}

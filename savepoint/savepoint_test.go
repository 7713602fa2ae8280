package savepoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/vfs"
)

const (
	root = "/state/savepoints"
	old  = "/state/pipelines/p"
)

func header(pipeline string) checkpointlog.Header {
	return checkpointlog.Header{Pipeline: pipeline, DuckDB: "v1.5.5", Plan: "f00d"}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// grow appends batches to a pipeline's log, each with its number as the change.
func grow(t testing.TB, fsys vfs.FS, dir, pipeline string, to int64) {
	t.Helper()
	must(t, fsys.MkdirAll(dir))
	l, rec, err := checkpointlog.Open(filepath.Join(dir, LogDir), header(pipeline), checkpointlog.Options{FS: fsys, SegmentBytes: 1000})
	must(t, err)
	epoch := rec.Facts().Epoch + 1
	last := int64(0)
	if rec.LastPrepared != nil {
		last = rec.LastPrepared.Batch
	}
	for b := last + 1; b <= to; b++ {
		must(t, l.Plan(checkpointlog.Planned{Batch: b, Epoch: epoch, Ranges: []checkpointlog.SourceRange{{Source: "s", To: json.RawMessage(fmt.Sprint(b))}}}))
		_, err := l.Prepare(checkpointlog.Prepared{Batch: b, Epoch: epoch, Delta: map[string][]byte{"t": fmt.Appendf(nil, "%d", b)}})
		must(t, err)
		must(t, l.Commit(checkpointlog.Committed{Batch: b, Epoch: epoch}))
	}
	must(t, l.Close())
}

// batches lists the changes in a pipeline's log.
func batches(fsys vfs.FS, dir, pipeline string) (string, error) {
	l, rec, err := checkpointlog.Open(filepath.Join(dir, LogDir), header(pipeline), checkpointlog.Options{FS: fsys})
	if err != nil {
		return "", err
	}
	var out []string
	err = rec.EachPrepared(func(p *checkpointlog.Prepared) error {
		out = append(out, string(p.Delta["t"]))
		return nil
	})
	return strings.Join(out, " "), errors.Join(err, l.Close())
}

// create makes a savepoint of batch 3 of pipeline p.
func create(fsys vfs.FS, name string) (*Info, error) {
	w, err := Begin(fsys, root, name)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	dir, err := w.Dir(LogDir)
	if err != nil {
		return nil, err
	}
	c, err := checkpointlog.Copy(fsys, filepath.Join(old, LogDir), dir, checkpointlog.CopyOptions{Batch: 3})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Put(SQLFile, []byte("SELECT 1")), w.PutTree(TablesDir, filepath.Join(old, TablesDir))); err != nil {
		return nil, err
	}
	return w.Publish(Info{Pipeline: "p", Batch: c.Prepared.Batch, Plan: c.Header.Plan, Offsets: c.Offsets, CreatedAt: time.Unix(0, 0).UTC()})
}

// newState is a pipeline with five batches and a file that was read of a table.
func newState(t testing.TB) *vfs.Mem {
	fsys := vfs.NewMem()
	grow(t, fsys, old, "p", 5)
	put(t, fsys, old+"/"+TablesDir+"/t_x/1", "rows")
	return fsys
}

func put(t testing.TB, fsys vfs.FS, path, content string) {
	must(t, fsys.MkdirAll(filepath.Dir(path)))
	f, err := fsys.Create(path)
	must(t, err)
	_, err = f.Write([]byte(content))
	must(t, errors.Join(err, f.Sync(), f.Close()))
	for d := filepath.Dir(path); d != "/"; d = filepath.Dir(d) {
		must(t, fsys.SyncDir(d))
	}
}

func TestRoundTrip(t *testing.T) {
	fsys := newState(t)
	_, err := create(fsys, "early")
	must(t, err)
	if _, err := create(fsys, "early"); !errors.Is(err, ErrExists) {
		t.Errorf("a name twice: %v", err)
	}
	infos, bad, err := List(fsys, root)
	must(t, err)
	if len(infos) != 1 || len(bad) != 0 || infos[0].Name != "early" || infos[0].Batch != 3 || string(compact(t, infos[0].Offsets)) != `{"s":3}` {
		t.Fatalf("%+v, bad %v", infos, bad)
	}
	var paths []string
	for _, f := range infos[0].Files {
		paths = append(paths, f.Path)
	}
	if d := cmp.Diff([]string{"log/0000000000000001.log", "log/0000000000000002.log", "log/MANIFEST", "pipeline.sql", "tables/t_x/1"}, paths); d != "" {
		t.Error(d)
	}
	must(t, Verify(fsys, root+"/early", infos[0]))

	for _, pipeline := range []string{"p", "q"} {
		dir := "/state/pipelines/" + pipeline
		must(t, Install(fsys, root+"/early", dir, pipeline, nil))
		got, err := batches(fsys, dir, pipeline)
		must(t, err)
		if got != "1 2 3" {
			t.Errorf("%s goes on from batches %s", pipeline, got)
		}
		grow(t, fsys, dir, pipeline, 6)
		if got, err = batches(fsys, dir, pipeline); err != nil || got != "1 2 3 4 5 6" {
			t.Errorf("%s has batches %s, %v", pipeline, got, err)
		}
		if b, err := readFile(fsys, dir+"/"+TablesDir+"/t_x/1"); err != nil || string(b) != "rows" {
			t.Errorf("%s has table rows %q, %v", pipeline, b, err)
		}
	}
	if _, err := batches(fsys, "/state/pipelines/q", "p"); err == nil {
		t.Error("q's log was opened as p's")
	}
	must(t, Remove(fsys, root, "early"))
	if infos, _, err := List(fsys, root); err != nil || len(infos) != 0 {
		t.Errorf("%v, %v", infos, err)
	}
	for _, name := range []string{"", "..", "a/b", ".hidden", "x.tmp", strings.Repeat("a", 65)} {
		if CheckName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

func compact(t testing.TB, doc []byte) []byte {
	var b bytes.Buffer
	must(t, json.Compact(&b, doc))
	return b.Bytes()
}

// TestFlippedBits damages every byte of a savepoint.
func TestFlippedBits(t *testing.T) {
	fsys := newState(t)
	info, err := create(fsys, "early")
	must(t, err)
	files := append([]File{{Path: indexName}}, info.Files...)
	for _, f := range files {
		path := root + "/early/" + f.Path
		content, err := readFile(fsys, path)
		must(t, err)
		for off := range content {
			c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
			g, err := c.OpenAppend(path)
			must(t, err)
			_, err = g.WriteAt([]byte{content[off] ^ 4}, int64(off))
			must(t, errors.Join(err, g.Close()))
			info, err := Open(c, root+"/early")
			if err == nil {
				err = Verify(c, root+"/early", info)
			}
			if err == nil {
				t.Fatalf("%s: a flip at %d went unnoticed", f.Path, off)
			}
		}
		c := fsys.CrashClone(vfs.Crash{KeepPercent: 100})
		must(t, c.Remove(path))
		info, err := Open(c, root+"/early")
		if err == nil {
			err = Verify(c, root+"/early", info)
		}
		var damage *DamagedError
		if !errors.As(err, &damage) {
			t.Errorf("without %s: %v", f.Path, err)
		}
	}
	r, err := info.Reader(fsys, root+"/early", SQLFile)
	must(t, err)
	if b, err := io.ReadAll(r); err != nil || string(b) != "SELECT 1" {
		t.Errorf("%q, %v", b, err)
	}
}

// sweep makes each file operation of fn fail once, and be the last before a power cut once, keeping some of what
// was not synced, and has check look at what is left.
func sweep(t *testing.T, start func() *vfs.Mem, fn func(vfs.FS) error, check func(left *vfs.Mem, what string)) {
	t.Helper()
	var n int
	must(t, fn(vfs.Inject(start(), func(vfs.Op) error { n++; return nil })))
	cut := errors.New("cut")
	for k := range n {
		for _, keep := range []int{-1, 0, 50, 100} {
			mem := start()
			left, i := mem, 0
			err := fn(vfs.Inject(mem, func(op vfs.Op) error {
				switch i++; {
				case i == k+1 && keep >= 0:
					left = mem.CrashClone(vfs.Crash{KeepPercent: keep})
					return cut
				case i == k+1, i > k && keep >= 0:
					return cut
				}
				return nil
			}))
			what := fmt.Sprintf("operation %d of %d, keeping %d, error %v", k, n, keep, err)
			check(left, what)
		}
	}
}

// TestCreateIsAllOrNothing: whatever fails or crashes, a savepoint that is listed is whole, and the name can be used.
func TestCreateIsAllOrNothing(t *testing.T) {
	sweep(t, func() *vfs.Mem { return newState(t) },
		func(fsys vfs.FS) error { _, err := create(fsys, "early"); return err },
		func(left *vfs.Mem, what string) {
			infos, bad, err := List(left, root)
			if err != nil || len(bad) > 0 {
				t.Fatalf("%s: %v, %v", what, bad, err)
			}
			for _, info := range infos {
				if err := Verify(left, root+"/early", info); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if len(infos) == 0 {
				if _, err := create(left, "early"); err != nil {
					t.Fatalf("%s: again: %v", what, err)
				}
			}
			must(t, Remove(left, root, "early"))
		})
}

// TestCreateBesideWhoTakesRows: a file that is renamed after the directory was listed fails nothing.
func TestCreateBesideWhoTakesRows(t *testing.T) {
	fsys := newState(t)
	posted(t, fsys, 3)
	put(t, fsys, old+"/"+TablesDir+"/h_s/keys.new", "4")
	_, err := create(vfs.Inject(fsys, func(op vfs.Op) error {
		if op.Kind == "open" && strings.HasSuffix(op.Path, "/keys.new") {
			return fs.ErrNotExist // it is "keys" now
		}
		return nil
	}), "early")
	must(t, err)
}

// TestInstallCanBeRepeated: whatever fails or crashes, the pipeline has its old log, the savepoint's or none, and
// installing again completes it.
func TestInstallCanBeRepeated(t *testing.T) {
	start := func() *vfs.Mem {
		fsys := newState(t)
		posted(t, fsys, 2)
		_, err := create(fsys, "early")
		must(t, err)
		posted(t, fsys, 5)
		return fsys
	}
	sweep(t, start,
		func(fsys vfs.FS) error { return Install(fsys, root+"/early", old, "p", nil) },
		func(left *vfs.Mem, what string) {
			left = left.CrashClone(vfs.Crash{KeepPercent: 100}) // an engine that is gone holds no lock
			if _, err := left.ReadDir(filepath.Join(old, LogDir)); err == nil {
				if got, err := batches(left, old, "p"); err != nil || got != "1 2 3 4 5" && got != "1 2 3" {
					t.Fatalf("%s: batches %q, %v", what, got, err)
				}
			}
			must(t, Install(left, root+"/early", old, "p", nil))
			if got, err := batches(left.CrashClone(vfs.Crash{}), old, "p"); err != nil || got != "1 2 3" {
				t.Fatalf("%s: installed again: batches %q, %v", what, got, err)
			}
			if got := postedRows(t, left.CrashClone(vfs.Crash{}), old); got != "12345" {
				t.Fatalf("%s: posted rows are %q", what, got)
			}
		})
}

// posted writes a log of rows that were posted as it is after n of them, in files of two rows.
func posted(t testing.TB, fsys vfs.FS, n int) {
	for first := 0; first < n; first += 2 {
		text := fmt.Sprintf("%036d", first)
		for i := first; i < min(n, first+2); i++ {
			text += fmt.Sprint(i + 1)
		}
		put(t, fsys, fmt.Sprintf("%s/%s/h_s/%d.ing", old, TablesDir, first), text)
	}
	put(t, fsys, old+"/"+TablesDir+"/h_s/keys", fmt.Sprint(n))
}

func postedRows(t testing.TB, fsys vfs.FS, dir string) (rows string) {
	names, err := fsys.ReadDir(dir + "/" + TablesDir + "/h_s")
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ".ing") {
			b, err := readFile(fsys, dir+"/"+TablesDir+"/h_s/"+name)
			must(t, err)
			rows += string(b[36:])
		}
	}
	return rows
}

// TestInstallKeepsWhatWasPostedSince: going back reads again what was acknowledged after the savepoint, and loses none of it;
// another pipeline gets what the savepoint has.
func TestInstallKeepsWhatWasPostedSince(t *testing.T) {
	fsys := newState(t)
	posted(t, fsys, 3)
	_, err := create(fsys, "early")
	must(t, err)
	posted(t, fsys, 7)
	must(t, Install(fsys, root+"/early", "/state/pipelines/q", "q", nil))
	if got := postedRows(t, fsys, "/state/pipelines/q"); got != "123" {
		t.Errorf("another pipeline has rows %q", got)
	}
	must(t, fsys.Remove(old+"/"+TablesDir+"/h_s/0.ing")) // by a retention: the savepoint has it
	must(t, Install(fsys, root+"/early", old, "p", nil))
	if got := postedRows(t, fsys, old); got != "1234567" {
		t.Errorf("the pipeline has rows %q", got)
	}
	if keys, err := readFile(fsys, old+"/"+TablesDir+"/h_s/keys"); err != nil || string(keys) != "7" {
		t.Errorf("its keys are %q, %v", keys, err)
	}
	// Row 4 was in a file of which the savepoint has the beginning only.
	must(t, errors.Join(fsys.Remove(old+"/"+TablesDir+"/h_s/0.ing"), fsys.Remove(old+"/"+TablesDir+"/h_s/2.ing")))
	if err := Install(fsys, root+"/early", old, "p", nil); err == nil || !strings.Contains(err.Error(), "retention") {
		t.Errorf("with a gap: %v", err)
	}
	// A log that is another one does not count.
	put(t, fsys, old+"/"+TablesDir+"/h_s/2.ing", strings.Repeat("x", 40))
	must(t, Install(fsys, root+"/early", old, "p", nil))
	if got := postedRows(t, fsys, old); got != "123" {
		t.Errorf("after another log: rows %q", got)
	}
	// A daemon that takes rows for a pipeline that does not run has the log open.
	put(t, fsys, old+"/"+TablesDir+"/h_s/LOCK", "")
	l, err := fsys.Lock(old + "/" + TablesDir + "/h_s/LOCK")
	must(t, err)
	if err := Install(fsys, root+"/early", old, "p", nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("beside who takes rows: %v", err)
	}
	must(t, l.Close())
}

func TestInstallRefusesARunningPipeline(t *testing.T) {
	fsys := newState(t)
	_, err := create(fsys, "early")
	must(t, err)
	l, _, err := checkpointlog.Open(old+"/"+LogDir, header("p"), checkpointlog.Options{FS: fsys})
	must(t, err)
	called := false
	err = Install(fsys, root+"/early", old, "p", func() error { called = true; return nil })
	if !errors.Is(err, vfs.ErrLocked) || called {
		t.Errorf("%v; the tables were touched: %v", err, called)
	}
	must(t, l.Close())
}

// TestFailpoints: each of the package's points is passed, and an error at it leaves what can be completed.
func TestFailpoints(t *testing.T) {
	for _, point := range failpoint.Names() {
		if !strings.HasPrefix(point, "savepoint.") {
			continue
		}
		fsys := newState(t)
		disarm, err := failpoint.Arm(point + "=error")
		must(t, err)
		_, err = create(fsys, "early")
		if err == nil {
			err = Install(fsys, root+"/early", old, "p", nil)
		}
		disarm()
		if !errors.Is(err, failpoint.ErrInjected) {
			t.Errorf("%s: %v", point, err)
		}
		if _, err := create(fsys, "early"); err != nil && !errors.Is(err, ErrExists) {
			t.Errorf("%s: %v", point, err)
		}
		must(t, Install(fsys, root+"/early", old, "p", nil))
		if got, err := batches(fsys, old, "p"); err != nil || got != "1 2 3" {
			t.Errorf("%s: batches %q, %v", point, got, err)
		}
	}
}

package checkpointstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/s3test"
	"github.com/sluice-sql/sluice/internal/vfs"
)

const (
	pipeline = "demo"
	logDir   = "/state/demo/log"
	tables   = "/state/demo/tables"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An engine is a log with its copies, on a disk of its own.
type engine struct {
	t       testing.TB
	fs      vfs.FS
	log     *checkpointlog.Log
	mirrors []*Mirror
	batch   int64
	epoch   int64
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func at(t testing.TB, s *s3test.Server) Location {
	t.Helper()
	l, err := ParseLocation(s.URL("some/prefix"))
	must(t, err)
	return l
}

// fast are options whose waits are for tests.
func fast(t testing.TB, s *s3test.Server, fsys vfs.FS) Options {
	return Options{Location: at(t, s), Pipeline: pipeline, LogDir: logDir, FS: fsys, Others: []Directory{{"tables", tables, ".ing"}},
		Sync: Batch, Interval: time.Millisecond, KeepUnnamed: 1, RequestTimeout: 5 * time.Second, MaxWait: 5 * time.Millisecond, Logger: quiet()}
}

// start opens the log on a disk and starts a mirror for each of the options.
func start(t testing.TB, fsys vfs.FS, epoch int64, options ...Options) *engine {
	t.Helper()
	l, rec, err := checkpointlog.Open(logDir, checkpointlog.Header{Pipeline: pipeline, DuckDB: "v", Plan: "p"},
		checkpointlog.Options{FS: fsys, SegmentBytes: 2500, KeepSnapshots: 1})
	must(t, err)
	e := &engine{t: t, fs: fsys, log: l, epoch: epoch}
	if rec.LastPrepared != nil {
		e.batch = rec.LastPrepared.Batch
		if rec.LastCommitted == nil || rec.LastCommitted.Batch < e.batch {
			must(t, l.Commit(checkpointlog.Committed{Batch: e.batch, Epoch: epoch}))
		}
	}
	for _, o := range options {
		m, err := New(o)
		must(t, err)
		must(t, m.Start(context.Background(), l, epoch))
		e.mirrors = append(e.mirrors, m)
	}
	t.Cleanup(func() {
		for _, m := range e.mirrors {
			if m.stop != nil {
				m.stop()
				m.done.Wait()
			}
		}
	})
	return e
}

func (e *engine) close() {
	e.t.Helper()
	for _, m := range e.mirrors {
		must(e.t, m.Close())
	}
	must(e.t, e.log.Close())
}

// prepare logs one batch whose content follows from its number, and does not tell the mirrors.
func (e *engine) prepare() {
	e.t.Helper()
	e.batch++
	n := e.batch
	from, _ := json.Marshal(n - 1)
	to, _ := json.Marshal(n)
	must(e.t, e.log.Plan(checkpointlog.Planned{Batch: n, Epoch: e.epoch, At: time.Unix(n, 0).UTC(), Ranges: []checkpointlog.SourceRange{{Source: "s", From: from, To: to}}}))
	noise := make([]byte, 100+n%7*60)
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	_, err := e.log.Prepare(checkpointlog.Prepared{Batch: n, Epoch: e.epoch, Outputs: []checkpointlog.OutputDigest{{Output: "o", Rows: n, Sum: fmt.Sprintf("%032x", n)}},
		Delta: map[string][]byte{"noise": noise}})
	must(e.t, err)
}

func (e *engine) commit() {
	e.t.Helper()
	must(e.t, e.log.Commit(checkpointlog.Committed{Batch: e.batch, Epoch: e.epoch}))
}

// run does whole batches, with a snapshot after every fifth: a full one, then a delta on it, in turn.
func (e *engine) run(batches int) {
	e.t.Helper()
	for range batches {
		e.append()
		e.prepare()
		for _, m := range e.mirrors {
			must(e.t, m.Prepared(context.Background(), e.batch))
		}
		e.commit()
		if e.batch%5 == 0 {
			e.snapshot()
		}
	}
}

func (e *engine) snapshot() {
	e.t.Helper()
	meta := checkpointlog.SnapshotMeta{Epoch: e.epoch}
	if e.batch%10 == 0 {
		meta.Base = e.log.Stats().SnapshotBatch
	}
	w, err := e.log.BeginSnapshot(e.batch, meta)
	must(e.t, err)
	must(e.t, w.Block("s", bytes.Repeat([]byte{byte(e.batch)}, 3000)))
	must(e.t, w.Publish())
}

// append grows a file beside the log, as a table that is looked up in does.
func (e *engine) append() {
	e.t.Helper()
	dir := filepath.Join(tables, "t_rates")
	must(e.t, e.fs.MkdirAll(dir))
	f, err := e.fs.OpenAppend(filepath.Join(dir, "0.ing"))
	if err != nil {
		f, err = e.fs.Create(filepath.Join(dir, "0.ing"))
	}
	must(e.t, err)
	_, err = fmt.Fprintf(f, "batch %d;", e.batch+1)
	must(e.t, err)
	must(e.t, f.Sync())
	must(e.t, f.Close())
}

func restoreOptions(fsys vfs.FS, locations ...Location) RestoreOptions {
	return RestoreOptions{Locations: locations, Pipeline: pipeline, LogDir: logDir, FS: fsys, Others: []Directory{{"tables", tables, ".ing"}},
		RequestTimeout: 5 * time.Second, MaxWait: 2 * time.Millisecond, Logger: quiet()}
}

// restored makes a disk from a bucket.
func restored(t testing.TB, locations ...Location) (*vfs.Mem, *Copy) {
	t.Helper()
	fsys := vfs.NewMem()
	c, err := Restore(context.Background(), restoreOptions(fsys, locations...))
	must(t, err)
	return fsys, c
}

// mustHold checks that a disk has the log up to a batch, every record of it, and what was beside it.
func mustHold(t testing.TB, fsys vfs.FS, batch int64) {
	t.Helper()
	report, err := checkpointlog.Verify(logDir, fsys)
	must(t, err)
	if report.Torn != nil || report.LastPrepared == nil || report.LastPrepared.Batch != batch {
		t.Fatalf("the log ends at %+v, torn %v; want batch %d", report.LastPrepared, report.Torn, batch)
	}
	if got := string(read(t, fsys, filepath.Join(tables, "t_rates", "0.ing"))); !strings.Contains(got, fmt.Sprintf("batch %d;", batch)) {
		t.Fatalf("the table's file has %q, which lacks batch %d", got, batch)
	}
}

// mustEqual checks that two disks have the same bytes; the end of the last segment may be missing in the copy
// as far as nothing in it was promised.
func mustEqual(t testing.TB, local, copied vfs.FS) {
	t.Helper()
	want, got := files(t, local), files(t, copied)
	last := slices.MaxFunc(slices.Collect(names(want, ".log")), strings.Compare)
	if !bytes.HasPrefix(want[last], got[last]) || len(want[last])-len(got[last]) > 200 {
		t.Errorf("%s has %d bytes, its copy %d", last, len(want[last]), len(got[last]))
	}
	delete(want, last)
	delete(got, last)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the copy is not what was copied (-local +copy):\n%s", diff)
	}
}

func names(m map[string][]byte, suffix string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range m {
			if strings.HasSuffix(name, suffix) && !yield(name) {
				return
			}
		}
	}
}

func files(t testing.TB, fsys vfs.FS) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, dir := range []string{logDir, filepath.Join(tables, "t_rates")} {
		names, err := fsys.ReadDir(dir)
		must(t, err)
		for _, name := range names {
			if name != "LOCK" {
				out[filepath.Join(dir, name)] = read(t, fsys, filepath.Join(dir, name))
			}
		}
	}
	return out
}

func read(t testing.TB, fsys vfs.FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return b
}

// until waits for a condition that another goroutine makes true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("never happened: " + what)
		}
	}
}

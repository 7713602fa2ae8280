package file

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// testOutput has a number, a text to partition by, and nothing else.
var testOutput = planner.Output{Name: "v", Columns: []vector.Field{
	{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "dt", Type: vector.Of(vector.Varchar)}}}

// rowsOf makes a delta of rows id, dt with weight 1. "-" as dt is NULL.
func rowsOf(rows ...string) microbatch.OutputDelta {
	d := microbatch.OutputDelta{Name: "v", Rows: int64(len(rows))}
	if len(rows) > 0 {
		c := vector.NewChunk([]vector.Type{vector.Of(vector.Int64), vector.Of(vector.Varchar), vector.Of(vector.Int64)}, len(rows))
		for i, row := range rows {
			id, dt, _ := strings.Cut(row, " ")
			var n int64
			if _, err := fmt.Sscan(id, &n); err != nil {
				panic(err)
			}
			c.Cols[0].PutI64(i, n)
			text := []byte(dt)
			c.Keep = append(c.Keep, text)
			if dt == "-" {
				c.Cols[1].SetNull(i, len(rows))
			} else {
				c.Cols[1].PutStr(i, text)
			}
			c.Cols[2].PutI64(i, 1)
		}
		d.Chunks = []*vector.Chunk{c}
	}
	var sum vector.Digest
	for _, c := range d.Chunks {
		sum.AddChunk(c)
	}
	d.Digest = checkpointlog.OutputDigest{Output: d.Name, Rows: d.Rows, Sum: sum.String()}
	return d
}

func staged(batch int64, d microbatch.OutputDelta, letters ...microbatch.DeadLetter) *microbatch.StagedBatch {
	return &microbatch.StagedBatch{Batch: batch, Outputs: []microbatch.OutputDelta{d}, DeadLetters: letters}
}

// A diary issues permits as the engine's log does.
type diary struct {
	t   *testing.T
	log *checkpointlog.Log
	// permit and committed are the last ones.
	permit    checkpointlog.CommitPermit
	committed int64
}

func newDiary(t *testing.T) *diary {
	t.Helper()
	log, _, err := checkpointlog.Open("/log", checkpointlog.Header{Pipeline: "p", DuckDB: "1", Plan: "f"}, checkpointlog.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &diary{t: t, log: log}
}

func (d *diary) prepare(b *microbatch.StagedBatch) checkpointlog.CommitPermit {
	d.t.Helper()
	if err := d.log.Plan(checkpointlog.Planned{Batch: b.Batch, Epoch: 1, At: time.Unix(0, 0)}); err != nil {
		d.t.Fatal(err)
	}
	var err error
	if d.permit, err = d.log.Prepare(checkpointlog.Prepared{Batch: b.Batch, Epoch: 1, Outputs: []checkpointlog.OutputDigest{b.Outputs[0].Digest}}); err != nil {
		d.t.Fatal(err)
	}
	return d.permit
}

func (d *diary) done(batch int64) {
	d.t.Helper()
	if err := d.log.Commit(checkpointlog.Committed{Batch: batch, Epoch: 1}); err != nil {
		d.t.Fatal(err)
	}
	d.committed = batch
}

// open opens a sink on a file system, or fails the test.
func open(t *testing.T, o Options) (*Sink, microbatch.Ledger) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: testOutput}})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// put takes a batch through both phases.
func put(t *testing.T, s *Sink, d *diary, b *microbatch.StagedBatch) {
	t.Helper()
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), d.prepare(b), info); err != nil {
		t.Fatal(err)
	}
	d.done(b.Batch)
}

var info = microbatch.CommitInfo{Offsets: []byte(`{"s":1}`), Plan: "f", KeepBatchTime: true, PlannedAt: time.Unix(0, 0)}

// shown reads what a reader of batch-*/ sees: path below the directory and content, by line.
func shown(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range names {
		if strings.HasPrefix(name, batchPrefix) {
			out = append(out, tree(t, fsys, filepath.Join(dir, name), name)...)
		}
	}
	slices.Sort(out)
	return out
}

func tree(t *testing.T, fsys vfs.FS, dir, rel string) (out []string) {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := fsys.ReadDir(path); err == nil {
			out = append(out, tree(t, fsys, path, rel+"/"+name)...)
			continue
		}
		if strings.HasPrefix(name, ".") {
			continue
		}
		f, err := fsys.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		for line := range bytes.Lines(text) {
			out = append(out, rel+"/"+name+" "+strings.TrimSpace(string(line)))
		}
	}
	return out
}

package file

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// testOutput has a number, a text to partition by, and nothing else.
var testOutput = planner.Output{Name: "v", Columns: []vector.Field{
	{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "dt", Type: vector.Of(vector.Varchar)}}}

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

// shown reads what a reader of batch-*/ sees: path below the directory and content, by line.
func shown(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	out, err := lines(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lines is shown for any goroutine.
func lines(fsys vfs.FS, dir string) (out []string, err error) {
	names, err := fsys.ReadDir(dir)
	for _, name := range names {
		if strings.HasPrefix(name, batchPrefix) && err == nil {
			var more []string
			more, err = tree(fsys, filepath.Join(dir, name), name)
			out = append(out, more...)
		}
	}
	slices.Sort(out)
	return out, err
}

func tree(fsys vfs.FS, dir, rel string) (out []string, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := fsys.ReadDir(path); err == nil {
			more, err := tree(fsys, path, rel+"/"+name)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		if strings.HasPrefix(name, ".") {
			continue
		}
		f, err := fsys.Open(path)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			out = append(out, rel+"/"+name+" "+strings.TrimSpace(string(line)))
		}
	}
	return out, nil
}

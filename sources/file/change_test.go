package file

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

var idColumn = []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}}

// lines returns {"id":from} … {"id":to-1}.
func lines(from, to int) []byte {
	var buf bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintf(&buf, "{\"id\":%d}\n", i)
	}
	return buf.Bytes()
}

func mustPoll(t testing.TB, s *Source, from json.RawMessage, max int64) *microbatch.Rows {
	t.Helper()
	r, err := s.Poll(context.Background(), from, microbatch.Limits{MaxRows: max})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func appendTo(t testing.TB, path string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// ids returns the first column.
func ids(r *microbatch.Rows) []int64 {
	var out []int64
	for _, c := range r.Chunks {
		for i := range c.N {
			out = append(out, c.Cols[0].I64(i))
		}
	}
	return out
}

// Whatever is done to a file that was read, Poll and Read say so instead of giving other rows.
func TestChangedFiles(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, path string)
		// poll and read say whether Poll and Read must fail.
		poll, read bool
		content    bool // identity = 'content'
		want       string
	}{
		{"truncated", func(t *testing.T, p string) { must(t, os.Truncate(p, 100)) }, true, true, false, "it now has only 100 bytes"},
		{"emptied", func(t *testing.T, p string) { must(t, os.Truncate(p, 0)) }, true, true, true, "it now has only 0 bytes"},
		{"rewritten in place", func(t *testing.T, p string) {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte(`{"id":9}`), 0)
			must(t, err)
			must(t, f.Close())
			touch(t, p)
		}, true, true, true, "it was rewritten"},
		{"rewritten before the offset", func(t *testing.T, p string) {
			data := lines(0, 5000)
			copy(data[len(lines(0, 995)):], `{"id":777}`)
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt(data, 0)
			must(t, err)
			must(t, f.Close())
			touch(t, p)
		}, true, true, false, "it was rewritten"},
		{"replaced by a copy", func(t *testing.T, p string) {
			must(t, os.WriteFile(p+".new", lines(0, 1000), 0o644))
			must(t, os.Rename(p+".new", p))
		}, true, true, false, "another file now has that name"},
		{"replaced by a copy, identity content", func(t *testing.T, p string) {
			must(t, os.WriteFile(p+".new", lines(0, 2000), 0o644))
			must(t, os.Rename(p+".new", p))
		}, false, false, true, ""},
		{"replaced by another, identity content", func(t *testing.T, p string) {
			must(t, os.WriteFile(p+".new", lines(1, 2000), 0o644))
			must(t, os.Rename(p+".new", p))
		}, true, true, true, "it was rewritten"},
		{"removed", func(t *testing.T, p string) { must(t, os.Remove(p)) }, false, true, false, "it is gone"},
		{"grown", func(t *testing.T, p string) { appendTo(t, p, lines(1000, 1100)) }, false, false, false, ""},
		{"touched", func(t *testing.T, p string) { touch(t, p) }, false, false, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.ndjson")
			write(t, path, lines(0, 1000))
			opt := Options{Path: path, Columns: idColumn}
			if tc.content {
				opt.Identity = "content"
			}
			same := open(t, opt)
			r := mustPoll(t, same, nil, 0)
			tc.change(t, path)
			for name, s := range map[string]*Source{"the same source": same, "a new source": open(t, opt)} {
				s.list = nil // the listing may be a second old
				_, err := s.Poll(context.Background(), r.To, microbatch.Limits{})
				check(t, name+", Poll", err, tc.poll, tc.want)
				_, err = s.Read(context.Background(), nil, r.To)
				check(t, name+", Read", err, tc.read, tc.want)
			}
		})
	}
}

func check(t *testing.T, what string, err error, fails bool, want string) {
	t.Helper()
	if !fails {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	sourcetest.RangeChanged(t, err)
	if err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "x.ndjson") || !strings.Contains(err.Error(), "Hint:")) {
		t.Errorf("%s: error %q, want %q in it", what, err, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// touch moves the modification time, as a write would on any file system.
func touch(t *testing.T, path string) {
	t.Helper()
	must(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
}

// A file that is being written: only whole lines are rows, and none is lost or read twice.
func TestTailGrowth(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.ndjson")
	s := open(t, Options{Path: filepath.Join(dir, "*.ndjson"), Columns: idColumn})
	var from json.RawMessage
	var got []int64
	step := func(want ...int64) {
		t.Helper()
		r := mustPoll(t, s, from, 0)
		if diff := cmp.Diff(want, ids(r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(want) == 0 && string(r.To) != string(from) {
			t.Errorf("To moved from %s to %s without rows", from, r.To)
		}
		if r.Done {
			t.Error("a tailed source is never done")
		}
		got, from = append(got, ids(r)...), r.To
	}
	step()
	write(t, path, []byte(`{"id":`))
	step()
	appendTo(t, path, []byte("1}"))
	step()
	step()
	appendTo(t, path, []byte("\n{\"id\":2}\n{"))
	step(1, 2)
	appendTo(t, path, []byte("\"id\":3}\r\n"))
	step(3)
	write(t, filepath.Join(dir, "0.ndjson"), lines(10, 12)) // sorts before, but comes later
	appendTo(t, path, lines(4, 5))
	s.list = nil
	step(4, 10, 11)
	appendTo(t, path, lines(5, 6))
	s.list = nil
	step(5)
	must(t, os.Remove(path)) // read to its end: it may go
	s.list = nil
	step()
	appendTo(t, filepath.Join(dir, "0.ndjson"), lines(12, 13))
	step(12)
	if marks, _ := decodeMarks(from); len(marks) != 2 || marks[0].path != path {
		t.Errorf("offsets %s", from)
	}
}

// A bounded source reads what the first Poll found, and a last line without a line end.
func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	write(t, path, append(lines(0, 3), `{"id":3}`...))
	s := open(t, Options{Path: path, Columns: idColumn, Mode: "bounded"})
	r := mustPoll(t, s, nil, 2)
	if r.Done || !r.More || r.RemainingBytes != 9+8 {
		t.Errorf("after two rows: done %v, more %v, %d bytes remaining", r.Done, r.More, r.RemainingBytes)
	}
	appendTo(t, path, append([]byte("4}\n"), lines(5, 9)...)) // the last line was not whole: it was {"id":3}4}
	r = mustPoll(t, s, r.To, 0)
	if !r.Done || r.RemainingBytes != 0 || len(ids(r)) != 1 || len(r.Bad) != 1 {
		t.Errorf("at the end: done %v, %d bytes remaining, rows %v, bad %v", r.Done, r.RemainingBytes, ids(r), r.Bad)
	}
	// The next run goes on with what has been added since.
	next := mustPoll(t, open(t, Options{Path: path, Columns: idColumn, Mode: "bounded"}), r.To, 0)
	if diff := cmp.Diff([]int64{5, 6, 7, 8}, ids(next)); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
}

func TestOnErrorStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	write(t, path, []byte("{\"id\":1}\n\n{\"id\":\"x\"}\n"))
	_, err := open(t, Options{Path: path, Columns: idColumn, OnError: "stop"}).Poll(context.Background(), nil, microbatch.Limits{})
	if err == nil || !strings.Contains(err.Error(), "a.ndjson:3 (byte 10): column id: 'x' is not a BIGINT\nHint:") {
		t.Errorf("got %v", err)
	}
	r := mustPoll(t, open(t, Options{Path: path, Columns: idColumn}), nil, 0)
	want := []microbatch.BadRow{{Partition: path, Offset: 10, Reason: "column id: 'x' is not a BIGINT", Raw: []byte(`{"id":"x"}`)}}
	if diff := cmp.Diff(want, r.Bad); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A row over the bound is a bad row wherever the blocks are cut, and its bytes are not kept.
func TestLongRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.ndjson")
	long := func(n int) string { return `{"x":"` + strings.Repeat("y", n) + `","id":7}` + "\n" }
	write(t, path, []byte("{\"id\":1}\n"+long(300_000)+"{\"id\":2}\n"+long(1000)+long(20_000)+"{\"id\":3}\n"+long(100_000)))
	for _, block := range []int{1 << 9, 1 << 14, 1 << 20} {
		for _, max := range []int64{0, 1} {
			s := open(t, Options{Path: path, Columns: idColumn, MaxRowBytes: 10_000})
			s.blockBytes = block
			var got []int64
			var bad []microbatch.BadRow
			var from json.RawMessage
			for {
				r := mustPoll(t, s, from, max)
				if string(r.To) == string(from) {
					break
				}
				got, bad, from = append(got, ids(r)...), append(bad, r.Bad...), r.To
			}
			if diff := cmp.Diff([]int64{1, 2, 7, 3}, got); diff != "" {
				t.Errorf("block %d, max %d (-want +got):\n%s", block, max, diff)
			}
			if len(bad) != 3 || bad[0].Reason != "the row is longer than 10000 bytes" || len(bad[0].Raw) > 64<<10 {
				t.Errorf("block %d, max %d: bad rows %d", block, max, len(bad))
			}
			again, err := open(t, s.opt).Read(context.Background(), nil, from)
			if err != nil {
				t.Fatal(err)
			}
			for i := range bad {
				if bad[i].Offset != again.Bad[i].Offset || bad[i].Reason != again.Bad[i].Reason {
					t.Errorf("block %d: bad row %d is %d %s in the replay", block, i, again.Bad[i].Offset, again.Bad[i].Reason)
				}
			}
		}
	}
}

// Ten thousand files: all are read, in order, and the offsets stay small.
func TestManyFiles(t *testing.T) {
	dir := t.TempDir()
	const files = 10_000
	for i := range files {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("part-%05d.ndjson", i)), lines(i, i+1), 0o644))
	}
	s := open(t, Options{Path: "part-*.ndjson", BaseDir: dir, Columns: idColumn, Mode: "bounded"})
	var from json.RawMessage
	var got []int64
	for {
		r := mustPoll(t, s, from, 3000)
		got, from = append(got, ids(r)...), r.To
		if r.Done {
			break
		}
	}
	for i, id := range got {
		if int(id) != i {
			t.Fatalf("row %d has id %d", i, id)
		}
	}
	if len(got) != files || len(from) > files*40 {
		t.Errorf("%d rows, offsets of %d bytes", len(got), len(from))
	}
	if r := mustPoll(t, open(t, s.opt), from, 0); r.Count != 0 || !r.Done || string(r.To) != string(from) {
		t.Errorf("resumed at the end: %d rows, done %v", r.Count, r.Done)
	}
}

func TestOffsetsRoundTrip(t *testing.T) {
	marks := []mark{{"a/b.ndjson", 12, "0123456789"}, {"a/bé.ndjson", 5, "x"}, {"a/bè \"q\".ndjson", 1 << 43, "y"}, {"z", 0, "e."}, {"unread", 0, ""}}
	doc := encodeMarks(marks)
	var compact bytes.Buffer
	must(t, json.Indent(&compact, doc, "", "  ")) // as a database may hand it back
	got, err := decodeMarks(compact.Bytes())
	must(t, err)
	if diff := cmp.Diff(marks[:4], got, cmp.AllowUnexported(mark{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{`{"v":2,"files":[]}`, `{"v":1,"files":[["a"]]}`, `{"v":1,"files":[[9,"a",1,"x"]]}`, `{"v":1,"files":[["a",-1,"x"]]}`, `[]`, `{"v":1,"files":[["a","1","x"]]}`} {
		if _, err := decodeMarks(json.RawMessage(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a,b.ndjson"), nil)
	write(t, filepath.Join(dir, "c.ndjson"), nil)
	list := vector.ListOf(vector.Of(vector.Int64))
	for _, tc := range []struct {
		opt  Options
		want []string // nothing: valid
	}{
		{Options{Path: "c.ndjson"}, nil},
		{Options{Path: "a,b.ndjson", Mode: "bounded"}, nil},
		{Options{Path: "c.ndjson, d.ndjson"}, nil},
		{Options{Path: `["a,b.ndjson", "c.ndjson"]`, Mode: "bounded"}, nil},
		{Options{Path: "*.ndjson", Mode: "bounded"}, nil},
		{Options{Path: "later/*.json"}, nil},
		{Options{Path: "c.ndjson,d.ndjson", Mode: "bounded"}, []string{"cannot read d.ndjson: no such file", "relative paths start at " + dir}},
		{Options{Path: ".", Format: "json", Mode: "bounded"}, []string{"is a directory", "use a glob"}},
		{Options{}, []string{"no path is given"}},
		{Options{Path: "x.txt"}, []string{"cannot tell the format of x.txt"}},
		{Options{Path: "x.json.gz", Format: "json"}, []string{"compressed files cannot be read"}},
		{Options{Path: "a/**/x.json"}, []string{"** is not supported"}},
		{Options{Path: "a[.json"}, []string{"malformed glob"}},
		{Options{Path: `["a", 1]`, Format: "json"}, []string{"not a JSON list of strings"}},
		{Options{Path: "c.ndjson", Mode: "follow", OnError: "skip", Format: "xml", Identity: "md5", MaxRowBytes: 1},
			[]string{"mode = 'follow'", "on_error = 'skip'", "format = 'xml'", "identity = 'md5'", "max_row_bytes = 1"}},
		{Options{Path: "c.csv", Columns: []vector.Field{{Name: "l", Type: list}, {Name: "_seq", Type: list}, {Name: "l", Type: list}}, CSV: CSVOptions{Delimiter: "||", Quote: "'", Escape: "\n"}},
			[]string{"column l: BIGINT[] cannot be read from csv", "_seq is reserved", "column l is declared twice", `delimiter = "||"`, `escape = "\n"`}},
		{Options{Path: "c.ndjson", Columns: []vector.Field{{Name: "b", Type: vector.Of(vector.Bit)}}}, []string{"column b: BIT cannot be read from json"}},
	} {
		tc.opt.BaseDir = dir
		if tc.opt.Columns == nil {
			tc.opt.Columns = idColumn
		}
		err := tc.opt.Validate()
		if (err == nil) != (len(tc.want) == 0) {
			t.Errorf("%+v: %v", tc.opt, err)
		}
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want %q in it", tc.opt, err, want)
			}
		}
	}
	if _, err := open(t, Options{Path: "none-*.json", BaseDir: dir, Columns: idColumn, Mode: "bounded"}).Poll(context.Background(), nil, microbatch.Limits{}); err == nil || !strings.Contains(err.Error(), "no file matches none-*.json") {
		t.Errorf("an empty glob in bounded mode: %v", err)
	}
	if r := mustPoll(t, open(t, Options{Path: "none-*.json", BaseDir: dir, Columns: idColumn}), nil, 0); r.Count != 0 {
		t.Errorf("an empty glob in tail mode gave %d rows", r.Count)
	}
}

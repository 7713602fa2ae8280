package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

// overtaken is a file system in which another engine opens the sink when the first staged file is created.
type overtaken struct {
	vfs.FS
	once func()
}

func (f *overtaken) Create(path string) (vfs.File, error) {
	if once := f.once; once != nil && strings.Contains(path, "/staging/") {
		f.once = nil
		once()
	}
	return f.FS.Create(path)
}

// An engine that is taken over while it stages says so, although what it fails at is the directory that the newer
// one has deleted.
func TestFencedWhileStaging(t *testing.T) {
	mem, d := vfs.NewMem(), sinktest.NewDiary(t)
	fsys := &overtaken{FS: mem}
	o := memory(mem)
	o.FS = fsys
	old, _ := open(t, o)
	d.Put(old, scenario()[0])
	fsys.once = func() {
		young, _ := open(t, memory(mem))
		d.Put(young, scenario()[1])
	}
	if err := old.Stage(t.Context(), scenario()[1]); !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("the old engine staged, or did not say that it is fenced: %v", err)
	}
}

// A process that holds the lock is waited for, and named when it does not let go.
func TestLocked(t *testing.T) {
	mem := vfs.NewMem()
	s, _ := open(t, memory(mem))
	s.o.LockTimeout = time.Nanosecond
	lock, err := mem.Lock(s.lockPath())
	if err != nil {
		t.Fatal(err)
	}
	b := sinktest.Batch(1, sinktest.Rows("1 a"))
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	permit := sinktest.NewDiary(t).Prepare(b)
	if err := s.Commit(t.Context(), permit, sinktest.Info); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("committed past the lock: %v", err)
	}
	s.o.LockTimeout = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := s.Commit(ctx, permit, sinktest.Info); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), permit, sinktest.Info); err != nil {
		t.Error(err)
	}
}

// What others do to the directory is noticed, and what is none of the sink's business is left alone.
func TestDisturbed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		disturb func(dir string) error
		start   string // what a start says, "" if it goes well
		commit  string // what the commit of batch 2 says
	}{
		{"foreign file", func(dir string) error { return os.WriteFile(filepath.Join(dir, "README"), nil, 0o600) }, "", ""},
		{"foreign directory", func(dir string) error { return os.MkdirAll(filepath.Join(dir, "batch-of-photos"), 0o700) }, "", ""},
		{"old batches archived", func(dir string) error { return os.RemoveAll(filepath.Join(dir, batchName(1))) }, "", ""},
		{"deleted", os.RemoveAll, "", "was deleted"},
		{"ledger deleted", func(dir string) error { return os.Remove(filepath.Join(dir, workDir, "ledger")) }, "has batch-000000000001, but no ledger", "was deleted"},
		{"ledger damaged", func(dir string) error { return os.WriteFile(filepath.Join(dir, workDir, "ledger"), []byte("{"), 0o600) }, "is damaged", "is damaged"},
		{"next batch there", func(dir string) error { return os.Mkdir(filepath.Join(dir, batchName(2)), 0o700) }, "has no manifest", "has no manifest"},
		{"later batch there", func(dir string) error {
			return os.Rename(filepath.Join(dir, batchName(1)), filepath.Join(dir, batchName(7)))
		}, "is newer than the ledger", ""},
		{"staging emptied", func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, workDir, "staging", stagedName(1, 2)))
		}, "", "staged files are gone"},
		{"a file where partitions go", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, workDir, "staging", stagedName(1, 3)), nil, 0o600)
		}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Dir: filepath.Join(t.TempDir(), "out"), Layout: Layout{PartitionBy: []string{"DT"}}}
			s, _ := open(t, o)
			d := sinktest.NewDiary(t)
			d.Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
			b := sinktest.Batch(2, sinktest.Rows("2 b"))
			if err := s.Stage(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if err := tt.disturb(o.Dir); err != nil {
				t.Fatal(err)
			}
			says(t, "commit", s.Commit(t.Context(), d.Prepare(b), sinktest.Info), tt.commit)
			again, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = again.Open(t.Context(), "p", []microbatch.Target{{Output: testOutput}})
			says(t, "start", err, tt.start)
		})
	}
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// A directory that cannot be made is refused with the reason, and nothing is left.
func TestNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Dir: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: testOutput}}); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
	denied := Options{Dir: "/data/out", FS: vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == "create" {
			return syscall.EACCES
		}
		return nil
	})}
	if s, err = New(denied); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: testOutput}}); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "/data/out") {
		t.Error(err)
	}
}

// An append-only file does not take a row back, whatever the program says.
func TestTakesNothingBack(t *testing.T) {
	s, _ := open(t, Options{Dir: "/out", FS: vfs.NewMem()})
	b := sinktest.Batch(1, sinktest.Rows("1 a"))
	b.Outputs[0].Chunks[0].Cols[2].PutI64(0, -1)
	if err := s.Stage(t.Context(), b); !errors.Is(err, ErrDisagree) {
		t.Error(err)
	}
}

// Values that a path could misread are escaped as Hive does, in names and values.
func TestPartitionPath(t *testing.T) {
	mem := vfs.NewMem()
	s, _ := open(t, Options{Dir: "/out", FS: mem, Layout: Layout{PartitionBy: []string{"dt", "id"}}})
	sinktest.NewDiary(t).Put(s, sinktest.Batch(1, sinktest.Rows("1 a/b=c", "2 %*?[", "3 ..", "4 ", "5 é ü")))
	var got []string
	for _, line := range shown(t, mem, "/out") {
		path, _, _ := strings.Cut(line, "/part-0")
		got = append(got, strings.TrimPrefix(path, "batch-000000000001/"))
	}
	want := "dt=%25%2A%3F%5B/id=2\ndt=..\ndt=/id=4\ndt=a%2Fb%3Dc/id=1\ndt=é ü/id=5"
	if strings.Join(got, "\n") != strings.Replace(want, "dt=..\n", "dt=../id=3\n", 1) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// Dropping removes what is the pipeline's and nothing else.
func TestDrop(t *testing.T) {
	for _, kept := range []Kept{KeepFiles, DropFiles} {
		mem := vfs.NewMem()
		s, _ := open(t, memory(mem))
		sinktest.NewDiary(t).Put(s, sinktest.Batch(1, sinktest.Rows("1 a")))
		if err := mem.MkdirAll("/data/out/batch-000000000009"); err != nil {
			t.Fatal(err)
		}
		if had, err := s.Drop("other", kept); had || err != nil {
			t.Error("dropped for another pipeline", err)
		}
		for i := range 2 {
			if had, err := s.Drop("p", kept); had != (i == 0) || err != nil {
				t.Errorf("drop %d: %t, %v", i, had, err)
			}
		}
		names, err := mem.ReadDir("/data/out")
		if want := map[Kept]string{KeepFiles: batchName(1) + " " + batchName(9), DropFiles: batchName(9)}[kept]; strings.Join(names, " ") != want || err != nil {
			t.Errorf("left %q, %v", names, err)
		}
	}
}

func TestLayoutCheck(t *testing.T) {
	for _, tt := range []struct {
		layout Layout
		want   string
	}{
		{Layout{}, ""},
		{Layout{Format: "avro"}, "format = 'avro' is not known"},
		{Layout{Compression: "snappy"}, "compression = 'snappy' is not for json files"},
		{Layout{PartitionBy: []string{"dt", "nope"}}, `partition_by = "nope" is not a column`},
		{Layout{PartitionBy: []string{"dt", "DT"}}, `partition_by = "DT" is named twice`},
		{Layout{Format: FormatCSV, CSV: &CSV{Delimiter: "||"}}, "delimiter"},
		{Layout{Format: FormatCSV, CSV: &CSV{Delimiter: `"`}}, "is the quote as well"},
		{Layout{Format: FormatCSV, CSV: &CSV{Null: "a,b"}}, "would have to be quoted"},
	} {
		says(t, tt.layout.Format, tt.layout.Check(testOutput), tt.want)
	}
	weighted := planner.Output{Name: "v", Columns: append(testOutput.Columns[:1:1], testOutput.Columns[0])}
	weighted.Columns[1].Name = WeightColumn
	says(t, "changelog", Layout{Mode: ModeChangelog}.Check(weighted), "is what a changelog adds")
}

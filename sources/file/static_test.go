package file

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/microbatch"
)

// sealed reads a table to its end and returns the offsets.
func sealed(t *testing.T, s *Source) json.RawMessage {
	t.Helper()
	var at json.RawMessage
	for {
		r := mustPoll(t, s, at, 7)
		if at = r.To; r.Done {
			return at
		}
	}
}

func TestStaticTable(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(dir string) error
		want   string // of the error; empty if the table is still the same
	}{
		{"untouched", func(string) error { return nil }, ""},
		{"touched", func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "b.ndjson"), time.Now(), time.Now().Add(time.Hour))
		}, ""},
		{"restored", func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "b.ndjson"))
			return errors.Join(err, os.Remove(filepath.Join(dir, "b.ndjson")), os.WriteFile(filepath.Join(dir, "b.ndjson"), data, 0o600))
		}, ""},
		{"grown", func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "b.ndjson"))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "b.ndjson"), append(data, lines(50, 51)...), 0o600))
		}, "its content is not what it was"},
		{"edited in the middle", func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "b.ndjson"))
			text := strings.Replace(string(data), "{\"id\":1020}", "{\"id\":9999}", 1)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "b.ndjson"), []byte(text), 0o600))
		}, "its content is not what it was"},
		{"truncated", func(dir string) error { return os.Truncate(filepath.Join(dir, "a.ndjson"), 5) }, "has changed since it was read"},
		{"removed", func(dir string) error { return os.Remove(filepath.Join(dir, "a.ndjson")) }, "it is gone"},
		{"added", func(dir string) error { return os.WriteFile(filepath.Join(dir, "c.ndjson"), lines(0, 1), 0o600) }, "it was not there"},
		{"filled", func(dir string) error { return os.WriteFile(filepath.Join(dir, "0.ndjson"), lines(0, 1), 0o600) }, "its content is not what it was"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "0.ndjson"), nil)
			write(t, filepath.Join(dir, "a.ndjson"), lines(0, 9))
			write(t, filepath.Join(dir, "b.ndjson"), lines(0, 2000))
			opt := Options{Name: "x", Columns: idColumn, Path: filepath.Join(dir, "*.ndjson"), Static: true}
			running := open(t, opt)
			end := sealed(t, running)
			must(t, tc.change(dir))
			for what, s := range map[string]*Source{"a running source": running, "a restarted source": open(t, opt)} {
				if s.list != nil {
					s.list.at = time.Time{} // as if the next look at the files were due
				}
				r, err := s.Poll(context.Background(), end, microbatch.Limits{})
				wantError(t, what, err, tc.want)
				if err == nil && (r.Count != 0 || !r.Done || string(r.To) != string(end)) {
					t.Errorf("%s read %d rows more, done %t, to %s", what, r.Count, r.Done, r.To)
				}
				if err != nil && !errors.Is(err, microbatch.ErrRangeChanged) {
					t.Errorf("%s: %v is no changed range", what, err)
				}
			}
			// A replay of the whole table wants the same files.
			r, err := open(t, opt).Read(context.Background(), nil, end)
			wantError(t, "a replay", err, tc.want)
			if err == nil && r.Count != 2009 {
				t.Errorf("a replay has %d rows", r.Count)
			}
		})
	}
}

func TestStaticTableThatIsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty.csv")
	write(t, path, []byte("id\n"))
	opt := Options{Columns: idColumn, Path: path, Static: true}
	r := mustPoll(t, open(t, opt), nil, 0)
	if !r.Done || r.Count != 0 || sealOf(r.To) == "" {
		t.Fatalf("an empty table: %+v", r)
	}
	if diff := cmp.Diff([]int64(nil), ids(mustPoll(t, open(t, opt), r.To, 0))); diff != "" {
		t.Error(diff)
	}
	write(t, path, nil)
	_, err := open(t, opt).Poll(context.Background(), r.To, microbatch.Limits{})
	wantError(t, "an emptier table", err, "has changed")
}

func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: error %v, want %q in it", what, err, want)
	}
}

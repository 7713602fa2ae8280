package file

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

var testColumns = []vector.Field{
	{Name: "id", Type: vector.Of(vector.Int64)},
	{Name: "name", Type: vector.Of(vector.Varchar)},
	{Name: "at", Type: vector.Of(vector.Timestamp)},
	{Name: "x", Type: vector.Of(vector.Float64)},
	{Name: "tags", Type: vector.ListOf(vector.Of(vector.Varchar))},
}

// randomNDJSON returns rows good and bad, of all shapes, and how many of each.
func randomNDJSON(r *rand.Rand, n int) (data []byte, good, bad int64) {
	var buf bytes.Buffer
	for i := range n {
		switch k := r.IntN(20); k {
		case 0:
			fmt.Fprintf(&buf, `{"id":"abc%d"}`, i)
			bad++
		case 1:
			buf.WriteString(`{"id":1,"tags":["a","b"],`)
			bad++
		case 2:
			buf.WriteString("  ")
		case 3:
			fmt.Fprintf(&buf, `{"name":"%s","id":%d,"more":{"a":[1,"\u00e9"]}}`, strings.Repeat("long ", r.IntN(200)), i)
			good++
		case 4:
			fmt.Fprintf(&buf, `{"name":"esc\t\"%d\" and quite some more text","x":-0.0,"tags":[]}`, i)
			good++
		default:
			fmt.Fprintf(&buf, `{"id":%d,"name":"n%d","at":"2024-01-%02dT10:11:12.%03dZ","x":%d.5,"tags":["x","longer than twelve bytes %d"]}`, i, i, 1+i%28, i%1000, i, i)
			good++
		}
		if r.IntN(5) == 0 {
			buf.WriteByte('\r')
		}
		buf.WriteByte('\n')
	}
	return buf.Bytes(), good, bad
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, opt Options) *Source {
	t.Helper()
	if opt.Columns == nil {
		opt.Columns = testColumns
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformanceJSON(t *testing.T) {
	for _, mode := range []string{"tail", "bounded"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			var good, bad int64
			for i := range 5 {
				data, g, b := randomNDJSON(r, r.IntN(3000))
				if i == 2 {
					data = append([]byte("\xef\xbb\xbf"), data...)
				}
				if i == 3 {
					data = append(data, `{"id":7}`...)
					if mode == "bounded" {
						g++
					}
				}
				write(t, filepath.Join(dir, fmt.Sprintf("f%d.ndjson", i)), data)
				good, bad = good+g, bad+b
			}
			sourcetest.Run(t, sourcetest.Config{
				Columns: testColumns, Rows: good, Bad: bad, Seed: seed,
				Faults: map[string]func(testing.TB) func(){"disk gone": func(t testing.TB) func() { return away(t, dir) }},
				Lost: map[string]func(testing.TB) sourcetest.Losable{
					"removed": func(t testing.TB) sourcetest.Losable { return losable(t, mode, os.Remove) },
					"cut short": func(t testing.TB) sourcetest.Losable {
						return losable(t, mode, func(path string) error { return os.Truncate(path, 3) })
					},
				},
				Open: func(t testing.TB) microbatch.Source {
					s := open(t, Options{Path: "*.ndjson", BaseDir: dir, Mode: mode})
					s.blockBytes = 1 << (9 + r.IntN(12))
					return s
				},
			})
		})
	}
}

// away moves a directory out of sight.
func away(t testing.TB, dir string) (back func()) {
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Error(err)
		}
	}
}

// losable is a file that something is done to.
func losable(t testing.TB, mode string, do func(path string) error) sourcetest.Losable {
	path := filepath.Join(t.TempDir(), "lost.ndjson")
	write(t, path, lines(0, 100))
	return sourcetest.Losable{
		Open: func(t testing.TB) microbatch.Source {
			return open(t, Options{Path: filepath.Join(filepath.Dir(path), "*.ndjson"), Columns: idColumn, Mode: mode})
		},
		Lose: func(t testing.TB) { must(t, do(path)) },
	}
}

// TestPartitionName: rows that are late are reported with the file's path, whichever call found the file.
func TestPartitionName(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"a.ndjson", "b.ndjson"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprintf("{\"n\":%d}\n", i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opt := Options{Columns: []vector.Field{{Name: "n", Type: vector.Of(vector.Int64)}}, Path: "*.ndjson", BaseDir: dir, Mode: "bounded"}
	polled, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := polled.Poll(context.Background(), nil, microbatch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	read, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.Read(context.Background(), nil, rows.To); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Source{polled, read} {
		if a, b, c := s.PartitionName(0), s.PartitionName(1), s.PartitionName(2); a != "a.ndjson" || b != "b.ndjson" || c != "" {
			t.Errorf("partitions are named %q, %q, %q", a, b, c)
		}
	}
}

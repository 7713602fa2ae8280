package file

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

var csvColumns = testColumns[:4]

func randomCSV(r *rand.Rand, n int) (data []byte, good, bad int64) {
	var buf bytes.Buffer
	buf.WriteString("at,extra,name,ID,x\n")
	for i := range n {
		switch r.IntN(15) {
		case 0:
			fmt.Fprintf(&buf, "2024-01-01,,name,x%d,1", i)
			bad++
		case 1:
			fmt.Fprintf(&buf, "2024-01-01,,%d,1", i)
			bad++
		case 2: // an empty line
		case 3:
			fmt.Fprintf(&buf, "2024-01-02T00:00:00Z,\"two\nlines\",\"quoted \"\"%d\"\" with\nlines, and commas\",%d,-0.0", i, i)
			good++
		case 4:
			fmt.Fprintf(&buf, "2024-01-01,\"a\"b,n,%d,1", i)
			bad++
		default:
			fmt.Fprintf(&buf, "2024-01-%02d 10:11:12.5,%s,n%d é,%d,%d.25", 1+i%28, strings.Repeat("x", r.IntN(50)), i, i, i)
			good++
		}
		if r.IntN(5) == 0 {
			buf.WriteByte('\r')
		}
		buf.WriteByte('\n')
	}
	return buf.Bytes(), good, bad
}

func TestConformanceCSV(t *testing.T) {
	for _, mode := range []string{"tail", "bounded"} {
		t.Run(mode, func(t *testing.T) {
			dir, seed := t.TempDir(), rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			var good, bad int64
			for i := range 3 {
				data, g, b := randomCSV(r, r.IntN(2000))
				if i == 1 {
					data = append([]byte("\xef\xbb\xbf"), data...)
				}
				if i == 2 {
					data = append(data, "2024-01-01,,last,1,2"...)
					if mode == "bounded" {
						g++
					}
				}
				write(t, filepath.Join(dir, fmt.Sprintf("f%d.csv", i)), data)
				good, bad = good+g, bad+b
			}
			sourcetest.Run(t, sourcetest.Config{
				Columns: csvColumns, Rows: good, Bad: bad, Seed: seed,
				Open: func(t testing.TB) microbatch.Source {
					s := open(t, Options{Path: "*.csv", BaseDir: dir, Mode: mode, Columns: csvColumns})
					s.blockBytes = 1 << (9 + r.IntN(12))
					return s
				},
			})
		})
	}
}

func TestCSVFields(t *testing.T) {
	cols := []vector.Field{{Name: "a", Type: vector.Of(vector.Varchar)}, {Name: "b", Type: vector.Of(vector.Int64)}}
	for _, tc := range []struct {
		name, data string
		opt        CSVOptions
		rows, bad  []string
	}{
		{name: "null and empty", data: "a,b\n,1\n\"\",2\n", rows: []string{`NULL | 1`, `"" | 2`}},
		{name: "quoted number", data: "a,b\nx,\"7\"\n", rows: []string{`"x" | 7`}},
		{name: "casts", data: "a,b\nx,1e3\nx,12.5\nx,+5\nx,0x1F\nx,1_000\nx,007\nx, 12 \nx,-0\n",
			rows: []string{`"x" | 1000`, `"x" | 13`, `"x" | 5`, `"x" | 31`, `"x" | 1000`, `"x" | 7`, `"x" | 12`, `"x" | 0`}},
		{name: "quotes inside", data: "a,b\na\"b,1\n\"a\"\"b\",2\n\"a,\nb\",3\n", rows: []string{`"a\"b" | 1`, `"a\"b" | 2`, `"a,\nb" | 3`}},
		{name: "spaces kept", data: "a,b\n x ,1\n", rows: []string{`" x " | 1`}},
		{name: "backslash", data: "a,b\n\"a\\\"b\\\\\",1\n", opt: CSVOptions{Escape: `\`}, rows: []string{`"a\"b\\" | 1`}},
		{name: "semicolons", data: "b;a\n1;x,y\n", opt: CSVOptions{Delimiter: ";"}, rows: []string{`"x,y" | 1`}},
		{name: "no header", data: "x,1\n", opt: CSVOptions{NoHeader: true}, rows: []string{`"x" | 1`}},
		{name: "null string", data: "a,b\nNA,NA\n\"NA\",1\n", opt: CSVOptions{NullString: "NA"}, rows: []string{`NULL | NULL`, `"NA" | 1`}},
		{name: "crlf", data: "a,b\r\nx,1\r\n\r\n\"y\",2\r\n", rows: []string{`"x" | 1`, `"y" | 2`}},
		{name: "bad", data: "a,b\nx\nx,y\nx,1,2\n\"x\"y,1\nx,9223372036854775808\nx\x00y,1\nx\xff,1\nok,1\n\"open,1\nok,2\n",
			rows: []string{`"ok" | 1`, `"ok" | 2`},
			bad: []string{"expected 2 fields, found 1", "column b: 'y' is not a BIGINT", "expected 2 fields, found 3",
				"a closing quote is followed by 'y', not by a delimiter", "column b: '9223372036854775808' is not a BIGINT",
				"column a: the text has a NUL character, which Postgres cannot store", "column a: the text is not valid UTF-8",
				"a quoted field is not closed within 16777216 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.csv")
			write(t, path, []byte(tc.data))
			s := open(t, Options{Path: path, Columns: cols, Mode: "bounded", CSV: tc.opt})
			r, err := s.Poll(context.Background(), nil, microbatch.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var rows, bad []string
			for _, row := range sourcetest.RenderAll(r.Chunks) {
				rows = append(rows, row[:strings.LastIndex(row, " | ")])
			}
			for _, b := range r.Bad {
				bad = append(bad, b.Reason)
			}
			if diff := cmp.Diff(tc.rows, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.bad, bad); diff != "" {
				t.Errorf("bad rows (-want +got):\n%s", diff)
			}
		})
	}
}

// With a single field an empty line is a row, as in DuckDB.
func TestCSVSingleField(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	write(t, path, []byte("id\n1\n\n2\r\n\r\n"))
	r := mustPoll(t, open(t, Options{Path: path, Columns: idColumn}), nil, 0)
	want := []string{"1 | 3", "NULL | 5", "2 | 6", "NULL | 9"}
	if diff := cmp.Diff(want, sourcetest.RenderAll(r.Chunks)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCSVHeaderIsCheckedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	for data, want := range map[string]string{
		"a,c\n":     "has no column b\nHint: its header has a, c",
		"a,b,B,a\n": "names column a twice",
	} {
		write(t, path, []byte(data))
		_, err := New(Options{Path: path, Columns: []vector.Field{{Name: "a", Type: vector.Of(vector.Varchar)}, {Name: "b", Type: vector.Of(vector.Varchar)}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", data, err, want)
		}
	}
}

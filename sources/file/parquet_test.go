package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// writeParquet has DuckDB write a query's rows.
func writeParquet(t testing.TB, path, query string) {
	t.Helper()
	db, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec(context.Background(), "COPY ("+query+") TO "+literal(path)+" (FORMAT parquet, ROW_GROUP_SIZE 2048)"); err != nil {
		t.Fatal(err)
	}
}

const parquetQuery = `SELECT i AS id, CASE WHEN i % 7 = 3 THEN NULL WHEN i % 50 = 9 THEN 'nul' || chr(0) ELSE 'a name longer than twelve ' || i END AS name,
	TIMESTAMP '2024-01-01' + to_seconds(i) AS at, CASE WHEN i % 3 = 0 THEN -0.0 ELSE i / 4 END AS x,
	CASE WHEN i % 5 > 0 THEN ['t' || i, NULL, 'another text that is long'] END AS tags, 5 AS more FROM range(ROWS) r(i) ORDER BY i`

func TestConformanceParquet(t *testing.T) {
	for _, mode := range []string{"tail", "bounded"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			var good, bad int64
			for i, n := range []int{2500, 0, 3, 600} {
				writeParquet(t, filepath.Join(dir, fmt.Sprintf("f[%d].parquet", i)), strings.Replace(parquetQuery, "ROWS", fmt.Sprint(n), 1))
				for j := range n {
					if j%50 == 9 && j%7 != 3 {
						bad++
					} else {
						good++
					}
				}
			}
			sourcetest.Run(t, sourcetest.Config{
				Columns: testColumns, Rows: good, Bad: bad,
				Open: func(t testing.TB) microbatch.Source {
					return open(t, Options{Path: "*.parquet", BaseDir: dir, Mode: mode})
				},
			})
		})
	}
}

func TestParquetCasts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.parquet")
	writeParquet(t, path, "SELECT * FROM (VALUES (1::INTEGER, '2024-01-02', -0.0::FLOAT), (NULL, 'x', 1), (3, NULL, 'inf'::FLOAT)) t(A, d, f)")
	cols := []vector.Field{{Name: "f", Type: vector.Of(vector.Float64)}, {Name: "a", Type: vector.Of(vector.Int64)}, {Name: "d", Type: vector.Of(vector.Date)}}
	s := open(t, Options{Path: path, Columns: cols, Mode: "bounded"})
	defer s.Close()
	r, err := s.Poll(context.Background(), nil, microbatch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0/0 | 1 | 19724 | 0", "+Inf/7ff0000000000000 | 3 | NULL | 2"}
	if diff := cmp.Diff(want, sourcetest.RenderAll(r.Chunks)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	wantBad := []microbatch.BadRow{{Partition: path, Offset: 1, Reason: "column d: 'x' is not a DATE", Raw: []byte("{'f': 1.0, 'A': NULL, 'd': x}")}}
	if diff := cmp.Diff(wantBad, r.Bad); diff != "" {
		t.Errorf("bad rows (-want +got):\n%s", diff)
	}
	_, err = open(t, Options{Path: path, Columns: cols, Mode: "bounded", OnError: "stop"}).Poll(context.Background(), nil, microbatch.Limits{})
	if err == nil || !strings.Contains(err.Error(), "row 1: column d: 'x' is not a DATE") {
		t.Errorf("on_error = stop: %v", err)
	}
	_, err = New(Options{Path: path, Columns: append(cols, vector.Field{Name: "nope", Type: vector.Of(vector.Int64)})})
	if err == nil || !strings.Contains(err.Error(), "has no column nope") {
		t.Errorf("missing column: %v", err)
	}
}

func TestParquetReplacedAndIncomplete(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "x.parquet")
	cols := []vector.Field{{Name: "i", Type: vector.Of(vector.Int64)}}
	writeParquet(t, path, "SELECT i FROM range(3000) r(i)")
	s := open(t, Options{Path: filepath.Join(dir, "*.parquet"), Columns: cols})
	defer s.Close()
	r, err := s.Poll(ctx, nil, microbatch.Limits{MaxRows: 100})
	if err != nil {
		t.Fatal(err)
	}
	// A file that is still being written is left alone.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "y.parquet"), whole[:len(whole)/2])
	all, err := open(t, s.opt).Poll(ctx, r.To, microbatch.Limits{})
	if err != nil || all.Count != 2900 {
		t.Fatalf("got %v, %v", all, err)
	}
	write(t, filepath.Join(dir, "y.parquet"), whole)
	rest, err := open(t, s.opt).Poll(ctx, all.To, microbatch.Limits{})
	if err != nil || rest.Count != 3000 {
		t.Fatalf("got %v, %v", rest, err)
	}
	// A replaced one is an error while it is being read, and in a replay.
	writeParquet(t, path, "SELECT i + 1 AS i FROM range(3000) r(i)")
	_, err = open(t, s.opt).Poll(ctx, r.To, microbatch.Limits{})
	sourcetest.RangeChanged(t, err)
	_, err = open(t, s.opt).Read(ctx, nil, r.To)
	sourcetest.RangeChanged(t, err)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, s.opt).Read(ctx, nil, r.To)
	sourcetest.RangeChanged(t, err)
	// A finished one may go.
	done, err := open(t, s.opt).Poll(ctx, rest.To, microbatch.Limits{})
	if err != nil || done.Count != 0 {
		t.Fatalf("got %v, %v", done, err)
	}
}

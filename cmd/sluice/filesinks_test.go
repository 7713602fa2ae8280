package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	filesink "github.com/sluice-sql/sluice/sinks/file"
)

// Whatever the file sink writes, the file source reads back with the same values: random types and rows in every
// format, appended and as a changelog.
func TestFilesReadBack(t *testing.T) {
	for seed := range uint64(6) {
		for format, packed := range map[string]string{"json": "gzip", "csv": "zstd", "parquet": "zstd"} {
			for _, mode := range []string{filesink.ModeAppend, filesink.ModeChangelog} {
				layout := filesink.Layout{Format: format, Mode: mode}.WithDefaults()
				if seed%2 == 1 {
					layout.Compression = packed
				}
				t.Run(fmt.Sprint(format, "/", mode, "/", seed), func(t *testing.T) { readBackTest(t, seed, layout) })
			}
		}
	}
}

func readBackTest(t *testing.T, seed uint64, layout filesink.Layout) {
	r := rand.New(rand.NewPCG(seed, 5))
	var columns []vector.Field
	for len(columns) < 8 {
		f := vector.Field{Name: fmt.Sprint("c", len(columns)), Type: vectortest.Type(r, 2)}
		if len(layout.CheckColumns(planner.Output{Columns: []vector.Field{f}})) == 0 && !made(f.Type) {
			columns = append(columns, f)
		}
	}
	types := make([]vector.Type, len(columns))
	for i, c := range columns {
		types[i] = c.Type
	}
	backTest(t, layout, columns, vectortest.Chunk(r, types, 50, 1000), "")
}

// made says that a type's random values are not what DuckDB would make: members of a UNION that are not its
// value are filled in, TIMETZ has offsets that do not exist, and a MAP the same key twice. TestValuesReadBack has proper ones.
func made(t vector.Type) bool {
	return t.Kind == vector.Union || t.Kind == vector.Map || t.Kind == vector.TimeTZ || slices.ContainsFunc(t.ChildTypes(), made)
}

// edges are values at the edge of what types can hold.
var edges = []string{
	"99999999999999999999999999999999999999::HUGEINT", "-1::HUGEINT", "7::UHUGEINT",
	"'nan'::DOUBLE", "'-inf'::FLOAT", "1e-310::DOUBLE", "99999999999999999999999999999999999.999::DECIMAL(38,3)", "9999999999999.99::DECIMAL(15,2)", "9999999999999999.99::DECIMAL(18,2)", "-0.5::DECIMAL(3,2)",
	"'infinity'::TIMESTAMP", "'0044-03-15 (BC) 12:00:00'::TIMESTAMP", "'290000-01-01 00:00:00.000001'::TIMESTAMP", "'infinity'::DATE", "'-infinity'::TIMESTAMPTZ",
	"'1969-12-31 23:59:59.999999999'::TIMESTAMP_NS", "'2020-02-29 23:59:59'::TIMESTAMP_S", "'2020-02-29 23:59:59.999'::TIMESTAMP_MS",
	"'12:00:00.123456+02:30'::TIMETZ", "'23:59:59.999999999'::TIME_NS", "'24:00:00'::TIME", "'-1 month 2 days -0.000003 seconds'::INTERVAL",
	"''::VARCHAR", "'NULL'::VARCHAR", "' a\n\"b\",''c''\\;\t\r'::VARCHAR", "'日本😀'::VARCHAR", "'\\x00\\xFFa\"'::BLOB", "''::BLOB", "'00000000-0000-0000-0000-000000000001'::UUID",
	"'b c'::ENUM('a', 'b c')", "[1, NULL, 3]::BIGINT[]", "[]::VARCHAR[]", "[[1.5], NULL]::DOUBLE[1][2]", "{'a': 1, 'b c': NULL, 'd': {'e': [INTERVAL 1 HOUR]}}", "MAP {'k': 1, '': NULL}",
	"MAP {1: [170141183460469231731::HUGEINT]}", "union_value(num := 7)::UNION(num BIGINT, txt VARCHAR)", "union_value(txt := 'x')::UNION(num BIGINT, txt VARCHAR)",
	"NULL::TIMESTAMP", "NULL::VARCHAR", "NULL::STRUCT(a BIGINT)", "NULL::BIGINT[]",
}

// TestValuesReadBack has a file a value and format, so that one that is lost names itself.
func TestValuesReadBack(t *testing.T) {
	db, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, value := range edges {
		chunks, fields, err := conn.Collect(t.Context(), "SELECT 1::BIGINT AS c0, "+value+" AS c1")
		if err != nil {
			t.Fatal(value, err)
		}
		for _, format := range []string{"json", "csv", "parquet"} {
			layout := filesink.Layout{Format: format}.WithDefaults()
			if len(layout.CheckColumns(planner.Output{Columns: fields})) > 0 {
				continue
			}
			t.Run(format+"/"+value, func(t *testing.T) { backTest(t, layout, fields, chunks[0], "::VARCHAR") })
		}
	}
}

// backTest writes rows, reads them back and compares; cast makes them comparable.
func backTest(t *testing.T, layout filesink.Layout, columns []vector.Field, rows *vector.Chunk, cast string) {
	out := planner.Output{Name: "v", Columns: columns}
	b := sinkBinding{kind: toFiles, output: out, files: filesink.Options{Dir: filepath.Join(t.TempDir(), "out"), Layout: layout}}
	sameBack(t, columns, rows, writeAndRead(t, b, inserted(rows)), cast)
}

// inserted are rows as a delta.
func inserted(rows *vector.Chunk) *vector.Chunk {
	weight := vector.New(vector.Of(vector.Int64), rows.N)
	for i := range rows.N {
		weight.PutI64(i, 1)
	}
	return &vector.Chunk{N: rows.N, Cols: append(append([]vector.Vector{}, rows.Cols...), weight), Keep: rows.Keep}
}

// sameBack compares what was written with what was read.
func sameBack(t *testing.T, columns []vector.Field, rows *vector.Chunk, got []*vector.Chunk, cast string) {
	t.Helper()
	db, err := duck.Open(duck.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, chunks := range map[string][]*vector.Chunk{"want": {rows}, "got": got} {
		in, err := conn.RegisterInput(name, columns)
		if err != nil {
			t.Fatal(err)
		}
		in.Set(chunks)
	}
	all := "SELECT COLUMNS(*)" + cast + " FROM "
	for _, sql := range []string{all + "want() EXCEPT ALL " + all + "got()", all + "got() EXCEPT ALL " + all + "want()"} {
		left, _, err := conn.Collect(t.Context(), "SELECT r::VARCHAR FROM ("+sql+") r LIMIT 2")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range left {
			for i := range c.N {
				t.Errorf("%s: %s\n%v", sql, c.Cols[0].Str(i), columns)
			}
		}
	}
}

// writeAndRead takes one batch through the sink and reads its files.
func writeAndRead(t *testing.T, b sinkBinding, delta *vector.Chunk) []*vector.Chunk {
	t.Helper()
	s, err := filesink.New(b.files)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	commitOne(t, s, b.output, delta)
	shown, err := s.Read(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := fileRows(t.Context(), b, shown.Batches, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// commitOne takes one batch through a sink.
func commitOne(t *testing.T, s microbatch.Sink, out planner.Output, delta *vector.Chunk) {
	t.Helper()
	if _, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: out}}); err != nil {
		t.Fatal(err)
	}
	var sum vector.Digest
	sum.AddChunk(delta)
	d := microbatch.OutputDelta{Name: "v", Chunks: []*vector.Chunk{delta}, Rows: int64(delta.N),
		Digest: checkpointlog.OutputDigest{Output: "v", Rows: int64(delta.N), Sum: sum.String()}}
	if err := s.Stage(t.Context(), &microbatch.StagedBatch{Batch: 1, Outputs: []microbatch.OutputDelta{d}}); err != nil {
		t.Fatal(err)
	}
	log, _, err := checkpointlog.Open("/log", checkpointlog.Header{Pipeline: "p", DuckDB: "1", Plan: "f"}, checkpointlog.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Plan(checkpointlog.Planned{Batch: 1, Epoch: 1, At: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	permit, err := log.Prepare(checkpointlog.Prepared{Batch: 1, Epoch: 1, Outputs: []checkpointlog.OutputDigest{d.Digest}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), permit, microbatch.CommitInfo{Offsets: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
}

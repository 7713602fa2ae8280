package postgres

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

var benchOut = []planner.Output{{Name: "bench", Mode: planner.Upsert, Key: []int{0},
	Columns: fields("k", vector.Int64, "n", vector.Int64, "total", vector.Int128, "at", vector.Timestamp, "avg", vector.Float64)}}

// benchDelta has n rows with keys from pick.
func benchDelta(batch int64, n int, pick func(i int) int64) *microbatch.StagedBatch {
	var types []vector.Type
	for _, c := range benchOut[0].Columns {
		types = append(types, c.Type)
	}
	types = append(types, vector.Of(vector.Int64))
	d := microbatch.OutputDelta{Name: "bench", Rows: int64(n)}
	for from := 0; from < n; from += vector.Size {
		c := vector.NewChunk(types, min(vector.Size, n-from))
		for i := range c.N {
			k := pick(from + i)
			for col := range types {
				if types[col].Bytes() == 8 {
					c.Cols[col].PutI64(i, k+batch)
				}
			}
			c.Cols[0].PutI64(i, k)
			c.Cols[2].PutRaw(i, [16]byte{byte(k), byte(k >> 8), byte(batch)})
			c.Cols[4].PutF64(i, float64(k)/3)
			c.Cols[5].PutI64(i, 1)
		}
		d.Chunks = append(d.Chunks, c)
	}
	d.Digest = checkpointlog.OutputDigest{Output: "bench", Rows: d.Rows, Sum: fmt.Sprint(batch)}
	return &microbatch.StagedBatch{Batch: batch, Outputs: []microbatch.OutputDelta{d}}
}

// BenchmarkEncode is the client's share of COPY alone.
func BenchmarkEncode(b *testing.B) {
	t, err := newTarget("p", microbatch.Target{Output: benchOut[0]})
	if err != nil {
		b.Fatal(err)
	}
	batch := benchDelta(1, 100_000, func(i int) int64 { return int64(i) })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(io.Discard, t.enc.delta(1, 1, batch.Outputs[0].Chunks)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkBatch runs whole batches against a durable server with the embedded cluster's settings.
func BenchmarkBatch(b *testing.B) {
	for _, bc := range []struct {
		name string
		rows int
		keys func(batch int64, i int) int64
	}{
		{"100 rows, existing keys", 100, func(_ int64, i int) int64 { return rand.Int64N(1_000_000) }},
		{"100k rows, existing keys", 100_000, func(_ int64, i int) int64 { return int64(i)*10 + rand.Int64N(10) }},
		{"100k rows, new keys", 100_000, func(batch int64, i int) int64 { return 1_000_000*batch + int64(i)*7 }},
	} {
		b.Run(bc.name, func(b *testing.B) {
			server := pgtest.New(b, "fsync=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=4GB")
			url := server.Database(b)
			e := newEngine(b, url, benchOut...)
			e.run(benchDelta(1, 1_000_000, func(i int) int64 { return int64(i) }))
			pgtest.Exec(b, url, "VACUUM ANALYZE bench")
			var stage, commit time.Duration
			n := int64(1)
			for b.Loop() {
				n++
				seen := map[int64]bool{}
				batch := benchDelta(n, bc.rows, func(i int) int64 {
					for {
						if k := bc.keys(n, i); !seen[k] {
							seen[k] = true
							return k
						}
					}
				})
				rand.Shuffle(len(batch.Outputs[0].Chunks), func(i, j int) {
					c := batch.Outputs[0].Chunks
					c[i], c[j] = c[j], c[i]
				})
				at := time.Now()
				if err := e.sink.Stage(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				stage += time.Since(at)
				permit := e.Prepare(batch)
				at = time.Now()
				if err := e.sink.Commit(b.Context(), permit, info(batch)); err != nil {
					b.Fatal(err)
				}
				commit += time.Since(at)
				e.Done(n)
			}
			b.ReportMetric(stage.Seconds()*1000/float64(b.N), "stage-ms/op")
			b.ReportMetric(commit.Seconds()*1000/float64(b.N), "commit-ms/op")
		})
	}
}

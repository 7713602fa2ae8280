package file

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sources/nexmark"
)

// BenchmarkPoll reads Nexmark bids of about 230 bytes, the columns that the throughput bench needs.
func BenchmarkPoll(b *testing.B) {
	const rows = 200_000
	path := filepath.Join(b.TempDir(), "bid.ndjson")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	if err := nexmark.WriteNDJSON(w, nexmark.Options{Type: "bid"}, rows); err != nil {
		b.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	all := nexmark.Columns("bid")
	for name, cols := range map[string][]vector.Field{"4 columns": {all[0], all[1], all[2], all[5]}, "7 columns": all} {
		for _, batch := range []int64{1000, 100_000} {
			b.Run(fmt.Sprintf("%s/batches of %d", name, batch), func(b *testing.B) {
				b.ReportAllocs()
				var n int64
				for b.Loop() {
					s := open(b, Options{Path: path, Columns: cols, Mode: "bounded"})
					var from json.RawMessage
					for {
						r := mustPoll(b, s, from, batch)
						n += r.Count
						if from = r.To; r.Done {
							break
						}
					}
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrows/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

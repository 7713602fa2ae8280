package decode

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

var bidFields = []vector.Field{
	{Name: "auction", Type: vector.Of(vector.Int64)},
	{Name: "bidder", Type: vector.Of(vector.Int64)},
	{Name: "price", Type: vector.Of(vector.Int64)},
	{Name: "channel", Type: vector.Of(vector.Varchar)},
	{Name: "url", Type: vector.Of(vector.Varchar)},
	{Name: "date_time", Type: vector.Of(vector.Timestamp)},
	{Name: "extra", Type: vector.Of(vector.Varchar)},
}

func bids(n int) []byte {
	var buf bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		fmt.Fprintf(&buf, `{"auction":%d,"bidder":%d,"price":%d,"channel":"%s","url":"https://www.nexmark.com/%s/item.htm?query=1","date_time":"2024-01-02T10:%02d:%02d.%03dZ","extra":"%s"}`+"\n",
			1000+r.IntN(100000), 1000+r.IntN(10000), 100+r.IntN(1000000), [...]string{"Google", "Facebook", "Baidu", "Apple"}[r.IntN(4)],
			strings.Repeat("abcd", 3), i/60000%60, i/1000%60, i%1000, strings.Repeat("x", 50+r.IntN(20)))
	}
	return buf.Bytes()
}

func padded(data []byte) []byte { return append(bytes.Clone(data), make([]byte, PadBytes)...) }

func BenchmarkJSON(b *testing.B) {
	const rows = 20000
	data := bids(rows)
	buf := padded(data)
	for _, tc := range []struct {
		name string
		cols []int
	}{{"7cols", []int{0, 1, 2, 3, 4, 5, 6}}, {"4cols", []int{0, 1, 2, 5}}} {
		b.Run(tc.name, func(b *testing.B) {
			var fields []vector.Field
			for _, i := range tc.cols {
				fields = append(fields, bidFields[i])
			}
			d := NewJSON(fields)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				bu := NewBuilder(fields)
				used, _ := d.Decode(&Block{Buf: buf, N: len(data)}, bu)
				if used != len(data) || bu.Rows() != rows {
					b.Fatal(used, bu.Rows(), bu.Bad)
				}
				bu.Finish()
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

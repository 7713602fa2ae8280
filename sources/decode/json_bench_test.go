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

// Change events: an update with both images, without a schema and with the same one each time.
func BenchmarkDebezium(b *testing.B) {
	const events = 5000
	bid := `{"auction":%d,"bidder":4711,"price":%d,"channel":"Google","url":"https://www.nexmark.com/abcd/item.htm?query=1","date_time":1704190272123456,"extra":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}`
	source := `{"version":"3.0.8.Final","connector":"postgresql","name":"shop","ts_ms":1704190272000,"snapshot":"false","db":"shop","sequence":"[null,\"24023427\"]","schema":"public","table":"bid","txId":24723,"lsn":24023427,"xmin":null}`
	field := `{"type":"int64","optional":true,"name":"io.debezium.time.MicroTimestamp","version":1,"field":"date_time"}`
	schema := `{"type":"struct","fields":[{"type":"struct","fields":[` + strings.Repeat(field+",", 7) + field + `],"optional":true,"field":"after"}]}`
	for _, tc := range []struct{ name, before, after string }{{"bare", "", ""}, {"schema", `{"schema":` + schema + `,"payload":`, "}"}} {
		var buf bytes.Buffer
		for i := range events {
			fmt.Fprintf(&buf, tc.before+`{"before":`+bid+`,"after":`+bid+`,"source":%s,"transaction":null,"op":"u","ts_ms":1704190272477}`+tc.after+"\n", i, i, i, i+1, source)
		}
		data := padded(buf.Bytes())
		for name, key := range map[string][]int{"weighted": nil, "keyed": {0}} {
			b.Run(tc.name+"/"+name, func(b *testing.B) {
				d := NewDebezium(bidFields, DebeziumOptions{Key: key})
				b.SetBytes(int64(buf.Len()))
				b.ReportAllocs()
				for b.Loop() {
					bu := NewChangeBuilder(bidFields, key)
					if d.Decode(&Block{Buf: data, N: buf.Len(), Avail: buf.Len(), Final: true}, bu); bu.Rows() < events || len(bu.Bad) > 0 {
						b.Fatal(bu.Rows(), bu.Bad)
					}
					bu.Finish()
				}
				b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
			})
		}
	}
}

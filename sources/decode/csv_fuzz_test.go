package decode

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

// FuzzCSV checks that rows and bad rows do not depend on how the bytes are cut into blocks, and that
// every byte is used up.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,1,x\n", "\"a\nb\",1,\"c\"\"d\"\n", "\"open\nx,2,y\n", "a,b,c\r\n\r\n,,\n", "x,1\n\"a\"b,1,c\n", "\x00,1,\xff\n"} {
		f.Add([]byte(s), uint8(3), uint8(20))
	}
	fields := []vector.Field{{Name: "a", Type: vector.Of(vector.Varchar)}, {Name: "b", Type: vector.Of(vector.Int64)}, {Name: "c", Type: vector.Of(vector.Varchar)}}
	dialect := CSVDialect{Delimiter: ',', Quote: '"', Escape: '"'}
	f.Fuzz(func(t *testing.T, data []byte, step, maxRow uint8) {
		if len(data) == 0 {
			return
		}
		if data[len(data)-1] != '\n' {
			data = append(data[:len(data):len(data)], '\n')
		}
		dec := NewCSV(dialect, []int{0, 1, 2})
		whole := NewBuilder(fields)
		if used, _ := dec.Decode(&Block{Buf: padded(data), N: len(data), Avail: len(data), MaxRow: int(maxRow), Final: true}, whole); used != len(data) {
			t.Fatalf("used %d of %d bytes", used, len(data))
		}
		cut := NewBuilder(fields)
		for p, want := 0, int(step)+1; p < len(data); {
			end := min(p+want, len(data))
			n := bytes.LastIndexByte(data[p:end], '\n') + 1
			used := 0
			if n > 0 {
				used, _ = dec.Decode(&Block{Buf: padded(data[p:end]), N: n, Base: int64(p), Avail: end - p, MaxRow: int(maxRow), Final: end == len(data)}, cut)
			}
			if used == 0 && end == len(data) {
				t.Fatalf("stuck at %d of %d", p, len(data))
			}
			if p += used; used == 0 {
				want *= 2
			}
		}
		if diff := cmp.Diff(whole.Bad, cut.Bad); diff != "" {
			t.Fatalf("bad rows (-whole +cut):\n%s", diff)
		}
		if diff := cmp.Diff(texts(whole.Finish()), texts(cut.Finish())); diff != "" {
			t.Fatalf("rows (-whole +cut):\n%s", diff)
		}
	})
}

func BenchmarkCSV(b *testing.B) {
	var buf bytes.Buffer
	for i := range 20000 {
		buf.WriteString("1")
		buf.WriteString([]string{"0042,10077,", "7,123,", "2345,98,"}[i%3])
		buf.WriteString("2024-01-02 10:11:12.123,Google,https://www.nexmark.com/abcd/efgh/item.htm?query=1,12.5\n")
	}
	fields := []vector.Field{bidFields[0], bidFields[1], bidFields[5], bidFields[3], bidFields[4], {Name: "x", Type: vector.Of(vector.Float64)}}
	data := padded(buf.Bytes())
	dec := NewCSV(CSVDialect{Delimiter: ',', Quote: '"', Escape: '"'}, []int{0, 1, 2, 3, 4, 5})
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		bu := NewBuilder(fields)
		if dec.Decode(&Block{Buf: data, N: buf.Len(), Avail: buf.Len(), Final: true}, bu); bu.Rows() != 20000 {
			b.Fatal(bu.Rows(), bu.Bad)
		}
		bu.Finish()
	}
	b.ReportMetric(20000*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

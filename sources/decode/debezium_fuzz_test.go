package decode

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

var fuzzFields = []vector.Field{
	{Name: "a", Type: vector.Of(vector.Int64)}, {Name: "b", Type: vector.Of(vector.Varchar)}, {Name: "c", Type: vector.Of(vector.Float64)},
	{Name: "l", Type: vector.ListOf(vector.Of(vector.Date))}, {Name: "d", Type: vector.Type{Kind: vector.Decimal, Width: 10, Scale: 2}},
	{Name: "t", Type: vector.Of(vector.Timestamp)}, {Name: "i", Type: vector.Of(vector.Interval)}, {Name: "x", Type: vector.Of(vector.Blob)},
}

const fuzzSchema = `{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"a"},{"type":"int64","name":"io.debezium.time.Timestamp","field":"t"},` +
	`{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"3"},"field":"d"},{"type":"array","items":{"type":"int32","name":"io.debezium.time.Date"},"field":"l"}],"field":"after"}]}`

// FuzzDebezium checks that nothing panics, that every line is an event, a bad row or nothing, that rows and
// reasons do not depend on the lines around or on how the bytes are cut into blocks.
func FuzzDebezium(f *testing.F) {
	for _, tc := range debeziumCases {
		f.Add([]byte(tc.event), uint8(3), false)
		f.Add([]byte(tc.event+"\n"+tc.event), uint8(40), true)
	}
	row := `{"a":1,"b":"x","c":1.5,"l":[19724,null],"d":"MDk=","t":1704190272123,"i":"P1DT2S","x":"3q0="}`
	event := `{"before":` + row + `,"after":` + row + `,"op":"u"}`
	for _, s := range []string{event, `{"schema":` + fuzzSchema + `,"payload":` + event + "}\n" + event, `{"payload":` + event + `,"schema":` + fuzzSchema + `}`,
		`{"op":"c","after":{"d":{"scale":2,"value":"BNI="},"i":90061000001,"l":["2024-01-02"],"x":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}}`,
		`{"schema":{"fields":[{"field":"after","fields":[{"field":"b","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":400}}]}]},"payload":{"op":"c","after":{"b":"MDk="}}}`} {
		f.Add([]byte(s), uint8(9), true)
		f.Add([]byte(s), uint8(200), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8, keyed bool) {
		if len(data) == 0 {
			return
		}
		if data[len(data)-1] != '\n' {
			data = append(data[:len(data):len(data)], '\n')
		}
		var opt DebeziumOptions
		if keyed {
			opt.Key = []int{0, 1}
		}
		whole := fuzzDecode(t, NewDebezium(fuzzFields, opt), data, len(data), opt.Key)
		if cut := fuzzDecode(t, NewDebezium(fuzzFields, opt), data, int(step)+1, opt.Key); cmp.Diff(whole, cut) != "" {
			t.Fatalf("(-whole +cut):\n%s", cmp.Diff(whole, cut))
		}
		var alone []string
		for p := 0; p < len(data); {
			end := p + bytes.IndexByte(data[p:], '\n') + 1
			one := fuzzDecode(t, NewDebezium(fuzzFields, opt), append(make([]byte, 0, end), data[p:end]...), len(data), opt.Key)
			if len(one) > 2 {
				t.Fatalf("%d rows of one line: %q", len(one), one)
			}
			for _, r := range one {
				var at int64
				fmt.Sscan(r, &at)
				alone = append(alone, fmt.Sprint(at+int64(p), r[len(fmt.Sprint(at)):]))
			}
			p = end
		}
		if diff := cmp.Diff(alone, whole); diff != "" {
			t.Fatalf("(-alone +together):\n%s", diff)
		}
	})
}

// fuzzDecode decodes data in blocks that begin with step bytes, and returns the rows and bad rows by offset.
func fuzzDecode(t *testing.T, d *Debezium, data []byte, step int, key []int) []string {
	t.Helper()
	b := NewChangeBuilder(fuzzFields, key)
	for p, want := 0, step; p < len(data); {
		end := min(p+want, len(data))
		n := bytes.LastIndexByte(data[p:end], '\n') + 1
		used := 0
		if n > 0 {
			used, _ = d.Decode(&Block{Buf: padded(data[p:end]), N: n, Base: int64(p), Avail: end - p, Final: end == len(data)}, b)
		}
		if used == 0 && end == len(data) {
			t.Fatalf("stuck at %d of %d", p, len(data))
		}
		if p += used; used == 0 {
			want *= 2
		}
	}
	bad := b.Bad
	var out []string
	for _, c := range b.Finish() {
		for i := range c.N {
			at := c.Cols[len(c.Cols)-1].I64(i)
			for len(bad) > 0 && bad[0].Offset < at {
				out = append(out, fmt.Sprint(bad[0].Offset, " ", bad[0].Reason))
				bad = bad[1:]
			}
			line := fmt.Sprint(at)
			for j := range c.Cols[:len(c.Cols)-1] {
				c.Cols[j].Check(c.N)
				line += " | " + vector.Text(&c.Cols[j], i)
			}
			out = append(out, line)
		}
	}
	for _, x := range bad {
		out = append(out, fmt.Sprint(x.Offset, " ", x.Reason))
	}
	return out
}

package decode

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// FuzzMessages reads any bytes in each format that is text: what is a line of a file is the same row, or the same bad row, as
// a message, wherever it comes to lie in memory.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":"`+longText+`","c":1.5}`), []byte(`{"a":1}`))
	f.Add([]byte("1,\"a text \"\"longer\"\" than twelve\",2.5"), []byte("1"))
	f.Add([]byte("{\n \"op\":\"d\", \"before\":null}"), []byte(`{"schema":{"fields":[{"field":"a","type":"int64"}]},"payload":{"a":1}}`))
	f.Add([]byte(`{"payload":{"op":"u","before":{"a":1,"b":"x","c":1},"after":{"a":2}},"schema":{"fields":[]}}`), []byte(`null`))
	f.Add([]byte(`{"a":1,"_weight":-3}`), []byte("\xff"))
	type format struct {
		opt  MessageOptions
		file func() Decoder
	}
	csv := MessageOptions{Format: "csv", Fields: abFields}.withDefaults()
	formats := []format{
		{MessageOptions{Format: "json", Fields: abFields}, func() Decoder { return NewJSON(abFields) }},
		{MessageOptions{Format: "changelog", Fields: abFields, Changes: planner.Weighted}, func() Decoder { return NewChangelog(abFields) }},
		{MessageOptions{Format: "debezium", Fields: abFields, Changes: planner.Weighted}, func() Decoder { return NewDebezium(abFields, DebeziumOptions{}) }},
		{csv, func() Decoder { return NewCSV(csv.CSV, []int{0, 1, 2}) }},
		{MessageOptions{Format: "debezium", Fields: abFields, Key: []int{0}, Changes: planner.Keyed}, nil},
		{MessageOptions{Format: "json", Fields: abFields, Key: []int{0}, Changes: planner.Keyed}, nil},
		{MessageOptions{Format: "text", Fields: []vector.Field{{Name: "k", Type: vector.Of(vector.Varchar)}, {Name: "v", Type: vector.Of(vector.Varchar)}}, Metadata: []string{"key", ""}}, nil},
	}
	f.Fuzz(func(t *testing.T, value, key []byte) {
		for _, x := range formats {
			d, err := NewMessages(x.opt)
			if err != nil {
				t.Fatal(err)
			}
			b := x.opt.Builder()
			for i, m := range []Message{{Key: key, Value: value}, {Key: key, Value: value}, {Key: key}} {
				m.Value, m.Key = bytes.Clone(m.Value), bytes.Clone(m.Key)
				m.Offset = int64(i)
				if err := d.Add(&m, b); err != nil {
					t.Fatal(err)
				}
			}
			weighted := x.opt.Changes != planner.AppendOnly
			bad := b.Bad
			got := chunkRows(b.Finish(), len(x.opt.Fields), weighted)
			line := bytes.TrimSuffix(value, []byte{'\r'})
			if x.file == nil || bytes.IndexByte(value, '\n') >= 0 || len(bytes.Trim(line, " \t\r")) == 0 || value[0] == 0 {
				continue // empty lines are none, and records of CSV may have several
			}
			fb := x.opt.Builder()
			data := append(bytes.Clone(value), '\n')
			x.file().Decode(&Block{Buf: padded(data), N: len(data), Avail: len(data), Final: true}, fb)
			want := chunkRows(fb.Finish(), len(x.opt.Fields), weighted)
			if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
				t.Errorf("%s (-line +message):\n%s", x.opt.Format, diff)
			}
			if len(fb.Bad) > 0 && (len(bad) == 0 || strings.ReplaceAll(bad[0].Reason, "message", "line") != strings.ReplaceAll(fb.Bad[0].Reason, "message", "line")) {
				t.Errorf("%s: %q is refused as a message with %v, as a line with %q", x.opt.Format, value, bad, fb.Bad[0].Reason)
			}
		}
	})
}

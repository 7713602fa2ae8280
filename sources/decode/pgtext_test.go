package decode

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

func TestPostgresText(t *testing.T) {
	list := func(k vector.Kind) vector.Type { e := vector.Of(k); return vector.Type{Kind: vector.List, Elem: &e} }
	deep := list(vector.Int32)
	pair := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "a", Type: vector.Of(vector.Int64)}, {Name: "b", Type: vector.Of(vector.Varchar)}}}
	for _, c := range []struct {
		typ        vector.Type
		text, want string
	}{
		{vector.Of(vector.Bool), "t", "true"},
		{vector.Of(vector.Bool), "f", "false"},
		{vector.Of(vector.Bool), "true", "true"},
		{vector.Of(vector.Int16), "-32768", "-32768"},
		{vector.Of(vector.Int16), "32768", "error"},
		{vector.Of(vector.Int64), "9223372036854775807", "9223372036854775807"},
		{vector.Type{Kind: vector.Decimal, Width: 9, Scale: 2}, "-1.500", "-1.50"},
		{vector.Type{Kind: vector.Decimal, Width: 9, Scale: 2}, "1.005", "error"},
		{vector.Type{Kind: vector.Decimal, Width: 9, Scale: 2}, "NaN", "error"},
		{vector.Of(vector.Float64), "0.1", "0.1"},
		{vector.Of(vector.Float64), "-Infinity", "-inf"},
		{vector.Of(vector.Varchar), "a b\nc", "a b\nc"},
		{vector.Of(vector.Varchar), strings.Repeat("long ", 9), strings.Repeat("long ", 9)},
		{vector.Of(vector.Blob), `\x00ff`, `\x00\xFF`},
		{vector.Of(vector.Date), "2024-02-29", "2024-02-29"},
		{vector.Of(vector.Date), "0044-03-15 BC", "0044-03-15 (BC)"},
		{vector.Of(vector.TimestampTZ), "0044-03-15 01:02:03+00 BC", "0044-03-15 (BC) 01:02:03+00"},
		{vector.Of(vector.Timestamp), "2024-02-29 12:34:56.789", "2024-02-29 12:34:56.789"},
		{vector.Of(vector.TimestampTZ), "2024-02-29 12:34:56.789+00", "2024-02-29 12:34:56.789+00"},
		{vector.Of(vector.Timestamp), "infinity", "infinity"},
		{vector.Of(vector.Time), "23:59:59.5", "23:59:59.5"},
		{vector.Of(vector.Interval), "P-1Y-2M3DT-4H5M-6.7S", "-1 year -2 months 3 days -03:55:06.7"},
		{vector.Of(vector.UUID), "00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"},
		{list(vector.Int32), "{1,NULL,3}", "[1,null,3]"},
		{list(vector.Int32), "[0:1]={1,2}", "[1,2]"},
		{list(vector.Int32), "{}", "[]"},
		{list(vector.Varchar), `{"a,b",c,"d\"e",NULL,"NULL",""}`, `["a,b","c","d\"e",null,"NULL",""]`},
		{vector.Type{Kind: vector.List, Elem: &deep}, "{{1,2},{3,4}}", "[[1,2],[3,4]]"},
		{list(vector.Int32), "{{1,2},{3,4}}", "error"},
		{list(vector.Int32), "{1,2", "error"},
		{list(vector.Int64), "[1, 2]", "[1,2]"},
		{pair, "{\"b\": \"x\",\n \"a\": 7}", `{"a":7,"b":"x"}`},
		{pair, `{"a": 7} {}`, "error"},
	} {
		b := NewChangeBuilder([]vector.Field{{Name: "c", Type: c.typ}}, nil)
		var d PostgresText
		got := "error"
		reason := d.Add(b, [][]byte{[]byte(c.text)}, 1, 0)
		if reason == "" {
			got = vector.Text(&b.Finish()[0].Cols[0], 0)
		}
		if got != c.want {
			t.Errorf("%s %q: got %q, want %q (%s)", c.typ, c.text, got, c.want, reason)
		}
	}
}

// A row that cannot be read leaves nothing behind.
func TestPostgresTextTakesBack(t *testing.T) {
	elem := vector.Of(vector.Int32)
	b := NewChangeBuilder([]vector.Field{{Name: "a", Type: vector.Of(vector.Int64)}, {Name: "b", Type: vector.Type{Kind: vector.List, Elem: &elem}}}, []int{0})
	var d PostgresText
	add := func(a, l string, want bool) {
		t.Helper()
		cells := [][]byte{[]byte(a), []byte(l)}
		if a == "" {
			cells[0] = nil
		}
		if reason := d.Add(b, cells, 1, 5); (reason == "") != want {
			t.Errorf("Add(%s, %s): %q", a, l, reason)
		}
	}
	add("1", "{1,2}", true)
	add("2", "{3,x}", false)
	add("", "{3}", false)
	add("3", "{4}", true)
	c := b.Finish()[0]
	got := []string{vector.Text(&c.Cols[1], 0), vector.Text(&c.Cols[1], 1)}
	if diff := cmp.Diff([]string{"[1,2]", "[4]"}, got); diff != "" || c.N != 2 {
		t.Errorf("%d rows (-want +got):\n%s", c.N, diff)
	}
}

package vector

import (
	"bytes"
	"strings"
	"testing"
)

// TestClone overwrites everything that a chunk owns, and expects its clone untouched and canonical.
func TestClone(t *testing.T) {
	str, num := Of(Varchar), Of(Int64)
	row := Type{Kind: Struct, Fields: []Field{{Name: "s", Type: str}, {Name: "a", Type: Type{Kind: Array, Elem: &num, Size: 2}}}}
	c := NewChunk([]Type{str, ListOf(str), row}, 3)
	text := []byte(strings.Repeat("a text that is too long to be inlined", 2))

	c.Cols[0].PutStr(0, text)
	c.Cols[0].PutStr(1, []byte("short"))
	c.Cols[0].PutStr(2, text[3:])
	c.Cols[0].SetNull(2, 3)

	c.Cols[1].Children[0] = New(str, 2)
	c.Cols[1].Children[0].PutStr(1, text[1:])
	c.Cols[1].PutEntry(0, 1, 1)
	c.Cols[1].PutEntry(1, 99, 7)
	c.Cols[1].SetNull(1, 3)

	for i := range 3 {
		c.Cols[2].Children[0].PutStr(i, text[2:])
		c.Cols[2].Children[1].Children[0].PutI64(2*i, int64(i+1))
	}
	c.Cols[2].SetNull(1, 3)

	d := c.Clone()
	want := bytes.Clone(text)
	clear(text)
	for i := range c.Cols {
		clear(c.Cols[i].Data)
	}
	clear(c.Cols[2].Children[1].Children[0].Data)

	if got := d.Cols[0].Str(0); !bytes.Equal(got, want) || string(d.Cols[0].Str(1)) != "short" {
		t.Errorf("strings: %q, %q", got, d.Cols[0].Str(1))
	}
	if !d.Cols[0].IsNull(2) || len(d.Cols[0].Str(2)) != 0 {
		t.Errorf("the NULL string holds %q", d.Cols[0].Str(2))
	}
	if off, n := d.Cols[1].Entry(0); off != 1 || n != 1 || !bytes.Equal(d.Cols[1].Children[0].Str(1), want[1:]) {
		t.Errorf("the list is (%d, %d) into %q", off, n, d.Cols[1].Children[0].Str(1))
	}
	if off, n := d.Cols[1].Entry(1); off != 0 || n != 0 || len(d.Cols[1].Children[0].Data) != 2*16 {
		t.Errorf("the NULL list is (%d, %d)", off, n)
	}
	s, a := &d.Cols[2].Children[0], &d.Cols[2].Children[1]
	if !bytes.Equal(s.Str(2), want[2:]) || a.Children[0].I64(4) != 3 {
		t.Errorf("the struct holds %q, %d", s.Str(2), a.Children[0].I64(4))
	}
	if !s.IsNull(1) || len(s.Str(1)) != 0 || !a.IsNull(1) || !a.Children[0].IsNull(2) || !a.Children[0].IsNull(3) || a.Children[0].IsNull(4) {
		t.Error("the fields of a NULL struct are not NULL")
	}
}

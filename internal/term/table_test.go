package term

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func fill(t *Table) *Table {
	t.AlignRight(1)
	t.Row("flights_by_hour", "1,234", "running")
	t.Row("航班", "5", "tab\there\x1b[31m")
	t.Row("short")
	return t
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name  string
		width int // 0: no terminal
		want  string
	}{
		{"pipe", 0, "flights_by_hour\t1,234\trunning\n航班\t5\ttab\\there\x1b[31m\nshort\t\t\n"},
		{"terminal", 80, "" +
			"NAME              ROWS  STATE\n" +
			"flights_by_hour  1,234  running\n" +
			"航班                 5  tab here�[31m\n" +
			"short\n"},
		{"narrow", 30, "" +
			"NAME          ROWS  STATE\n" +
			"flights_by…  1,234  running\n" +
			"航班             5  tab here�…\n" +
			"short\n"},
		{"tiny", 5, "" +
			"NAME       ROWS  STATE\n" +
			"flights…  1,234  running\n" +
			"航班          5  tab her…\n" +
			"short\n"},
	} {
		var out bytes.Buffer
		stream := Plain(&out)
		if c.width > 0 {
			stream = Terminal(&out, func() int { return c.width })
		}
		if err := fill(NewTable(stream, "NAME", "ROWS", "STATE")).Flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestTableStyles(t *testing.T) {
	var out bytes.Buffer
	table := NewTable(Plain(&out), "A", "B")
	table.Aligned = true
	table.Row("long cell", "x")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := table.Flush(); err != nil { // No rows: no header.
		t.Fatal(err)
	}
	if diff := cmp.Diff("A          B\nlong cell  x\n", out.String()); diff != "" {
		t.Error(diff)
	}

	out.Reset()
	colored := Terminal(&out, func() int { return 80 })
	colored.color = true
	table = NewTable(colored, "A", "B")
	table.Row("1", "2")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m\n1  2\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestTableError(t *testing.T) {
	table := NewTable(Plain(failing{}), "A")
	table.Row("x")
	if err := table.Flush(); err == nil {
		t.Error("a failed write is no error")
	}
}

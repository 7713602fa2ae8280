package textwidth

import "testing"

func TestWidths(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "größe": 5, "航班": 4, "e\u0301": 1, "\u200b": 0, "…█░": 3, "🎉": 2, "ｆ": 2, "\x1b[m": 2} {
		if got := String(s); got != want {
			t.Errorf("String(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestCuts(t *testing.T) {
	for _, c := range []struct {
		in         string
		limit      int
		head, tail string
	}{
		{"abcdef", 6, "abcdef", "abcdef"},
		{"abcdef", 4, "abc…", "…def"},
		{"航班数据", 8, "航班数据", "航班数据"},
		{"航班数据", 6, "航班…", "…数据"},
		{"航班数据", 5, "航班…", "…数据"},
		{"航班数据", 1, "…", "…"},
	} {
		if got := Truncate(c.in, c.limit); got != c.head || String(got) > c.limit {
			t.Errorf("Truncate(%q, %d) = %q", c.in, c.limit, got)
		}
		if got := Tail(c.in, c.limit); got != c.tail || String(got) > c.limit {
			t.Errorf("Tail(%q, %d) = %q", c.in, c.limit, got)
		}
	}
	if got := Pad("航", 4); got != "航  " {
		t.Errorf("Pad = %q", got)
	}
}

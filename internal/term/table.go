package term

import (
	"bufio"
	"strings"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/textwidth"
)

// Table prints rows: aligned columns under a header on a terminal, tab-separated rows without a header
// elsewhere, as programs like them.
type Table struct {
	// Aligned asks for columns and a header even if the stream is no terminal.
	Aligned bool

	out    *Stream
	header []string
	right  map[int]bool
	rows   [][]string
}

// columnGap separates columns on a terminal; minColumn is as narrow as a column is made to fit.
const (
	columnGap = 2
	minColumn = 8
)

// NewTable returns a table with these columns.
func NewTable(out *Stream, header ...string) *Table {
	return &Table{out: out, header: header, right: map[int]bool{}}
}

// AlignRight marks columns, counted from 0, as numbers.
func (t *Table) AlignRight(columns ...int) *Table {
	for _, c := range columns {
		t.right[c] = true
	}
	return t
}

// Row adds a row. Missing cells are empty; more cells than columns are a mistake in the program and panic.
func (t *Table) Row(cells ...string) {
	if len(cells) > len(t.header) {
		panic("term: row has more cells than the table has columns")
	}
	t.rows = append(t.rows, append(cells, make([]string, len(t.header)-len(cells))...))
}

// Flush prints the rows and forgets them. A table without rows prints nothing.
func (t *Table) Flush() error {
	w := bufio.NewWriter(t.out)
	if t.out.IsTTY() || t.Aligned {
		t.aligned(w)
	} else {
		for _, row := range t.rows {
			for i, cell := range row {
				if i > 0 {
					w.WriteByte('\t')
				}
				w.WriteString(tabEscaper.Replace(cell))
			}
			w.WriteByte('\n')
		}
	}
	t.rows = nil
	return w.Flush() // A bufio.Writer keeps the first error.
}

// tabEscaper writes what would break a tab-separated row as PostgreSQL's COPY does.
var tabEscaper = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func (t *Table) aligned(w *bufio.Writer) {
	if len(t.rows) == 0 {
		return
	}
	rows := make([][]string, 0, len(t.rows)+1)
	for _, row := range append([][]string{t.header}, t.rows...) {
		clean := make([]string, len(row))
		for i, cell := range row {
			clean[i] = Visible(cell)
		}
		rows = append(rows, clean)
	}
	widths := t.widths(rows)
	for r, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = textwidth.Truncate(cell, widths[i])
			padding := strings.Repeat(" ", widths[i]-textwidth.String(cell))
			if r == 0 {
				cell = t.out.Styled(Bold, cell)
			}
			if i > 0 {
				line.WriteString(strings.Repeat(" ", columnGap))
			}
			if t.right[i] {
				line.WriteString(padding + cell)
			} else {
				line.WriteString(cell + padding)
			}
		}
		w.WriteString(strings.TrimRight(line.String(), " "))
		w.WriteByte('\n')
	}
}

// widths gives every column what it needs, and on a terminal takes from the widest until the line fits.
func (t *Table) widths(rows [][]string) []int {
	widths := make([]int, len(t.header))
	total := columnGap * (len(widths) - 1)
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], textwidth.String(row[i]))
		}
		total += widths[i]
	}
	if !t.out.IsTTY() {
		return widths
	}
	for limit := t.out.Width(); total > limit; total-- {
		widest := 0
		for i, w := range widths {
			if w >= widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= minColumn {
			break // Too narrow for any table: the terminal wraps it.
		}
		widths[widest]--
	}
	return widths
}

// Visible replaces control characters. Why: a text may hold user data, and an escape sequence in it must
// not reach the terminal.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case r < ' ', 0x7f <= r && r < 0xa0, r == utf8.RuneError:
			return '�'
		}
		return r
	}, s)
}

package stdout

import (
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/textwidth"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// jsonPrinter writes NDJSON.
type jsonPrinter struct {
	o    planner.Output
	bare bool // only the row: one append-only output
	w    valuetext.Writer
	buf  []byte
}

func (p *jsonPrinter) chunk(c *vector.Chunk) []byte {
	p.buf = p.buf[:0]
	for r := range c.N {
		w := weight(c, r)
		for range copies(p.o.Mode, w) {
			p.line(c, r, w)
		}
	}
	return p.buf
}

func (p *jsonPrinter) line(c *vector.Chunk, r int, w int64) {
	if !p.bare {
		p.buf = append(p.buf, `{"op":"`+op(p.o.Mode, w)+`","output":`...)
		p.buf = append(valuetext.Quote(p.buf, []byte(p.o.Name)), `,"row":`...)
	}
	p.buf = append(p.buf, '{')
	for i, col := range p.o.Columns {
		if i > 0 {
			p.buf = append(p.buf, ',')
		}
		p.buf = append(valuetext.Quote(p.buf, []byte(col.Name)), ':')
		p.buf = p.w.JSON(p.buf, &c.Cols[i], r)
	}
	p.buf = append(p.buf, '}')
	if !p.bare {
		p.buf = append(p.buf, '}')
	}
	p.buf = append(p.buf, '\n')
}

// maxCell is the most columns of the terminal that a value gets.
const maxCell = 40

// printTable writes a batch's changes of one output as a table; a batch that changes nothing prints nothing.
func (s *Sink) printTable(o output, d *microbatch.OutputDelta) error {
	if d.Rows == 0 {
		return nil
	}
	rows, right, more := s.cells(o, d)
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], textwidth.String(cell))
		}
	}
	fmt.Fprintf(&s.out, "%s, batch %d:\n", o.Name, s.staged.Batch)
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-textwidth.String(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			line.WriteString(cell)
		}
		fmt.Fprintln(&s.out, strings.TrimRight(line.String(), " "))
		if n == 0 {
			for i, w := range widths {
				if i > 0 {
					s.out.WriteString("  ")
				}
				s.out.WriteString(strings.Repeat("─", w))
			}
			s.out.WriteByte('\n')
		}
	}
	if more > 0 {
		fmt.Fprintf(&s.out, "… %d more\n", more)
	}
	_, err := s.out.WriteString("\n")
	return err
}

// cells renders the head line and up to MaxTableRows rows, and says which columns are numbers and how
// many rows were left out.
func (s *Sink) cells(o output, d *microbatch.OutputDelta) (rows [][]string, right []bool, more int64) {
	head := []string{}
	if o.Mode != planner.Append {
		head, right = append(head, "op"), append(right, o.Mode == planner.Multiset)
	}
	for _, c := range o.Columns {
		head, right = append(head, textwidth.Truncate(clean(c.Name), maxCell)), append(right, numeric(c.Type.Kind))
	}
	rows = [][]string{head}
	var w valuetext.Writer
	for _, c := range d.Chunks {
		for r := range c.N {
			lines := copies(o.Mode, weight(c, r))
			room := min(lines, int64(s.options.MaxTableRows+1-len(rows)))
			more += lines - room
			if room == 0 {
				continue
			}
			var row []string
			if o.Mode != planner.Append {
				row = append(row, op(o.Mode, weight(c, r)))
			}
			for i := range o.Columns {
				text := "NULL"
				if !c.Cols[i].IsNull(r) {
					text = string(w.Text(nil, &c.Cols[i], r))
				}
				row = append(row, textwidth.Truncate(clean(text), maxCell))
			}
			for range room {
				rows = append(rows, row)
			}
		}
	}
	return rows, right, more
}

// clean keeps a value on its line and the terminal as it is: control characters become symbols.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ':
			return '␀' + r // the control pictures are in the same order
		case r == 0x7f || r >= 0x80 && r < 0xa0:
			return '\uFFFD'
		}
		return r
	}, s)
}

func numeric(k vector.Kind) bool {
	return k >= vector.Int8 && k <= vector.Decimal || k == vector.Bignum
}

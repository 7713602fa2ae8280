package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vector"
)

// Formats of query --format. Without one, a terminal gets a table and a pipe tab-separated rows.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatCSV   = "csv"
)

var queryFormats = []string{formatTable, formatJSON, formatCSV}

// A rowWriter prints the rows of one answer.
type rowWriter interface {
	// row adds row i of c, which is valid during the call only.
	row(c *vector.Chunk, i int)
	// flush may print what was added; it is called once a chunk.
	flush() error
	// close prints the rest.
	close() error
}

// newRowWriter prints what goes before the rows: the view's name where there are several, column names.
func (o *queryOptions) newRowWriter(view string, fields []vector.Field, index, of int) rowWriter {
	out := o.streams.Out
	lines := &lineWriter{w: bufio.NewWriter(out)}
	table := o.format == formatTable || o.format == "" && out.IsTTY()
	if of > 1 && o.format != formatJSON {
		if index > 0 {
			lines.w.WriteByte('\n')
		}
		heading := term.Visible(view)
		if table {
			heading = out.Styled(term.Bold, heading) + ":"
		}
		fmt.Fprintln(lines.w, heading)
	}
	switch {
	case table:
		return newTableRows(lines, out, fields)
	case o.format == formatJSON:
		return newJSONRows(lines, view, fields, of)
	case o.format == formatCSV:
		return newCSVRows(lines, fields)
	}
	return &tabRows{lines}
}

// lineWriter is what the formats have in common.
type lineWriter struct {
	w   *bufio.Writer
	buf []byte
}

func (l *lineWriter) flush() error { return l.w.Flush() } // A bufio.Writer keeps the first error.
func (l *lineWriter) close() error { return l.w.Flush() }

// tableRows prints aligned columns, and so keeps all rows until the end.
type tableRows struct {
	*lineWriter
	t *term.Table
}

func newTableRows(lines *lineWriter, out *term.Stream, fields []vector.Field) *tableRows {
	var names []string
	var right []int
	for i, f := range fields {
		names = append(names, f.Name)
		if f.Type.Kind >= vector.Int8 && f.Type.Kind <= vector.Decimal || f.Type.Kind == vector.Bignum {
			right = append(right, i)
		}
	}
	t := term.NewTable(out, names...).AlignRight(right...)
	t.Aligned = true
	return &tableRows{lines, t}
}

func (p *tableRows) row(c *vector.Chunk, i int) {
	cells := make([]string, len(c.Cols))
	for j := range c.Cols {
		cells[j] = "NULL"
		if !c.Cols[j].IsNull(i) {
			cells[j] = vector.Text(&c.Cols[j], i)
		}
	}
	p.t.Row(cells...)
}

func (p *tableRows) close() error {
	if err := p.lineWriter.close(); err != nil {
		return err
	}
	return p.t.Flush()
}

// tabRows prints what PostgreSQL's COPY reads, in its text format.
type tabRows struct{ *lineWriter }

var copyEscaper = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func (p *tabRows) row(c *vector.Chunk, i int) {
	for j := range c.Cols {
		if j > 0 {
			p.w.WriteByte('\t')
		}
		if c.Cols[j].IsNull(i) {
			p.w.WriteString(`\N`)
			continue
		}
		copyEscaper.WriteString(p.w, vector.Text(&c.Cols[j], i))
	}
	p.w.WriteByte('\n')
}

// jsonRows prints an object a line.
type jsonRows struct {
	*lineWriter
	before, after string
	object        vector.Vector // the columns as one STRUCT
}

func newJSONRows(lines *lineWriter, view string, fields []vector.Field, of int) *jsonRows {
	p := &jsonRows{lineWriter: lines, after: "\n", object: vector.Vector{Type: vector.Type{Kind: vector.Struct, Fields: fields}}}
	if of > 1 {
		var name bytes.Buffer
		enc := json.NewEncoder(&name)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(view); err != nil {
			panic("sluice: a name cannot be encoded: " + err.Error())
		}
		p.before, p.after = `{"view":`+strings.TrimSpace(name.String())+`,"row":`, "}\n"
	}
	return p
}

func (p *jsonRows) row(c *vector.Chunk, i int) {
	p.object.Children = c.Cols
	p.buf = append(p.buf[:0], p.before...)
	p.buf = vector.AppendJSON(p.buf, &p.object, i)
	p.w.Write(append(p.buf, p.after...))
}

// csvRows prints CSV (RFC 4180) with a header. NULL is the empty field, and an empty text is quoted.
type csvRows struct{ *lineWriter }

func newCSVRows(lines *lineWriter, fields []vector.Field) *csvRows {
	p := &csvRows{lines}
	for j, f := range fields {
		p.field(j, f.Name)
	}
	p.w.WriteByte('\n')
	return p
}

func (p *csvRows) row(c *vector.Chunk, i int) {
	for j := range c.Cols {
		if c.Cols[j].IsNull(i) {
			if j > 0 {
				p.w.WriteByte(',')
			}
			continue
		}
		p.field(j, vector.Text(&c.Cols[j], i))
	}
	p.w.WriteByte('\n')
}

func (p *csvRows) field(j int, text string) {
	if j > 0 {
		p.w.WriteByte(',')
	}
	if text == "" || strings.ContainsAny(text, ",\"\r\n") {
		text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	}
	p.w.WriteString(text)
}

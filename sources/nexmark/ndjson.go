package nexmark

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Columns returns all columns of a type, "person", "auction" or "bid"; nil for any other.
func Columns(typ string) []vector.Field {
	t := tables[typ]
	if t == nil {
		return nil
	}
	out := make([]vector.Field, len(t.columns))
	for i, c := range t.columns {
		out[i] = vector.Field{Name: c.name, Type: vector.Of(c.kind)}
	}
	return out
}

// WriteNDJSON writes the first rows of opt.Type as one JSON object a line: the declared columns, all of
// the type's if none are declared. Timestamps are written as YYYY-MM-DD HH:MM:SS.mmm.
func WriteNDJSON(w io.Writer, opt Options, rows int64) error {
	if len(opt.Columns) == 0 {
		opt.Columns = Columns(opt.withDefaults().Type)
	}
	s, err := New(opt)
	if err != nil {
		return err
	}
	var line []byte
	for row := int64(0); row < rows; {
		n := min(rows-row, vector.Size)
		r, err := s.rows(context.Background(), row, n)
		if err != nil {
			return err
		}
		line = line[:0]
		for _, c := range r.Chunks {
			for i := range c.N {
				line = s.appendRow(line, c, i)
			}
		}
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("write nexmark %s rows: %w", s.opt.Type, err)
		}
		row += n
	}
	return nil
}

// appendRow appends row i as a line. No generated text needs escaping.
func (s *Source) appendRow(dst []byte, c *vector.Chunk, i int) []byte {
	for j, col := range s.cols {
		if j == 0 {
			dst = append(dst, `{"`...)
		} else {
			dst = append(dst, `,"`...)
		}
		dst = append(append(dst, col.name...), `":`...)
		v := &c.Cols[j]
		switch col.kind {
		case vector.Int64:
			dst = strconv.AppendInt(dst, v.I64(i), 10)
		case vector.Timestamp:
			dst = append(dst, '"')
			dst = time.UnixMicro(v.I64(i)).UTC().AppendFormat(dst, "2006-01-02 15:04:05.000")
			dst = append(dst, '"')
		default:
			dst = append(append(append(dst, '"'), v.Str(i)...), '"')
		}
	}
	return append(dst, "}\n"...)
}

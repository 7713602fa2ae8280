package encode

import (
	"errors"
	"strconv"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

func jsonUnsupported(t vector.Type) string {
	switch t.Kind {
	case vector.Bit, vector.Bignum, vector.Null:
		return "cast it to VARCHAR in the view"
	case vector.Blob:
		return "write it as to_base64(…) or hex(…) in the view: JSON has texts only"
	}
	for _, c := range t.ChildTypes() {
		if why := jsonUnsupported(c); why != "" {
			return why
		}
	}
	return ""
}

// jsonWriter writes an object a row.
type jsonWriter struct {
	names [][]byte // quoted, with the colon
	at    []int
	text  valuetext.Writer
}

func newJSON(s Shape) *jsonWriter {
	w := &jsonWriter{at: s.At, text: valuetext.Writer{DecimalText: true}}
	for _, f := range s.Fields {
		w.names = append(w.names, append(valuetext.Quote(nil, []byte(f.Name)), ':'))
	}
	return w
}

func (w *jsonWriter) Schema() string { return "" }

func (w *jsonWriter) Row(dst []byte, r Row) ([]byte, error) { return w.object(dst, &r), nil }

func (w *jsonWriter) object(dst []byte, r *Row) []byte {
	if r == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	for i, col := range w.at {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, w.names[i]...)
		dst = w.text.JSON(dst, &r.Chunk.Cols[col], r.At)
	}
	return append(dst, '}')
}

// Event writes what Debezium does without a schema.
func (w *jsonWriter) Event(dst []byte, e Event) ([]byte, error) {
	dst = w.object(append(dst, `{"before":`...), e.Before)
	dst = w.object(append(dst, `,"after":`...), e.After)
	dst = valuetext.Quote(append(dst, `,"source":{"connector":"sluice","name":`...), []byte(e.Pipeline))
	dst = valuetext.Quote(append(dst, `,"table":`...), []byte(e.View))
	dst = strconv.AppendInt(append(dst, `,"batch":`...), e.Batch, 10)
	dst = append(append(dst, `},"op":"`...), e.Op...)
	return append(dst, '"', '}'), nil
}

// textWriter writes one column as plain text.
type textWriter struct {
	at   int
	text valuetext.Writer
}

func (w *textWriter) Schema() string { return "" }

func (w *textWriter) Row(dst []byte, r Row) ([]byte, error) {
	if r.Chunk.Cols[w.at].IsNull(r.At) {
		return dst, errors.New("the key is NULL, which plain text cannot say\nHint: use key_format = 'json'")
	}
	return w.text.Text(dst, &r.Chunk.Cols[w.at], r.At), nil
}

func (w *textWriter) Event([]byte, Event) ([]byte, error) { panic("encode: an event as plain text") }

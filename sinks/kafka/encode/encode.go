// Package encode writes rows of vectors as the keys and values of Kafka records: JSON, Avro and Protobuf, without a
// Go value a cell.
//
// Invariant: equal rows give equal bytes.
package encode

import (
	"github.com/sluice-sql/sluice/internal/vector"
)

// Formats. Text is for keys of one column.
const (
	JSON     = "json"
	Avro     = "avro"
	Protobuf = "protobuf"
	Text     = "text"
)

// Formats are those of values.
var Formats = []string{JSON, Avro, Protobuf}

// A Row is one of a chunk.
type Row struct {
	Chunk *vector.Chunk
	At    int
}

// An Event is a change: created, updated or deleted.
type Event struct {
	Op            string // "c", "u" or "d"
	Before, After *Row   // nil for none
	// Pipeline, View and Batch say where it comes from.
	Pipeline, View string
	Batch          int64
}

// A Writer writes some columns of rows in one format. It is for one goroutine at a time.
type Writer interface {
	// Schema is what a registry keeps: of the rows, or of events; "" for formats without.
	Schema() string
	// Row appends a row.
	Row(dst []byte, r Row) ([]byte, error)
	// Event appends a change event; only for Writers that were made for events.
	Event(dst []byte, e Event) ([]byte, error)
}

// Shape says what a Writer writes.
type Shape struct {
	Format string
	// Name is the record's in a schema.
	Name string
	// Fields are the columns, At where they are in a row.
	Fields []vector.Field
	At     []int
	// Events has the schema be that of change events.
	Events bool
}

// New makes a Writer for columns that Unsupported has nothing against.
func New(s Shape) Writer {
	switch s.Format {
	case Avro:
		return newAvro(s)
	case Protobuf:
		return newProtobuf(s)
	case Text:
		return &textWriter{at: s.At[0]}
	}
	return newJSON(s)
}

// Unsupported says what to do about a column that has no place in a format, "" if it has one.
func Unsupported(format string, c vector.Field) string {
	switch format {
	case Avro:
		return avroUnsupported(c)
	case Protobuf:
		return protobufUnsupported(c)
	}
	return jsonUnsupported(c.Type)
}

package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// MessageOptions say what the messages of a stream mean.
type MessageOptions struct {
	// Format is "json", "avro", "protobuf", "csv", "text", "bytes", "changelog" or "debezium". Required.
	Format string
	// Encoding is how change events are written: "json" or "avro". Defaults to "json".
	Encoding string
	// KeyFormat is how the key of a message without a value is written: "json", an object with the columns of the
	// primary key, "avro" or "protobuf", of a schema in the registry, or "text" or "bytes", the value of the only one. Defaults to
	// Format where that is one of them, and else to "text". It is not used where METADATA columns are the whole primary key.
	KeyFormat string
	// Fields are the source's columns as its rows have them. Required.
	Fields []vector.Field
	// Metadata has, for each of Fields, the METADATA key that it is filled from, "" for those from the value.
	// Defaults to none.
	Metadata []string
	// Changes says what rows mean, and so whether they carry a weight. Defaults to planner.AppendOnly.
	Changes planner.SourceChanges
	// Key are the columns of the primary key, as indexes of Fields. Defaults to none.
	Key []int
	// MaxBytes is the longest value; longer ones are bad rows. Defaults to no bound.
	MaxBytes int
	// CSV is for format csv. Its zero value is a comma, double quotes, and empty for NULL.
	CSV CSVDialect
	// Debezium is for format debezium; its Key is not used.
	Debezium DebeziumOptions
	// AvroSchema is the schema of all messages; with a registry, which says what each message was written with, its
	// defaults and aliases stand in for what a message does not have. Required for avro without a registry.
	AvroSchema string
	// ProtobufSchema is the text of a .proto file. Required for protobuf without a registry, and not used with one.
	ProtobufSchema string
	// ProtobufMessage is the full name of the messages' type. Defaults to the only one of ProtobufSchema; with a registry,
	// to whatever a message says that it is.
	ProtobufMessage string
	// Registry is where the schemas are that messages name by an id. Defaults to none: there are no ids.
	Registry schemaregistry.Options
}

// MessageFormats are the values of MessageOptions.Format.
var MessageFormats = []string{"json", "avro", "protobuf", "csv", "text", "bytes", "changelog", "debezium"}

// KeyFormats are the values of MessageOptions.KeyFormat.
var KeyFormats = []string{"json", "avro", "protobuf", "text", "bytes"}

func (o MessageOptions) withDefaults() MessageOptions {
	if o.KeyFormat == "" {
		o.KeyFormat = "text"
		if slices.Contains(KeyFormats, o.Format) {
			o.KeyFormat = o.Format
		}
	}
	if o.Encoding == "" {
		o.Encoding = "json"
	}
	if o.CSV.Delimiter == 0 {
		o.CSV.Delimiter = ','
	}
	if o.CSV.Quote == 0 {
		o.CSV.Quote = '"'
	}
	if o.CSV.Escape == 0 {
		o.CSV.Escape = o.CSV.Quote
	}
	return o
}

// Validate returns all that is wrong with the options, joined.
func (o MessageOptions) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(option, value string, allowed []string) {
		if !slices.Contains(allowed, value) {
			bad("%s = '%s' is not known\nHint: use '%s'", option, value, strings.Join(allowed, "', '"))
		}
	}
	oneOf("format", o.Format, MessageFormats)
	oneOf("key_format", o.KeyFormat, KeyFormats)
	if o.Format == "debezium" {
		oneOf("encoding", o.Encoding, []string{"json", "avro"})
	}
	errs = append(errs, o.checkSchemas()...)
	if o.Format == "csv" && (o.CSV.Delimiter == o.CSV.Quote || o.CSV.Delimiter == o.CSV.Escape) {
		bad("delimiter = '%c' is also what quotes", o.CSV.Delimiter)
	}
	data := o.dataFields()
	if len(data) == 0 {
		bad("no columns are declared but those of metadata")
	}
	for _, f := range data {
		if f.Name == "_seq" || f.Name == "_w" || f.Name == WeightField {
			bad("column %s is reserved\nHint: rename the column", f.Name)
		}
	}
	errs = append(errs, Check(o.Format, data)...)
	errs = append(errs, o.checkSingle(data)...)
	errs = append(errs, o.checkMetadata()...)
	errs = append(errs, o.checkKey()...)
	if len(errs) == 0 {
		_, err := newMessageFormat(o) // which reads the schemas that are given here
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// isAvro says whether values are in Avro's encoding.
func (o MessageOptions) isAvro() bool {
	return o.Format == "avro" || o.Format == "debezium" && o.Encoding == "avro"
}

// checkSchemas checks where schemas come from.
func (o MessageOptions) checkSchemas() (errs []error) {
	if o.Registry.URL != "" {
		if err := o.Registry.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if o.isAvro() && o.AvroSchema == "" && o.Registry.URL == "" {
		option := "format"
		if o.Format == "debezium" {
			option = "encoding"
		}
		errs = append(errs, fmt.Errorf("%s = 'avro' needs the messages' schema\nHint: add schema_registry = 'http://HOST:8081', or avro_schema = '…' for messages that have no id of one", option))
	}
	if o.Format == "protobuf" && o.Registry.URL == "" && o.ProtobufSchema == "" {
		errs = append(errs, errors.New("format = 'protobuf' needs the messages' schema\nHint: add schema_registry = 'http://HOST:8081', or protobuf_schema = '…' for messages that have no id of one"))
	}
	if o.ProtobufSchema != "" && o.Registry.URL != "" {
		errs = append(errs, errors.New("protobuf_schema = '…' is not used: the registry has the messages' schemas\nHint: remove one of protobuf_schema and schema_registry"))
	}
	if len(o.Key) > 0 && (o.KeyFormat == "avro" || o.KeyFormat == "protobuf") && o.Format != "debezium" && o.Registry.URL == "" && slices.ContainsFunc(o.Key, func(k int) bool { return o.metadataOf(k) == "" }) {
		errs = append(errs, fmt.Errorf("key_format = '%s' needs a schema registry, where the schemas of keys are\nHint: add schema_registry = 'http://HOST:8081', or say key_format = 'text'", o.KeyFormat))
	}
	return errs
}

// checkSingle checks the formats that are one value.
func (o MessageOptions) checkSingle(data []vector.Field) (errs []error) {
	want := map[string]vector.Kind{"text": vector.Varchar, "bytes": vector.Blob}[o.Format]
	if want == vector.Invalid {
		return nil
	}
	if len(data) != 1 {
		return []error{fmt.Errorf("format = '%s' needs one column for a message's value, and %d are declared\nHint: other columns are METADATA", o.Format, len(data))}
	}
	if data[0].Type.Kind != want {
		return []error{fmt.Errorf("column %s: a message of format %s is a %s, not %s\nHint: declare it %s, and cast it in the query",
			data[0].Name, o.Format, vector.Of(want), article(data[0].Type), vector.Of(want))}
	}
	return nil
}

func (o MessageOptions) checkKey() (errs []error) {
	own := 0
	for _, k := range o.Key {
		if k < 0 || k >= len(o.Fields) {
			return append(errs, fmt.Errorf("the primary key has column %d of %d", k+1, len(o.Fields)))
		}
		c := o.Fields[k]
		switch {
		case c.Type.IsNested():
			errs = append(errs, fmt.Errorf("column %s: a %s cannot be part of the primary key\nHint: declare it VARCHAR, or take another key", c.Name, c.Type))
		case o.metadataOf(k) == "":
			own++
		case o.Format == "debezium":
			errs = append(errs, fmt.Errorf("column %s: the primary key of change events is in the events, not in the metadata '%s'", c.Name, o.metadataOf(k)))
		}
	}
	if o.Format != "debezium" && o.Format != "changelog" && own > 1 && (o.KeyFormat == "text" || o.KeyFormat == "bytes") {
		errs = append(errs, fmt.Errorf("key_format = '%s' is one column, and the primary key has %d\nHint: say key_format = 'json'", o.KeyFormat, own))
	}
	return errs
}

// Builder returns an empty builder of the rows.
func (o MessageOptions) Builder() *Builder {
	if o.Changes == planner.AppendOnly {
		return NewBuilder(o.Fields)
	}
	return NewChangeBuilder(o.Fields, o.Key)
}

// NewMessages returns a decoder of messages for builders of o.Builder. It is used by one goroutine at a time.
func NewMessages(o MessageOptions) (MessageDecoder, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	format, err := newMessageFormat(o)
	if err != nil {
		return nil, err
	}
	d := &messages{opt: o, sequences: 1, format: format}
	for i, f := range o.Fields {
		if key := o.metadataOf(i); key != "" {
			d.meta = append(d.meta, metaColumn{i, metaKeys[key], f.Type})
		} else if !slices.Contains(o.Key, i) {
			d.rest = append(d.rest, i)
		}
	}
	if o.Format == "debezium" && len(o.Key) > 0 {
		d.sequences = 2
	}
	_, single := d.format.(textMessages)
	d.tombstones = !d.format.weighs() && (len(o.Key) > 0 || !single)
	if keyed := o.keyOptions(); len(keyed.Fields) > 0 && d.tombstones {
		if d.key, err = newMessageFormat(keyed); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// keyOptions are those of the messages' keys as messages of their own.
func (o MessageOptions) keyOptions() MessageOptions {
	keyed := o
	keyed.Format, keyed.AvroSchema, keyed.ProtobufMessage = o.KeyFormat, "", ""
	keyed.Fields, keyed.Metadata, keyed.Key = nil, nil, nil
	for _, k := range o.Key {
		if o.metadataOf(k) == "" {
			keyed.Fields = append(keyed.Fields, o.Fields[k])
		}
	}
	return keyed
}

func newMessageFormat(o MessageOptions) (messageFormat, error) {
	data := o.dataFields()
	switch o.Format {
	case "json":
		return &jsonMessages{JSON: NewJSON(data)}, nil
	case "avro":
		return newAvroMessages(o)
	case "protobuf":
		return newProtoMessages(o)
	case "changelog":
		return &jsonMessages{JSON: NewChangelog(data)}, nil
	case "debezium":
		if o.Encoding == "avro" {
			return newAvroDebezium(o)
		}
		opt := o.Debezium
		opt.Key = o.dataKey()
		return &debeziumMessages{Debezium: NewDebezium(data, opt)}, nil
	case "csv":
		columns := make([]int, len(data))
		for i := range columns {
			columns[i] = i
		}
		return &csvMessages{NewCSV(o.CSV, columns)}, nil
	}
	return textMessages{}, nil
}

// dataKey are the columns of the primary key among those of the value.
func (o MessageOptions) dataKey() (key []int) {
	for _, k := range o.Key {
		n := 0
		for i := range k {
			if o.metadataOf(i) == "" {
				n++
			}
		}
		if o.metadataOf(k) == "" {
			key = append(key, n)
		}
	}
	return key
}

func tooLongMessage(n, max int) string {
	return fmt.Sprintf("the message is %d bytes long, and max_row_bytes is %d", n, max)
}

package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/intake"
)

// messageFormatOptions are what sources of messages can be told of their format; a connector adds its own.
var messageFormatOptions = []ddl.OptionSpec{
	{Name: "format", Kind: ddl.Enum, Enum: decode.MessageFormats, Default: "json", Doc: "how a message's value is written"},
	{Name: "key_format", Kind: ddl.Enum, Enum: decode.KeyFormats, Doc: "how the key of a message without a value is written, which deletes the row of that key; defaults to format where that can be, and else to text"},
	{Name: "encoding", Kind: ddl.Enum, Enum: []string{"json", "avro"}, Default: "json", Doc: "debezium: how events are written"},
	{Name: "schema_registry", Kind: ddl.List, Doc: "avro, protobuf: where the schemas are that messages name by an id, such as 'http://localhost:8081'"},
	{Name: "schema_registry_user", Kind: ddl.String, Doc: "for basic authentication"},
	{Name: "schema_registry_password", Kind: ddl.String, Doc: "its password, as in '${SCHEMA_REGISTRY_PASSWORD}'"},
	{Name: "schema_registry_password_file", Kind: ddl.String, Doc: "a file with its password; relative to the SQL file"},
	{Name: "avro_schema", Kind: ddl.String, Doc: "the schema of all messages; with a registry, whose defaults and aliases stand in for what a message does not have"},
	{Name: "protobuf_schema", Kind: ddl.String, Doc: "the text of a .proto file, for messages without a registry"},
	{Name: "protobuf_message", Kind: ddl.String, Doc: "the type of all messages, with its package; defaults to the only one of protobuf_schema, or to what a message says"},
	{Name: "timestamp_unit", Kind: ddl.Enum, Enum: []string{"ms", "us", "ns"}, Default: "us", Doc: "debezium without a schema: what numbers in TIMESTAMP columns count"},
	{Name: "time_unit", Kind: ddl.Enum, Enum: []string{"ms", "us", "ns"}, Default: "us", Doc: "debezium without a schema: what numbers in TIME columns count"},
	{Name: "decimal_handling_mode", Kind: ddl.Enum, Enum: []string{"precise", "string", "double"}, Default: "precise", Doc: "debezium without a schema: how decimals are written"},
	{Name: "max_row_bytes", Kind: ddl.Bytes, Default: "16MiB", Doc: "longer messages are bad rows"},
	{Name: "delimiter", Kind: ddl.String, Default: ",", Doc: "csv: separates fields"},
	{Name: "quote", Kind: ddl.String, Default: `"`, Doc: "csv: encloses fields"},
	{Name: "escape", Kind: ddl.String, Doc: "csv: precedes a quote in a quoted field; defaults to quote"},
	{Name: "null", Kind: ddl.String, Doc: "csv: what an unquoted field is when it is NULL"},
}

// optionsOfFormat are refused for formats other than those that each is for.
var optionsOfFormat = map[string][]string{
	"encoding": {"debezium"}, "avro_schema": {"avro", "debezium"}, "protobuf_schema": {"protobuf"}, "protobuf_message": {"protobuf"},
	"timestamp_unit": {"debezium"}, "time_unit": {"debezium"}, "decimal_handling_mode": {"debezium"},
	"delimiter": {"csv"}, "quote": {"csv"}, "escape": {"csv"}, "null": {"csv"},
}

// messageOptions are the options of a source's messages, checked; errors are at the option or column they are about.
func (l *loaded) messageOptions(src planner.Source, v ddl.Values) (decode.MessageOptions, error) {
	o := decode.MessageOptions{
		Format: v.String("format"), Fields: src.ReadColumns(), Metadata: src.ReadMetadata(), MaxBytes: int(v.Bytes("max_row_bytes")),
		Debezium: decode.DebeziumOptions{TimestampUnit: decode.Units[v.String("timestamp_unit")], TimeUnit: decode.Units[v.String("time_unit")],
			TextDecimals: v.String("decimal_handling_mode") != "precise"},
	}
	if v.Has("key_format") { // not what is posted
		o.KeyFormat, o.Encoding, o.AvroSchema, o.Registry = v.String("key_format"), v.String("encoding"), v.String("avro_schema"), l.registryOptions(v)
		o.ProtobufSchema, o.ProtobufMessage = v.String("protobuf_schema"), v.String("protobuf_message")
	}
	for i, key := range o.Metadata {
		if name, ok := intake.MessageKeys[key]; ok {
			o.Metadata[i] = name
		}
	}
	for _, in := range l.plan.Program.Sources {
		if in.Name == src.Name {
			o.Changes, o.Key = in.Changes, keyOf(in, o.Fields)
		}
	}
	problems := []error{oneByte(v, "delimiter", &o.CSV.Delimiter), oneByte(v, "quote", &o.CSV.Quote), oneByte(v, "escape", &o.CSV.Escape)}
	o.CSV.Null = v.String("null")
	for _, spec := range messageFormatOptions {
		if of, some := optionsOfFormat[spec.Name]; some && v.Given(spec.Name) && !slices.Contains(of, o.Format) {
			problems = append(problems, v.Errorf(spec.Name, "option %q is for %s, and the format is %s", spec.Name, strings.Join(of, " and "), o.Format).WithHint("remove it"))
		}
	}
	if err := ddl.Join(problems...); err != nil {
		return o, err
	}
	return o, l.positioned(src.Decl.With, src.Decl.Columns, o.Validate())
}

// registryOptions say where a schema registry is.
func (l *loaded) registryOptions(v ddl.Values) schemaregistry.Options {
	o := schemaregistry.Options{URL: strings.Join(v.List("schema_registry"), ","), User: v.String("schema_registry_user"),
		Password: v.String("schema_registry_password"), PasswordFile: v.String("schema_registry_password_file")}
	if o.PasswordFile != "" && !filepath.IsAbs(o.PasswordFile) {
		o.PasswordFile = filepath.Join(l.BaseDir, o.PasswordFile)
	}
	return o
}

// oneByte reads an option of one byte, none for its default.
func oneByte(v ddl.Values, name string, to *byte) error {
	s := v.String(name)
	if len(s) > 1 || s == "\n" || s == "\r" {
		return v.Errorf(name, "option %q is %q, not one byte that does not end a line", name, s).WithHint("write one ASCII character")
	}
	if s != "" {
		*to = s[0]
	}
	return nil
}

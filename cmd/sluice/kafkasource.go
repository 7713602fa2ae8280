package main

import (
	"context"
	"slices"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sources/kafka"
)

var kafkaOptions = slices.Concat([]ddl.OptionSpec{
	optConnector,
	{Name: "topic", Kind: ddl.String, Required: true, Doc: "one topic; UNION ALL joins several sources"},
	{Name: "startup", Kind: ddl.String, Default: "earliest", Doc: "where a pipeline begins that has read nothing yet: earliest, latest, a time in UTC, or offsets as in '0:1200,1:950'"},
	{Name: "mode", Kind: ddl.Enum, Enum: []string{"tail", "bounded"}, Doc: "tail waits for more; bounded ends where the topic ended at the start; defaults to bounded with --until-end"},
	{Name: "on_error", Kind: ddl.Enum, Enum: []string{"dead_letter", "stop"}, Default: "dead_letter", Doc: "what to do with a record that cannot be read"},
	{Name: "group_id", Kind: ddl.String, Doc: "a consumer group whose offsets are set after every batch, for tools that show lag"},
	{Name: "max_buffer_bytes", Kind: ddl.Bytes, Min: 1 << 20, Default: "64MiB", Doc: "how much is read ahead, over all partitions"},
	{Name: "discovery_interval", Kind: ddl.Duration, Default: "10s", Doc: "how often new partitions are looked for"},
}, kafkaClientOptions, messageFormatOptions)

// kafkaMetadata are the METADATA keys of records.
func kafkaMetadata() []planner.MetadataKey {
	text, blob := vector.Of(vector.Varchar), vector.Of(vector.Blob)
	mapOf := func(value vector.Type) vector.Type {
		entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: text}, {Name: "value", Type: value}}}
		return vector.Type{Kind: vector.Map, Elem: &entry}
	}
	return []planner.MetadataKey{
		{Key: "topic", Doc: "the topic's name", Types: []vector.Type{text}, OfRow: true},
		{Key: "partition", Doc: "the number of the record's partition", Types: []vector.Type{vector.Of(vector.Int32), vector.Of(vector.Int64)}},
		{Key: "offset", Doc: "the record's offset in its partition", Types: []vector.Type{vector.Of(vector.Int64)}},
		{Key: "timestamp", Doc: "the record's time, which its producer or the broker has set", Types: []vector.Type{vector.Of(vector.Timestamp), vector.Of(vector.TimestampTZ)}},
		{Key: "key", Doc: "the record's key as it is", Types: []vector.Type{text, blob}},
		{Key: "headers", Doc: "the record's headers", Types: []vector.Type{mapOf(text), mapOf(blob)}},
	}
}

// bindKafka checks the options of a topic.
func (l *loaded) bindKafka(b *sourceBinding, v ddl.Values) error {
	messages, err := l.messageOptions(b.Source, v)
	if err != nil {
		return err
	}
	o := kafka.Options{Name: b.Name, Client: kafkaClient(v, l.BaseDir), Topic: v.String("topic"), Messages: messages,
		Startup: v.String("startup"), Mode: v.String("mode"), OnError: v.String("on_error"), GroupID: v.String("group_id"),
		BufferBytes: v.Bytes("max_buffer_bytes"), DiscoverEvery: v.Duration("discovery_interval")}
	b.format = messages.Format
	if o.Mode == "" && l.UntilEnd || l.Scratch != nil {
		o.Mode = "bounded"
	}
	if l.Scratch != nil {
		o.GroupID = "" // a copy must not move what is watched of the original
	}
	if o.Mode != "bounded" {
		b.endless = "its mode is 'tail'"
	}
	b.open = func(context.Context, purpose) (microbatch.Source, error) { return kafka.New(o) }
	return l.positioned(b.Decl.With, b.Decl.Columns, o.Validate())
}

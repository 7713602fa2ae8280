package main

import (
	"github.com/sluice-sql/sluice/planner/ddl"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sinks/kafka/encode"
)

var kafkaSinkOptions = append([]ddl.OptionSpec{
	optConnector,
	{Name: "topic", Kind: ddl.String, Doc: "made if it is not there; defaults to the view's name"},
	{Name: "mode", Kind: ddl.Enum, Enum: kafkasink.Modes, Default: "append", Doc: "append takes append-only views, upsert keyed ones, debezium any"},
	{Name: "format", Kind: ddl.Enum, Enum: encode.Formats, Default: "json", Doc: "how values are written"},
	{Name: "key_format", Kind: ddl.Enum, Enum: append([]string{encode.Text}, encode.Formats...), Doc: "how keys are written; text is for one column; defaults to format"},
	{Name: "key", Kind: ddl.List, Doc: "the columns of the records' key; defaults to the view's key, and to none in mode append"},
	{Name: "partitions", Kind: ddl.Int, Min: 1, Max: 100_000, Doc: "of a topic that is made; defaults to the cluster's num.partitions"},
	{Name: "replication_factor", Kind: ddl.Int, Min: 1, Max: 1000, Doc: "of topics that are made; defaults to the cluster's"},
	{Name: "partitioner", Kind: ddl.Enum, Enum: kafkasink.Partitioners, Default: "murmur2", Doc: "murmur2 places keys as Java's clients do"},
	{Name: "compression", Kind: ddl.Enum, Enum: kafkasink.Compressions, Default: "snappy", Doc: "of record batches"},
	{Name: "transaction_timeout", Kind: ddl.Duration, Default: "1m", Doc: "how long a dead engine's transaction can keep readers waiting; 15m is what brokers allow"},
	{Name: "ledger_topic", Kind: ddl.String, Default: kafkasink.LedgerTopic, Doc: "a compacted topic, made if it is not there"},
	{Name: "dead_letter_topic", Kind: ddl.String, Default: kafkasink.DeadLetterTopic, Doc: "for refused rows of pipelines without PostgreSQL and files"},
	{Name: "schema_registry", Kind: ddl.String, Doc: "avro and protobuf: the registry's URL"},
	{Name: "schema_registry_user", Kind: ddl.String, Doc: "who registers"},
	{Name: "schema_registry_password", Kind: ddl.String, Doc: "as '${NAME}' it is taken from the environment"},
}, kafkaClientOptions...)

package main

import (
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sources/intake"
)

// What each connector can be told in WITH (…). The connectors' own Options say what a value means in
// detail; here is what a file may say, by name, so that a misspelt option is refused before anything runs.

var optConnector = ddl.OptionSpec{Name: "connector", Kind: ddl.String, Required: true, Doc: "what kind of system it is"}

// formatOptions are refused for formats other than the one that each is for.
var formatOptions = map[string][]string{
	"csv":       {"header", "delimiter", "quote", "escape", "null"},
	"changelog": {"encoding"},
	"debezium":  {"timestamp_unit", "time_unit", "decimal_handling_mode"},
}

var fileOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "path", Kind: ddl.List, Required: true, Doc: "a path, a list of paths or a glob; relative to the SQL file"},
	{Name: "format", Kind: ddl.Enum, Enum: []string{"json", "csv", "parquet", "changelog", "debezium"}, Doc: "defaults to what the extension says"},
	{Name: "encoding", Kind: ddl.Enum, Enum: []string{"json", "csv", "parquet"}, Doc: "changelog: how it is written; defaults to what the extension says"},
	{Name: "timestamp_unit", Kind: ddl.Enum, Enum: []string{"ms", "us", "ns"}, Default: "us", Doc: "debezium without a schema: what numbers in TIMESTAMP columns count"},
	{Name: "time_unit", Kind: ddl.Enum, Enum: []string{"ms", "us", "ns"}, Default: "us", Doc: "debezium without a schema: what numbers in TIME columns count"},
	{Name: "decimal_handling_mode", Kind: ddl.Enum, Enum: []string{"precise", "string", "double"}, Default: "precise", Doc: "debezium without a schema: how decimals are written"},
	{Name: "mode", Kind: ddl.Enum, Enum: []string{"tail", "bounded"}, Doc: "tail waits for more; bounded ends; defaults to bounded with --until-end"},
	{Name: "on_error", Kind: ddl.Enum, Enum: []string{"dead_letter", "stop"}, Default: "dead_letter", Doc: "what to do with a row that cannot be read"},
	{Name: "identity", Kind: ddl.Enum, Enum: []string{"inode", "content"}, Default: "inode", Doc: "content accepts a restored copy of a file"},
	{Name: "max_row_bytes", Kind: ddl.Bytes, Default: "16MiB", Doc: "longer rows are bad rows"},
	{Name: "header", Kind: ddl.Bool, Default: "true", Doc: "csv: the first line names the columns"},
	{Name: "delimiter", Kind: ddl.String, Doc: "csv: separates fields"},
	{Name: "quote", Kind: ddl.String, Doc: "csv: encloses fields"},
	{Name: "escape", Kind: ddl.String, Doc: "csv: precedes a quote in a quoted field"},
	{Name: "null", Kind: ddl.String, Doc: "csv: what an unquoted field is when it is NULL"},
}

// tableFileOptions are those of a file that is read once: it has no mode, and its identity is its content.
var tableFileOptions = slices.DeleteFunc(slices.Clone(fileOptions), func(o ddl.OptionSpec) bool { return o.Name == "mode" || o.Name == "identity" })

var lookupOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "url", Kind: ddl.String, Doc: "connection string; defaults to the pipeline's own PostgreSQL"},
	{Name: "table", Kind: ddl.String, Doc: "the table's name, with its schema if need be; defaults to the declared name"},
	{Name: "query", Kind: ddl.String, Doc: "a SELECT to read instead of a table"},
	{Name: "refresh", Kind: ddl.Duration, Doc: "how often it is read again; defaults to once, when the engine starts"},
}

var nexmarkOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "type", Kind: ddl.Enum, Enum: []string{"person", "auction", "bid"}, Doc: "defaults to the source's name"},
	{Name: "seed", Kind: ddl.Int, Doc: "selects the stream"},
	{Name: "events", Kind: ddl.Int, Doc: "how many events of all types there are; 0 means that they never end"},
	{Name: "rate", Kind: ddl.Int, Doc: "events a second of wall-clock time; 0 means as fast as they are read"},
	{Name: "event_rate", Kind: ddl.Int, Min: 1, Default: "10000", Doc: "events a second of event time"},
	{Name: "first_event_at", Kind: ddl.String, Default: "2015-07-15 00:00:00", Doc: "event time of event 0, UTC"},
	{Name: "hot_auction_ratio", Kind: ddl.Int, Min: 1, Default: "2"},
	{Name: "hot_sellers_ratio", Kind: ddl.Int, Min: 1, Default: "4"},
	{Name: "hot_bidders_ratio", Kind: ddl.Int, Min: 1, Default: "4"},
	{Name: "in_flight_auctions", Kind: ddl.Int, Min: 1, Default: "100"},
	{Name: "active_people", Kind: ddl.Int, Min: 1, Default: "1000"},
	{Name: "person_bytes", Kind: ddl.Bytes, Min: 1, Default: "200"},
	{Name: "auction_bytes", Kind: ddl.Bytes, Min: 1, Default: "500"},
	{Name: "bid_bytes", Kind: ddl.Bytes, Min: 1, Default: "100"},
}

// httpOptions are beside those of the format.
var httpOptions = slices.Concat([]ddl.OptionSpec{
	optConnector,
	{Name: "listen", Kind: ddl.String, Doc: "a loopback address, such as 127.0.0.1:8080, to be reached at beside the daemon's; required for sluice run"},
	{Name: "token", Kind: ddl.String, Doc: "what requests must send as Authorization: Bearer; best '${NAME}', from the environment"},
	{Name: "token_file", Kind: ddl.String, Doc: "a file that has the token; relative to the SQL file"},
	{Name: "validate", Kind: ddl.Enum, Enum: []string{"reject", "accept"}, Default: "reject", Doc: "accept takes rows that cannot be read and makes them dead letters; reject refuses their request"},
	{Name: "when_stopped", Kind: ddl.Enum, Enum: []string{"accept", "refuse"}, Default: "accept", Doc: "whether rows are taken while the pipeline does not run and the daemon does"},
	{Name: "max_body_bytes", Kind: ddl.Bytes, Min: 1, Default: "16MiB", Doc: "the longest body, unpacked"},
	{Name: "max_backlog_bytes", Kind: ddl.Bytes, Min: 1, Default: "1GiB", Doc: "how much may wait to be read before requests are refused"},
	{Name: "idempotency_keys", Kind: ddl.Int, Min: 1, Max: 10_000_000, Default: "100000", Doc: "how many keys are known; the oldest are forgotten first"},
	{Name: "idempotency_window", Kind: ddl.Duration, Min: int64(time.Second), Default: "24 hours", Doc: "how long a key is known"},
	{Name: "retention", Kind: ddl.Duration, Doc: "how long rows are kept once they are committed; defaults to for ever, which verify, replay and rebuild need"},
	{Name: "retention_bytes", Kind: ddl.Bytes, Doc: "how much is kept once it is committed; defaults to all"},
}, httpFormatOptions)

// httpFormatOptions are those of formats whose rows can stand in a body one after the other.
var httpFormatOptions = append([]ddl.OptionSpec{{Name: "format", Kind: ddl.Enum, Enum: []string{"json", "csv", "text", "bytes", "changelog", "debezium"}, Default: "json", Doc: "how a row is written"}},
	slices.DeleteFunc(slices.Clone(messageFormatOptions), func(o ddl.OptionSpec) bool {
		return !slices.Contains([]string{"timestamp_unit", "time_unit", "decimal_handling_mode", "max_row_bytes", "delimiter", "quote", "escape", "null"}, o.Name)
	})...)

var postgresOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "table", Kind: ddl.String, Doc: "defaults to the view's name"},
	{Name: "schema", Kind: ddl.String, Default: "public", Doc: "created if need be"},
	{Name: "adopt", Kind: ddl.Bool, Default: "false", Doc: "take over a table that has rows"},
	{Name: "primary_key", Kind: ddl.Bool, Default: "false", Doc: "a PRIMARY KEY, which refuses NULLs in the key"},
}

// fileSinkCSV are refused for other formats.
var fileSinkCSV = []string{"header", "delimiter", "quote", "null"}

var fileSinkOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "path", Kind: ddl.String, Required: true, Doc: "a directory; relative to the SQL file"},
	{Name: "format", Kind: ddl.Enum, Enum: []string{"json", "csv", "parquet"}, Default: "json", Doc: "json is one object a line"},
	{Name: "mode", Kind: ddl.Enum, Enum: []string{"append", "changelog"}, Default: "append", Doc: "changelog takes any view and adds the column _weight"},
	{Name: "partition_by", Kind: ddl.List, Doc: "columns that make the path, as in dt=2026-01-01/"},
	{Name: "compression", Kind: ddl.Enum, Enum: []string{"none", "gzip", "zstd", "snappy", "lz4_raw"}, Doc: "defaults to snappy for parquet and none for the others"},
	{Name: "header", Kind: ddl.Bool, Default: "true", Doc: "csv: the first line names the columns"},
	{Name: "delimiter", Kind: ddl.String, Doc: "csv: separates fields"},
	{Name: "quote", Kind: ddl.String, Doc: "csv: encloses fields"},
	{Name: "null", Kind: ddl.String, Doc: "csv: how NULL is written, without quotes"},
}

var stdoutOptions = []ddl.OptionSpec{
	optConnector,
	{Name: "format", Kind: ddl.Enum, Enum: []string{"json", "table"}, Doc: "defaults to table on a terminal and json elsewhere"},
}

// blackholeOptions are those of a sink that drops everything: to measure a query, or to run one for its state.
var blackholeOptions = []ddl.OptionSpec{optConnector}

var (
	sourceConnectors = []string{"file", "http", "kafka", "nexmark", "postgres_cdc"}
	tableConnectors  = []string{"file", "postgres_lookup"}
	sinkConnectors   = []string{"postgres", "file", "kafka", "stdout", "blackhole"}
)

// metadataKeys are the METADATA keys that a connector's sources have beside 'batch_time', which is the engine's.
// A constructor gets planner.Source.ReadColumns and ReadMetadata, which says the key of each.
var metadataKeys = map[string][]planner.MetadataKey{
	"kafka":        kafkaMetadata(),
	"postgres_cdc": captureMetadata,
	"http": {
		{Key: intake.ReceivedAtKey, Doc: "when its request arrived, in UTC", Types: []vector.Type{vector.Of(vector.Timestamp), vector.Of(vector.TimestampTZ)}},
		{Key: intake.DeliveryKey, Doc: "the Idempotency-Key of its request, NULL without", Types: []vector.Type{vector.Of(vector.Varchar)}},
		{Key: intake.PositionKey, Doc: "how many rows came before it", Types: []vector.Type{vector.Of(vector.Int64)}},
	},
}

// accepts says which changes a connector takes, and what a user can do about the others.
func accepts(connector string, v ddl.Values) (modes []planner.ChangeMode, hints []string) {
	switch {
	case connector == "file" && v.String("mode") == filesink.ModeAppend:
		return []planner.ChangeMode{planner.Append}, []string{"say mode = 'changelog', which writes every change with its _weight"}
	case connector == "kafka" && v.String("mode") == kafkasink.ModeAppend:
		return []planner.ChangeMode{planner.Append}, []string{"say mode = 'upsert', which writes the newest row of each key, or mode = 'debezium', which writes change events"}
	case connector == "kafka" && v.String("mode") == kafkasink.ModeUpsert:
		return []planner.ChangeMode{planner.Upsert, planner.Append}, []string{"say mode = 'debezium', which needs no key"}
	}
	return []planner.ChangeMode{planner.Append, planner.Upsert, planner.Multiset}, nil
}

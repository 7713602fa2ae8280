package ddl

import "time"

// Names of the options that SET sets.
const (
	TriggerInterval  = "trigger_interval"
	MaxBatchRows     = "max_batch_rows"
	MaxBatchBytes    = "max_batch_bytes"
	MemoryLimit      = "memory_limit"
	SnapshotLogBytes = "snapshot_log_bytes"
	SnapshotInterval = "snapshot_interval"
	KeepSnapshots    = "keep_snapshots"
	KeepSnapshotsFor = "keep_snapshots_for"
	LogSegmentBytes  = "log_segment_bytes"
	StateTTL         = "state_ttl"

	Checkpoint            = "checkpoint"
	Replica               = "replica"
	CheckpointSync        = "checkpoint_sync"
	CheckpointInterval    = "checkpoint_interval"
	CheckpointMaxLag      = "checkpoint_max_lag"
	CheckpointMaxLagBytes = "checkpoint_max_lag_bytes"
)

// Names of the options about event time that every source has, whatever its connector.
const (
	AllowedLateness = "allowed_lateness"
	MaxFuture       = "max_future"
	IdleTimeout     = "idle_timeout"
)

// SourceOptions are the options of every source. Their values are text here: the planner reads them.
var SourceOptions = []OptionSpec{
	{Name: AllowedLateness, Kind: String, Doc: "how far behind the watermark a row may be and still count; defaults to 0"},
	{Name: MaxFuture, Kind: String, Doc: "rows that are further ahead of the batch's time do not move the watermark; 'none' lets all; defaults to 1 day"},
	{Name: IdleTimeout, Kind: String, Doc: "a source that delivers nothing for so long no longer holds others back; defaults to never"},
}

// PipelineOptions are the options that SET sets, for Check(file.Settings(), "the pipeline", …).
var PipelineOptions = []OptionSpec{
	{Name: TriggerInterval, Kind: Duration, Default: "1s",
		Doc: "a batch starts this long after the last one did, or earlier when it is full"},
	{Name: MaxBatchRows, Kind: Int, Default: "100000", Min: 1,
		Doc: "a batch reads at most this many rows"},
	{Name: MaxBatchBytes, Kind: Bytes, Default: "64MiB", Min: 1,
		Doc: "a batch reads at most this many bytes of input"},
	{Name: MemoryLimit, Kind: Bytes, Default: "2GiB", Min: 64 << 20,
		Doc: "DuckDB uses at most this much memory before it spills to disk"},
	{Name: SnapshotLogBytes, Kind: Bytes, Default: "64MiB", Min: 1 << 10,
		Doc: "a snapshot is taken when the log since the last one is larger than this"},
	{Name: SnapshotInterval, Kind: Duration, Default: "1m", Min: 1e6,
		Doc: "a snapshot is taken so long after the last one, if a batch has happened since"},
	{Name: KeepSnapshots, Kind: Int, Default: "2", Min: 1, Max: 1000,
		Doc: "this many full snapshots are kept, with the deltas on them; the log before the oldest of these chains ends is deleted"},
	{Name: KeepSnapshotsFor, Kind: Duration, Default: "0s",
		Doc: "more snapshots are kept until they are older than this"},
	{Name: StateTTL, Kind: Duration, Min: int64(time.Millisecond),
		Doc: "state that no watermark bounds is dropped when nothing was written to it for so long; results may then be wrong; defaults to never"},
	{Name: LogSegmentBytes, Kind: Bytes, Default: "64MiB", Min: 1 << 10,
		Doc: "a new file of the log is begun when the last one is larger than this"},
	{Name: Checkpoint, Kind: String,
		Doc: "the log is copied to this bucket: 's3://bucket/prefix?endpoint=…&region=…&path_style=…'; defaults to none"},
	{Name: Replica, Kind: String,
		Doc: "the log is copied to this second bucket as well; defaults to none"},
	{Name: CheckpointSync, Kind: Enum, Enum: []string{"background", "batch"}, Default: "background",
		Doc: "'batch' commits a batch only when every bucket has its log; 'background' copies behind the batches"},
	{Name: CheckpointInterval, Kind: Duration, Default: "1s", Min: int64(time.Millisecond),
		Doc: "in the background, the log's end is uploaded this often"},
	{Name: CheckpointMaxLag, Kind: Duration, Default: "10m", Min: int64(time.Second),
		Doc: "batches wait when one has been without a copy for this long"},
	{Name: CheckpointMaxLagBytes, Kind: Bytes, Default: "1GiB", Min: 1,
		Doc: "batches wait when this much of the log is without a copy"},
}

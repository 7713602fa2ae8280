package checkpointlog

import (
	"encoding/json"
	"time"
)

// SourceRange is what a batch reads of one source: everything after From up to To.
type SourceRange struct {
	Source string          `json:"source"`
	From   json.RawMessage `json:"from"` // null: from the beginning
	To     json.RawMessage `json:"to"`
}

// Planned says what a batch will read, before it is executed. It is not synced on its own.
type Planned struct {
	Batch  int64         `json:"batch"`
	Epoch  int64         `json:"epoch"`
	At     time.Time     `json:"at"` // the batch's now()
	Ranges []SourceRange `json:"ranges"`
	// Watermarks are per source, in the event-time column's own unit, before the batch: rows earlier
	// than that are late. A source that has none yet is absent.
	Watermarks map[string]int64 `json:"watermarks,omitempty"`
	// Idle names the sources that had delivered nothing for their idle timeout: their watermarks after the
	// batch are at least the least of the others'.
	Idle []string `json:"idle,omitempty"`
	// PartitionWatermarks and IdlePartitions are the same for the partitions of a source whose partitions have
	// watermarks of their own, by their ordinals. An idle one does not hold its source's watermark back.
	PartitionWatermarks PartitionWatermarks `json:"partition_watermarks,omitempty"`
	IdlePartitions      map[string][]int    `json:"idle_partitions,omitempty"`
}

// PartitionWatermarks are watermarks by source and partition ordinal. A source's own watermark is at least the
// least of those of its partitions that are not idle, and never goes back.
type PartitionWatermarks map[string]map[int]int64

// OutputDigest identifies the content of one output's delta, whatever the order of its rows.
type OutputDigest struct {
	Output string `json:"output"`
	Rows   int64  `json:"rows"`
	// Sum is a 128-bit multiset hash, hex.
	Sum string `json:"sum"`
}

// StateDigest identifies the content of one state table's change.
type StateDigest struct {
	State string `json:"state"`
	Rows  int64  `json:"rows"`
	Sum   string `json:"sum"`
}

// Counts are a batch's row counts.
type Counts struct {
	RowsIn   int64 `json:"rows_in"`   // decoded and not late
	RowsLate int64 `json:"rows_late"` // dead-lettered because behind the watermark
	RowsBad  int64 `json:"rows_bad"`  // dead-lettered because undecodable
	RowsOut  int64 `json:"rows_out"`  // rows of all output deltas
	BytesIn  int64 `json:"bytes_in"`
	// RowsFuture are among RowsIn: too far in the future to move the watermark.
	RowsFuture int64 `json:"rows_future,omitempty"`
}

// Prepared is the decision point: once it is durable the batch is only ever rolled forward.
type Prepared struct {
	Batch      int64            `json:"batch"`
	Epoch      int64            `json:"epoch"`
	At         time.Time        `json:"at,omitzero"`          // Planned.At
	Watermarks map[string]int64 `json:"watermarks,omitempty"` // after the batch
	// PartitionWatermarks are those after the batch.
	PartitionWatermarks PartitionWatermarks `json:"partition_watermarks,omitempty"`
	Outputs             []OutputDigest      `json:"outputs"`
	States              []StateDigest       `json:"states,omitempty"`
	Counts              Counts              `json:"counts"`
	// Delta holds the encoded change of each state table, by name. The log compresses it and does not
	// look inside. Applying one twice is harmless.
	Delta map[string][]byte `json:"-"`
}

// Committed says that the sinks have the batch. It rides on the next sync.
type Committed struct {
	Batch int64     `json:"batch"`
	Epoch int64     `json:"epoch"`
	At    time.Time `json:"at"`
}

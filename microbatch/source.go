package microbatch

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// A Source reads a replayable stream of rows. The same offset range gives the same rows in the same
// order, always; a source that can no longer do so returns ErrRangeChanged.
//
// Offsets are opaque to everyone but the source: a JSON document that says how far every partition has
// been read. The checkpoint log's copy is the only truth; a Source keeps no position of its own that a
// call does not pass in. Poll, Read and Close come from one goroutine at a time; Ack may come beside them.
type Source interface {
	// Poll decodes rows after from (nil: the beginning), up to the limits, and returns at once when
	// nothing is there. It does not block waiting for data.
	Poll(ctx context.Context, from json.RawMessage, max Limits) (*Rows, error)
	// Read decodes exactly the rows of (from, to], where to was returned by a Poll(from).
	Read(ctx context.Context, from, to json.RawMessage) (*Rows, error)
	// Ack tells the source that everything up to offsets is committed and will not be read again.
	Ack(ctx context.Context, offsets json.RawMessage) error
	// Close lets go of what the source holds. A second Close does nothing; Poll and Read fail after it with
	// ErrSourceClosed.
	Close() error
}

// ErrSourceClosed marks (errors.Is) a Poll or Read of a source that was closed.
var ErrSourceClosed = errors.New("the source is closed")

// ErrRangeChanged marks (errors.Is) a source whose recorded range no longer holds the same bytes: a
// file was truncated or rewritten, a topic expired. The message says which and what to do.
var ErrRangeChanged = errors.New("source range changed")

// Limits bound one Poll. Zero means no limit. A record that is two rows, an update, is not cut: there may then
// be one row more.
type Limits struct {
	MaxRows  int64
	MaxBytes int64
}

// Rows is what one Poll or Read decoded.
type Rows struct {
	// To is the offsets after these rows; equal to from when there was nothing.
	To json.RawMessage
	// Chunks hold the declared columns, then _w BIGINT if the plan's SourceInput has weights (never NULL,
	// never 0), then _seq BIGINT (see Seq). At most vector.Size rows each. The chunks are owned: they stay
	// valid as long as they are referenced. The two halves of an update are adjacent and in one Rows.
	Chunks []*vector.Chunk
	// Bad are rows that could not be decoded and were skipped over (on_error = 'dead_letter').
	Bad []BadRow
	// Count is the rows in Chunks; Bytes is the encoded input read, bad rows included.
	Count, Bytes int64
	// More says that the source could have given more at once: a limit was reached.
	More bool
	// Done says that a bounded source is at its end.
	Done bool
	// RemainingBytes estimates what is left to read, -1 if unknown; RemainingRows likewise.
	RemainingBytes, RemainingRows int64
}

// BadRow is an undecodable row on its way to the dead-letter table.
type BadRow struct {
	Partition string // a path, a topic partition
	Offset    int64  // byte, line or record offset within the partition
	Reason    string
	Raw       []byte // as read, cut at 64 KiB
}

// SeqPartitionShift places a partition's ordinal above its offset in _seq: 2^19 partitions of 2^44
// bytes or rows each.
const SeqPartitionShift = planner.SeqPartitionShift

// Seq returns the arrival sequence of a row: ordered by partition, then offset.
func Seq(partition int, offset int64) int64 {
	return int64(partition)<<SeqPartitionShift | offset
}

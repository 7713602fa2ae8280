package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sluice-sql/sluice/microbatch"
)

// An upTo is a source that ends at recorded offsets. It reads along the cuts that lead there: offsets are opaque,
// so that nobody but a log can say where else before them a batch may end.
type upTo struct {
	microbatch.Source
	end  json.RawMessage
	cuts []cut
	// next is where the last Poll ended, which is where the next one most likely begins.
	next int
}

// readUpTo ends a source at offsets; null: at its beginning, which a source has that nobody read yet.
func readUpTo(s microbatch.Source, end json.RawMessage, list []cut) microbatch.Source {
	u := &upTo{Source: s, end: end}
	for _, c := range list {
		if !sameJSON(c.from, c.to) { // a batch that read nothing of it
			u.cuts = append(u.cuts, c)
		}
	}
	return withPartitions(u, s)
}

// Poll implements microbatch.Source by reading whole pieces until a limit is reached.
func (u *upTo) Poll(ctx context.Context, from json.RawMessage, limit microbatch.Limits) (*microbatch.Rows, error) {
	out := &microbatch.Rows{To: from, RemainingBytes: -1, RemainingRows: -1}
	if u.next >= len(u.cuts) || !sameJSON(u.cuts[u.next].from, from) {
		u.next = slices.IndexFunc(u.cuts, func(c cut) bool { return sameJSON(c.from, from) })
	}
	if u.next < 0 {
		u.next = len(u.cuts)
	}
	for ; u.next < len(u.cuts); u.next++ {
		c := &u.cuts[u.next]
		if out.Count > 0 && full(out, limit) {
			break
		}
		at := out.To
		if isNull(at) {
			at = nil
		}
		rows, err := u.Source.Read(ctx, at, c.to)
		if err != nil {
			return nil, fmt.Errorf("read it again from its beginning: %w", err)
		}
		out.To, out.Chunks, out.Bad = c.to, append(out.Chunks, rows.Chunks...), append(out.Bad, rows.Bad...)
		out.Count, out.Bytes = out.Count+rows.Count, out.Bytes+rows.Bytes
	}
	out.Done = isNull(u.end) || sameJSON(out.To, u.end)
	out.More = !out.Done
	return out, nil
}

// full says that more than half of a limit is reached: cuts of full batches stay what they were, and with them
// most decisions about what is late, and small ones are put together.
func full(rows *microbatch.Rows, limit microbatch.Limits) bool {
	return limit.MaxRows > 0 && 2*(rows.Count+int64(len(rows.Bad))) > limit.MaxRows || limit.MaxBytes > 0 && 2*rows.Bytes > limit.MaxBytes
}

// Ack does nothing: the source must be able to give the rows to the engine, too.
func (u *upTo) Ack(context.Context, json.RawMessage) error { return nil }

// PartitionName implements microbatch.PartitionNamer as the loop does without.
func (u *upTo) PartitionName(partition int) string {
	if n, ok := u.Source.(microbatch.PartitionNamer); ok {
		return n.PartitionName(partition)
	}
	return fmt.Sprint(partition)
}

type namedSource interface {
	microbatch.Source
	microbatch.PartitionNamer
}

// A partitionedSource is a source around one with partitions, which has the same.
type partitionedSource struct {
	namedSource
	microbatch.Partitioned
}

// withPartitions makes a source that is put around another one with partitions, where that is: their watermarks
// must be the same.
func withPartitions(around namedSource, inner microbatch.Source) microbatch.Source {
	if p, ok := inner.(microbatch.Partitioned); ok {
		return partitionedSource{around, p}
	}
	return around
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-sql/sluice/microbatch"
)

// An upTo is a source that ends at recorded offsets, which may be moved on while it is read. It reads along the cuts
// that lead there: offsets are opaque, so that nobody but a log or a ledger can say where else before them a batch may
// end.
type upTo struct {
	microbatch.Source
	// static: a table that never changes once it was read to its end.
	static bool
	// next is where the last Poll ended, which is where the next one most likely begins.
	next int

	mu   sync.Mutex
	end  json.RawMessage
	cuts []cut
	// complete says that a static table ends here; last that every source does.
	complete, last bool
	passed         int // of the cuts
}

// readUpTo begins at a source's beginning; the end is nil until it is moved.
func readUpTo(s microbatch.Source, static bool) *upTo {
	return &upTo{Source: s, static: static}
}

// follow appends the cuts that lead from the end to a new one.
func (u *upTo) follow(path []cut, end json.RawMessage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range path {
		if !sameJSON(c.from, c.to) { // a batch that read nothing of it
			u.cuts = append(u.cuts, c)
		}
	}
	u.end = end
}

// finish says that a static table has no more rows, or with last that nothing comes after the end.
func (u *upTo) finish(last bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.complete, u.last = true, u.last || last
}

// steps is how many cuts were read, and of how many.
func (u *upTo) steps() (passed, all int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.passed, len(u.cuts)
}

// Poll implements microbatch.Source by reading whole pieces until a limit is reached.
func (u *upTo) Poll(ctx context.Context, from json.RawMessage, limit microbatch.Limits) (*microbatch.Rows, error) {
	u.mu.Lock()
	list, end, done := u.cuts, u.end, u.last || u.complete && u.static
	u.mu.Unlock()
	out := &microbatch.Rows{To: from, RemainingBytes: -1, RemainingRows: -1}
	if isNull(end) || sameJSON(from, end) { // before a search among the cuts, which may be many
		out.Done = done
		return out, nil
	}
	if u.next >= len(list) || !sameJSON(list[u.next].from, from) {
		u.next = slices.IndexFunc(list, func(c cut) bool { return sameJSON(c.from, from) })
	}
	if u.next < 0 {
		u.next = len(list)
	}
	for ; u.next < len(list); u.next++ {
		c := &list[u.next]
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
	u.mu.Lock()
	u.passed = u.next
	u.mu.Unlock()
	arrived := sameJSON(out.To, end)
	out.More, out.Done = !arrived, arrived && done
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

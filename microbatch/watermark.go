package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// input is a source of the pipeline as the loop sees it: where it stands and its watermark.
type input struct {
	decl    planner.SourceInput
	source  Source
	offsets json.RawMessage
	// watermark is in the event-time column's own unit; rows earlier than limit, which is the watermark less
	// the allowed lateness, are late.
	watermark    int64
	limit        int64
	hasWatermark bool
	done         bool
	// delivered is when the source last gave rows in this run; warnedFuture says that advance has warned.
	delivered    time.Time
	warnedFuture bool
	// state is what tellStates told last.
	state string
	parts partitions
}

// dropLate splits off the rows behind the watermark before the batch. Rows without an event time pass.
func (in *input) dropLate(chunks []*vector.Chunk) (kept []*vector.Chunk, late []DeadLetter) {
	at := in.decl.EventTime
	if at < 0 || !in.hasWatermark {
		return chunks, nil
	}
	together := in.lateRecords(chunks, at)
	for _, c := range chunks {
		keep, dropped := in.onTime(c, at, together)
		if dropped == 0 {
			kept = append(kept, c)
			continue
		}
		for i, ok := range keep {
			if !ok {
				late = append(late, in.lateRow(c, i))
			}
		}
		if dropped < c.N {
			kept = append(kept, vector.Filter(c, keep))
		}
	}
	return kept, late
}

// lateRecords are the _seq of a changing source's late rows. All rows of a record are late if one is: half
// an update would leave a row that nobody has, or lack one that is there.
func (in *input) lateRecords(chunks []*vector.Chunk, at int) map[int64]bool {
	if !in.decl.HasWeight() {
		return nil
	}
	var late map[int64]bool
	for _, c := range chunks {
		for i := range c.N {
			if in.isLate(c, at, i) {
				if late == nil {
					late = map[int64]bool{}
				}
				late[c.Cols[len(c.Cols)-1].I64(i)] = true
			}
		}
	}
	return late
}

// isLate says that a row is behind the watermark. The delete of a key is never: it names no row in time.
func (in *input) isLate(c *vector.Chunk, at, i int) bool {
	col := &c.Cols[at]
	if col.IsNull(i) || nativeTime(col, i) >= in.limit {
		return false
	}
	return in.decl.Changes != planner.Keyed || c.Cols[len(c.Cols)-2].I64(i) > 0
}

// onTime marks the rows to keep; keep is nil when none is late.
func (in *input) onTime(c *vector.Chunk, at int, together map[int64]bool) (keep []bool, dropped int) {
	for i := 0; i < c.N; i++ {
		if !in.isLate(c, at, i) && (together == nil || !together[c.Cols[len(c.Cols)-1].I64(i)]) {
			continue
		}
		if keep == nil {
			keep = make([]bool, c.N)
			for j := range keep {
				keep[j] = true
			}
		}
		keep[i] = false
		dropped++
	}
	return keep, dropped
}

func (in *input) lateRow(c *vector.Chunk, i int) DeadLetter {
	seq := c.Cols[len(c.Cols)-1].I64(i)
	col := in.decl.Columns[in.decl.EventTime]
	row := map[string]string{}
	for j, f := range in.decl.Columns {
		if !c.Cols[j].IsNull(i) {
			row[f.Name] = vector.Text(&c.Cols[j], i)
		}
	}
	raw, err := json.Marshal(row)
	if err != nil {
		panic("microbatch: a map of strings cannot be encoded: " + err.Error())
	}
	partition := int(seq >> SeqPartitionShift)
	before := "before"
	if in.decl.Lateness > 0 {
		before = "more than " + in.decl.Lateness.String() + " before"
	}
	reason := fmt.Sprintf("late: %s %s is %s the watermark %s", col.Name, vector.Text(&c.Cols[in.decl.EventTime], i), before, in.watermarkText())
	if !in.isLate(c, in.decl.EventTime, i) {
		reason = fmt.Sprintf("late: the other row of this change has a %s %s the watermark %s", col.Name, before, in.watermarkText())
	}
	return DeadLetter{
		Source: in.decl.Name, Partition: in.partitionName(partition), Offset: seq & (1<<SeqPartitionShift - 1),
		Reason: reason,
		Raw:    string(raw),
	}
}

// PartitionNamer is a Source that can name the partition of a _seq; "" for one that it does not know.
// It is called beside Poll.
type PartitionNamer interface {
	PartitionName(ordinal int) string
}

func (p *Pipeline) partitionName(source string, ordinal int) string {
	for _, in := range p.inputs {
		if in.decl.Name == source {
			return in.partitionName(ordinal)
		}
	}
	return fmt.Sprint(ordinal)
}

func (in *input) partitionName(ordinal int) string {
	if n, ok := in.source.(PartitionNamer); ok {
		if name := n.PartitionName(ordinal); name != "" {
			return name
		}
	}
	return fmt.Sprint(ordinal)
}

// advance is what the sources' watermarks are after the batch: the greatest that the accepted rows attest, or
// the least of the partitions', and for idle sources at least the least of the others'. It also counts the rows
// that are too far in the future to attest anything.
func (p *Pipeline) advance(ctx context.Context, b *batch) (map[string]int64, error) {
	after := p.watermarks()
	b.prepared.PartitionWatermarks = p.partitionWatermarks()
	now := planner.Placeholders(p.program.Sources, planner.Times{At: b.planned.At})
	for _, in := range p.inputs {
		if in.decl.WatermarkSQL == "" {
			continue
		}
		future, err := p.attest(ctx, b, in, now, after)
		if err != nil {
			return nil, fmt.Errorf("watermark of source %q: %w", in.decl.Name, err)
		}
		if future > 0 {
			b.prepared.Counts.RowsFuture += future
			p.warnFuture(in, future, b.planned.At)
		}
	}
	if err := p.raiseByPartitions(b, b.prepared.PartitionWatermarks, after); err != nil {
		return nil, err
	}
	p.raiseIdle(b.planned.Idle, after)
	return after, nil
}

// attest asks the accepted rows of a source how far they are, and how many are too far in the future.
func (p *Pipeline) attest(ctx context.Context, b *batch, in *input, now *strings.Replacer, after map[string]int64) (future int64, err error) {
	if in.parts.of != nil {
		chunks, _, err := p.exec.conn.Collect(ctx, now.Replace(in.decl.PartitionWatermarkSQL))
		if err != nil {
			return 0, err
		}
		attested, future := in.parts.attest(chunks)
		if len(attested) > 0 {
			if b.prepared.PartitionWatermarks == nil {
				b.prepared.PartitionWatermarks = checkpointlog.PartitionWatermarks{}
			}
			b.prepared.PartitionWatermarks[in.decl.Name] = attested
		}
		return future, nil
	}
	chunks, _, err := p.exec.conn.Collect(ctx, now.Replace(in.decl.WatermarkSQL))
	if err != nil {
		return 0, err
	}
	if len(chunks) != 1 || chunks[0].N != 1 {
		return 0, errors.New("the query gave no single row")
	}
	if w := &chunks[0].Cols[0]; !w.IsNull(0) && (!in.hasWatermark || nativeTime(w, 0) > in.watermark) {
		after[in.decl.Name] = nativeTime(w, 0)
	}
	return chunks[0].Cols[1].I64(0), nil
}

// adopt makes the watermarks after a batch those before the next.
func (in *input) adopt(watermarks map[string]int64) {
	in.watermark, in.hasWatermark = watermarks[in.decl.Name]
	if in.hasWatermark {
		in.limit = planner.Behind(in.eventType(), in.watermark, in.decl.Lateness)
	}
}

// warnFuture says once a run and source that rows do not move the watermark.
func (p *Pipeline) warnFuture(in *input, n int64, at time.Time) {
	if in.warnedFuture {
		return
	}
	in.warnedFuture = true
	p.cfg.Logger.Warn("rows of the far future do not move the watermark; they are processed all the same", "pipeline", p.cfg.Name, "source", in.decl.Name,
		"rows", n, "later_than", at.Add(in.decl.MaxFuture).UTC(), "hint", "the source's option max_future says how far is too far; 'none' trusts every row")
}

// raiseIdle raises the watermarks of idle sources to the least of the others', so that they hold nothing back.
// It does nothing while one of the others has none, or when all are idle.
func (p *Pipeline) raiseIdle(idle []string, watermarks map[string]int64) {
	var least time.Time
	found := false
	for _, in := range p.inputs {
		if in.decl.EventTime < 0 || slices.Contains(idle, in.decl.Name) {
			continue
		}
		w, ok := watermarks[in.decl.Name]
		if !ok {
			return
		}
		if at := planner.TimeOf(in.eventType(), w); !found || at.Before(least) {
			least, found = at, true
		}
	}
	if !found {
		return
	}
	for _, in := range p.inputs {
		if in.decl.EventTime < 0 || !slices.Contains(idle, in.decl.Name) {
			continue
		}
		raised := planner.InstantOf(in.eventType(), least)
		if w, ok := watermarks[in.decl.Name]; !ok || raised > w {
			watermarks[in.decl.Name] = raised
		}
	}
}

// noteIdle plans which sources and partitions are idle: they delivered nothing for their idle timeout. It notes
// which deliver now.
func (p *Pipeline) noteIdle(b *batch, now time.Time) error {
	for _, in := range p.inputs {
		rows := b.rows[in.decl.Name]
		if in.delivered.IsZero() || rows.Count > 0 || len(rows.Bad) > 0 {
			in.delivered = now
		}
		if in.decl.EventTime >= 0 && in.decl.IdleTimeout > 0 && now.Sub(in.delivered) >= in.decl.IdleTimeout {
			b.planned.Idle = append(b.planned.Idle, in.decl.Name)
		}
		if in.parts.of == nil {
			continue
		}
		parts, err := in.parts.idle(rows, in.decl.IdleTimeout, now)
		if err != nil {
			return fmt.Errorf("read source %q: %w", in.decl.Name, err)
		}
		p.warnHeldBack(in, rows, now)
		if len(parts) > 0 {
			if b.planned.IdlePartitions == nil {
				b.planned.IdlePartitions = map[string][]int{}
			}
			b.planned.IdlePartitions[in.decl.Name] = parts
		}
	}
	return nil
}

// idleRaises says whether a batch without rows would move a watermark.
func (p *Pipeline) idleRaises(b *batch) (bool, error) {
	before := p.watermarks()
	after := maps.Clone(before)
	if err := p.raiseByPartitions(b, p.partitionWatermarks(), after); err != nil {
		return false, err
	}
	p.raiseIdle(b.planned.Idle, after)
	return !maps.Equal(before, after), nil
}

func (in *input) eventType() vector.Type { return in.decl.Columns[in.decl.EventTime].Type }

func (in *input) watermarkText() string {
	v := vector.New(in.eventType(), 1)
	if in.eventType().Bytes() == 4 {
		v.PutU32(0, uint32(in.watermark))
	} else {
		v.PutI64(0, in.watermark)
	}
	return vector.Text(&v, 0)
}

// instant is the watermark as a time, for people.
func (in *input) instant() time.Time { return planner.TimeOf(in.eventType(), in.watermark) }

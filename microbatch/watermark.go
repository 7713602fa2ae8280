package microbatch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// input is a source of the pipeline as the loop sees it: where it stands and its watermark.
type input struct {
	decl    planner.SourceInput
	source  Source
	offsets json.RawMessage
	// watermark is in the event-time column's own unit; rows earlier than that are late.
	watermark    int64
	hasWatermark bool
	done         bool
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
	if col.IsNull(i) || nativeTime(col, i) >= in.watermark {
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
	reason := fmt.Sprintf("late: %s %s is before the watermark %s", col.Name, vector.Text(&c.Cols[in.decl.EventTime], i), in.watermarkText())
	if !in.isLate(c, in.decl.EventTime, i) {
		reason = fmt.Sprintf("late: the other row of this change has a %s before the watermark %s", col.Name, in.watermarkText())
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

// advance raises the watermark to what the batch's rows attest.
func (in *input) advance(ctx context.Context, x *Executor) error {
	if in.decl.WatermarkSQL == "" {
		return nil
	}
	chunks, _, err := x.conn.Collect(ctx, in.decl.WatermarkSQL)
	if err != nil {
		return fmt.Errorf("watermark of source %q: %w", in.decl.Name, err)
	}
	if len(chunks) == 0 || chunks[0].Cols[0].IsNull(0) {
		return nil
	}
	if w := nativeTime(&chunks[0].Cols[0], 0); !in.hasWatermark || w > in.watermark {
		in.watermark, in.hasWatermark = w, true
	}
	return nil
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
func (in *input) instant() time.Time {
	switch in.eventType().Kind {
	case vector.Date:
		return time.Unix(in.watermark*86400, 0).UTC()
	case vector.TimestampS:
		return time.Unix(in.watermark, 0).UTC()
	case vector.TimestampMS:
		return time.UnixMilli(in.watermark).UTC()
	case vector.TimestampNS:
		return time.Unix(0, in.watermark).UTC()
	}
	return time.UnixMicro(in.watermark).UTC()
}

// literal is the watermark as SQL of the event-time column's type.
func (in *input) literal() string {
	t := in.eventType()
	if !in.hasWatermark {
		return "NULL::" + t.String()
	}
	n := fmt.Sprintf("(%d)::BIGINT", in.watermark)
	switch t.Kind {
	case vector.Date:
		return fmt.Sprintf("(DATE '1970-01-01' + (%d)::INTEGER)", in.watermark)
	case vector.TimestampS:
		return "make_timestamp(" + n + " * 1000000)::TIMESTAMP_S"
	case vector.TimestampMS:
		return "make_timestamp(" + n + " * 1000)::TIMESTAMP_MS"
	case vector.TimestampNS:
		return "make_timestamp_ns(" + n + ")"
	case vector.TimestampTZ:
		return "(make_timestamp(" + n + ") AT TIME ZONE 'UTC')"
	}
	return "make_timestamp(" + n + ")"
}

// watermarkLiterals replaces the planner's placeholders.
func watermarkLiterals(inputs []*input) *strings.Replacer {
	var pairs []string
	for _, in := range inputs {
		if in.decl.EventTime >= 0 {
			pairs = append(pairs, "{{watermark "+in.decl.Name+"}}", in.literal())
		}
	}
	return strings.NewReplacer(pairs...)
}

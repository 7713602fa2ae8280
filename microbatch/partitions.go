package microbatch

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
)

// Partitioned is a Source whose partitions are read side by side and are not in step, so that each has a
// watermark of its own and the source's is the least of them. A source that is not one, such as files that are
// read one after another, has a single watermark: the greatest that any row attests.
//
// Rule: after Akidau et al., The Dataflow Model (VLDB 2015): an input's watermark is the least of its parts'.
type Partitioned interface {
	// Partitions lists the ordinals (see Seq) of the partitions that the offsets name. It is a function of the
	// offsets alone, so that a replay sees what the first run saw.
	Partitions(offsets json.RawMessage) ([]int, error)
}

// partitions are the watermarks of a Partitioned source's partitions.
type partitions struct {
	of Partitioned // nil: the source has one watermark
	// attested is the greatest instant that the rows of each partition attest, after the last batch.
	attested map[int]int64
	// delivered is when each partition last gave rows in this run.
	delivered map[int]time.Time
	warned    bool // that one holds the watermark back
}

// heldBackAfter is how long a partition is silent, where no idle timeout was set, before a warning says so.
const heldBackAfter = time.Minute

// attest returns what the partitions attest with one more batch's rows.
func (ps *partitions) attest(chunks []*vector.Chunk) (after map[int]int64, future int64) {
	after = maps.Clone(ps.attested)
	if after == nil {
		after = map[int]int64{}
	}
	for _, c := range chunks {
		for i := range c.N {
			part, instant := int(c.Cols[0].I64(i)), &c.Cols[1]
			future += c.Cols[2].I64(i)
			if instant.IsNull(i) {
				continue
			}
			if w, ok := after[part]; !ok || nativeTime(instant, i) > w {
				after[part] = nativeTime(instant, i)
			}
		}
	}
	return after, future
}

// least is the least of what the partitions attest, the idle ones left out; false while one that is not idle
// attests nothing, or when all are idle: then it is the source that is.
func (ps *partitions) least(offsets json.RawMessage, idle []int, attested map[int]int64) (least int64, ok bool, err error) {
	all, err := ps.of.Partitions(offsets)
	if err != nil {
		return 0, false, err
	}
	for _, part := range all {
		if slices.Contains(idle, part) {
			continue
		}
		w, has := attested[part]
		if !has {
			return 0, false, nil
		}
		if !ok || w < least {
			least, ok = w, true
		}
	}
	return least, ok, nil
}

// idle lists the partitions that delivered nothing for the timeout. It notes which deliver now; a partition
// counts from when it was first seen.
func (ps *partitions) idle(rows *Rows, timeout time.Duration, now time.Time) ([]int, error) {
	all, err := ps.of.Partitions(rows.To)
	if err != nil {
		return nil, err
	}
	if ps.delivered == nil {
		ps.delivered = map[int]time.Time{}
	}
	for _, c := range rows.Chunks {
		seq, last := &c.Cols[len(c.Cols)-1], -1
		for i := range c.N {
			if part := int(seq.I64(i) >> SeqPartitionShift); part != last {
				ps.delivered[part], last = now, part
			}
		}
	}
	var idle []int
	for _, part := range all {
		at, seen := ps.delivered[part]
		if !seen {
			ps.delivered[part] = now
		} else if timeout > 0 && now.Sub(at) >= timeout {
			idle = append(idle, part)
		}
	}
	return idle, nil
}

// warnHeldBack says once a run that a silent partition holds back what the others' rows would move.
func (p *Pipeline) warnHeldBack(in *input, rows *Rows, now time.Time) {
	if in.decl.IdleTimeout > 0 || in.parts.warned || rows.Count == 0 {
		return
	}
	for part, at := range in.parts.delivered {
		if now.Sub(at) >= heldBackAfter {
			in.parts.warned = true
			p.cfg.Logger.Warn("a partition that delivers nothing holds the watermark back", "pipeline", p.cfg.Name, "source", in.decl.Name,
				"partition", in.partitionName(part), "since", at.UTC(), "hint", "with the source's option idle_timeout it would be left out after that time")
			return
		}
	}
}

// adoptPartitions makes the partitions' watermarks after a batch those before the next.
func (p *Pipeline) adoptPartitions(w checkpointlog.PartitionWatermarks) {
	for _, in := range p.inputs {
		in.parts.attested = w[in.decl.Name]
	}
}

// partitionWatermarks are those of all sources that have them, for the log.
func (p *Pipeline) partitionWatermarks() checkpointlog.PartitionWatermarks {
	var out checkpointlog.PartitionWatermarks
	for _, in := range p.inputs {
		if len(in.parts.attested) == 0 {
			continue
		}
		if out == nil {
			out = checkpointlog.PartitionWatermarks{}
		}
		out[in.decl.Name] = in.parts.attested
	}
	return out
}

// watchPartitions finds out whether a source with a watermark has one a partition.
func (in *input) watchPartitions() {
	if of, ok := in.source.(Partitioned); ok && in.decl.WatermarkSQL != "" {
		in.parts.of = of
	}
}

// raiseByPartitions raises the watermark of each such source to the least of its partitions'.
func (p *Pipeline) raiseByPartitions(b *batch, attested checkpointlog.PartitionWatermarks, watermarks map[string]int64) error {
	for _, in := range p.inputs {
		name := in.decl.Name
		if in.parts.of == nil {
			continue
		}
		least, ok, err := in.parts.least(b.rows[name].To, b.planned.IdlePartitions[name], attested[name])
		if err != nil {
			return fmt.Errorf("watermark of source %q: %w", name, err)
		}
		if !ok {
			continue
		}
		// Why only upwards: a partition that comes later, or comes back, may be behind what was promised.
		if w, has := watermarks[name]; !has || least > w {
			watermarks[name] = least
		}
	}
	return nil
}

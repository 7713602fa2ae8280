package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// A prefix reads the input that a ledger row names again, for a one-shot answer.
type prefix struct {
	l      *loaded
	dir    pipelineDir
	one    *oracle.OneShot
	late   map[lateRow]bool
	steps  map[string][]checkpointlog.SourceRange
	report *verifyReport
	line   *term.Progress
	// times are the batches' times, for sources with a batch_time column.
	times []postgres.BatchTime
	// at is how far each source was read.
	at map[string]json.RawMessage
}

// logSteps lists the ranges that the logged batches read, by source. They only cut the reading into pieces
// that fit in memory; what is read, the ledger says. A log that cannot be read gives none.
func logSteps(dir string) map[string][]checkpointlog.SourceRange {
	var order []int64
	plans := map[int64]*checkpointlog.Planned{}
	for e, err := range checkpointlog.Read(dir, vfs.OS{}) {
		if err != nil {
			break
		}
		if e.Planned == nil {
			continue
		}
		// A batch may have been planned again after a crash; the last plan is the one that happened.
		if plans[e.Planned.Batch] == nil {
			order = append(order, e.Planned.Batch)
		}
		plans[e.Planned.Batch] = e.Planned
	}
	steps := map[string][]checkpointlog.SourceRange{}
	for _, n := range order {
		for _, r := range plans[n].Ranges {
			steps[r.Source] = append(steps[r.Source], r)
		}
	}
	return steps
}

// load reads every source from where the load before ended to a ledger's offsets.
func (p *prefix) load(ctx context.Context, offsets json.RawMessage) (err error) {
	var ends map[string]json.RawMessage
	if err := json.Unmarshal(offsets, &ends); err != nil {
		return fmt.Errorf("read the ledger's offsets: %w", err)
	}
	sources, err := p.l.openSources(ctx, purpose{kind: toReadAgain, dir: p.dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSources(sources)) }()
	for _, b := range p.l.sources {
		end, ok := ends[b.Name]
		if !ok {
			continue // nothing was read of it
		}
		pieces := cuts(p.steps[b.Name], end)
		if len(p.one.Input(b.Name).BatchTime) > 0 {
			if pieces, err = p.batches(b.Name, end); err != nil {
				return err
			}
		}
		for _, c := range after(pieces, p.at[b.Name], end) {
			if err := p.step(ctx, b.Name, sources[b.Name], c); err != nil {
				return fmt.Errorf("read source %q again: %w", b.Name, err)
			}
		}
	}
	p.at = ends
	return nil
}

// after leaves out what was read before.
func after(list []cut, at, end json.RawMessage) []cut {
	if isNull(at) {
		return list
	}
	for i, c := range list {
		if sameJSON(c.to, at) {
			return list[i+1:]
		}
	}
	return []cut{{from: at, to: end}}
}

// A cut is a piece of a source's prefix; at is the time of the batch that read it, where it matters.
type cut struct {
	from, to json.RawMessage
	at       time.Time
}

// batches divides (nil, end] as the batches did, each with its time.
func (p *prefix) batches(source string, end json.RawMessage) ([]cut, error) {
	if len(p.times) == 0 && !p.l.needsPostgres() {
		return nil, fmt.Errorf("source %q has a column of batch times, which are kept in PostgreSQL, and no view goes there\n"+
			"hint: `sluice replay` executes the batches again", source)
	}
	var out []cut
	var at json.RawMessage
	for _, b := range p.times {
		var offsets map[string]json.RawMessage
		if err := json.Unmarshal(b.Offsets, &offsets); err != nil {
			return nil, fmt.Errorf("read the batch times: %w", err)
		}
		out = append(out, cut{at, offsets[source], b.At})
		if at = offsets[source]; sameJSON(at, end) {
			break
		}
	}
	if !sameJSON(at, end) {
		return nil, fmt.Errorf("the times of the batches in sluice.batch_time do not lead up to the ledger's offsets of source %q\n"+
			"hint: was the table changed by hand?", source)
	}
	return out, nil
}

// cuts divides (nil, end] at the offsets of the logged batches. Without a log, or where it is not the
// ledger's, everything is one piece.
func cuts(steps []checkpointlog.SourceRange, end json.RawMessage) []cut {
	var out []cut
	var at json.RawMessage
	for _, s := range steps {
		if len(out) > 0 && !sameJSON(s.From, at) {
			break
		}
		if len(out) == 0 && !isNull(s.From) {
			// The log's beginning was deleted after a snapshot.
			out = append(out, cut{to: s.From})
		}
		out = append(out, cut{from: s.From, to: s.To})
		if at = s.To; sameJSON(at, end) {
			return out
		}
	}
	return []cut{{to: end}}
}

func isNull(doc json.RawMessage) bool { return len(doc) == 0 || string(doc) == "null" }

// sameJSON compares documents by content: Postgres keeps jsonb in a form of its own.
func sameJSON(a, b json.RawMessage) bool {
	if isNull(a) || isNull(b) {
		return isNull(a) && isNull(b)
	}
	return canonical(a) == canonical(b)
}

func canonical(doc json.RawMessage) string {
	var v any
	if json.Unmarshal(doc, &v) != nil {
		return string(doc)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return string(doc)
	}
	return string(b)
}

// step reads one piece and loads the rows that the engine accepted.
func (p *prefix) step(ctx context.Context, name string, source microbatch.Source, c cut) error {
	if isNull(c.to) || sameJSON(c.from, c.to) {
		return nil
	}
	from := c.from
	if isNull(from) {
		from = nil
	}
	rows, err := source.Read(ctx, from, c.to)
	if err != nil {
		return err
	}
	p.report.RowsRead += rows.Count + int64(len(rows.Bad))
	p.report.RowsBad += int64(len(rows.Bad))
	p.line.Update(term.Snapshot{Phase: "reading again", Rows: p.report.RowsRead})
	accepted := make([]*vector.Chunk, 0, len(rows.Chunks))
	for _, chunk := range rows.Chunks {
		accepted = append(accepted, p.accepted(name, source, chunk))
	}
	return p.one.Load(ctx, name, microbatch.FillBatchTime(p.one.Input(name), accepted, c.at))
}

// accepted drops the rows that are among the dead letters.
func (p *prefix) accepted(name string, source microbatch.Source, c *vector.Chunk) *vector.Chunk {
	if len(p.late) == 0 {
		return c
	}
	keep := make([]bool, c.N)
	kept := 0
	for i := range c.N {
		if keep[i] = !p.isLate(name, source, c.Cols[len(c.Cols)-1].I64(i)); keep[i] {
			kept++
		}
	}
	p.report.RowsLate += int64(c.N - kept)
	if kept == c.N {
		return c
	}
	return vector.Filter(c, keep)
}

func (p *prefix) isLate(name string, source microbatch.Source, seq int64) bool {
	partition, offset := int(seq>>microbatch.SeqPartitionShift), seq&(1<<microbatch.SeqPartitionShift-1)
	// Why both names: the engine asks the source for a name, and falls back to the number.
	if n, ok := source.(microbatch.PartitionNamer); ok && p.late[lateRow{name, n.PartitionName(partition), offset}] {
		return true
	}
	return p.late[lateRow{name, fmt.Sprint(partition), offset}]
}

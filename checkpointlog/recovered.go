package checkpointlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Recovered is what a log held when it was opened. Its readers read the files as they were then; call
// them before a new snapshot is published, since retention may delete what they need.
type Recovered struct {
	// Header is that of the newest segment: what the last engine was. A Plan or DuckDB that differs from
	// Open's means that the caller has to decide whether the state can be used.
	Header Header
	// Snapshot is the newest undamaged one, nil if there is none: state is then rebuilt from batch 1.
	Snapshot *SnapshotInfo
	// LastPlanned may be of a batch that never happened, or of LastPrepared, or nil.
	LastPlanned *Planned
	// LastPrepared is the newest batch that has happened, without its Delta; nil if none has.
	LastPrepared *Prepared
	// PreparedPlan is the plan that LastPrepared executed. It is nil when LastPrepared is known from the
	// snapshot only; the batch is then committed, and nothing has to be executed again.
	PreparedPlan  *Planned
	LastCommitted *Committed
	// Offsets are per source after LastPrepared, and OffsetsBefore those before it (nil when LastPrepared
	// is the snapshot's batch). A source is absent until a batch reads it.
	Offsets, OffsetsBefore map[string]json.RawMessage
	// FirstPlanned is set by History alone: from that batch on EachBatch has the plans.
	FirstPlanned int64
	// Torn says what was cut off, nil if nothing was.
	Torn *TornTail
	// BadSnapshots are those found damaged; they were set aside (*.bad) and an older one or the log
	// itself takes their place.
	BadSnapshots []*CorruptError
	// DeltaBytes is what the state changes after Snapshot take in the log, which a restart has to read.
	DeltaBytes int64

	fs       vfs.FS
	dir      string
	prevHash string // content of the batch before LastPrepared; empty if unknown
	epoch    int64
	segments []segmentExtent
}

// segmentExtent is a segment and how much of it was there at Open.
type segmentExtent struct {
	seq   uint64
	bytes int64
}

// SnapshotInfo describes a snapshot.
type SnapshotInfo struct {
	Header
	Batch      int64
	Epoch      int64
	Watermarks map[string]int64
	Offsets    map[string]json.RawMessage
	Path       string
	Bytes      int64 // of its own file
	Tables     []TableInfo
	CreatedAt  time.Time
	// Base is the batch of the snapshot that a delta snapshot is relative to, 0 for a full one.
	Base      int64
	ref       snapshotRef
	baseChain uint32
	chain     []snapshotRef // from the full one to this
	prepared  *Prepared
}

// Facts are the log's part of Resolve's input.
func (r *Recovered) Facts() LogFacts {
	f := LogFacts{Plan: r.Header.Plan, Epoch: r.epoch, PrevContentHash: r.prevHash}
	if r.LastPlanned != nil {
		f.Planned = r.LastPlanned.Batch
	}
	if r.LastPrepared != nil {
		f.Prepared, f.PreparedPlan = r.LastPrepared, r.PreparedPlan
	}
	if r.LastCommitted != nil {
		f.Committed = r.LastCommitted.Batch
	}
	if r.Snapshot != nil {
		f.Snapshot = r.Snapshot.Batch
	}
	return f
}

// Watermarks are those after LastPrepared.
func (r *Recovered) Watermarks() map[string]int64 {
	if r.LastPrepared == nil {
		return nil
	}
	return maps.Clone(r.LastPrepared.Watermarks)
}

// EachPrepared calls fn for every batch after the snapshot up to LastPrepared, in order, with its Delta.
func (r *Recovered) EachPrepared(fn func(*Prepared) error) error {
	return r.EachBatch(func(_ *Planned, p *Prepared) error { return fn(p) })
}

// ErrStop ends an iteration early and successfully.
var ErrStop = errors.New("stop")

// EachBatch is EachPrepared with the plan that the batch executed. fn may return ErrStop. One batch is read ahead.
func (r *Recovered) EachBatch(fn func(*Planned, *Prepared) error) error {
	type batch struct {
		plan     *Planned
		prepared *Prepared
	}
	err := ahead(0, func(hand func(batch) error) error {
		return r.readBatches(func(plan *Planned, p *Prepared) error { return hand(batch{plan, p}) })
	}, func(b batch) error { return fn(b.plan, b.prepared) })
	if err != nil && !errors.Is(err, ErrStop) {
		return fmt.Errorf("reading logged batches: %w", err)
	}
	return nil
}

func (r *Recovered) readBatches(fn func(*Planned, *Prepared) error) error {
	var from int64
	if r.Snapshot != nil {
		from = r.Snapshot.Batch
	}
	plans := make(map[int64]*Planned)
	for _, seg := range r.segments {
		if err := r.eachBatchOf(seg, from, plans, fn); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recovered) eachBatchOf(seg segmentExtent, from int64, plans map[int64]*Planned, fn func(*Planned, *Prepared) error) (err error) {
	sr, err := openSegment(r.fs, r.dir, seg.seq, seg.bytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sr.close()) }()
	var delta deltaBuilder
	for {
		rec, err := sr.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return asCorrupt(sr.path, err)
		}
		switch {
		case rec.planned != nil:
			plans[rec.planned.Batch] = rec.planned
		case rec.delta != nil && rec.delta.batch > from:
			if err := delta.add(rec.delta); err != nil {
				return corrupt(sr.path, rec.off, "%v", err)
			}
		case rec.prepared != nil && rec.prepared.Batch > from:
			p := rec.prepared.Prepared
			p.Delta = delta.take()
			if err := fn(plans[p.Batch], &p); err != nil {
				return err
			}
			delete(plans, p.Batch)
		}
	}
}

// asCorrupt turns a bad frame where none can be excused into damage.
func asCorrupt(path string, err error) error {
	var bad *badFrame
	if errors.As(err, &bad) {
		return corrupt(path, bad.off, "%s", bad.reason)
	}
	return err
}

// deltaBuilder puts the pieces of a batch's state change together.
type deltaBuilder struct{ tables map[string][]byte }

func (d *deltaBuilder) add(b *block) error {
	if d.tables == nil {
		d.tables = make(map[string][]byte)
	}
	dst, ok := d.tables[b.name]
	if !ok {
		dst = make([]byte, 0, min(b.total, maxFrameBytes))
	}
	raw, err := b.appendRaw(dst)
	d.tables[b.name] = raw
	return err
}

func (d *deltaBuilder) take() map[string][]byte {
	t := d.tables
	d.tables = nil
	return t
}

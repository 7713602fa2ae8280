package microbatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/planner"
)

// snapshotter takes snapshots beside the batches. The view of the state is consistent because the row store
// keeps what later batches overwrite; its rows are encoded in slices between two batches, on the goroutine
// that owns the state, so that no lock is needed; and they are written, synced and published by a goroutine of
// their own (snapshotfile.go), so that no batch waits for the disk.
//
//	begin   after a batch was executed: the state is frozen; it costs nothing
//	open    that batch is committed now: the file can be begun, by the goroutine that writes it
//	slice   between batches, until all tables are encoded
//	end     the file is published; learnt at a later batch
type snapshotter struct {
	active bool
	meta   checkpointlog.SnapshotMeta
	batch  int64
	// table is the position in program.States of the one that is encoded.
	table int
	// ready is a block that the writer had no room for yet.
	ready stateBlock
	file  *snapshotFile

	// last is the batch of the newest snapshot, loggedBytes what had been logged when it began, at when.
	last        int64
	loggedBytes int64
	at          time.Time
	// rowCost is what a row of the last snapshot took to encode and write, on both goroutines, and what the batches
	// beside it paid.
	rowCost time.Duration
	// rows is how many the running snapshot holds, about, and encoding the time spent on it here.
	rows     int64
	encoding time.Duration
	// turned is how long the last turn took.
	turned time.Duration
}

const (
	// maxShare is the part of the time since the last snapshot that the next one may take. Half of what a snapshot may
	// cost, because nobody can measure all that it costs: the caches that it fills, the memory that moves.
	maxShare = 0.01
	// overdue is how many times SnapshotLogBytes may gather for that reason: it bounds what a restart replays.
	overdue = 8
	// cheap is a price that nobody notices.
	cheap = 2 * time.Millisecond
	// firstRowCost is assumed until one was measured.
	firstRowCost = 300 * time.Nanosecond
	// keepCost is what a batch pays for a row that it has to copy before it changes it: mostly cache misses.
	keepCost = 200 * time.Nanosecond
)

// Between two batches at most maxSlices slices are encoded, and none begins after sliceTime: together with what a
// slice may hold (rowstore bounds it to sliceRows rows and a mebibyte, and to so many slots looked at) that is
// how long a batch may wait.
const (
	sliceRows = 16_384
	maxSlices = 32
	sliceTime = 10 * time.Millisecond
)

// restored takes note of the snapshot that the state was restored from: the next can be a delta on it. The log's
// deltas are applied after this.
func (s *snapshotter) restored(p *Pipeline, rec *checkpointlog.Recovered) {
	s.loggedBytes = -rec.DeltaBytes
	if rec.Snapshot == nil {
		return
	}
	s.last = rec.Snapshot.Batch
	for _, st := range p.program.States {
		p.exec.states[st.Name].TrackChanges()
	}
}

// turn begins a snapshot, or opens the file of the one that has begun. It is called while no batch is between steps
// 3 and 6: the log is not busy with one then, and the batch that was last when the snapshot began is committed.
func (s *snapshotter) turn(p *Pipeline) error {
	start := time.Now()
	defer func() { s.turned = time.Since(start) }()
	switch {
	case !s.active:
		if s.due(p, start) {
			s.begin(p, start)
		} else {
			s.tracked(p)
		}
	case s.file == nil:
		w, err := p.log.BeginSnapshot(s.batch, s.meta)
		if err != nil {
			return fmt.Errorf("begin a snapshot of batch %d: %w", s.batch, err)
		}
		s.file = openSnapshotFile(w)
	}
	return nil
}

// advance does a bounded part of the work. It may be called beside steps 3 to 6 of a batch.
func (s *snapshotter) advance(p *Pipeline) error {
	start := time.Now()
	err := s.step(p, start)
	p.progress.waited(max(s.turned+time.Since(start), p.log.PrepareWait()))
	return err
}

func (s *snapshotter) step(p *Pipeline, start time.Time) error {
	if s.file == nil {
		return nil
	}
	if s.slices(p, start) {
		s.file.finish()
	}
	s.encoding += time.Since(start)
	done, err := s.file.ended()
	if err != nil {
		return fmt.Errorf("take a snapshot of batch %d: %w", s.batch, err)
	}
	if done {
		s.published(p)
	}
	return nil
}

// due says that enough has happened since the last snapshot began, and that another is worth its price.
//
// Why a price: rows that are inserted once and not changed again are read as fast from the log as from a snapshot,
// so under a load of those a snapshot for every 64 MiB would cost a fifth of the throughput for nothing.
func (s *snapshotter) due(p *Pipeline, now time.Time) bool {
	if s.at.IsZero() {
		s.at, s.rowCost = now, firstRowCost // an interval is counted from the first batch of a run
	}
	gathered := p.log.AppendedBytes() - s.loggedBytes
	if p.last == s.last || gathered < p.cfg.SnapshotLogBytes && now.Sub(s.at) < p.cfg.SnapshotInterval {
		return false
	}
	_, rows := s.plan(p, gathered)
	price := float64(rows) * float64(s.rowCost)
	return price <= float64(cheap) || price <= maxShare*float64(now.Sub(s.at)) || gathered >= overdue*p.cfg.SnapshotLogBytes
}

// plan says which snapshot the next is relative to, 0 for none, and how many rows it will hold, about.
func (s *snapshotter) plan(p *Pipeline, gathered int64) (base, rows int64) {
	all, changed, tracks := s.count(p)
	if tracks && p.log.SuggestDelta(gathered, float64(changed)/float64(max(all, 1))) {
		return s.last, changed
	}
	return 0, all
}

// count adds up the rows of the state, about how many of them changed since the last snapshot, and whether that is known.
func (s *snapshotter) count(p *Pipeline) (all, changed int64, tracks bool) {
	tracks = s.last > 0
	for _, st := range p.program.States {
		t := p.exec.states[st.Name]
		all, changed, tracks = all+int64(t.Len()), changed+int64(t.ChangedRows()), tracks && t.Tracks()
	}
	return all, changed, tracks
}

// tracked has the tables note no more changes once so much has changed that the next snapshot will be a full one, as
// what is logged and the share that has changed only grow until then. Why: the notes are 2 % of the work of a batch
// that changes many rows.
func (s *snapshotter) tracked(p *Pipeline) {
	all, changed, tracks := s.count(p)
	if !tracks || p.log.SuggestDelta(p.log.AppendedBytes()-s.loggedBytes, float64(changed)/float64(max(all, 1))) {
		return
	}
	for _, st := range p.program.States {
		p.exec.states[st.Name].StopTracking()
	}
}

// leastRows is from how many rows on the price of a row can be told.
const leastRows = 10_000

// leastGathered is what a delta snapshot counts as at least, so that those of a quiet pipeline are taken into one.
const leastGathered = 256 << 10

// begin freezes the state as it is after the last executed batch.
func (s *snapshotter) begin(p *Pipeline, now time.Time) {
	logged := p.log.AppendedBytes()
	s.meta = checkpointlog.SnapshotMeta{Epoch: p.epoch, Watermarks: p.watermarks(), Offsets: map[string]json.RawMessage{}}
	for _, in := range p.inputs {
		if in.offsets != nil {
			s.meta.Offsets[in.decl.Name] = in.offsets
		}
	}
	gathered := logged - s.loggedBytes
	s.meta.Base, s.rows = s.plan(p, gathered)
	s.meta.GatheredBytes, s.encoding = max(gathered, leastGathered), 0
	for _, st := range p.program.States {
		if t := p.exec.states[st.Name]; s.meta.Base > 0 {
			t.SnapshotBeginDelta()
		} else {
			t.SnapshotBegin()
		}
	}
	s.active, s.batch, s.table, s.file = true, p.last, 0, nil
	s.last, s.loggedBytes, s.at = p.last, logged, now
}

// slices encodes until the time is over, the writer has no room, or nothing is left, which it reports.
func (s *snapshotter) slices(p *Pipeline, start time.Time) (all bool) {
	for range maxSlices {
		if s.ready.bytes != nil && !s.file.offer(s.ready) {
			return false
		}
		s.ready = stateBlock{}
		if s.table == len(p.program.States) {
			return true
		}
		if time.Since(start) >= sliceTime {
			return false
		}
		s.slice(p, p.program.States[s.table])
	}
	return false
}

func (s *snapshotter) slice(p *Pipeline, st planner.State) {
	buf := s.file.buffer()
	block, last := p.exec.states[st.Name].SnapshotNext(buf, sliceRows)
	if len(block) > 0 {
		s.ready = stateBlock{st.Name, block}
	} else {
		s.file.recycle(buf)
	}
	if last {
		s.table++
	}
}

func (s *snapshotter) published(p *Pipeline) {
	if s.rows >= leastRows {
		var kept int
		for _, st := range p.program.States {
			kept += p.exec.states[st.Name].KeptRows()
		}
		s.rowCost = (s.encoding + s.file.busy + time.Duration(kept)*keepCost) / time.Duration(s.rows)
	}
	p.cfg.Logger.Debug("snapshot published", "pipeline", p.cfg.Name, "batch", s.batch, "base", s.meta.Base, "took", time.Since(s.at), "longest_wait", p.Progress().SnapshotWait)
	p.progress.snapshotted(s.batch)
	s.active, s.file = false, nil
}

// abandon drops an unfinished snapshot at the end of a run; one that was handed over completely is published.
func (s *snapshotter) abandon(p *Pipeline) error {
	if !s.active {
		return nil
	}
	var err error
	if s.file != nil {
		if err = s.file.close(); err == nil {
			s.published(p)
			return nil
		}
		if errors.Is(err, errAbandoned) {
			err = nil
		} else {
			err = fmt.Errorf("take a snapshot of batch %d: %w", s.batch, err)
		}
	}
	s.active, s.file, s.ready = false, nil, stateBlock{}
	for _, st := range p.program.States {
		p.exec.states[st.Name].SnapshotAbort()
	}
	return err
}

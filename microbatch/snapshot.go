package microbatch

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// snapshotter writes a snapshot in slices between batches, on the goroutine that owns the state, so that
// no lock is needed: the row store keeps what later batches overwrite until the slice that needs it.
type snapshotter struct {
	writer *checkpointlog.SnapshotWriter
	// table is the position in program.States of the one being written.
	table int
	buf   []byte
	// loggedBytes is how much had been logged when the last snapshot began.
	loggedBytes int64
}

const (
	snapshotRows  = 16_384                // rows a slice: a millisecond or two
	snapshotSlice = 20 * time.Millisecond // work between two batches
)

// advanceSnapshot begins a snapshot when enough log has gathered, and goes on with the one being written.
func (p *Pipeline) advanceSnapshot() error {
	s := &p.snapshot
	if s.writer == nil {
		logged := p.log.Stats().AppendedBytes
		if logged-s.loggedBytes < p.cfg.SnapshotLogBytes {
			return nil
		}
		// Why wait: a snapshot is of a batch whose Prepared is durable.
		if err := p.finish.wait(); err != nil {
			return err
		}
		s.loggedBytes = logged
		return p.beginSnapshot()
	}
	for start := time.Now(); time.Since(start) < snapshotSlice; {
		done, err := p.snapshotSlice()
		if err != nil || done {
			return err
		}
	}
	return nil
}

func (p *Pipeline) beginSnapshot() error {
	meta := checkpointlog.SnapshotMeta{Epoch: p.epoch, Watermarks: p.watermarks(), Offsets: map[string]json.RawMessage{}}
	for _, in := range p.inputs {
		if in.offsets != nil {
			meta.Offsets[in.decl.Name] = in.offsets
		}
	}
	w, err := p.log.BeginSnapshot(p.last, meta)
	if err != nil {
		return fmt.Errorf("begin a snapshot of batch %d: %w", p.last, err)
	}
	p.snapshot.writer, p.snapshot.table = w, 0
	for _, s := range p.program.States {
		p.exec.states[s.Name].SnapshotBegin()
	}
	return nil
}

// snapshotSlice writes one block, or publishes the snapshot when all are written.
func (p *Pipeline) snapshotSlice() (done bool, err error) {
	s := &p.snapshot
	if s.table == len(p.program.States) {
		batch := s.writer.Batch()
		if err := s.writer.Publish(); err != nil {
			return false, fmt.Errorf("publish the snapshot of batch %d: %w", batch, err)
		}
		s.writer = nil
		p.cfg.Logger.Debug("snapshot published", "pipeline", p.cfg.Name, "batch", batch)
		return true, nil
	}
	name := p.program.States[s.table].Name
	block, last := p.exec.states[name].SnapshotNext(s.buf[:0], snapshotRows)
	s.buf = block
	if len(block) > 0 {
		if err := s.writer.Block(name, block); err != nil {
			return false, fmt.Errorf("write state %s to the snapshot: %w", name, err)
		}
	}
	if last {
		s.table++
	}
	return false, nil
}

// abandonSnapshot drops an unfinished snapshot at the end of a run.
func (p *Pipeline) abandonSnapshot() {
	if p.snapshot.writer == nil {
		return
	}
	p.snapshot.writer.Abort()
	p.snapshot.writer = nil
	for _, s := range p.program.States {
		p.exec.states[s.Name].SnapshotAbort()
	}
}

package microbatch

import (
	"encoding/json"
	"sync"
	"time"
)

// Progress is where a running pipeline is, for status lines and dashboards.
type Progress struct {
	Pipeline string `json:"pipeline"`
	Epoch    int64  `json:"epoch"`
	// Batch is the last committed one, CommittedAt when it was, zero before the first of this run.
	Batch       int64           `json:"batch"`
	CommittedAt time.Time       `json:"committed_at"`
	Offsets     json.RawMessage `json:"offsets,omitempty"`
	// Watermark is the least of the sources', zero if there is none.
	Watermark time.Time `json:"watermark"`
	// RowsIn, RowsLate, RowsBad, RowsOut and BytesIn count this run.
	RowsIn   int64 `json:"rows_in"`
	RowsLate int64 `json:"rows_late"`
	RowsBad  int64 `json:"rows_bad"`
	RowsOut  int64 `json:"rows_out"`
	BytesIn  int64 `json:"bytes_in"`
	// RemainingBytes and RemainingRows estimate what the sources still hold, -1 if one cannot say.
	RemainingBytes int64 `json:"remaining_bytes"`
	RemainingRows  int64 `json:"remaining_rows"`
	// StartedAt is when this run began; Done says that bounded input is at its end.
	StartedAt  time.Time     `json:"started_at"`
	LastBatch  time.Duration `json:"last_batch_ns"` // plan to commit
	StateRows  int64         `json:"state_rows"`
	StateBytes int64         `json:"state_bytes"`
	// RowsWaiting are a part of StateRows: rows of views that wait for their window to close.
	RowsWaiting int64 `json:"rows_waiting"`
	// SnapshotBatch is the batch of the newest snapshot of this run, SnapshotWait the longest that a batch had
	// to wait for work on a snapshot.
	SnapshotBatch int64         `json:"snapshot_batch"`
	SnapshotWait  time.Duration `json:"snapshot_wait_ns"`
	// RowsFuture are among RowsIn: too far in the future to move the watermark.
	RowsFuture int64 `json:"rows_future"`
	// Waiting are the sources that cannot be read at the moment, and why.
	Waiting []SourceState `json:"waiting,omitempty"`
	// Retained is what the sources' servers keep until it is read.
	Retained []Retained `json:"retained,omitempty"`
	// Mirrors are the copies of the log elsewhere.
	Mirrors []MirrorStatus `json:"mirrors,omitempty"`
}

// progress is written by the loop and its finisher and read by anyone.
type progress struct {
	mu      sync.Mutex
	p       Progress
	started time.Time
	more    bool
}

func (p *progress) triggered(at time.Time, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started, p.more = at, more
}

func (p *progress) lastTrigger() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started, p.more
}

func (p *progress) polled(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.RemainingBytes, p.p.RemainingRows = 0, 0
	for _, r := range b.rows {
		p.p.RemainingBytes = addKnown(p.p.RemainingBytes, r.RemainingBytes)
		p.p.RemainingRows = addKnown(p.p.RemainingRows, r.RemainingRows)
	}
}

// addKnown adds two estimates; -1, unknown, wins.
func addKnown(a, b int64) int64 {
	if a < 0 || b < 0 {
		return -1
	}
	return a + b
}

func (p *progress) committed(b *batch, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := b.prepared.Counts
	p.p.Batch, p.p.CommittedAt, p.p.Offsets, p.p.Watermark = b.number, at, b.offsets, b.watermark
	p.p.RowsIn += c.RowsIn
	p.p.RowsLate += c.RowsLate
	p.p.RowsBad += c.RowsBad
	p.p.RowsOut += c.RowsOut
	p.p.BytesIn += c.BytesIn
	p.p.RowsFuture += c.RowsFuture
	p.p.StateRows, p.p.StateBytes, p.p.RowsWaiting = b.stateRows, b.stateBytes, b.rowsWaiting
	if !b.started.IsZero() {
		p.p.LastBatch = at.Sub(b.started)
	}
}

// waited notes how long a snapshot held a batch up.
func (p *progress) waited(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.SnapshotWait = max(p.p.SnapshotWait, d)
}

func (p *progress) snapshotted(batch int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.p.SnapshotBatch = batch
}

// Progress returns where the pipeline is; it may be called from any goroutine.
func (p *Pipeline) Progress() Progress {
	p.progress.mu.Lock()
	at := p.progress.p
	p.progress.mu.Unlock()
	at.Waiting, at.Retained = p.sourceStates(), p.retained()
	for _, m := range p.cfg.Mirrors {
		at.Mirrors = append(at.Mirrors, m.Status())
	}
	return at
}

package microbatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
)

// A Mirror copies the checkpoint log to where the loss of this disk does not reach.
//
// Order of calls: Start once, when the start was not refused; then Prepared before every commit; Close before
// the log is closed, also after a failed Start or none.
type Mirror interface {
	// Start begins to copy the log, which the engine with that epoch owns.
	Start(ctx context.Context, log *checkpointlog.Log, epoch int64) error
	// Prepared says that a batch is durable in the log. When it returns nil the sinks may commit the batch.
	Prepared(ctx context.Context, batch int64) error
	// Status may be called at any time.
	Status() MirrorStatus
	Close() error
}

// MirrorStatus is how far a copy of the log is.
type MirrorStatus struct {
	// Location is where the copy is.
	Location string `json:"location"`
	// Batch is the newest that the copy has; Behind is for how long the oldest batch waits that it has not.
	Batch  int64         `json:"batch"`
	Behind time.Duration `json:"behind_ns"`
	// BehindBytes is how much of the log the copy lacks.
	BehindBytes int64 `json:"behind_bytes"`
	// Waiting says that the pipeline waits for the copy.
	Waiting bool `json:"waiting,omitempty"`
	// UploadedBytes counts this run.
	UploadedBytes int64 `json:"uploaded_bytes"`
	// Error is what copying fails with, empty while it succeeds; FailingSince is when that began.
	Error        string    `json:"error,omitempty"`
	FailingSince time.Time `json:"failing_since,omitzero"`
}

// startMirrors begins to copy the log. Why not before the decision: a log that is refused, because it is an
// old one, must not take the place of the newer one's copy.
func (p *Pipeline) startMirrors(ctx context.Context) error {
	for _, m := range p.cfg.Mirrors {
		if err := m.Start(ctx, p.log, p.epoch); err != nil {
			return fmt.Errorf("copy the checkpoint log: %w", err)
		}
	}
	return nil
}

// mirrored returns when every mirror lets the sinks commit the batch.
func (p *Pipeline) mirrored(ctx context.Context, batch int64) error {
	errs := make([]error, len(p.cfg.Mirrors))
	var all sync.WaitGroup
	for i, m := range p.cfg.Mirrors {
		all.Go(func() { errs[i] = m.Prepared(ctx, batch) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("copy the log of batch %d: %w", batch, err)
	}
	return nil
}

func (p *Pipeline) closeMirrors() error {
	var errs []error
	for _, m := range p.cfg.Mirrors {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

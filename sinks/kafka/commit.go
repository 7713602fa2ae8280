package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

// Commit implements microbatch.Sink.
func (s *Sink) Commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	if c.ContentHash == "" {
		c.ContentHash = permit.ContentHash()
	}
	if err := s.commit(ctx, permit, c); err != nil {
		return s.explain(fmt.Sprintf("commit batch %d", permit.Batch()), err)
	}
	return nil
}

func (s *Sink) commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	if s.closed {
		return microbatch.ErrSinkClosed
	}
	batch := permit.Batch()
	if done, err := s.has(s.ledger, batch, c.ContentHash); done || err != nil {
		return err
	}
	b := s.staged
	if b == nil || b.batch != batch || !slices.Contains(permit.Outputs(), b.digest) {
		return fmt.Errorf("%w: it was not staged by this engine", ErrDisagree)
	}
	if err := s.keepTime(b, c); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		l := s.ledger.clone()
		l.Batch, l.Offsets, l.Plan, l.ContentHash = batch, c.Offsets, c.Plan, c.ContentHash
		l.Watermark, l.Watermarks, l.CommittedAt = c.Watermark, c.Watermarks, time.Now().UTC()
		if b.times != nil {
			l.Times++
		}
		err := s.transact(ctx, b, l)
		if err == nil {
			s.ledger, s.staged = l, nil
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, failpoint.ErrInjected) {
			return err
		}
		// Now nothing is known of the transaction: the commit may have arrived although its answer did not.
		done, settled := s.settle(ctx, batch, c.ContentHash, err)
		switch {
		case done:
			s.staged = nil
			return nil
		case settled != nil:
			return settled
		case attempt == attempts || !again(ctx, err):
			return err
		}
	}
}

// has says whether a ledger has the batch, and fails if it cannot be the one before it either.
func (s *Sink) has(l *ledger, batch int64, hash string) (bool, error) {
	switch {
	case l.Batch == batch && l.ContentHash == hash:
		return true, nil
	case l.Batch == batch:
		return false, fmt.Errorf("%w: the ledger has that batch with content %s, the log with content %s\nHint: two state directories feed one pipeline; keep the one whose log is newest", ErrDisagree, l.ContentHash, hash)
	case l.Batch != batch-1:
		return false, fmt.Errorf("%w: the ledger is at batch %d", ErrDisagree, l.Batch)
	}
	return false, nil
}

// settle finds out what became of a transaction that failed, or whose commit was not answered. Afterwards the sink
// has its id again, unless it says why not.
func (s *Sink) settle(ctx context.Context, batch int64, hash string, cause error) (done bool, err error) {
	// First without the id: an engine that was paused must leave its successor alone.
	f, err := s.readLedger(ctx, decided)
	if err == nil && f.ledger != nil && f.ledger.Epoch > s.ledger.Epoch {
		return false, s.own(f.ledger)
	}
	l, err := s.takeID(ctx)
	if err != nil {
		return false, errors.Join(cause, err)
	}
	if err := s.own(l); err != nil {
		s.producer.close()
		s.producer = nil
		if errors.Is(err, ErrDisagree) {
			err = errors.Join(cause, err)
		}
		return false, err
	}
	if done, err = s.has(l, batch, hash); done {
		s.ledger = l
	}
	return done, err
}

// keepTime adds a record with the batch's time, for pipelines with a batch_time column whose dead letters this sink keeps.
func (s *Sink) keepTime(b *stagedBatch, c microbatch.CommitInfo) error {
	if !c.KeepBatchTime || !s.o.DeadLetters {
		return nil
	}
	value, err := json.Marshal(BatchTime{b.batch, c.PlannedAt.UTC(), c.Offsets})
	if err != nil {
		return err
	}
	b.times = &kgo.Record{Topic: s.o.LedgerTopic, Partition: 0, Key: fmt.Appendf(nil, "%s%012d", s.timePrefix(), b.batch), Value: value}
	return nil
}

// A BatchTime is when a batch was planned, and how far it read.
type BatchTime struct {
	Batch   int64           `json:"batch"`
	At      time.Time       `json:"at"`
	Offsets json.RawMessage `json:"offsets"`
}

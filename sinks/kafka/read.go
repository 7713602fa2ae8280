package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/microbatch"
)

// Check compares the cluster with what is to be written there, and changes nothing. It says whether the topic is there.
func (s *Sink) Check(ctx context.Context, pipeline string, target microbatch.Target) (exists bool, err error) {
	if err := s.bind(pipeline, []microbatch.Target{target}); err != nil {
		return false, err
	}
	l, err := s.look(ctx)
	if err == nil && l != nil {
		err = s.belongs(ctx, l)
	}
	if err == nil {
		_, err = s.describe(ctx, s.o.Layout.Topic)
		if exists = err == nil; exists {
			err = s.takesRecords(ctx)
		} else if errors.Is(err, kerr.UnknownTopicOrPartition) {
			err = nil
		}
	}
	if err != nil {
		return exists, s.explain("check", err)
	}
	return exists, nil
}

// look reads the ledger without taking anything over; nil if there is none.
func (s *Sink) look(ctx context.Context) (*ledger, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	f, err := s.readLedger(ctx, decided)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	return f.ledger, err
}

// ReadLedger returns what the ledger says, without taking it over; ErrUnknownPipeline if there is none.
func (s *Sink) ReadLedger(ctx context.Context, pipeline string) (microbatch.Ledger, error) {
	s.pipeline = pipeline
	l, err := s.look(ctx)
	switch {
	case err != nil:
		return microbatch.Ledger{}, s.explain("read the ledger", err)
	case l == nil:
		return microbatch.Ledger{}, s.explain("read the ledger", fmt.Errorf("%w %s in topic %s", ErrUnknownPipeline, pipeline, s.o.LedgerTopic))
	}
	return l.public(true), nil
}

// Shown is what readers of a topic see of the sink.
type Shown struct {
	Ledger microbatch.Ledger
	// Records are the messages up to the ledger's batch, in each partition's order.
	Records     []*kgo.Record
	DeadLetters []microbatch.DeadLetter
	Times       []BatchTime
	// Cut are dead letters of which not the whole row could be kept.
	Cut int
}

// Read returns what is committed, up to the batch that the ledger names, however far the engine gets meanwhile. It
// fails with ErrGone when the topic has deleted records that are needed.
func (s *Sink) Read(ctx context.Context, pipeline string, out microbatch.Target) (*Shown, error) {
	if err := s.bind(pipeline, []microbatch.Target{out}); err != nil {
		return nil, err
	}
	shown, err := s.read(ctx)
	if err != nil {
		return nil, s.explain("read", err)
	}
	return shown, nil
}

func (s *Sink) read(ctx context.Context) (*Shown, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	f, err := s.readLedger(ctx, decided)
	if errors.Is(err, kerr.UnknownTopicOrPartition) || err == nil && f.ledger == nil {
		return nil, fmt.Errorf("%w %s in topic %s", ErrUnknownPipeline, s.pipeline, s.o.LedgerTopic)
	}
	if err != nil {
		return nil, err
	}
	out := &Shown{Ledger: f.ledger.public(true)}
	for _, value := range f.times {
		var b BatchTime
		if err := json.Unmarshal(value, &b); err != nil {
			return nil, fmt.Errorf("a batch's time in topic %s is damaged: %w", s.o.LedgerTopic, err)
		}
		if b.Batch <= f.ledger.Batch {
			out.Times = append(out.Times, b)
		}
	}
	slices.SortFunc(out.Times, func(a, b BatchTime) int { return int(a.Batch - b.Batch) })
	if int64(len(out.Times)) < f.ledger.Times {
		return nil, fmt.Errorf("%w: topic %s has the times of %d batches, and the ledger counts %d", ErrDisagree, s.o.LedgerTopic, len(out.Times), f.ledger.Times)
	}
	err = s.extent(ctx, &f.ledger.Rows, func(r *kgo.Record) error {
		out.Records = append(out.Records, r)
		return nil
	})
	if err != nil || f.ledger.Letters == nil {
		return out, err
	}
	return out, s.extent(ctx, f.ledger.Letters, func(r *kgo.Record) error {
		var l letter
		if json.Unmarshal(r.Value, &l) != nil || l.Pipeline != s.pipeline || l.Sink != s.o.Name {
			return nil // another pipeline's
		}
		if l.Cut {
			out.Cut++
		}
		out.DeadLetters = append(out.DeadLetters, microbatch.DeadLetter{Source: l.Source, Partition: l.Partition, Offset: l.Offset, Reason: l.Reason, Raw: l.Raw})
		return nil
	})
}

// extent gives the records of a part of a topic.
func (s *Sink) extent(ctx context.Context, e *extent, fn func(*kgo.Record) error) error {
	t, err := s.describe(ctx, e.Topic)
	if err != nil {
		return err
	}
	for p := range e.Since {
		// A topic that is compacted or never had more begins at 0; one that forgets by age or size does not.
		start, err := s.startOffset(ctx, e.Topic, int32(p))
		if err != nil {
			return err
		}
		if start > e.Since[p] && e.End[p] > e.Since[p] {
			return fmt.Errorf("%w: partition %d of topic %s begins at offset %d, and this pipeline's records at %d\nHint: the topic's retention deleted them, so what it had cannot be compared any more", ErrGone, p, e.Topic, start, e.Since[p])
		}
		if err := s.scan(ctx, t, int32(p), e.Since[p], e.End[p], fn); err != nil {
			return err
		}
	}
	return nil
}

// Kept says what of a dropped pipeline's topic stays.
type Kept bool

const (
	KeepTopic Kept = true
	DropTopic Kept = false
)

// Drop removes what a pipeline has in the cluster: its ledger, and unless it is kept the topic, if the sink made it. It
// returns the topic that was deleted, "" if none was. A running engine is fenced by it.
func (s *Sink) Drop(ctx context.Context, pipeline string, keep Kept) (deleted string, err error) {
	s.pipeline = pipeline
	if deleted, err = s.drop(ctx, keep); err != nil {
		return deleted, s.explain("drop", err)
	}
	return deleted, nil
}

// drop takes the ledger away last: while it is there, a drop that was interrupted can be repeated.
func (s *Sink) drop(ctx context.Context, keep Kept) (deleted string, err error) {
	l, err := s.look(ctx)
	if err != nil || l == nil {
		return "", err
	}
	if l, err = s.takeID(ctx); err != nil || l == nil {
		return "", err
	}
	if keep == DropTopic && l.Created {
		deleted = l.Rows.Topic
		resp, err := s.adm.DeleteTopic(ctx, l.Rows.Topic)
		if err == nil {
			err = resp.Err
		}
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			deleted, err = "", nil
		}
		if err != nil {
			return "", s.o.Client.Explain(fmt.Errorf("delete topic %s: %w", l.Rows.Topic, err))
		}
	}
	f, err := s.readLedger(ctx, whole)
	if err != nil {
		return deleted, err
	}
	gone := []kgo.Record{}
	for key := range f.times {
		gone = append(gone, kgo.Record{Topic: s.o.LedgerTopic, Key: []byte(key)})
	}
	slices.SortFunc(gone, func(a, b kgo.Record) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return deleted, s.erase(ctx, append(gone, kgo.Record{Topic: s.o.LedgerTopic, Key: []byte(s.key())}))
}

// erase writes tombstones into the ledger topic, in one transaction.
func (s *Sink) erase(ctx context.Context, tombstones []kgo.Record) (err error) {
	defer func() {
		if err != nil {
			s.abandon(err)
		}
	}()
	if err := s.producer.cl.BeginTransaction(); err != nil {
		return s.o.Client.Explain(err)
	}
	if err := s.produce(ctx, tombstones, nil); err != nil {
		return err
	}
	return s.o.Client.Explain(s.producer.cl.EndTransaction(ctx, kgo.TryCommit))
}

// Topic is where the sink writes.
func (s *Sink) Topic() string { return s.o.Layout.Topic }

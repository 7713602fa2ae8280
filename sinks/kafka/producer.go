package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var (
	fpBeforeProduce = failpoint.New("kafkasink.commit.before_produce")
	fpAfterProduce  = failpoint.New("kafkasink.commit.after_produce")
	fpBeforeEnd     = failpoint.New("kafkasink.commit.before_end")
	fpAfterEnd      = failpoint.New("kafkasink.commit.after_end")
)

// A producer has the sink's transactional id, as long as nobody else takes it.
//
// Invariant: it is used for one transaction after the other only while each succeeds; after any failure the id is
// taken again, and the ledger read.
type producer struct {
	cl    *kgo.Client
	id    int64
	epoch int16
}

func (p *producer) close() {
	if p != nil && p.cl != nil {
		p.cl.Close()
	}
}

const metadataMinAge = 250 * time.Millisecond

// takeID takes the id and reads the ledger.
func (s *Sink) takeID(ctx context.Context) (*ledger, error) {
	if err := s.holdID(ctx); err != nil {
		return nil, err
	}
	f, err := s.readLedger(ctx, whole)
	if err != nil {
		s.producer.close()
		s.producer = nil
		return nil, err
	}
	return f.ledger, nil
}

// holdID ends what the id's last holder has open, and fences it.
func (s *Sink) holdID(ctx context.Context) error {
	s.producer.close()
	s.producer = nil
	limit := s.o.TransactionTimeout
	// Why metadataMinAge: a connection that breaks makes the client ask who leads the partitions, and wait with that for
	// five seconds if it has asked before.
	cl, err := s.o.Client.Connect(ctx, kgo.MetadataMinAge(metadataMinAge), kgo.TransactionalID(s.transactionalID()), kgo.TransactionTimeout(limit), kgo.RecordDeliveryTimeout(limit),
		kgo.RecordPartitioner(s.o.partitioner()), kgo.ProducerBatchCompression(s.o.codec()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			if n := s.maxBytes[topic]; n > 0 {
				return n
			}
			return defaultMaxBytes
		}))
	if err != nil {
		return err
	}
	p := &producer{cl: cl}
	// Why it may take so long: the coordinator first completes the transaction that is being committed or aborted.
	take, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the transaction coordinator did not answer within %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	if p.id, p.epoch, err = cl.ProducerID(take); err != nil {
		p.close()
		if ctx.Err() == nil && take.Err() != nil {
			err = errors.Join(context.Cause(take), err)
		}
		return s.o.Client.Explain(fmt.Errorf("take the transactional id %s: %w", s.transactionalID(), err))
	}
	s.producer = p
	return nil
}

// holds fails if the client got itself another producer epoch than the ledger was read under.
func (p *producer) holds(ctx context.Context) error {
	id, epoch, err := p.cl.ProducerID(ctx)
	if err == nil && (id != p.id || epoch != p.epoch) {
		err = fmt.Errorf("the producer's epoch is %d now, and was %d: %w", epoch, p.epoch, kerr.InvalidProducerEpoch)
	}
	return err
}

// transact writes records and the ledger's in one transaction. The ledger gets the extents of what was written. After
// an error nothing is known of the transaction, and the producer must not be used again.
func (s *Sink) transact(ctx context.Context, b *stagedBatch, l *ledger) (err error) {
	p := s.producer
	if p == nil {
		return errNoID
	}
	defer func() {
		if err != nil {
			s.abandon(err)
		}
	}()
	if err := p.holds(ctx); err != nil {
		return s.o.Client.Explain(err)
	}
	if err := p.cl.BeginTransaction(); err != nil {
		return s.o.Client.Explain(fmt.Errorf("begin a transaction: %w", err))
	}
	if err := fpBeforeProduce.Hit(); err != nil {
		return err
	}
	if b != nil {
		if err := s.produce(ctx, b.records(s), l); err != nil {
			return err
		}
	}
	if err := fpAfterProduce.Hit(); err != nil {
		return err
	}
	r, err := s.record(l)
	if err != nil {
		return err
	}
	if err := s.produce(ctx, []kgo.Record{*r}, nil); err != nil {
		return err
	}
	if err := fpBeforeEnd.Hit(); err != nil {
		return err
	}
	if err := p.holds(ctx); err != nil {
		return s.o.Client.Explain(err)
	}
	end, cancel := context.WithTimeoutCause(ctx, s.o.TransactionTimeout, fmt.Errorf("the transaction coordinator did not answer within %s: %w", s.o.TransactionTimeout, context.DeadlineExceeded))
	defer cancel()
	if err := p.cl.EndTransaction(end, kgo.TryCommit); err != nil {
		return s.o.Client.Explain(fmt.Errorf("commit the transaction: %w", err))
	}
	// Brokers may bump the epoch with every commit.
	var lost error
	if p.id, p.epoch, lost = p.cl.ProducerID(ctx); lost != nil {
		s.abandon(lost) // this transaction is committed; the next one begins with taking the id
	}
	return fpAfterEnd.Hit()
}

var errNoID = errors.New("the transactional id was lost")

// produce sends records and waits until all are acknowledged; l, if not nil, learns where they are.
func (s *Sink) produce(ctx context.Context, records []kgo.Record, l *ledger) error {
	if len(records) == 0 {
		return nil
	}
	// Why not the client's own delivery timeout alone: it does not give up records that may have been written.
	limit := s.o.TransactionTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not acknowledged within transaction_timeout = %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	var mu sync.Mutex
	var first error
	for i := range records {
		s.producer.cl.Produce(ctx, &records[i], func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil && first == nil:
				first = fmt.Errorf("write to topic %s: %w", r.Topic, err)
			case err == nil && l != nil:
				l.wrote(r)
			}
		})
	}
	err := s.producer.cl.Flush(ctx)
	if err == nil {
		err = s.producer.awaitKnown(ctx, records)
	}
	mu.Lock()
	defer mu.Unlock()
	switch {
	case first != nil:
		err = first
	case err != nil:
		err = fmt.Errorf("write to topic %s: %w", records[0].Topic, context.Cause(ctx))
	}
	return s.o.Client.Explain(err)
}

// awaitKnown returns when the client knows the partitions that it has written to.
//
// Why: it sends the first records of a topic an instant before it takes the topic's partitions among those that it looks
// through when a transaction ends. One that ends in that instant has nothing in it for the client: it is aborted, and the
// client says that it was committed (franz-go 1.22.2, storePartitionsUpdate and EndTransaction).
func (p *producer) awaitKnown(ctx context.Context, records []kgo.Record) error {
	known := map[string]bool{}
	for i := range records {
		for r := &records[i]; !known[r.Topic]; {
			if leader, _, _ := p.cl.PartitionLeader(r.Topic, r.Partition); leader >= 0 {
				known[r.Topic] = true // partitions are taken all at once
			} else if err := pause(ctx, time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// wrote notes where a record is.
func (l *ledger) wrote(r *kgo.Record) {
	switch {
	case r.Topic == l.Rows.Topic:
		l.Rows.add(r.Partition, r.Offset)
	case l.Letters != nil && r.Topic == l.Letters.Topic:
		l.Letters.add(r.Partition, r.Offset)
	}
}

// abandon lets go of the id. What is open is aborted when it is taken again, or after the transaction's timeout;
// readers need not wait that long if the abort can be told now.
func (s *Sink) abandon(why error) {
	p := s.producer
	if s.producer = nil; p == nil {
		return
	}
	defer p.close()
	if lostID(why) {
		return // what was open is not this producer's any more
	}
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	if p.cl.AbortBufferedRecords(ctx) == nil {
		_ = p.cl.EndTransaction(ctx, kgo.TryAbort) // best effort, as said above
	}
}

// abortTimeout bounds a courtesy.
const abortTimeout = 2 * time.Second

// attempts is how often a transaction is tried that fails for reasons that may pass.
const attempts = 3

// again says whether a failed transaction may succeed if it is tried again.
func again(ctx context.Context, err error) bool {
	var k *kerr.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, failpoint.ErrInjected), errors.Is(err, microbatch.ErrFenced), errors.Is(err, ErrDisagree):
		return false
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded):
		return false // it has been tried for a whole transaction timeout
	case errors.As(err, &k):
		return k.Retriable || lostID(err)
	}
	return true // the connection broke, say
}

// lostID says that another producer took the id, or the coordinator ended the transaction.
func lostID(err error) bool {
	for _, k := range []error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping,
		kerr.TransactionAbortable, kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber, kerr.OperationNotAttempted, errNoID} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

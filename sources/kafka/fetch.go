package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// fetchBytes is how much one response may hold, and partitionBytes of one partition; a batch that is larger
	// comes whole all the same.
	fetchBytes     = 16 << 20
	partitionBytes = 2 << 20
	// longPoll is how long a broker may wait for records before it says that there are none.
	longPoll = 500 * time.Millisecond
	// stallPoll is the same while other partitions of the broker wait for room in the buffer: it may come at any time.
	stallPoll = 10 * time.Millisecond
)

// An ask is a question for the records of a partition from an offset on.
type ask struct {
	partition int32
	offset    int64
	leader    int32 // the leader's epoch, as far as known
	maxBytes  int32
}

// An answer is what a broker said to one. The records are those of committed transactions and of none.
type answer struct {
	partition int32
	records   []*kgo.Record
	next      int64 // where to go on: after the last whole batch
	epoch     int32 // leader epoch of that batch, -1 if there was none
	// stable is the end of what may be read, high the end of what is there, -1 where unknown.
	stable, high int64
	// nothing says that the broker has nothing to say about [next, stable): compaction removed all of it.
	nothing bool
	// bytes is the answer's length; batches that were longer than allowed for come alone or not at all.
	bytes int
	err   error
}

var (
	errNoAnswer  = errors.New("the broker left the partition out of its answer")
	errLongBatch = errors.New("the broker cut a batch off")
)

// fetch asks one broker once. Without an error there is an answer to every ask.
func (c *cluster) fetch(ctx context.Context, broker int32, id topicID, asks []ask, wait time.Duration) ([]answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+requestTimeout)
	defer cancel()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(wait.Milliseconds())
	req.MinBytes, req.MaxBytes, req.IsolationLevel = 1, fetchBytes, 1 // read committed
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = c.opt.Topic, id
	for _, a := range asks {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = a.partition, a.offset, a.leader, a.maxBytes
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, c.cl.Broker(int(broker)))
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, err
	}
	parts := map[int32]*kmsg.FetchResponseTopicPartition{}
	total := 0
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			p := &resp.Topics[i].Partitions[j]
			parts[p.Partition] = p
			total += len(p.RecordBatches)
		}
	}
	// Why only then: an answer that is full, or that a quota made empty, says nothing about what is not in it.
	telling := total == 0 && resp.ThrottleMillis == 0
	out := make([]answer, len(asks))
	for i, a := range asks {
		out[i] = c.answer(a, parts[a.partition], telling)
	}
	return out, nil
}

// answer decodes what a broker said about one partition.
func (c *cluster) answer(a ask, p *kmsg.FetchResponseTopicPartition, telling bool) answer {
	out := answer{partition: a.partition, next: a.offset, epoch: -1, stable: -1, high: -1}
	if p == nil {
		out.err = errNoAnswer
		return out
	}
	if out.err = kerr.ErrorForCode(p.ErrorCode); out.err != nil {
		return out
	}
	out.bytes = len(p.RecordBatches)
	opts := kgo.ProcessFetchPartitionOpts{Offset: a.offset, IsolationLevel: kgo.ReadCommitted(), Topic: c.opt.Topic, Partition: a.partition}
	got, next := kgo.ProcessFetchPartition(opts, p, c.decompressor, nil)
	out.records, out.next, out.high, out.stable = got.Records, next, got.HighWatermark, got.LastStableOffset
	if out.stable < 0 {
		out.stable = out.high // brokers that know no transactions
	}
	switch {
	case out.next > a.offset:
		out.epoch = lastEpoch(p.RecordBatches, out.next)
	case got.Err != nil:
		out.err = &batchError{got.Err}
	case out.bytes > 0:
		out.err = errLongBatch
	default:
		out.nothing = telling && out.stable > a.offset
	}
	return out
}

// A batchError is a batch that came and makes no sense.
type batchError struct{ error }

func (e *batchError) Unwrap() error { return e.error }

// unreadable says of an error that a batch came and made no sense.
func unreadable(err error) bool {
	var b *batchError
	return errors.Is(err, kerr.CorruptMessage) || errors.As(err, &b)
}

// lastEpoch is the leader epoch of the last batch that begins before next, -1 without one: batches begin with
// base offset (8 bytes), length (4), leader epoch (4) and, at 16, the version of their format.
func lastEpoch(batches []byte, next int64) int32 {
	epoch := int32(-1)
	for len(batches) >= 17 {
		length := int64(int32(binary.BigEndian.Uint32(batches[8:]))) + 12
		if int64(binary.BigEndian.Uint64(batches)) >= next || length < 17 || length > int64(len(batches)) {
			break
		}
		if batches[16] >= 2 {
			epoch = int32(binary.BigEndian.Uint32(batches[12:]))
		}
		batches = batches[length:]
	}
	return epoch
}

// movedOn says of an error that another broker leads the partition, or will, or that this one has yet to learn
// of it: to be asked again after another look at the topic.
func movedOn(err error) bool {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Retriable || errors.Is(err, kerr.OffsetNotAvailable)
	}
	return !errors.Is(err, errLongBatch)
}

// lost says of an error that the log does not have the offset.
func lost(err error) bool { return errors.Is(err, kerr.OffsetOutOfRange) }

// denied says of an error that asking again is of no use until someone gives a permission.
func denied(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) || errors.Is(err, kerr.SaslAuthenticationFailed)
}

// recordBytes is what a record counts for in the limits of a batch.
func recordBytes(r *kgo.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}

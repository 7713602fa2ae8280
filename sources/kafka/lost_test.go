package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// deleteBefore deletes the records of a partition before an offset.
func deleteBefore(t testing.TB, c *kafkatest.Cluster, topic string, partition int32, offset int64) {
	t.Helper()
	if _, err := c.Admin(t).DeleteRecords(t.Context(), kadm.Offsets{topic: {partition: {Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1}}}); err != nil {
		t.Fatal(err)
	}
}

// changed fails the test unless Poll and Read of a fresh source refuse the offsets with all of the parts.
func changed(t *testing.T, o Options, from, to json.RawMessage, parts ...string) {
	t.Helper()
	if to != nil {
		_, err := open(t, o).Read(t.Context(), from, to)
		sourcetest.RangeChanged(t, err)
		wantError(t, err, parts...)
	}
	if from != nil {
		_, err := open(t, o).Poll(t.Context(), from, microbatch.Limits{})
		sourcetest.RangeChanged(t, err)
		wantError(t, err, parts...)
	}
}

// Offsets that expired before they were read, and ranges that are to be read again, are refused with the range.
func TestExpired(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 2)
		fill(t, c, topic, 2, 50)
		o := options(c, topic)
		s := open(t, o)
		first, err := s.Poll(t.Context(), nil, microbatch.Limits{MaxRows: 20})
		if err != nil {
			t.Fatal(err)
		}
		_, last := pollAll(t, s, first.To, 80)
		deleteBefore(t, c, topic, 1, 40)
		changed(t, o, first.To, last, "partition 1 of topic "+topic+" begins at offset 40 now", "to 39, which are to be read, are gone", "Hint: ", "sluice drop")
		changed(t, o, nil, last, "partition 1 of topic "+topic+" begins at offset 40 now")
		// What is not read again may go.
		if got := read(t, open(t, o), last, last); len(got) != 0 {
			t.Errorf("%d rows between %s and itself", len(got), last)
		}
		if r, err := open(t, o).Poll(t.Context(), last, microbatch.Limits{}); err != nil || r.Count != 0 {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Records may also expire under a source that is slower than the retention: while the buffer is full.
func TestExpiredWhileReading(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		cl := producer(t, c, kgo.ProducerBatchCompression(kgo.NoCompression()))
		long := strings.Repeat("x", 1000)
		for i := range 10_000 {
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, `{"id":%d,"name":"%s"}`, i, long)}, nil)
		}
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		o := options(c, topic)
		o.BufferBytes = 1 << 20
		s := open(t, o)
		r, err := s.Poll(t.Context(), nil, microbatch.Limits{MaxRows: 10})
		if err != nil {
			t.Fatal(err)
		}
		deleteBefore(t, c, topic, 0, 10_000)
		err = failure(t, s, r.To)
		sourcetest.RangeChanged(t, err)
		wantError(t, err, "partition 0 of topic "+topic+" begins at offset 10000 now")
	})
}

// A cluster that was put back to an older state, or another one, ends before what was read.
func TestBeyondTheEnd(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		fill(t, c, topic, 1, 10)
		o := options(c, topic)
		_, to := pollAll(t, open(t, o), nil, 10)
		p, err := decodePosition(to)
		if err != nil {
			t.Fatal(err)
		}
		at := p.clone()
		at.marks[0].next, at.marks[0].epoch = 20, -1
		end := at.clone()
		end.marks[0].next = 30
		changed(t, o, at.encode(), nil, "partition 0 of topic "+topic+" ends at offset 10, and was read to 20 before")
		_, err = open(t, o).Read(t.Context(), at.encode(), end.encode())
		sourcetest.RangeChanged(t, err)
	})
}

// A topic of the same name is another topic: its offsets mean other records.
func TestRecreated(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1)
		fill(t, c, topic, 1, 10)
		o := options(c, topic)
		o.DiscoverEvery, o.Patience = 20*time.Millisecond, 100*time.Millisecond
		s := open(t, o)
		_, to := pollAll(t, s, nil, 10)
		admin := c.Admin(t)
		if _, err := admin.DeleteTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		// The name is free once the brokers have forgotten it.
		for {
			if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err == nil {
				break
			} else if !errors.Is(err, kerr.TopicAlreadyExists) {
				t.Fatal(err)
			}
		}
		fill(t, c, topic, 1, 20)
		err := failure(t, s, to)
		sourcetest.RangeChanged(t, err)
		wantError(t, err, "topic "+topic+" was deleted")
		changed(t, o, to, to, "topic "+topic+" was deleted and made again", "sluice drop")
		// Offsets of another topic are not this one's, either.
		other := c.Topic(t, 1)
		o.Topic = other
		_, err = open(t, o).Poll(t.Context(), to, microbatch.Limits{})
		wantError(t, err, "the offsets are of topic "+topic)
	})
}

// Compaction before reading is no loss; compaction of what was read is known by the number of records.
func TestCompaction(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, c *kafkatest.Cluster) {
		topic := c.Topic(t, 1, "cleanup.policy=compact", "segment.bytes=1048576", "segment.ms=100", "min.cleanable.dirty.ratio=0.01", "delete.retention.ms=0", "min.compaction.lag.ms=0")
		cl := producer(t, c)
		put := func(key string) {
			kafkatest.Produce(t, cl, &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(`{"id":1,"name":"` + key + `"}`)})
		}
		put("the first stays")
		for i := range 60 {
			put(fmt.Sprint(i % 10))
		}
		o := options(c, topic)
		o.Mode = "bounded"
		_, to := drain(t, open(t, o), nil)
		// The last segment is never compacted, so that more must follow.
		for n := 0; ; n++ {
			put(fmt.Sprint("later", n%10))
			if c.Fake != nil {
				c.Fake.Compact()
			}
			if _, err := open(t, o).Read(t.Context(), nil, to); err != nil {
				sourcetest.RangeChanged(t, err)
				wantError(t, err, "offsets 0 to 60 of partition 0 of topic "+topic+" held 61 records and hold", "compaction", "sluice drop")
				break
			}
			if n > 20_000 {
				t.Fatal("the broker does not compact the topic")
			}
		}
		// Forward it can be read, from before the gaps and from the middle of them, and then read again.
		for _, from := range []json.RawMessage{nil, to} {
			rows, end := drain(t, open(t, o), from)
			if len(rows) == 0 || len(rows) >= 20_060 {
				t.Errorf("%d rows after compaction", len(rows))
			}
			if from == nil && c.Fake != nil {
				if got := read(t, open(t, o), nil, end); len(got) != len(rows) {
					t.Errorf("%d rows read again, %d polled", len(got), len(rows))
				}
			}
		}
	})
}

// A new leader that cut off what was read is found out by the epochs, at the start and while reading.
func TestCutOff(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 10)
	o := options(c, topic)
	o.DiscoverEvery = 10 * time.Millisecond
	s := open(t, o)
	_, to := pollAll(t, s, nil, 10)
	p, err := decodePosition(to)
	if err != nil || p.marks[0].epoch < 0 {
		t.Fatalf("offsets %s: %v", to, err)
	}
	// The broker claims that the epoch ended at offset 4.
	c.Fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		in := req.(*kmsg.OffsetForLeaderEpochRequest)
		resp := in.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, rt := range in.Topics {
			out := kmsg.NewOffsetForLeaderEpochResponseTopic()
			out.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				part := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				part.Partition, part.LeaderEpoch, part.EndOffset = rp.Partition, rp.LeaderEpoch, 4
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
		}
		return resp, nil, true
	})
	changed(t, o, to, nil, "offsets 4 to 9 of partition 0 of topic "+topic+" were read, and a new leader cut them off")
	// The same while reading: the leader's epoch goes up.
	if err := c.Fake.MoveTopicPartition(topic, 0, 0); err != nil {
		t.Fatal(err)
	}
	err = failure(t, s, to)
	sourcetest.RangeChanged(t, err)
	wantError(t, err, "offsets 4 to 9 of partition 0")
}

// Partitions that were made and expired while the pipeline stood still were never read: that is a gap like any other.
func TestExpiredBeforeFound(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 10)
	o := options(c, topic)
	_, to := pollAll(t, open(t, o), nil, 10)
	if _, err := c.Admin(t).CreatePartitions(t.Context(), 1, topic); err != nil {
		t.Fatal(err)
	}
	fill(t, c, topic, 2, 10)
	deleteBefore(t, c, topic, 1, 5)
	changed(t, o, to, nil, "partition 1 of topic "+topic+" begins at offset 5 now, and offsets 0 to 4")
}

// Brokers that keep old segments elsewhere say nothing, and no error, while these are on their way (KIP-405): that must
// not pass for a range without records.
func TestEmptyAnswersSkipNothing(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 11)
	_, to := pollAll(t, open(t, options(c, topic)), nil, 11)
	late := func(n int) {
		c.Fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			if n--; n < 0 {
				return nil, nil, false
			}
			c.Fake.KeepControl()
			in := req.(*kmsg.FetchRequest)
			resp := in.ResponseKind().(*kmsg.FetchResponse)
			for _, rt := range in.Topics {
				out := kmsg.NewFetchResponseTopic()
				out.Topic, out.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					part := kmsg.NewFetchResponseTopicPartition()
					part.Partition, part.HighWatermark, part.LastStableOffset, part.LogStartOffset = rp.Partition, 10, 10, 0
					out.Partitions = append(out.Partitions, part)
				}
				resp.Topics = append(resp.Topics, out)
			}
			return resp, nil, true
		})
	}
	for _, mode := range []string{"tail", "bounded"} {
		late(4)
		o := options(c, topic)
		o.Mode = mode
		if rows, _ := pollAll(t, open(t, o), nil, 1); !strings.Contains(rows[0], "event 0 ") {
			t.Errorf("%s: the first row is %s", mode, rows[0])
		}
	}
	late(4)
	if rows := read(t, open(t, options(c, topic)), nil, to); len(rows) != 11 {
		t.Errorf("%d rows were read again", len(rows))
	}
}

package kafka

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Run(m)) }

var columns = sinktest.Columns

// Outputs of every kind.
var (
	appended = planner.Output{Name: "v", Columns: columns, Mode: planner.Append}
	upserted = planner.Output{Name: "v", Columns: columns, Mode: planner.Upsert, Key: []int{0}}
	keyedLog = planner.Output{Name: "v", Columns: columns, Mode: planner.Multiset, Key: []int{0}, Keyed: true}
	plainLog = planner.Output{Name: "v", Columns: columns, Mode: planner.Multiset}
)

// options are for a topic of the test's own, with ledgers of its own.
func options(t testing.TB, c *kafkatest.Cluster, l Layout) Options {
	t.Helper()
	l.Topic = fmt.Sprintf("out-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", "=", "-", "#", "-", " ", "-").Replace(t.Name()))
	return Options{Client: kafkaclient.Options{Brokers: c.Addrs}, Name: l.Topic, // transactional ids are the cluster's
		Layout: l, Partitions: 2, Replication: 1, DeadLetters: true,
		LedgerTopic: l.Topic + ".ledger", DeadLetterTopic: l.Topic + ".dead", TransactionTimeout: 30 * time.Second}
}

// open opens a sink, or fails the test.
func open(t *testing.T, o Options, out planner.Output) (*Sink, microbatch.Ledger) {
	t.Helper()
	s := newSink(t, o)
	l, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: out}})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func newSink(t *testing.T, o Options) *Sink {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// consume reads a topic as an ordinary consumer does that reads only what is committed, up to its end, as
// "key=value" in the order of each partition.
func consume(t *testing.T, c *kafkatest.Cluster, topic string) (out []string) {
	t.Helper()
	ends, err := c.Admin(t).ListEndOffsets(t.Context(), topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	records, err := recordsTo(t.Context(), c, topic, ends)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		out = append(out, text(r.Key)+"="+text(r.Value))
	}
	return out
}

// recordsTo reads what is committed up to given ends.
func recordsTo(ctx context.Context, c *kafkatest.Cluster, topic string, ends kadm.ListedOffsets) (out []*kgo.Record, err error) {
	offsets, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, o := range ends[topic] {
		offsets[p] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			left[p] = o.Offset
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return nil, err
		}
		f.EachRecord(func(r *kgo.Record) {
			if end, more := left[r.Partition]; more && r.Offset < end && !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out, nil
}

func text(b []byte) string {
	if b == nil {
		return "-"
	}
	return string(b)
}

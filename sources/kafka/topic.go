package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-sql/sluice/planner/ddl"
)

// requestTimeout bounds a request that should be answered at once, with the client's retries.
const requestTimeout = 15 * time.Second

// A cluster is the connection to Kafka, for one topic.
type cluster struct {
	opt   Options
	cl    *kgo.Client
	admin *kadm.Client
	// decompressor keeps its buffers from one batch to the next.
	decompressor kgo.Decompressor
}

// A topic is what the brokers say of it: its id and, by number, its partitions' leaders.
type topic struct {
	id      topicID
	leaders []leader
}

// A leader is a partition's; its broker is -1 while there is none.
type leader struct {
	partition, broker, epoch int32
}

// connect has a broker answer and looks at the topic and the group, so that what is wrong with the options is
// told before anything is read.
func connect(ctx context.Context, opt Options) (_ *cluster, _ *topic, err error) {
	cl, err := opt.Client.Connect(ctx,
		kgo.RequestRetries(5), kgo.RetryTimeout(requestTimeout), kgo.DialTimeout(5*time.Second), kgo.MetadataMinAge(100*time.Millisecond),
		// Why so much: a batch is never cut, whatever fetch requests say.
		kgo.BrokerMaxReadBytes(1<<30))
	if err != nil {
		return nil, nil, fmt.Errorf("source %s: %w", opt.Name, err)
	}
	c := &cluster{opt: opt, cl: cl, admin: kadm.NewClient(cl), decompressor: kgo.DefaultDecompressor()}
	defer func() {
		if err != nil {
			cl.Close()
		}
	}()
	t, err := c.firstTopic(ctx)
	if err != nil {
		return nil, nil, err
	}
	return c, t, c.checkGroup(ctx)
}

// firstTopic asks for the topic until it is whole, for a while: one that was just made, or whose brokers just
// came up, has no leaders for an instant.
func (c *cluster) firstTopic(ctx context.Context) (*topic, error) {
	for try := 0; ; try++ {
		t, err := c.topic(ctx)
		switch {
		case err == nil:
			return t, nil
		case errors.Is(err, kerr.UnknownTopicOrPartition) && try < 3, kerr.IsRetriable(err) && !errors.Is(err, kerr.UnknownTopicOrPartition) && try < 50:
			if err := pause(ctx, 200*time.Millisecond); err != nil {
				return nil, err
			}
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			return nil, c.noTopic(ctx)
		default:
			return nil, fmt.Errorf("source %s: look at topic %s: %w", c.opt.Name, c.opt.Topic, c.opt.Client.Explain(err))
		}
	}
}

// noTopic says which topics there are that could be meant.
func (c *cluster) noTopic(ctx context.Context) error {
	hint := fmt.Sprintf("create it: kafka-topics.sh --bootstrap-server %s --create --topic %s", c.opt.Client.Brokers[0], c.opt.Topic)
	if all, err := c.admin.ListTopics(ctx); err == nil {
		if best := ddl.Suggest(c.opt.Topic, all.Names()); best != "" {
			hint = fmt.Sprintf("did you mean '%s'?", best)
		}
	}
	return fmt.Errorf("source %s: topic = '%s' is not known to the brokers at %s, or may not be described by this user\nHint: %s",
		c.opt.Name, c.opt.Topic, strings.Join(c.opt.Client.Brokers, ", "), hint)
}

// topic asks a broker for the topic as it is now. The error is Kafka's own.
func (c *cluster) topic(ctx context.Context) (*topic, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &c.opt.Topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, c.cl)
	if err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 {
		return nil, fmt.Errorf("a broker named %d topics and not %s", len(resp.Topics), c.opt.Topic)
	}
	got := &resp.Topics[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, err
	}
	t := &topic{id: topicID(got.TopicID)}
	for _, p := range got.Partitions {
		l := leader{p.Partition, p.Leader, p.LeaderEpoch}
		if p.ErrorCode != 0 && p.ErrorCode != kerr.ReplicaNotAvailable.Code {
			l.broker = -1
		}
		t.leaders = append(t.leaders, l)
	}
	slices.SortFunc(t.leaders, func(a, b leader) int { return int(a.partition) - int(b.partition) })
	if len(t.leaders) == 0 {
		return nil, kerr.LeaderNotAvailable
	}
	return t, nil
}

// checkGroup sees that the group's offsets may be set: the one thing that will not come right by itself.
func (c *cluster) checkGroup(ctx context.Context) error {
	if c.opt.GroupID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := c.admin.FetchOffsetsForTopics(ctx, c.opt.GroupID, c.opt.Topic)
	if errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.InvalidGroupID) {
		return fmt.Errorf("source %s: look at group_id = '%s': %w", c.opt.Name, c.opt.GroupID, c.opt.Client.Explain(err))
	}
	return nil
}

// bounds are the first offset that a partition still has, and the end of what may be read of it.
type bounds struct{ start, end int64 }

// bounds asks for those of all partitions.
func (c *cluster) bounds(ctx context.Context) (map[int32]bounds, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	starts, err := c.listed(c.admin.ListStartOffsets(ctx, c.opt.Topic))
	if err != nil {
		return nil, err
	}
	ends, err := c.listed(c.admin.ListCommittedOffsets(ctx, c.opt.Topic))
	if err != nil {
		return nil, err
	}
	out := map[int32]bounds{}
	for p, start := range starts {
		out[p] = bounds{start, max(start, ends[p])}
	}
	return out, nil
}

// listed takes an answer apart; the offset of every partition, or an error.
func (c *cluster) listed(list kadm.ListedOffsets, err error) (map[int32]int64, error) {
	if err == nil {
		err = list.Error()
	}
	if err != nil {
		return nil, c.failed("list the offsets of", err)
	}
	out := map[int32]int64{}
	for p, o := range list[c.opt.Topic] {
		out[p] = o.Offset
	}
	return out, nil
}

func (c *cluster) failed(what string, err error) error {
	return fmt.Errorf("source %s: %s topic %s: %w", c.opt.Name, what, c.opt.Topic, c.opt.Client.Explain(err))
}

// pause waits, or ends with the context.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

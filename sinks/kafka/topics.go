package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
)

// A topic is one that exists.
type topic struct {
	name    string
	id      kadm.TopicID
	leaders []int32 // by partition
}

// ledgerConfigs are those of a ledger topic that is created. Why small segments: only closed ones are compacted, and
// every start reads the whole topic.
var ledgerConfigs = map[string]string{"cleanup.policy": "compact", "segment.bytes": "33554432", "segment.ms": "3600000",
	"min.cleanable.dirty.ratio": "0.2", "max.message.bytes": "8388608"}

// prepareTopics checks or creates the sink's topics, and says whether it created the view's.
func (s *Sink) prepareTopics(ctx context.Context) (created bool, err error) {
	if _, err = s.ensure(ctx, s.o.LedgerTopic, 1, s.o.Replication, ledgerConfigs); err != nil {
		return false, err
	}
	policy, err := s.configs(ctx, s.o.LedgerTopic)
	if err != nil {
		return false, err
	}
	// Why not "compact,delete" either: a pipeline that stands still for the topic's retention would find its ledger gone.
	if policy != "" && policy != "compact" {
		return false, fmt.Errorf("topic %s has cleanup.policy=%s, which would delete the ledger\nHint: kafka-configs.sh --alter --topic %s --add-config cleanup.policy=compact", s.o.LedgerTopic, policy, s.o.LedgerTopic)
	}
	if s.o.DeadLetters {
		if _, err = s.ensure(ctx, s.o.DeadLetterTopic, 1, s.o.Replication, nil); err == nil {
			_, err = s.configs(ctx, s.o.DeadLetterTopic)
		}
		if err != nil {
			return false, err
		}
	}
	configs := map[string]string{}
	if s.o.Layout.Mode == ModeUpsert {
		configs["cleanup.policy"] = "compact"
	}
	if created, err = s.ensure(ctx, s.o.Layout.Topic, s.o.Partitions, s.o.Replication, configs); err != nil {
		return false, err
	}
	if err = s.takesRecords(ctx); err != nil {
		return false, err
	}
	s.topic, err = s.describe(ctx, s.o.Layout.Topic)
	return created, err
}

// takesRecords looks at the configuration of the view's topic. What its brokers would refuse must be known before a batch
// is prepared.
func (s *Sink) takesRecords(ctx context.Context) error {
	policy, err := s.configs(ctx, s.o.Layout.Topic)
	if err == nil && strings.Contains(policy, "compact") && !s.o.Layout.keyed(s.output) {
		err = fmt.Errorf("topic %s has cleanup.policy=%s, which takes no records without a key\nHint: name the key's columns with key = '…', though older records of a key may then be removed; or write to a topic that deletes by age", s.o.Layout.Topic, policy)
	}
	return err
}

// ensure creates a topic unless it is there.
func (s *Sink) ensure(ctx context.Context, name string, partitions int32, replication int16, configs map[string]string) (created bool, err error) {
	if _, err = s.describe(ctx, name); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return false, err
	}
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	_, err = s.adm.CreateTopic(ctx, partitions, replication, values, name)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists): // another engine was faster
	case err != nil:
		return false, s.o.Client.Explain(fmt.Errorf("create topic %s: %w", name, err))
	default:
		created = true
	}
	return created, s.await(ctx, name)
}

// await returns when every broker that is asked knows a new topic with its leaders.
func (s *Sink) await(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, kafkaclient.ConnectTimeout, fmt.Errorf("topic %s was created and has no leader after %s", name, kafkaclient.ConnectTimeout))
	defer cancel()
	for {
		_, err := s.describe(ctx, name)
		if err == nil {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// describe asks for a topic's partitions. Why not kadm's Metadata: it answers from memory for seconds.
func (s *Sink) describe(ctx context.Context, name string) (t topic, err error) {
	fail := func(err error) (topic, error) {
		return topic{}, s.o.Client.Explain(fmt.Errorf("look at topic %s: %w", name, err))
	}
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &name
	req.Topics = append(req.Topics, rt)
	m, err := req.RequestWith(ctx, s.cl)
	if err != nil {
		return fail(err)
	}
	if len(m.Topics) != 1 {
		return fail(kerr.UnknownTopicOrPartition)
	}
	d := &m.Topics[0]
	if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
		return fail(err)
	}
	t = topic{name: name, id: kadm.TopicID(d.TopicID), leaders: make([]int32, len(d.Partitions))}
	for _, p := range d.Partitions {
		err := kerr.ErrorForCode(p.ErrorCode)
		if int(p.Partition) >= len(t.leaders) {
			err = kerr.UnknownTopicOrPartition // it is being created
		}
		if err != nil && !errors.Is(err, kerr.ReplicaNotAvailable) {
			return fail(fmt.Errorf("partition %d: %w", p.Partition, err))
		}
		t.leaders[p.Partition] = p.Leader
	}
	return t, nil
}

// configs notes how large a record batch may be, and returns the topic's cleanup.policy. Who may not read the
// configuration gets the brokers' default for the one, and "" for the other.
func (s *Sink) configs(ctx context.Context, name string) (policy string, err error) {
	s.maxBytes[name] = defaultMaxBytes
	all, err := s.adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		if errors.As(err, new(*kadm.AuthError)) {
			return "", nil
		}
		return "", s.o.Client.Explain(fmt.Errorf("read the configuration of topic %s: %w", name, err))
	}
	for _, c := range all {
		if c.Err != nil {
			if errors.Is(c.Err, kerr.TopicAuthorizationFailed) {
				return "", nil
			}
			return "", s.o.Client.Explain(fmt.Errorf("read the configuration of topic %s: %w", name, c.Err))
		}
		for _, v := range c.Configs {
			switch v.Key {
			case "cleanup.policy":
				policy = v.MaybeValue()
			case "max.message.bytes":
				if n, err := strconv.ParseInt(v.MaybeValue(), 10, 32); err == nil {
					s.maxBytes[name] = int32(min(max(n, 512), 1<<30))
				}
			}
		}
	}
	return policy, nil
}

// defaultMaxBytes is what brokers take if nothing else is said.
const defaultMaxBytes = 1048588

func (s *Sink) startOffset(ctx context.Context, name string, partition int32) (int64, error) {
	l, err := s.adm.ListStartOffsets(ctx, name)
	return s.offset(l, err, name, partition)
}

// endOffset is where a partition ends, or where the first open transaction in it begins.
func (s *Sink) endOffset(ctx context.Context, name string, partition int32, how upTo) (int64, error) {
	if how == decided {
		l, err := s.adm.ListCommittedOffsets(ctx, name)
		return s.offset(l, err, name, partition)
	}
	l, err := s.adm.ListEndOffsets(ctx, name)
	return s.offset(l, err, name, partition)
}

func (s *Sink) offset(l kadm.ListedOffsets, err error, name string, partition int32) (int64, error) {
	o, ok := l.Lookup(name, partition)
	switch {
	case err != nil:
	case !ok:
		err = kerr.UnknownTopicOrPartition
	default:
		err = o.Err
	}
	if err != nil {
		return 0, s.o.Client.Explain(fmt.Errorf("ask for the offsets of partition %d of topic %s: %w", partition, name, err))
	}
	return o.Offset, nil
}

// extentNow begins an extent at a topic's end.
func (s *Sink) extentNow(ctx context.Context, name string) (*extent, error) {
	t, err := s.describe(ctx, name)
	if err != nil {
		return nil, err
	}
	ends, err := s.adm.ListEndOffsets(ctx, name)
	e := &extent{Topic: name, TopicID: t.id.String()}
	for p := range t.leaders {
		at, err := s.offset(ends, err, name, int32(p))
		if err != nil {
			return nil, err
		}
		e.Since = append(e.Since, at)
	}
	e.End = append([]int64(nil), e.Since...)
	return e, nil
}

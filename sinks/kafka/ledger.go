package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/microbatch"
)

// documentFormat is the version of the ledger's records.
const documentFormat = 1

// A ledger is a sink's newest record in the ledger topic.
type ledger struct {
	Format   int    `json:"format"`
	Pipeline string `json:"pipeline"`
	Sink     string `json:"sink"`
	View     string `json:"view"`
	Layout   Layout `json:"layout"`
	Epoch    int64  `json:"epoch"`
	// Created says that the sink made the topic, and so may delete it.
	Created bool `json:"created_topic,omitempty"`
	// Rows is where the view's records are, Letters where the dead letters are, if this sink keeps them.
	Rows    extent  `json:"rows"`
	Letters *extent `json:"dead_letters,omitempty"`
	// Batch is the newest committed one.
	Batch       int64            `json:"batch"`
	Offsets     json.RawMessage  `json:"offsets,omitempty"`
	Plan        string           `json:"plan,omitempty"`
	ContentHash string           `json:"content_hash,omitempty"`
	Watermark   time.Time        `json:"watermark,omitzero"`
	Watermarks  map[string]int64 `json:"watermarks,omitempty"`
	// Times counts the batches whose time is kept, each in a record of its own.
	Times       int64     `json:"batch_times,omitempty"`
	CommittedAt time.Time `json:"committed_at,omitzero"`
}

// An extent is a part of a topic: by partition, from where it began when the sink first came to the end of what it
// wrote last. Others may have written in between.
type extent struct {
	Topic   string  `json:"topic"`
	TopicID string  `json:"topic_id,omitempty"`
	Since   []int64 `json:"since"`
	End     []int64 `json:"end"`
	Records int64   `json:"records"`
}

// add notes a record that was written.
func (e *extent) add(partition int32, offset int64) {
	for int(partition) >= len(e.Since) { // partitions were added to the topic
		e.Since, e.End = append(e.Since, 0), append(e.End, 0)
	}
	e.End[partition] = max(e.End[partition], offset+1)
	e.Records++
}

// clone is a copy whose extents can be added to.
func (l *ledger) clone() *ledger {
	c := *l
	own := func(e extent) extent {
		e.Since, e.End = append([]int64(nil), e.Since...), append([]int64(nil), e.End...)
		return e
	}
	c.Rows = own(l.Rows)
	if l.Letters != nil {
		e := own(*l.Letters)
		c.Letters = &e
	}
	return &c
}

func (l *ledger) public(found bool) microbatch.Ledger {
	return microbatch.Ledger{Found: found, Epoch: l.Epoch, Batch: l.Batch, Offsets: l.Offsets, Plan: l.Plan, ContentHash: l.ContentHash, Watermarks: l.Watermarks}
}

// path is pipeline/sink, each without a slash of its own.
func (s *Sink) path() string { return url.PathEscape(s.pipeline) + "/" + url.PathEscape(s.o.Name) }

func (s *Sink) key() string { return s.path() }

// timePrefix begins the keys of the batches' times.
func (s *Sink) timePrefix() string { return s.path() + "/batch_time/" }

func (s *Sink) transactionalID() string {
	return "sluice." + strings.ReplaceAll(s.path(), "/", ".")
}

// record is the ledger as it is written, to partition 0.
func (s *Sink) record(l *ledger) (*kgo.Record, error) {
	value, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: s.o.LedgerTopic, Partition: 0, Key: []byte(s.key()), Value: value}, nil
}

// found is what the ledger topic has of a sink.
type found struct {
	ledger *ledger // nil for a sink that the topic has never seen
	times  map[string]json.RawMessage
}

// upTo says how far a reader of the ledger goes.
type upTo bool

const (
	// whole reads to the end that the topic has now, and waits for transactions that are open before it.
	whole upTo = true
	// decided reads as far as there is no open transaction.
	decided upTo = false
)

// readLedger reads the sink's records.
func (s *Sink) readLedger(ctx context.Context, how upTo) (f found, err error) {
	t, err := s.describe(ctx, s.o.LedgerTopic)
	if err != nil {
		return f, err
	}
	start, err := s.startOffset(ctx, s.o.LedgerTopic, 0)
	if err != nil {
		return f, err
	}
	end, err := s.endOffset(ctx, s.o.LedgerTopic, 0, how)
	if err != nil {
		return f, err
	}
	limit := s.o.TransactionTimeout + kafkaclient.ConnectTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("topic %s could not be read to its end within %s\nHint: a transaction of another pipeline may be open there; it ends within its transaction_timeout", s.o.LedgerTopic, limit))
	defer cancel()
	f.times = map[string]json.RawMessage{}
	err = s.scan(ctx, t, 0, start, end, func(r *kgo.Record) error {
		key := string(r.Key)
		switch {
		case key == s.key():
			f.ledger, err = s.parse(r)
			return err
		case strings.HasPrefix(key, s.timePrefix()) && r.Value == nil:
			delete(f.times, key)
		case strings.HasPrefix(key, s.timePrefix()):
			f.times[key] = r.Value
		}
		return nil
	})
	return f, err
}

// parse reads a record; it is nil for a tombstone.
func (s *Sink) parse(r *kgo.Record) (*ledger, error) {
	if r.Value == nil {
		return nil, nil
	}
	var l ledger
	if err := json.Unmarshal(r.Value, &l); err != nil {
		return nil, fmt.Errorf("the record at offset %d of %s is damaged: %w", r.Offset, r.Topic, err)
	}
	if l.Format != documentFormat {
		return nil, fmt.Errorf("the record at offset %d of %s has format %d, and this sluice knows %d\nHint: it was written by a newer sluice", r.Offset, r.Topic, l.Format, documentFormat)
	}
	return &l, nil
}

// begin is the ledger of a sink that the cluster has not seen.
func (s *Sink) begin(ctx context.Context, created bool) (*ledger, error) {
	l := &ledger{Format: documentFormat, Pipeline: s.pipeline, Sink: s.o.Name, View: s.output.Name, Created: created}
	rows, err := s.extentNow(ctx, s.o.Layout.Topic)
	if err != nil {
		return nil, err
	}
	l.Rows = *rows
	if s.o.DeadLetters {
		l.Letters, err = s.extentNow(ctx, s.o.DeadLetterTopic)
	}
	return l, err
}

// belongs refuses a topic that is another's, was written otherwise, or is not the one that was written.
func (s *Sink) belongs(ctx context.Context, l *ledger) error {
	switch {
	case l == nil:
		return nil
	case l.Batch > 0 && l.View != s.output.Name:
		return fmt.Errorf("topic %s holds the changes of view %s, not of %s\nHint: give the sink another name and topic", l.Rows.Topic, l.View, s.output.Name)
	case l.Batch > 0 && !reflect.DeepEqual(l.Layout, s.o.Layout):
		was, is := differing(l.Layout, s.o.Layout)
		return fmt.Errorf("topic %s was written with %s, and the sink now says %s\nHint: put the option back as it was, or give the sink another name and topic", l.Rows.Topic, was, is)
	case l.Rows.Topic != s.o.Layout.Topic: // nothing was committed yet, and the file was edited
		rows, err := s.extentNow(ctx, s.o.Layout.Topic)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil // only Check comes here; Open makes it first
		}
		if err != nil {
			return err
		}
		l.Rows = *rows
	}
	if s.o.DeadLetters && l.Letters == nil {
		letters, err := s.extentNow(ctx, s.o.DeadLetterTopic)
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) { // as above
			return err
		}
		l.Letters = letters
	}
	l.View = s.output.Name
	return s.sameTopic(ctx, &l.Rows)
}

// sameTopic refuses a topic that is not the one that was written, or has less than was written.
func (s *Sink) sameTopic(ctx context.Context, e *extent) error {
	t, err := s.describe(ctx, e.Topic)
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition) && e.Records > 0:
		return fmt.Errorf("%w: topic %s is gone\nHint: it was deleted; drop the pipeline to begin again", ErrDisagree, e.Topic)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return nil // Open makes it first
	case err != nil:
		return err
	}
	if e.TopicID != "" && t.id.String() != e.TopicID {
		if e.Records > 0 {
			return fmt.Errorf("%w: topic %s was deleted and made again since the ledger was written\nHint: drop the pipeline to begin again", ErrDisagree, e.Topic)
		}
		now, err := s.extentNow(ctx, e.Topic)
		if err != nil {
			return err
		}
		*e = *now
	}
	for p, end := range e.End {
		now, err := s.endOffset(ctx, e.Topic, int32(p), whole)
		if err != nil {
			return err
		}
		if now < end {
			return fmt.Errorf("%w: partition %d of topic %s ends at offset %d, and the ledger says %d: committed records were lost\nHint: brokers elected a leader that lacked them (unclean.leader.election.enable), or were restored from a backup; drop the pipeline to begin again", ErrDisagree, p, e.Topic, now, end)
		}
	}
	return nil
}

// differing names the first option in which two layouts differ, with both values.
func differing(a, b Layout) (was, is string) {
	for _, o := range []struct{ name, a, b string }{
		{"topic", a.Topic, b.Topic}, {"mode", a.Mode, b.Mode}, {"format", a.Format, b.Format}, {"key_format", a.KeyFormat, b.KeyFormat},
		{"key", strings.Join(a.Key, ","), strings.Join(b.Key, ",")},
	} {
		if o.a != o.b {
			return fmt.Sprintf("%s = '%s'", o.name, o.a), "'" + o.b + "'"
		}
	}
	panic(fmt.Sprintf("kafka sink: layouts %+v and %+v differ in nothing", a, b))
}

// own checks what was read from the ledger against the engine's own.
func (s *Sink) own(l *ledger) error {
	switch {
	case l == nil:
		return fmt.Errorf("%w: the ledger of %s in topic %s is gone\nHint: the pipeline was dropped while it ran, or the topic was deleted or is not compacted", ErrDisagree, s.path(), s.o.LedgerTopic)
	case l.Epoch > s.ledger.Epoch:
		return fmt.Errorf("%w: this engine has epoch %d, the ledger %d", microbatch.ErrFenced, s.ledger.Epoch, l.Epoch)
	case l.Epoch < s.ledger.Epoch:
		return fmt.Errorf("%w: the ledger went back from epoch %d to %d\nHint: restart the pipeline to find out what is missing", ErrDisagree, s.ledger.Epoch, l.Epoch)
	}
	return nil
}

// ErrUnknownPipeline marks (errors.Is) a cluster without a ledger of the sink.
var ErrUnknownPipeline = errors.New("there is no ledger of pipeline")

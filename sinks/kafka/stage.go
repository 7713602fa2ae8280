package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var (
	fpStageBefore = failpoint.New("kafkasink.stage.before_encode")
	fpStageAfter  = failpoint.New("kafkasink.stage.after_encode")
)

// A stagedBatch is a batch between the two phases: encoded, in memory.
type stagedBatch struct {
	batch   int64
	digest  checkpointlog.OutputDigest
	rows    []message
	letters []message
	times   *kgo.Record
}

// A message is a record's key and value; nil is none.
type message struct{ key, value []byte }

// Stage implements microbatch.Sink.
func (s *Sink) Stage(ctx context.Context, b *microbatch.StagedBatch) error {
	if err := s.stage(ctx, b); err != nil {
		return s.explain(fmt.Sprintf("stage batch %d", b.Batch), err)
	}
	return nil
}

func (s *Sink) stage(ctx context.Context, b *microbatch.StagedBatch) error {
	if s.closed {
		return microbatch.ErrSinkClosed
	}
	if s.ledger.Batch >= b.Batch {
		return fmt.Errorf("%w: the ledger is at batch %d", ErrDisagree, s.ledger.Batch)
	}
	at := slices.IndexFunc(b.Outputs, func(d microbatch.OutputDelta) bool { return d.Name == s.output.Name })
	if at < 0 {
		panic(fmt.Sprintf("kafka sink: batch %d has no delta of output %s", b.Batch, s.output.Name))
	}
	if err := fpStageBefore.Hit(); err != nil {
		return err
	}
	staged := &stagedBatch{batch: b.Batch, digest: b.Outputs[at].Digest}
	var err error
	if staged.rows, err = s.encoder.batch(ctx, b.Batch, b.Outputs[at].Chunks); err != nil {
		return err
	}
	if err := s.measure(s.o.Layout.Topic, staged.rows); err != nil {
		return err
	}
	if s.o.DeadLetters {
		if staged.letters, err = s.letters(b); err != nil {
			return err
		}
	}
	s.staged = staged
	return fpStageAfter.Hit()
}

// recordOverhead is more than what a batch of one record adds to its key and value.
const recordOverhead = 128

// measure refuses records that the topic would refuse, while the batch can still be given up.
func (s *Sink) measure(name string, list []message) error {
	limit := int(s.maxBytes[name])
	for _, m := range list {
		if n := len(m.key) + len(m.value) + recordOverhead; n > limit {
			return fmt.Errorf("a row of view %s is %d bytes as a record, and topic %s takes %d\nHint: raise max.message.bytes of the topic and restart the pipeline, or shorten the row in the view; nothing is lost", s.output.Name, n, name, limit)
		}
	}
	return nil
}

// A letter is the value of a record in the dead-letter topic.
type letter struct {
	Pipeline  string `json:"pipeline"`
	Sink      string `json:"sink"`
	Batch     int64  `json:"batch"`
	Source    string `json:"source"`
	Partition string `json:"partition"`
	Offset    int64  `json:"offset"`
	Reason    string `json:"reason"`
	Raw       string `json:"raw"`
	// Cut says that Raw is only the beginning: the topic takes no more.
	Cut bool `json:"cut,omitempty"`
}

func (s *Sink) letters(b *microbatch.StagedBatch) (out []message, err error) {
	limit := int(s.maxBytes[s.o.DeadLetterTopic]) - recordOverhead
	for _, d := range b.DeadLetters {
		l := letter{s.pipeline, s.o.Name, b.Batch, d.Source, d.Partition, d.Offset, d.Reason, d.Raw, false}
		value, err := json.Marshal(l)
		// Why cut and not refused: what a row is refused for must not stop the rows that are fine.
		for err == nil && len(value)+len(s.pipeline) > limit && l.Raw != "" {
			l.Raw, l.Cut = l.Raw[:len(l.Raw)/2], true
			value, err = json.Marshal(l)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, message{[]byte(s.pipeline), value})
	}
	return out, nil
}

// records makes the batch's, anew for each attempt: the client writes into them.
func (b *stagedBatch) records(s *Sink) []kgo.Record {
	out := make([]kgo.Record, 0, len(b.rows)+len(b.letters)+1)
	for _, part := range []struct {
		topic string
		list  []message
	}{{s.o.Layout.Topic, b.rows}, {s.o.DeadLetterTopic, b.letters}} {
		for _, m := range part.list {
			out = append(out, kgo.Record{Topic: part.topic, Key: m.key, Value: m.value})
		}
	}
	if b.times != nil {
		out = append(out, *b.times)
	}
	return out
}

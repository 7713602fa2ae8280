package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

// Source reads a topic. Ack, State and PartitionName may be called beside its other methods.
type Source struct {
	opt     Options
	closed  bool
	decoder decode.MessageDecoder
	msg     decode.Message // the last record as decoders take it

	// What follows is set by connect, with the first Poll or Read.
	cluster *cluster
	topic   *topic
	leaders map[int32]leader // for Read, which asks by itself
	b       *buffer
	f       *fetcher
	stop    context.CancelFunc
	ends    map[int32]int64 // where reading ends in bounded mode

	skipped *skipped // by the last Poll, if it gave nothing

	first  *position       // what the option startup came to
	starts map[int32]int64 // where partitions begin that were discovered
	// failing is since when a schema registry has not answered, and why.
	failing time.Time
	state   atomic.Pointer[string]
	numbers atomic.Pointer[[]int32] // partitions by ordinal
	acks    committer
}

// skipped is what is known of records that are no rows, after which the position is still the one before them.
type skipped struct {
	from    json.RawMessage
	unknown unknowns
}

var (
	_ microbatch.Source         = (*Source)(nil)
	_ microbatch.PartitionNamer = (*Source)(nil)
	_ microbatch.Partitioned    = (*Source)(nil)
)

// New checks the options and returns a source. Nothing is connected yet.
func New(opt Options) (*Source, error) {
	opt = opt.withDefaults()
	err := opt.Validate()
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", opt.Name, err)
	}
	s := &Source{opt: opt, msg: decode.Message{Topic: opt.Topic}, starts: map[int32]int64{}}
	if s.decoder, err = decode.NewMessages(opt.Messages); err != nil {
		return nil, fmt.Errorf("source %s: %w", opt.Name, err)
	}
	return s, nil
}

// connect connects, once.
func (s *Source) connect(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("source %s: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	if s.cluster != nil {
		return nil
	}
	c, t, err := connect(ctx, s.opt)
	if err != nil {
		return err
	}
	s.cluster, s.topic, s.leaders = c, t, map[int32]leader{}
	for _, l := range t.leaders {
		if l.broker >= 0 {
			s.leaders[l.partition] = l
		}
	}
	s.b = newBuffer(s.opt.BufferBytes)
	s.acks.start(c)
	return nil
}

// follow starts filling the buffer, once. A source that is only read again has no use for that.
func (s *Source) follow(ctx context.Context) error {
	if s.f != nil {
		return nil
	}
	if s.opt.Mode == "bounded" {
		has, err := s.patiently(ctx, s.cluster.bounds)
		if err != nil {
			return err
		}
		s.ends = map[int32]int64{}
		for number, b := range has {
			s.ends[number] = b.end
		}
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.f = &fetcher{c: s.cluster, b: s.b, opt: s.opt}
	s.f.start(background, s.topic)
	return nil
}

// patiently asks again while the cluster is between two leaders.
func (s *Source) patiently(ctx context.Context, ask func(context.Context) (map[int32]bounds, error)) (map[int32]bounds, error) {
	for begun := time.Now(); ; {
		got, err := ask(ctx)
		if err == nil || !kerr.IsRetriable(err) || time.Since(begun) > s.opt.Patience {
			return got, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// Close implements microbatch.Source.
func (s *Source) Close() error {
	s.closed = true
	if s.cluster == nil {
		return nil
	}
	if s.f != nil {
		s.stop()
		s.f.wg.Wait()
	}
	s.acks.close()
	s.cluster.cl.Close()
	s.cluster, s.f = nil, nil
	return nil
}

// position decodes offsets, or resolves the option startup, and adds the partitions that were found since.
func (s *Source) position(ctx context.Context, from json.RawMessage) (*position, error) {
	pos, err := decodePosition(from)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	begun := pos != nil
	if !begun {
		if s.first == nil {
			if s.first, err = s.begin(ctx, s.topic); err != nil {
				return nil, err
			}
		}
		pos = s.first.clone()
	} else if err := s.check(pos, s.topic); err != nil {
		return nil, err
	}
	if err := s.discovered(ctx, pos, begun); err != nil {
		return nil, err
	}
	s.remember(pos)
	return pos, nil
}

// discovered appends the partitions that have no ordinal yet, in the order of their numbers. They are new, so that
// what they have, all of it, is new, too; and what they no longer have is missing, unless nothing was read so far.
func (s *Source) discovered(ctx context.Context, pos *position, begun bool) error {
	known := map[int32]bool{}
	for _, m := range pos.marks {
		known[m.partition] = true
	}
	fresh := false
	numbers := s.found()
	for _, number := range numbers {
		_, resolved := s.starts[number]
		fresh = fresh || !known[number] && !resolved
	}
	if fresh {
		has, err := s.patiently(ctx, s.cluster.bounds)
		if err != nil {
			return err
		}
		for number, b := range has {
			if _, resolved := s.starts[number]; !resolved && !known[number] {
				s.starts[number] = b.start
			}
		}
	}
	for _, number := range numbers {
		start, resolved := s.starts[number]
		if _, ends := s.ends[number]; known[number] || !resolved || s.ends != nil && !ends {
			continue
		}
		if begun && start > 0 {
			return s.cluster.expired(number, 0, start)
		}
		if len(pos.marks) == maxPartitions {
			return fmt.Errorf("source %s: topic %s has more than %d partitions", s.opt.Name, s.opt.Topic, maxPartitions)
		}
		pos.marks = append(pos.marks, mark{partition: number, start: start, next: start, epoch: -1})
	}
	return nil
}

// remember keeps the partitions' numbers, for PartitionName.
func (s *Source) remember(pos *position) {
	if old := s.numbers.Load(); old != nil && len(*old) >= len(pos.marks) {
		return
	}
	numbers := make([]int32, len(pos.marks))
	for i, m := range pos.marks {
		numbers[i] = m.partition
	}
	s.numbers.Store(&numbers)
}

// PartitionName implements microbatch.PartitionNamer: topic-number, as Kafka's own tools write it.
func (s *Source) PartitionName(ordinal int) string {
	numbers := s.numbers.Load()
	if numbers == nil || ordinal >= len(*numbers) {
		return ""
	}
	return s.partitionName((*numbers)[ordinal])
}

func (s *Source) partitionName(number int32) string {
	return s.opt.Topic + "-" + strconv.Itoa(int(number))
}

// State says what reading waits for, "" when all is well.
func (s *Source) State() string {
	for _, t := range []*string{s.state.Load(), s.acks.failed.Load()} {
		if t != nil && *t != "" {
			return *t
		}
	}
	return ""
}

func (s *Source) setState(state string) { s.state.Store(&state) }

// errAgain says that a position moved under a Poll, which begins again.
var errAgain = errors.New("the partition was positioned anew")

// Partitions implements microbatch.Partitioned.
func (s *Source) Partitions(offsets json.RawMessage) ([]int, error) {
	p, err := decodePosition(offsets)
	if err != nil || p == nil {
		return nil, err
	}
	out := make([]int, len(p.marks))
	for i := range out {
		out[i] = i
	}
	return out, nil
}

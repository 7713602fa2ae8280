package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

var (
	fpOpenAfterFence = failpoint.New("kafkasink.open.after_fence")
	fpOpenAfterEpoch = failpoint.New("kafkasink.open.after_epoch")
)

// Sink writes one output to one topic. See the package comment. Its methods are for one goroutine at a time.
type Sink struct {
	o        Options
	pipeline string
	output   planner.Output

	cl    *kgo.Client // for everything but transactions
	adm   *kadm.Client
	topic topic // of the output
	// maxBytes is the largest record batch by topic.
	maxBytes map[string]int32

	producer *producer
	ledger   *ledger // as this engine wrote it last
	encoder  *encoder
	staged   *stagedBatch
	closed   bool
}

var (
	_ microbatch.Sink   = (*Sink)(nil)
	_ microbatch.Fencer = (*Sink)(nil)
)

// New returns a sink that connects to nothing before Open.
func New(o Options) (*Sink, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	return &Sink{o: o, maxBytes: map[string]int32{}}, nil
}

// ErrDisagree marks (errors.Is) a cluster that is not as the sink left it.
var ErrDisagree = errors.New("the cluster and the engine disagree")

// Open implements microbatch.Sink. There must be one target.
func (s *Sink) Open(ctx context.Context, pipeline string, targets []microbatch.Target) (l microbatch.Ledger, err error) {
	if err := s.bind(pipeline, targets); err != nil {
		return l, err
	}
	if s.closed {
		return l, s.explain("open", microbatch.ErrSinkClosed)
	}
	if l, err = s.open(ctx); err != nil {
		return l, s.explain("open", err)
	}
	return l, fpOpenAfterEpoch.Hit()
}

func (s *Sink) bind(pipeline string, targets []microbatch.Target) error {
	if len(targets) != 1 {
		return fmt.Errorf("kafka sink %s: %d views are to be written, and one topic is for one", s.o.Name, len(targets))
	}
	s.pipeline, s.output = pipeline, targets[0].Output
	if err := s.o.Layout.Check(s.output); err != nil {
		return fmt.Errorf("kafka sink %s: %w", s.o.Name, err)
	}
	s.o.Layout = s.o.Layout.WithDefaults(s.output)
	if s.o.Partitioner != Partitioners[0] && s.o.Layout.Mode != ModeAppend && s.o.Layout.keyed(s.output) {
		return fmt.Errorf("kafka sink %s: partitioner = '%s' spreads the records of a key, whose order readers would not know\nHint: leave the option out: '%s' keeps them in one partition", s.o.Name, s.o.Partitioner, Partitioners[0])
	}
	return nil
}

func (s *Sink) open(ctx context.Context) (microbatch.Ledger, error) {
	if err := s.connect(ctx); err != nil {
		return microbatch.Ledger{}, err
	}
	created, err := s.prepareTopics(ctx)
	if err != nil {
		return microbatch.Ledger{}, err
	}
	if s.encoder, err = s.newEncoder(ctx); err != nil {
		return microbatch.Ledger{}, err
	}
	return s.takeOver(ctx, created)
}

// Fence implements microbatch.Fencer: it aborts the transaction that an engine died in. Another sink would wait for its
// end, in the ledger topic that they share.
func (s *Sink) Fence(ctx context.Context, pipeline string) error {
	if s.closed {
		return s.explain("open", microbatch.ErrSinkClosed)
	}
	s.pipeline = pipeline
	if err := s.holdID(ctx); err != nil {
		return s.explain("open", err)
	}
	// The id is let go of: no transaction is begun without having read the ledger.
	s.producer.close()
	s.producer = nil
	return nil
}

// connect makes the client that reads, unless there is one.
func (s *Sink) connect(ctx context.Context) (err error) {
	if s.cl != nil {
		return nil
	}
	if s.cl, err = s.o.Client.Connect(ctx); err == nil {
		s.adm = kadm.NewClient(s.cl)
	}
	return err
}

// takeOver fences the engine before and raises the epoch.
func (s *Sink) takeOver(ctx context.Context, created bool) (microbatch.Ledger, error) {
	for attempt := 1; ; attempt++ {
		l, err := s.takeID(ctx)
		if err != nil {
			return microbatch.Ledger{}, err
		}
		if err := fpOpenAfterFence.Hit(); err != nil {
			return microbatch.Ledger{}, err
		}
		if err := s.belongs(ctx, l); err != nil {
			return microbatch.Ledger{}, err
		}
		found := l != nil
		if !found {
			if l, err = s.begin(ctx, created); err != nil {
				return microbatch.Ledger{}, err
			}
		}
		l.Layout = s.o.Layout
		l.Epoch++
		err = s.transact(ctx, nil, l)
		if err == nil {
			s.ledger = l
			return l.public(found), nil
		}
		// An engine that was paused took the id in between; it sees this epoch's ledger next and stops.
		if attempt == attempts || !again(ctx, err) {
			return microbatch.Ledger{}, err
		}
	}
}

// HasStaged implements microbatch.Sink: what is staged does not outlive the process.
func (s *Sink) HasStaged(_ context.Context, batch int64, outputs []checkpointlog.OutputDigest) (bool, error) {
	if s.closed {
		return false, s.explain(fmt.Sprintf("look for batch %d", batch), microbatch.ErrSinkClosed)
	}
	return s.staged != nil && s.staged.batch == batch && slices.Contains(outputs, s.staged.digest), nil
}

// Close implements microbatch.Sink.
func (s *Sink) Close() error {
	s.closed = true
	s.producer.close()
	if s.cl != nil {
		s.cl.Close()
	}
	s.producer, s.cl, s.adm = nil, nil, nil
	return nil
}

// explain says which sink could not do what.
func (s *Sink) explain(what string, err error) error {
	return fmt.Errorf("kafka sink %s: %s: %w", s.o.Name, what, err)
}

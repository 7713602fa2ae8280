package postgrescdc

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A Source is one captured table. Its offsets are a position of the log and the LSN that it stands for:
// {"v":1,"at":4711,"lsn":"0/16B3748"}.
type Source struct {
	t Table
	g *Capture // nil: only ranges are read
	r *reader
	// described is latest's answer for a log of others.
	described *document
	close     func() error
	closed    bool
}

var (
	_ microbatch.Source   = (*Source)(nil)
	_ microbatch.Stater   = (*Source)(nil)
	_ microbatch.Retainer = (*Source)(nil)
)

// NewReader reads the log of a captured table, maybe beside the engine that writes it: for verify and replay.
func NewReader(o Options, name string) *Source {
	o = o.withDefaults()
	r := newReader(o.FS, o.Dir, nil)
	return &Source{t: o.table(name), r: r, close: func() error { r.close(); return nil }}
}

func (o Options) table(name string) Table {
	for _, t := range o.Tables {
		if t.Name == name {
			return t
		}
	}
	panic("postgrescdc: source " + name + " was not among the options' tables")
}

// Close implements microbatch.Source. The last source of a slot ends the capture.
func (s *Source) Close() error {
	s.closed = true
	return s.close()
}

// Poll implements microbatch.Source.
func (s *Source) Poll(ctx context.Context, from json.RawMessage, max microbatch.Limits) (*microbatch.Rows, error) {
	at, err := decodeOffsets(from)
	if s.closed {
		err = microbatch.ErrSourceClosed
	}
	if err == nil && s.g == nil {
		err = fmt.Errorf("its log is open for reading ranges only")
	}
	if err != nil {
		return nil, s.named(err)
	}
	ended := s.g.ended() // before what is there is looked at
	k, err := s.g.cut(s.t.Name, at, max)
	if err != nil {
		return nil, s.named(err)
	}
	if k == nil {
		r := &microbatch.Rows{To: from, Done: ended}
		r.RemainingBytes, r.RemainingRows = s.g.behind(), 0
		return r, nil
	}
	entries := s.r.entries(at.At, k.to.At)
	if k.entries != nil {
		entries = those(k.entries)
	}
	r, err := s.decode(ctx, entries, at, k.to)
	if err != nil {
		return nil, s.named(err)
	}
	r.To, r.More = k.to.encode(), k.more
	r.RemainingRows, r.RemainingBytes = k.rowsLeft, s.g.behind()
	return r, nil
}

func those(list []ingestlog.Entry) iter.Seq2[ingestlog.Entry, error] {
	return func(yield func(ingestlog.Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Read implements microbatch.Source.
func (s *Source) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	if s.closed {
		return nil, s.named(microbatch.ErrSourceClosed)
	}
	first, err := decodeOffsets(from)
	if err != nil {
		return nil, s.named(err)
	}
	end, err := decodeOffsets(to)
	if err != nil {
		return nil, s.named(err)
	}
	r, err := s.decode(ctx, s.r.entries(first.At, end.At), first, end)
	if err != nil {
		return nil, s.named(err)
	}
	r.To = to
	return r, nil
}

func (s *Source) named(err error) error { return fmt.Errorf("source %q: %w", s.t.Name, err) }

// decode reads the rows of a range.
func (s *Source) decode(ctx context.Context, entries iter.Seq2[ingestlog.Entry, error], from, to offsets) (*microbatch.Rows, error) {
	latest, err := s.latest()
	if err != nil {
		return nil, err
	}
	d := &decoding{ctx: ctx, rows: newRowDecoder(&s.t, latest), to: to.At}
	if from.At < to.At {
		if err := s.r.scan(entries, from.At, to.At, from.LSN, d); err != nil {
			return nil, err
		}
		if d.last != to.At {
			return nil, fmt.Errorf("position %d of %s is in the middle of a transaction: %w\nHint: put the directory back from where it was", to.At, s.r.dir, microbatch.ErrRangeChanged)
		}
	}
	return d.rows.finish(), nil
}

// latest describes the tables as they were last.
func (s *Source) latest() (*document, error) {
	switch {
	case s.g != nil:
		return s.g.latest, nil
	case s.described == nil:
		doc, err := s.r.latest()
		if err != nil || doc == nil {
			return &document{}, err
		}
		s.described = doc
	}
	return s.described, nil
}

// decoding is the pass that decodes rows.
type decoding struct {
	ctx  context.Context
	rows *rowDecoder
	to   int64
	last int64
}

// boundary implements span.
func (d *decoding) boundary(at offsets, doc *document, recs []record) (bool, error) {
	if err := d.ctx.Err(); err != nil {
		return false, err
	}
	d.last = at.At
	return at.At < d.to, d.rows.add(doc, recs, at.LSN)
}

// State implements microbatch.Stater.
func (s *Source) State() string {
	if s.g == nil {
		return ""
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.waiting == nil {
		return ""
	}
	line, _, _ := strings.Cut(s.g.waiting.Error(), "\n")
	return "changes cannot be received: " + line
}

// Ack implements microbatch.Source: the slot may forget what every source has acknowledged.
func (s *Source) Ack(_ context.Context, doc json.RawMessage) error {
	at, err := decodeOffsets(doc)
	if err != nil || s.g == nil {
		return err
	}
	return s.g.ack(s.t.Name, at)
}

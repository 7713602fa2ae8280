package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// The METADATA keys of a source over an Inbox.
const (
	ReceivedAtKey = "received_at"
	PositionKey   = "position"
	DeliveryKey   = "idempotency_key"
)

// MessageKeys are the same as package decode calls them.
var MessageKeys = map[string]string{ReceivedAtKey: "timestamp", PositionKey: "offset", DeliveryKey: "key"}

// SourceOptions say what the rows of an Inbox mean.
type SourceOptions struct {
	// Name is the declared name, for messages. Required.
	Name string
	// Messages say how a row is decoded, each as a message. Metadata has the keys of package decode, see MessageKeys.
	// Required.
	Messages decode.MessageOptions
	// Partition is where dead letters are said to come from. Defaults to "rows".
	Partition string
	// Bounded ends the source when all is read. Defaults to waiting for more.
	Bounded bool
}

// Source reads an Inbox, or its directory. Its offsets are positions of the log: {"v":1,"rows":4711}.
type Source struct {
	opt     SourceOptions
	closed  bool
	inbox   *Inbox // nil: the directory is read
	fs      vfs.FS
	dir     string
	decoder decode.MessageDecoder
}

var (
	_ microbatch.Source         = (*Source)(nil)
	_ microbatch.PartitionNamer = (*Source)(nil)
)

// NewSource reads an open Inbox, which outlives it.
func NewSource(b *Inbox, opt SourceOptions) (*Source, error) {
	s, err := newSource(opt)
	if err == nil {
		s.inbox, s.dir = b, b.opt.Dir
	}
	return s, err
}

// NewReader reads ranges of a directory that another process may have open, for verify and replay.
func NewReader(fsys vfs.FS, dir string, opt SourceOptions) (*Source, error) {
	s, err := newSource(opt)
	if err == nil {
		s.fs, s.dir = fsys, dir
	}
	return s, err
}

func newSource(opt SourceOptions) (*Source, error) {
	if opt.Partition == "" {
		opt.Partition = "rows"
	}
	d, err := decode.NewMessages(opt.Messages)
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", opt.Name, err)
	}
	return &Source{opt: opt, decoder: d}, nil
}

// PartitionName implements microbatch.PartitionNamer.
func (s *Source) PartitionName(int) string { return s.opt.Partition }

// Close implements microbatch.Source. The Inbox stays open.
func (s *Source) Close() error {
	s.closed = true
	return nil
}

type offsets struct {
	V    int                `json:"v"`
	Rows ingestlog.Position `json:"rows"`
}

func (s *Source) position(doc json.RawMessage) (ingestlog.Position, error) {
	if len(doc) == 0 || string(doc) == "null" {
		return 0, nil
	}
	var o offsets
	if err := json.Unmarshal(doc, &o); err != nil || o.V != 1 || o.Rows < 0 {
		return 0, fmt.Errorf("source %q: read offsets %s: they are not those of pushed rows", s.opt.Name, doc)
	}
	return o.Rows, nil
}

func encodeOffsets(at ingestlog.Position) json.RawMessage {
	return fmt.Appendf(nil, `{"v":1,"rows":%d}`, at)
}

// Poll implements microbatch.Source.
func (s *Source) Poll(ctx context.Context, from json.RawMessage, max microbatch.Limits) (*microbatch.Rows, error) {
	if s.closed {
		return nil, fmt.Errorf("source %q: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	at, err := s.position(from)
	if err != nil {
		return nil, err
	}
	if s.inbox == nil {
		return nil, fmt.Errorf("source %q: its log is open for reading ranges only", s.opt.Name)
	}
	if err := s.inbox.Failed(); err != nil {
		return nil, fmt.Errorf("source %q: %w", s.opt.Name, err)
	}
	end := s.inbox.End()
	if at > end {
		return nil, fmt.Errorf("source %q: its log %s ends at row %d, and row %d was read from it: %w\nHint: put the directory back from where it was", s.opt.Name, s.dir, end, at, microbatch.ErrRangeChanged)
	}
	r, to, err := s.read(ctx, at, end, max)
	if err != nil {
		return nil, err
	}
	s.inbox.mu.Lock()
	s.inbox.reading = to
	s.inbox.mu.Unlock()
	r.More, r.RemainingRows = to < end, int64(end-to)
	if r.RemainingBytes, err = s.inbox.log.BytesAfter(to); err != nil {
		return nil, s.failed(err)
	}
	if to == at && from != nil {
		r.To = from
	}
	r.Done = s.opt.Bounded && !r.More
	return r, nil
}

// Read implements microbatch.Source.
func (s *Source) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	if s.closed {
		return nil, fmt.Errorf("source %q: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	first, err := s.position(from)
	if err != nil {
		return nil, err
	}
	end, err := s.position(to)
	if err != nil {
		return nil, err
	}
	r, _, err := s.read(ctx, first, end, microbatch.Limits{})
	if err != nil {
		return nil, err
	}
	r.To, r.RemainingRows, r.RemainingBytes = to, -1, -1
	return r, nil
}

// Ack implements microbatch.Source.
func (s *Source) Ack(_ context.Context, doc json.RawMessage) error {
	at, err := s.position(doc)
	if err != nil || s.inbox == nil {
		return err
	}
	if err := s.inbox.ack(at); err != nil {
		return fmt.Errorf("source %q: %w", s.opt.Name, err)
	}
	return nil
}

func (s *Source) entries(from, to ingestlog.Position) iter.Seq2[ingestlog.Entry, error] {
	if s.inbox != nil {
		return s.inbox.log.Entries(from, to)
	}
	return ingestlog.Entries(s.fs, s.dir, from, to)
}

// read decodes rows [from, to), fewer where a limit is reached.
func (s *Source) read(ctx context.Context, from, to ingestlog.Position, limit microbatch.Limits) (*microbatch.Rows, ingestlog.Position, error) {
	r := &microbatch.Rows{}
	b := s.opt.Messages.Builder()
	b.MaxRows = limit.MaxRows
	at := from
	full := func() bool { return b.Full() || limit.MaxBytes > 0 && r.Bytes >= limit.MaxBytes }
	for e, err := range s.entries(from, to) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, 0, s.failed(err)
		}
		n, err := s.decode(e, at, to, b, &r.Bytes, full)
		if err != nil {
			return nil, 0, err
		}
		if at += n; full() {
			break
		}
	}
	r.To, r.Chunks, r.Count = encodeOffsets(at), b.Finish(), b.Rows()
	for _, bad := range b.Bad {
		r.Bad = append(r.Bad, microbatch.BadRow{Partition: s.opt.Partition, Offset: bad.Offset, Reason: bad.Reason, Raw: bad.Raw})
	}
	return r, at, nil
}

// decode appends the rows of an entry that are in [from, to) to b, and returns how many it took.
func (s *Source) decode(e ingestlog.Entry, from, to ingestlog.Position, b *decode.Builder, bytes *int64, full func() bool) (ingestlog.Position, error) {
	broken := func(err error) error {
		return fmt.Errorf("source %q: read rows %d to %d of %s: %w\nHint: the directory is of another source; put back the one that belongs there", s.opt.Name, e.First, e.End(), s.dir, err)
	}
	d, err := decodeEntry(e.Body)
	if err != nil {
		return 0, broken(err)
	}
	m := decode.Message{Key: d.key, Timestamp: d.received}
	n := ingestlog.Position(0)
	for at := e.First; at < min(e.End(), to) && !full(); at++ {
		row, err := d.next()
		if err != nil {
			return 0, broken(err)
		}
		if at < from {
			continue
		}
		m.Value, m.Offset = row, int64(at)
		if err := s.decoder.Add(&m, b); err != nil {
			return 0, fmt.Errorf("source %q: decode row %d: %w", s.opt.Name, at, err)
		}
		*bytes += int64(len(row))
		n++
	}
	return n, nil
}

// failed names the source, and marks and explains a range that the log no longer has.
func (s *Source) failed(err error) error {
	switch {
	case errors.Is(err, ingestlog.ErrReleased):
		err = fmt.Errorf("%w: %w\nHint: they were acknowledged, and older or more than its retention keeps; verify, replay and rebuild need all rows of a source, so leave the retention out where you want them", microbatch.ErrRangeChanged, err)
	case errors.Is(err, ingestlog.ErrEnd):
		err = fmt.Errorf("%w: %w", microbatch.ErrRangeChanged, err)
	}
	return fmt.Errorf("source %q: %w", s.opt.Name, err)
}

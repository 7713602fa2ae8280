package nexmark

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

// maxPollRows bounds a Poll without limits: the stream may have no end.
const maxPollRows = 1 << 18

// Source is a replayable view of the stream. It is not safe for concurrent use.
type Source struct {
	opt    Options
	closed bool
	gen    *generator
	table  *table
	cols   []column
	plan   string // identifies the stream in offsets

	now      func() time.Time
	openedAt time.Time
	openedBy int64 // the event that was next when the source was opened
}

var _ microbatch.Source = (*Source)(nil)

// New checks the options and returns a source.
func New(opt Options) (*Source, error) {
	full := opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("source %s: %w", full.Name, err)
	}
	s := &Source{opt: full, gen: newGenerator(full), table: tables[full.Type], now: time.Now}
	for _, f := range full.Columns {
		for _, c := range s.table.columns {
			if c.name == f.Name {
				s.cols = append(s.cols, c)
			}
		}
	}
	s.plan = s.gen.fingerprint()
	return s, nil
}

// fingerprint identifies what events are; the type, the end and the rate are not part of it.
func (g *generator) fingerprint() string {
	o := &g.opt
	h := uint64(1) // version of the generator
	for _, v := range []int64{int64(o.Seed), o.EventRate, g.firstUs, o.HotAuctionRatio, o.HotSellersRatio,
		o.HotBiddersRatio, o.InFlightAuctions, o.ActivePeople, o.PersonBytes, o.AuctionBytes, o.BidBytes} {
		h = mix(h*golden + uint64(v))
	}
	return strconv.FormatUint(h, 36)
}

// offset is the offsets document: {"v":1,"event":N,"stream":"…"}; N is the next event.
type offset struct {
	V      int    `json:"v"`
	Event  int64  `json:"event"`
	Stream string `json:"stream"`
}

func (s *Source) parse(doc json.RawMessage) (int64, error) {
	if len(doc) == 0 || string(doc) == "null" {
		return 0, nil
	}
	var o offset
	if err := json.Unmarshal(doc, &o); err != nil || o.V != 1 || o.Event < 0 || o.Event >= maxEvents {
		return 0, fmt.Errorf("source %s: offsets %s are not nexmark's", s.opt.Name, doc)
	}
	if o.Stream != s.plan {
		return 0, fmt.Errorf("source %s: the events up to %d were made with another seed or other options: %w\n"+
			"Hint: put the options back, or drop the pipeline and run it again from the beginning", s.opt.Name, o.Event, microbatch.ErrRangeChanged)
	}
	return o.Event, nil
}

func (s *Source) document(event int64) json.RawMessage {
	doc, err := json.Marshal(offset{V: 1, Event: event, Stream: s.plan})
	if err != nil {
		panic(fmt.Sprintf("nexmark: offset %d cannot be encoded: %v", event, err))
	}
	return doc
}

// Poll implements microbatch.Source.
func (s *Source) Poll(ctx context.Context, from json.RawMessage, lim microbatch.Limits) (*microbatch.Rows, error) {
	if s.closed {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	start, err := s.parse(from)
	if err != nil {
		return nil, err
	}
	due, end := s.due(start), int64(maxEvents)
	if s.opt.Events > 0 {
		end = s.opt.Events
	}
	due = min(due, end)
	row := s.table.rowsBefore(start)
	rows := min(maxPollRows, s.table.rowsBefore(due)-row)
	if lim.MaxRows > 0 {
		rows = min(rows, lim.MaxRows)
	}
	if lim.MaxBytes > 0 {
		size := s.table.bytes(&s.opt)
		rows = min(rows, (lim.MaxBytes+size-1)/size)
	}
	if rows <= 0 {
		r := &microbatch.Rows{To: from, Done: s.opt.Events > 0 && s.table.rowsBefore(end) <= row}
		s.remaining(r, row, end)
		return r, nil
	}
	to := s.table.eventOf(row+rows-1) + 1
	r, err := s.rows(ctx, row, rows)
	if err != nil {
		return nil, err
	}
	r.To = s.document(to)
	r.More = s.table.rowsBefore(due) > row+rows
	r.Done = s.opt.Events > 0 && s.table.rowsBefore(end) == row+rows
	s.remaining(r, row+rows, end)
	return r, nil
}

// due is the number of events that the rate has made available.
func (s *Source) due(start int64) int64 {
	if s.opt.Rate == 0 {
		return maxEvents
	}
	if s.openedAt.IsZero() {
		s.openedAt, s.openedBy = s.now(), start
	}
	return s.openedBy + int64(min(s.now().Sub(s.openedAt).Seconds()*s.opt.Rate, maxEvents))
}

func (s *Source) remaining(r *microbatch.Rows, row, end int64) {
	r.RemainingRows, r.RemainingBytes = -1, -1
	if s.opt.Events > 0 {
		r.RemainingRows = max(0, s.table.rowsBefore(end)-row)
		r.RemainingBytes = r.RemainingRows * s.table.bytes(&s.opt)
	}
}

// Read implements microbatch.Source.
func (s *Source) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	if s.closed {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	start, err := s.parse(from)
	if err != nil {
		return nil, err
	}
	end, err := s.parse(to)
	if err != nil {
		return nil, err
	}
	row := s.table.rowsBefore(start)
	r, err := s.rows(ctx, row, s.table.rowsBefore(end)-row)
	if err != nil {
		return nil, err
	}
	r.To, r.RemainingRows, r.RemainingBytes = to, -1, -1
	return r, nil
}

// rows generates rows [row, row+n) of the type.
func (s *Source) rows(ctx context.Context, row, n int64) (*microbatch.Rows, error) {
	r := &microbatch.Rows{Count: max(n, 0), Bytes: max(n, 0) * s.table.bytes(&s.opt)}
	events := make([]int64, 0, vector.Size)
	for end := row + n; row < end; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		events = events[:0]
		for ; row < end && len(events) < vector.Size; row++ {
			events = append(events, s.table.eventOf(row))
		}
		r.Chunks = append(r.Chunks, s.chunk(events))
	}
	return r, nil
}

// chunk generates the declared columns of some events.
func (s *Source) chunk(events []int64) *vector.Chunk {
	c := &vector.Chunk{N: len(events)}
	var arena *vector.Arena
	var scratch []byte
	for _, col := range s.cols {
		v := vector.New(vector.Of(col.kind), len(events))
		if col.number != nil {
			for i, n := range events {
				v.PutI64(i, col.number(s.gen, n))
			}
			c.Cols = append(c.Cols, v)
			continue
		}
		if arena == nil {
			arena = new(vector.Arena)
			c.Keep = append(c.Keep, arena)
		}
		for i, n := range events {
			if scratch = col.text(s.gen, scratch[:0], n); len(scratch) > 12 {
				v.PutStr(i, arena.Copy(scratch))
			} else {
				v.PutStr(i, scratch)
			}
		}
		c.Cols = append(c.Cols, v)
	}
	seq := vector.New(vector.Of(vector.Int64), len(events))
	for i, n := range events {
		seq.PutI64(i, microbatch.Seq(0, n))
	}
	c.Cols = append(c.Cols, seq)
	return c
}

// Ack implements microbatch.Source: generated events need no acknowledgement.
func (s *Source) Ack(context.Context, json.RawMessage) error { return nil }

// Close implements microbatch.Source.
func (s *Source) Close() error {
	s.closed = true
	return nil
}

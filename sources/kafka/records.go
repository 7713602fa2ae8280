package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

// A turn says whether records are read for the first time.
type turn bool

const (
	firstTime turn = true
	onceMore  turn = false
)

// add decodes records of one partition until the builder is full, and returns how many. With an error the record
// after these was not taken. The position says which schemas are unknown, or learns it the first time.
func (s *Source) add(b *decode.Builder, ordinal int, records []*kgo.Record, rows *microbatch.Rows, pos *position, t turn) (n int, err error) {
	b.Partition(microbatch.Seq(ordinal, 0))
	first := len(b.Bad)
	for n < len(records) && !b.Full() {
		r := records[n]
		if r.Offset >= maxOffset {
			return n, &stopError{fmt.Sprintf("offset %d of partition %d is beyond what can be numbered", r.Offset, r.Partition)}
		}
		m := s.message(r)
		if t == onceMore {
			m.Unknown = pos.unknown.at(m.Unknown, r.Partition, r.Offset)
		}
		if err = s.decoder.Add(m, b); err != nil {
			break
		}
		if t == firstTime {
			pos.unknown.note(r.Partition, r.Offset, m.Schemas)
		}
		if s.opt.OnError == "stop" && len(b.Bad) > first {
			bad := b.Bad[first]
			return n, &stopError{fmt.Sprintf("%s:%d cannot be read: %s\nHint: on_error = 'dead_letter' puts such records into sluice.dead_letter and goes on",
				s.partitionName(r.Partition), bad.Offset, bad.Reason)}
		}
		rows.Bytes += recordBytes(r)
		n++
	}
	for _, bad := range b.Bad[first:] {
		rows.Bad = append(rows.Bad, microbatch.BadRow{Partition: s.partitionName(records[0].Partition), Offset: bad.Offset, Reason: bad.Reason, Raw: bad.Raw})
	}
	return n, err
}

// message is a record as decoders take it. It lasts until the next call.
func (s *Source) message(r *kgo.Record) *decode.Message {
	m := &s.msg
	m.Unknown = m.Unknown[:0]
	m.Key, m.Value, m.Offset, m.Partition, m.Timestamp = r.Key, r.Value, r.Offset, r.Partition, r.Timestamp.UnixMicro()
	if len(r.Headers)+len(m.Headers) > 0 {
		m.Headers = m.Headers[:0]
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, decode.Header{Key: h.Key, Value: h.Value})
		}
	}
	return m
}

// A stopError is a record that ends reading: a bad one under on_error = 'stop'.
type stopError struct{ message string }

func (e *stopError) Error() string { return e.message }

// decodeFailed notes that a record could not be decoded for now: a schema registry does not answer. It is the error
// once that has gone on too long.
func (s *Source) decodeFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var stop *stopError
	if errors.As(err, &stop) {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	if s.failing.IsZero() {
		s.failing = time.Now()
	}
	if time.Since(s.failing) >= s.opt.Patience {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	s.setState(err.Error())
	return nil
}

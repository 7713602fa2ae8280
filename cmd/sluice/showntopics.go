package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sinks/kafka/encode"
	"github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/decode"
)

// readTopic reads what a Kafka sink has committed, and decodes it as a source would: what verify proves is what another
// pipeline would read.
func (s *shownViews) readTopic(ctx context.Context, l *loaded, b sinkBinding) (err error) {
	sink, err := kafkasink.New(b.kafka)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	shown, err := sink.Read(ctx, l.Name, microbatch.Target{Output: b.output})
	if err != nil {
		return err
	}
	if len(shown.Times) > 0 {
		s.times = nil
		for _, at := range shown.Times {
			s.times = append(s.times, postgres.BatchTime{Offsets: at.Offsets, At: at.At})
		}
	}
	s.addLate(shown.DeadLetters)
	rows, err := topicRows(b, shown.Records)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", b.kafka.Layout.Topic, err)
	}
	s.parts = append(s.parts, &shownPart{topic: b.kafka.Layout.Topic, ledger: shown.Ledger, outputs: []planner.Output{b.output}, rows: [][]*vector.Chunk{rows}})
	return nil
}

// topicRows are a view's rows after the records of a topic: all of them, the last one of each key, or what is left
// after the change events.
func topicRows(b sinkBinding, records []*kgo.Record) ([]*vector.Chunk, error) {
	l := b.kafka.Layout
	if l.Mode == kafkasink.ModeUpsert {
		records = lastOfKey(records)
	}
	o := decode.MessageOptions{Format: l.Format, Fields: b.output.Columns, Registry: b.kafka.Registry.Options}
	if l.Mode == kafkasink.ModeDebezium {
		if l.Format == encode.Protobuf {
			return protobufRows(o, records)
		}
		o.Format, o.Encoding, o.Changes, o.Debezium.TextDecimals = "debezium", l.Format, planner.Weighted, true
	}
	chunks, err := decodeRecords(o, records)
	if err != nil {
		return nil, err
	}
	width := len(b.output.Columns)
	if l.Mode == kafkasink.ModeDebezium {
		return remaining(chunks, width)
	}
	return withoutSeq(chunks, width), nil
}

// withoutSeq cuts off what a source adds to its columns.
func withoutSeq(chunks []*vector.Chunk, width int) (out []*vector.Chunk) {
	for _, c := range chunks {
		out = append(out, &vector.Chunk{N: c.N, Cols: c.Cols[:width], Keep: c.Keep})
	}
	return out
}

// decodeRecords decodes as a source does that stops at what it cannot read.
func decodeRecords(o decode.MessageOptions, records []*kgo.Record) ([]*vector.Chunk, error) {
	d, err := decode.NewMessages(o)
	if err != nil {
		return nil, err
	}
	builder := o.Builder()
	for _, r := range records {
		if err := d.Add(&decode.Message{Key: r.Key, Value: r.Value, Offset: r.Offset, Partition: r.Partition}, builder); err != nil {
			return nil, err
		}
	}
	if len(builder.Bad) > 0 {
		bad := builder.Bad[0]
		return nil, fmt.Errorf("the record at offset %d is not what the sink writes: %s\nHint: does someone else write to the topic?", bad.Offset, bad.Reason)
	}
	return builder.Finish(), nil
}

// protobufRows adds up events in Protobuf, which no source reads: the rows in them are messages of their own, the
// second type of the schema's file.
func protobufRows(o decode.MessageOptions, records []*kgo.Record) ([]*vector.Chunk, error) {
	images := map[protowire.Number][]*kgo.Record{} // before and after
	for _, r := range records {
		if len(r.Value) < 6 {
			continue // a deleted key
		}
		head := append(slices.Clone(r.Value[:5]), 2, 2) // a list of one index: 1
		for b := r.Value[6:]; len(b) > 0; {
			n, typ, size := protowire.ConsumeTag(b)
			if size < 0 || typ != protowire.BytesType {
				return nil, fmt.Errorf("the record at offset %d is not an event", r.Offset)
			}
			value, length := protowire.ConsumeBytes(b[size:])
			if length < 0 {
				return nil, fmt.Errorf("the record at offset %d is cut off", r.Offset)
			}
			if n <= 2 {
				images[n] = append(images[n], &kgo.Record{Value: append(slices.Clone(head), value...), Offset: r.Offset, Partition: r.Partition})
			}
			b = b[size+length:]
		}
	}
	var changes []*vector.Chunk
	for n, weight := range map[protowire.Number]int64{1: -1, 2: 1} {
		chunks, err := decodeRecords(o, images[n])
		if err != nil {
			return nil, err
		}
		for _, c := range withoutSeq(chunks, len(o.Fields)) {
			w := vector.New(vector.Of(vector.Int64), c.N)
			for i := range c.N {
				w.PutI64(i, weight)
			}
			changes = append(changes, &vector.Chunk{N: c.N, Cols: append(slices.Clone(c.Cols), w), Keep: c.Keep})
		}
	}
	return remaining(changes, len(o.Fields))
}

// lastOfKey keeps the newest record of each key, unless it says that the row is gone. Equal keys are in one
// partition, whose order the records have.
func lastOfKey(records []*kgo.Record) []*kgo.Record {
	last := map[string]*kgo.Record{}
	for _, r := range records {
		last[string(r.Key)] = r
	}
	return slices.DeleteFunc(slices.Clone(records), func(r *kgo.Record) bool { return r.Value == nil || last[string(r.Key)] != r })
}

// remaining adds up changes: each row as often as it is there.
func remaining(changes []*vector.Chunk, width int) ([]*vector.Chunk, error) {
	type count struct{ chunk, row, n int64 }
	counts := map[string]*count{}
	var order []*count
	var key []byte
	for i, c := range changes {
		for r := range c.N {
			key = key[:0]
			for col := range width {
				key = vector.AppendValue(key, &c.Cols[col], r)
			}
			at := counts[string(key)]
			if at == nil {
				at = &count{chunk: int64(i), row: int64(r)}
				counts[string(key)] = at
				order = append(order, at)
			}
			at.n += c.Cols[width].I64(r)
		}
	}
	selected := make([][]int32, len(changes))
	for _, at := range order {
		if at.n < 0 {
			return nil, fmt.Errorf("an event takes away a row that was not there: row %d of chunk %d", at.row, at.chunk)
		}
		for range at.n {
			selected[at.chunk] = append(selected[at.chunk], int32(at.row))
		}
	}
	var out []*vector.Chunk
	for i, c := range changes {
		plain := &vector.Chunk{N: c.N, Cols: c.Cols[:width], Keep: c.Keep}
		for sel := range slices.Chunk(selected[i], vector.Size) {
			out = append(out, vector.Gather(plain, sel))
		}
	}
	return out, nil
}

package kafka

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/kafka/encode"
)

// Registry says where schemas are kept. The zero value is none.
type Registry struct {
	schemaregistry.Options
}

// An encoder turns deltas into messages.
type encoder struct {
	layout   Layout
	pipeline string
	output   planner.Output
	keyed    bool
	key      encode.Writer // nil if there is no key
	value    encode.Writer
	// keyHead and valueHead precede what a schema registry knows.
	keyHead, valueHead []byte

	arena []byte
}

// newEncoder registers the schemas that the formats have.
func (s *Sink) newEncoder(ctx context.Context) (*encoder, error) {
	e := newEncoder(s.pipeline, s.output, s.o.Layout)
	key, value := "", e.value.Schema()
	if e.key != nil {
		key = e.key.Schema()
	}
	if key == "" && value == "" {
		return e, nil
	}
	reg, err := schemaregistry.New(s.o.Registry.Options)
	if err != nil {
		return nil, err
	}
	if key != "" {
		if e.keyHead, err = register(ctx, reg, s.o.Layout.Topic+"-key", s.o.Layout.KeyFormat, key); err != nil {
			return nil, err
		}
	}
	if value != "" {
		e.valueHead, err = register(ctx, reg, s.o.Layout.Topic+"-value", s.o.Layout.Format, value)
	}
	return e, err
}

// register returns what precedes a message: a zero, the schema's id, and in Protobuf which message of the file it is:
// the first, which is written as a zero.
func register(ctx context.Context, reg *schemaregistry.Client, subject, format, schema string) ([]byte, error) {
	typ := map[string]string{encode.Avro: schemaregistry.Avro, encode.Protobuf: schemaregistry.Protobuf}[format]
	id, err := reg.Register(ctx, subject, typ, schema)
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	if format == encode.Protobuf {
		head = append(head, 0)
	}
	return head, nil
}

// newEncoder is for a layout that was checked, with its defaults.
func newEncoder(pipeline string, out planner.Output, l Layout) *encoder {
	e := &encoder{layout: l, pipeline: pipeline, output: out, keyed: l.keyed(out)}
	all := make([]int, len(out.Columns))
	for i := range all {
		all[i] = i
	}
	e.value = encode.New(encode.Shape{Format: l.Format, Name: out.Name, Fields: out.Columns, At: all, Events: l.Mode == ModeDebezium})
	if e.keyed {
		at, err := columnsOf(l.Key, out)
		if err != nil {
			panic("kafka sink: " + err.Error())
		}
		fields := make([]vector.Field, len(at))
		for i, col := range at {
			fields[i] = out.Columns[col]
		}
		e.key = encode.New(encode.Shape{Format: l.KeyFormat, Name: out.Name + "_key", Fields: fields, At: at})
	}
	return e
}

// batch encodes a delta.
func (e *encoder) batch(ctx context.Context, batch int64, chunks []*vector.Chunk) (out []message, err error) {
	e.arena = nil // the last batch's messages are its own
	if e.layout.Mode == ModeDebezium {
		return e.events(ctx, batch, chunks)
	}
	for _, c := range chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		weights := &c.Cols[len(c.Cols)-1]
		for r := range c.N {
			m, w := message{}, weights.I64(r)
			row := encode.Row{Chunk: c, At: r}
			if m.key, err = e.keyOf(row); err != nil {
				return nil, err
			}
			if w > 0 {
				if m.value, err = e.put(e.valueHead, func(dst []byte) ([]byte, error) { return e.value.Row(dst, row) }); err != nil {
					return nil, err
				}
			}
			n := int64(1)
			if e.output.Mode == planner.Append {
				n = w
			}
			for range n {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// keyOf is nil if records have no key.
func (e *encoder) keyOf(r encode.Row) ([]byte, error) {
	if e.key == nil {
		return nil, nil
	}
	return e.put(e.keyHead, func(dst []byte) ([]byte, error) { return e.key.Row(dst, r) })
}

// arenaBytes is how much room is made at once.
const arenaBytes = 1 << 20

// put appends to the arena and returns what was appended, never nil.
func (e *encoder) put(head []byte, fill func([]byte) ([]byte, error)) ([]byte, error) {
	if cap(e.arena)-len(e.arena) < arenaBytes/8 {
		e.arena = make([]byte, 0, arenaBytes)
	}
	start := len(e.arena)
	dst, err := fill(append(e.arena, head...))
	if err != nil {
		return nil, fmt.Errorf("a row of view %s: %w", e.output.Name, err)
	}
	e.arena = dst
	return dst[start:len(dst):len(dst)], nil
}

// events pairs what a batch deletes and inserts of one key, and makes change events. A deleted key gets a record
// without a value as well, after the event, for topics that are compacted.
func (e *encoder) events(ctx context.Context, batch int64, chunks []*vector.Chunk) (out []message, err error) {
	gone := map[string]encode.Row{}
	if e.keyed {
		err = e.each(ctx, chunks, func(r encode.Row, w int64) error {
			if w < 0 {
				key, err := e.keyOf(r)
				gone[string(key)] = r
				return err
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	add := func(r encode.Row, key []byte, op string, before, after *encode.Row) error {
		value, err := e.put(e.valueHead, func(dst []byte) ([]byte, error) {
			return e.value.Event(dst, encode.Event{Op: op, Before: before, After: after, Pipeline: e.pipeline, View: e.output.Name, Batch: batch})
		})
		out = append(out, message{key, value})
		return err
	}
	err = e.each(ctx, chunks, func(r encode.Row, w int64) error {
		if w < 0 && e.keyed {
			return nil
		}
		key, err := e.keyOf(r)
		if err != nil {
			return err
		}
		old, replaced := gone[string(key)]
		switch {
		case w > 0 && e.keyed && replaced:
			delete(gone, string(key))
			return add(r, key, "u", &old, &r)
		case w > 0:
			for range w {
				if err := add(r, key, "c", nil, &r); err != nil {
					return err
				}
			}
		default:
			for range -w {
				if err := add(r, key, "d", &r, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return out, err
	}
	err = e.each(ctx, chunks, func(r encode.Row, w int64) error {
		if w > 0 {
			return nil
		}
		key, err := e.keyOf(r)
		if err != nil {
			return err
		}
		if _, left := gone[string(key)]; !left {
			return nil
		}
		if err := add(r, key, "d", &r, nil); err != nil {
			return err
		}
		out = append(out, message{key: key})
		return nil
	})
	return out, err
}

func (e *encoder) each(ctx context.Context, chunks []*vector.Chunk, fn func(r encode.Row, w int64) error) error {
	for _, c := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		weights := &c.Cols[len(c.Cols)-1]
		for r := range c.N {
			if err := fn(encode.Row{Chunk: c, At: r}, weights.I64(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

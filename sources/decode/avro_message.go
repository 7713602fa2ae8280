package decode

import (
	"fmt"
	"slices"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
)

// avroMessages decodes values in Avro's binary encoding.
type avroMessages struct {
	registered[*avroOp]
	avroReader
	body []byte
}

func newAvroMessages(o MessageOptions) (*avroMessages, error) {
	data := o.dataFields()
	d := &avroMessages{}
	err := d.open(o, func(writer, reader *avroNode) (*avroOp, error) { return avroProgram(writer, reader, data) })
	return d, err
}

// open sets up how programs are found: from a registry, with a reader's schema or without, or from a schema that is the
// writer's.
func (d *registered[P]) open(o MessageOptions, compile func(writer, reader *avroNode) (P, error)) (err error) {
	var own *avroNode
	if o.AvroSchema != "" {
		if own, err = parseAvro(o.AvroSchema, nil); err != nil {
			return fmt.Errorf("avro_schema = '…' cannot be read: %w", err)
		}
	}
	if o.Registry.URL == "" {
		if d.current, err = compile(own, own); err != nil {
			return fmt.Errorf("avro_schema = '…' does not fit: %w", err)
		}
		return nil
	}
	d.typ = schemaregistry.Avro
	d.compile = func(s *schemaregistry.Schema) (p P, err error) {
		writer, err := parseAvro(s.Text, s.References)
		if err != nil {
			return p, err
		}
		return compile(writer, own)
	}
	d.registry, err = schemaregistry.New(o.Registry)
	return err
}

func (d *avroMessages) prepare(m *Message, value []byte) (err error) {
	d.body, err = d.find(m, value)
	return err
}

func (d *avroMessages) maxRows() int { return 1 }
func (d *avroMessages) weighs() bool { return false }

func (d *avroMessages) put(_ *Message, _ []byte, b *Builder, cols []*column) (n int, why string) {
	if d.registered.why != "" {
		return 0, d.registered.why
	}
	d.start(b, d.body)
	if !d.record(d.current, cols, b.row) || !d.end() {
		return 0, d.avroReader.why
	}
	return 1, ""
}

// start takes up a message.
func (r *avroReader) start(b *Builder, body []byte) {
	r.b, r.buf, r.p, r.free = b, body, 0, 0
}

// end refuses a message that goes on after its value.
func (r *avroReader) end() bool {
	if left := len(r.buf) - r.p; left > 0 {
		return r.fail("the message is not of its schema: %d bytes follow its value", left)
	}
	return true
}

// An avroEvent is the program of Debezium's envelope.
type avroEvent struct {
	fields []avroEventField
	row    *avroOp
	key    *avroOp // the primary key and nothing else, nil without one
	has    []bool  // the columns that the row has
}

// An avroEventField is a field of the envelope.
type avroEventField struct {
	node *avroNode
	part eventPart
}

type eventPart uint8

const (
	partOther eventPart = iota
	partBefore
	partAfter
	partOp
)

var eventParts = map[string]eventPart{"before": partBefore, "after": partAfter, "op": partOp}

// avroDebezium decodes Debezium's change events in Avro's binary encoding. What an event means is said by Debezium.
type avroDebezium struct {
	registered[*avroEvent]
	avroReader
	d    *Debezium
	body []byte
}

func newAvroDebezium(o MessageOptions) (*avroDebezium, error) {
	data, key := o.dataFields(), o.dataKey()
	opt := o.Debezium
	opt.Key = key
	a := &avroDebezium{d: NewDebezium(data, opt)}
	a.d.images = a.image
	err := a.open(o, func(writer, reader *avroNode) (*avroEvent, error) { return compileEvent(writer, reader, data, key) })
	return a, err
}

// compileEvent compiles an envelope's schema.
func compileEvent(writer, reader *avroNode, fields []vector.Field, key []int) (*avroEvent, error) {
	var e avroEvent
	var image *avroNode
	seen := map[eventPart]bool{}
	for _, f := range writer.fields {
		part := eventParts[f.name]
		if part == partBefore || part == partAfter {
			if image = f.node.alternative(avroRecord); image == nil || image.kind != avroRecord {
				return nil, fmt.Errorf("field %s is not a record", f.name)
			}
		}
		seen[part] = true
		e.fields = append(e.fields, avroEventField{f.node, part})
	}
	if image == nil || !seen[partOp] {
		return nil, fmt.Errorf("it has no op, before and after: rows without Debezium's envelope are read with format = 'avro'")
	}
	var inner *avroNode
	if reader = reader.alternative(avroRecord); reader != nil {
		for _, f := range reader.fields {
			if eventParts[f.name] == partAfter {
				inner = f.node
			}
		}
	}
	e.row = compileRecord(image, inner, fields)
	e.has = slices.Repeat([]bool{true}, len(fields))
	for _, a := range e.row.absent {
		e.has[a.to] = false
	}
	only := compileRecord(image, inner, fields)
	only.absent = slices.DeleteFunc(only.absent, func(a avroAbsent) bool { return !slices.Contains(key, a.to) })
	for i := range only.fields {
		if f := &only.fields[i]; !slices.Contains(key, f.to) {
			f.to = -1
		}
	}
	e.key = only
	return &e, nil
}

func (a *avroDebezium) prepare(m *Message, value []byte) (err error) {
	if value == nil {
		return nil
	}
	a.body, err = a.find(m, value)
	return err
}

func (a *avroDebezium) maxRows() int { return 2 }
func (a *avroDebezium) weighs() bool { return true }

func (a *avroDebezium) put(_ *Message, value []byte, b *Builder, cols []*column) (n int, why string) {
	switch {
	case value == nil:
		return 0, "" // a tombstone
	case a.registered.why != "":
		return 0, a.registered.why
	}
	a.start(b, a.body)
	d := a.d
	d.b, d.cols, d.ev = b, cols[:len(d.at)], event{afterRow: -1}
	if !a.envelope() {
		return 0, a.avroReader.why
	}
	if d.ev.before > 0 && !d.keyed() && d.beforeRow() < 0 || d.ev.after > 0 && d.decodeAfter() < 0 || !d.change() {
		return 0, d.reason
	}
	return d.ev.rows, ""
}

// envelope finds the images, whose places count from 1, and the operation.
func (a *avroDebezium) envelope() bool {
	for _, f := range a.current.fields {
		switch f.part {
		case partOp:
			if !a.operation(f.node) {
				return false
			}
			continue
		case partBefore, partAfter:
			at := a.p
			if f.node.kind == avroUnion {
				i, ok := a.branch(f.node)
				if !ok {
					return false
				}
				if at = a.p; f.node.of[i].kind != avroRecord {
					at = -1
				}
				if !a.skip(f.node.of[i], 0) {
					return false
				}
			} else if !a.skip(f.node, 0) {
				return false
			}
			if f.part == partBefore {
				a.d.ev.before = at + 1
			} else {
				a.d.ev.after = at + 1
			}
			continue
		}
		if !a.skip(f.node, 0) {
			return false
		}
	}
	return a.end()
}

// operation reads op, a text or a symbol.
func (a *avroDebezium) operation(n *avroNode) bool {
	if n.kind == avroUnion {
		i, ok := a.branch(n)
		if !ok {
			return false
		}
		if n = n.of[i]; n.kind == avroNull {
			return true
		}
	}
	var s []byte
	switch n.kind {
	case avroString:
		text, ok := a.blob()
		if !ok {
			return false
		}
		s = text
	case avroEnum:
		i, ok := a.symbolOf(n)
		if !ok {
			return false
		}
		s = n.symbols[i]
	default:
		return a.fail("op is %s, not a text", n.name)
	}
	if len(s) != 1 {
		return a.fail("op is %s, not one of c, r, u, d, t and m", quoted(s))
	}
	a.d.ev.op = s[0]
	return true
}

// image decodes the image at p, of which places count from 1, or its key alone, into a row.
func (a *avroDebezium) image(row, p int) int {
	d := a.d
	if d.gen++; d.gen == 0 {
		clear(d.seen)
		d.gen = 1
	}
	for i, has := range a.current.has {
		if has {
			d.seen[i] = d.gen
		}
	}
	op := a.current.row
	if d.only != nil {
		op = a.current.key
	}
	if a.p = p - 1; !a.record(op, d.cols, row) {
		return d.fail("%s", a.avroReader.why)
	}
	return a.p
}

package decode

import (
	"github.com/sluice-sql/sluice/internal/vector"
)

// A Message is one record of a stream: a Kafka record, a line of a request, a change event. A nil Key or
// Value means null, which is not the same as empty.
type Message struct {
	Key, Value []byte
	// Offset is the message's place in its partition: what its bad rows are found by, and the low part of
	// _seq (see MessageDecoder). Builder.Partition sets the high part.
	Offset int64
	// The rest is for METADATA columns. Timestamp is microseconds since 1970 in UTC.
	Partition int32
	Timestamp int64
	Topic     string
	Headers   []Header

	// Unknown are ids of schemas that the registry did not have when the message was first read: it is to be what it
	// was then.
	Unknown []uint32
	// Schemas are the schemas that Add looked for.
	Schemas []SchemaUse
}

// A SchemaUse says of a schema's id in a message whether the registry has the schema.
type SchemaUse struct {
	ID    uint32
	Known bool
}

// A Header is one of a message's headers. A nil Value means null.
type Header struct {
	Key   string
	Value []byte
}

// A MessageDecoder appends the rows of messages to builders.
//
// What a message becomes is a function of its bytes and, with a schema registry, of the schemas that the ids
// in it stand for. A registry never changes what an id stands for, so reading a range of messages again gives the
// same rows, if whoever reads it keeps in mind which ids stood for nothing (Message.Unknown).
//
// The low part of a row's _seq is its message's offset. Change events of a keyed source are the exception: one of
// them may be two rows of different keys, each with a _seq of its own, so theirs are 2·offset and 2·offset+1.
type MessageDecoder interface {
	// Add appends the rows of one message: one, the two of an update, none for an event that says nothing, or
	// a bad row. It keeps no reference to m's bytes.
	//
	// An error is not the message's fault, and leaves b as it was: a schema registry does not answer. The message is
	// to be added again later.
	Add(m *Message, b *Builder) error
}

// messages is what all formats have in common: binding the columns, METADATA, tombstones and weights.
type messages struct {
	opt    MessageOptions
	format messageFormat
	key    messageFormat // decodes the key of a tombstone, nil if none is needed
	// tombstones says that a message without a value is no row, but deletes one.
	tombstones bool
	meta       []metaColumn
	rest       []int // what a tombstone leaves NULL: all columns outside the primary key

	bound     *Builder
	cols      []*column // of the format, the weight included
	keyCols   []*column
	sequences int64 // per offset
}

// A messageFormat writes the rows of one message.
type messageFormat interface {
	// prepare gets what is needed to decode a value, or a key, of m. An error is not the message's fault.
	prepare(m *Message, value []byte) error
	// put decodes a value into n rows from b.row on, at most as many as maxRows says, or says why it cannot.
	put(m *Message, value []byte, b *Builder, cols []*column) (n int, why string)
	maxRows() int
	// weighs says that put sets the weights of rows, where they have any.
	weighs() bool
}

// Add implements MessageDecoder.
func (d *messages) Add(m *Message, b *Builder) error {
	m.Schemas = m.Schemas[:0]
	if d.opt.MaxBytes > 0 && len(m.Value) > d.opt.MaxBytes {
		b.AddBad(m.Offset, tooLongMessage(len(m.Value), d.opt.MaxBytes), m.Value)
		return nil
	}
	if d.bound != b {
		d.bind(b)
	}
	if m.Value == nil && d.tombstones {
		return d.tombstone(m, b)
	}
	if err := d.format.prepare(m, m.Value); err != nil {
		return err
	}
	rows := d.format.maxRows()
	b.reserve(rows)
	n, why := d.put(m, b)
	switch {
	case why != "":
		b.rejectRows(rows, m.Offset, why, m.Value)
	case n == 0:
		b.undo(b.row, b.row+rows)
	default:
		d.commit(m, b, n)
	}
	return nil
}

// put writes the rows of a message behind the last one, or says why it cannot.
func (d *messages) put(m *Message, b *Builder) (n int, why string) {
	if why = d.metadata(m, b, b.row); why != "" {
		return 0, why
	}
	if n, why = d.format.put(m, m.Value, b, d.cols); why != "" || n == 0 {
		return 0, why
	}
	if d.format.weighs() {
		if n > 1 {
			why = d.metadata(m, b, b.row+1)
		}
		return n, why
	}
	d.weigh(b, 1)
	return n, b.nullKey(b.row)
}

// weigh gives the row being written its weight, if rows have any.
func (d *messages) weigh(b *Builder, weight int64) {
	if b.weights != nil {
		b.weights.put64(b.row, uint64(weight))
	}
}

func (d *messages) commit(m *Message, b *Builder, n int) {
	for i := range n {
		if d.sequences > 1 {
			b.commit(d.sequences*m.Offset + int64(i))
		} else {
			b.commit(m.Offset)
		}
	}
}

// bind finds the columns of a builder. One is used for many messages.
func (d *messages) bind(b *Builder) {
	d.bound, d.cols, d.keyCols = b, d.cols[:0], d.keyCols[:0]
	for i := range d.opt.Fields {
		if d.opt.metadataOf(i) == "" {
			d.cols = append(d.cols, b.cols[i])
		}
	}
	if b.weights != nil {
		d.cols = append(d.cols, b.weights)
	}
	for _, k := range d.opt.Key {
		if d.opt.metadataOf(k) == "" {
			d.keyCols = append(d.keyCols, b.cols[k])
		}
	}
}

// tombstone appends the row of a message without a value: it deletes the row of the message's key.
func (d *messages) tombstone(m *Message, b *Builder) error {
	if why := d.noKey(m); why != "" {
		b.AddBad(m.Offset, why, nil)
		return nil
	}
	if d.key != nil {
		if err := d.key.prepare(m, m.Key); err != nil {
			return err
		}
	}
	b.reserve(1)
	why := d.metadata(m, b, b.row)
	if why == "" && d.key != nil {
		if _, why = d.key.put(m, m.Key, b, d.keyCols); why != "" {
			why = "the key of a message without a value: " + why
		}
	}
	for _, i := range d.rest {
		b.cols[i].setNull(b.row)
	}
	if why == "" {
		why = b.nullKey(b.row)
	}
	if why != "" {
		b.reject(m.Offset, why, m.Key)
		return nil
	}
	d.weigh(b, -1)
	d.commit(m, b, 1)
	return nil
}

// noKey says why a message without a value cannot delete a row, or "".
func (d *messages) noKey(m *Message) string {
	switch {
	case len(d.opt.Key) == 0:
		return "the message has no value: such messages delete the row of their key, which takes a source with PRIMARY KEY (…) NOT ENFORCED"
	case d.key != nil && m.Key == nil:
		return "the message has neither a value nor a key"
	}
	return ""
}

// dataFields are the columns that come from messages' values.
func (o MessageOptions) dataFields() (fields []vector.Field) {
	for i, f := range o.Fields {
		if o.metadataOf(i) == "" {
			fields = append(fields, f)
		}
	}
	return fields
}

// metadataOf is the METADATA key of a column, "" for one that comes from the value.
func (o MessageOptions) metadataOf(i int) string {
	if i < len(o.Metadata) {
		return o.Metadata[i]
	}
	return ""
}

package decode

import "bytes"

// The formats whose decoders also read files: a message is held in memory like a line of a file.

// slabBytes is how much memory messages are copied to at a time.
const slabBytes = 64 << 10

// hold copies a message where strings of the open chunk can point into, as a line: with a line end and PadBytes behind
// it. It returns the memory and where the copy begins.
func (b *Builder) hold(s []byte) (buf []byte, p int) {
	if need := len(s) + 1 + PadBytes; b.slabAt+need > len(b.slab) {
		b.newSlab(need)
	}
	b.block = b.slab
	p = b.slabAt
	copy(b.slab[p:], s)
	b.slab[p+len(s)] = '\n'
	b.slabAt += len(s) + 1
	return b.slab, p
}

// newSlab makes room for a message: behind those before it, in the same memory if no chunk points there, or in other.
func (b *Builder) newSlab(need int) {
	if b.usesBuf {
		b.keep = append(b.keep, b.block)
		b.usesBuf, b.shared = false, true
	}
	if b.shared || need > len(b.slab) {
		b.slab = make([]byte, max(need, min(slabBytes, max(4<<10, 2*len(b.slab)))))
	}
	b.slabAt, b.shared = 0, false
}

// oneLine turns the line ends between a JSON text's tokens into spaces, so that it is a line. Those inside strings, which
// JSON does not have, stay and end the line there.
func oneLine(s []byte) {
	if bytes.IndexByte(s, '\n') < 0 {
		return
	}
	inString := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			inString = !inString
		case '\\':
			i++
		case '\n':
			if inString {
				return
			}
			s[i] = ' '
		}
	}
}

// holdJSON holds a JSON text as a line.
func (b *Builder) holdJSON(s []byte) (buf []byte, p int) {
	buf, p = b.hold(s)
	oneLine(buf[p : p+len(s)])
	return buf, p
}

// jsonMessages decodes objects, with a weight (changelog) or without.
type jsonMessages struct{ *JSON }

func (d *jsonMessages) prepare(*Message, []byte) error { return nil }
func (d *jsonMessages) maxRows() int                   { return 1 }
func (d *jsonMessages) weighs() bool                   { return d.weight >= 0 }

func (d *jsonMessages) put(_ *Message, value []byte, b *Builder, cols []*column) (n int, why string) {
	if value == nil {
		return 0, "the message has no value, and so no " + WeightField
	}
	if len(value) > headerBytes && value[0] == 0 {
		// The id of a JSON Schema in a registry: it says nothing that the columns do not. No JSON begins with a zero byte.
		value = value[headerBytes:]
	}
	buf, p := b.holdJSON(value)
	d.b, d.cols, d.buf, d.unit = b, cols[:len(d.at)], buf, "message"
	if d.row(p) < 0 {
		return 0, d.reason
	}
	return 1, ""
}

// debeziumMessages decodes change events.
type debeziumMessages struct {
	*Debezium
	bound *Builder
}

func (d *debeziumMessages) prepare(*Message, []byte) error { return nil }
func (d *debeziumMessages) maxRows() int                   { return 2 }
func (d *debeziumMessages) weighs() bool                   { return true }

func (d *debeziumMessages) put(m *Message, value []byte, b *Builder, cols []*column) (n int, why string) {
	if value == nil {
		return 0, "" // a tombstone, for the log's compaction: the event before it has deleted the row
	}
	if d.bound != b {
		d.bound, d.applied = b, nil // its columns do not know yet how values are written
	}
	buf, p := b.holdJSON(value)
	d.b, d.cols, d.buf, d.unit, d.message = b, cols[:len(d.at)], buf, "message", m
	if d.event(p) < 0 {
		return 0, d.reason
	}
	return d.ev.rows, ""
}

// messageKey takes the key of the message for the image before the change, where there is none: a deletion may
// say no more than that.
func (d *Debezium) messageKey() bool {
	if d.message == nil || d.message.Key == nil {
		return d.refuse("op d needs the key in before")
	}
	var p int
	d.buf, p = d.b.holdJSON(d.message.Key)
	d.ev.before = d.blank(p)
	image, schema, end := d.keyParts(d.ev.before)
	if end >= 0 && d.lineEnd(end) < 0 {
		end = -1
	}
	if end >= 0 && image > 0 && schema > 0 && d.buf[image] == '{' {
		d.ev.before, d.ev.layout = image, d.bare
		d.ev.seen &^= hasSchema
		end = d.schema(schema)
	}
	if end < 0 {
		d.reason = "the message's key: " + d.reason
	}
	return end >= 0
}

// keyParts finds the payload and the schema of the object at p, 0 where it has none.
func (d *Debezium) keyParts(p int) (payload, schema, end int) {
	if d.buf[p] != '{' {
		return 0, 0, d.fail("expected an object with the primary key, found %s", quoted(d.upTo(p, 20)))
	}
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 || name == nil {
			return payload, schema, q
		}
		switch string(name) {
		case "payload":
			payload = q
		case "schema":
			schema = q
		}
		if p = d.skip(q, 0); p < 0 {
			return 0, 0, -1
		}
	}
}

// csvMessages decodes records, one a message.
type csvMessages struct{ *CSV }

func (d *csvMessages) prepare(*Message, []byte) error { return nil }
func (d *csvMessages) maxRows() int                   { return 1 }
func (d *csvMessages) weighs() bool                   { return false }

func (d *csvMessages) put(_ *Message, value []byte, b *Builder, cols []*column) (n int, why string) {
	value = bytes.TrimSuffix(value, []byte{'\n'}) // the record's own end; a \r before it is part of that
	buf, p := b.hold(value)
	end := p + len(value) + 1
	d.b, d.cols, d.buf = b, cols, buf
	switch next, ok := d.record(p, end); {
	case next < 0:
		return 0, "a quoted field is not closed"
	case next < end:
		return 0, "the message has more than one record"
	case !ok:
		return 0, d.reason
	}
	return 1, ""
}

// textMessages stores values as they are, in a VARCHAR or BLOB.
type textMessages struct{}

func (textMessages) prepare(*Message, []byte) error { return nil }
func (textMessages) maxRows() int                   { return 1 }
func (textMessages) weighs() bool                   { return false }

func (textMessages) put(_ *Message, value []byte, b *Builder, cols []*column) (n int, why string) {
	c := cols[0]
	if c.typ.IsString() {
		return 1, b.putBytes(c, b.row, value)
	}
	// The key of a message without a value.
	if why = badText(value); why == "" {
		why = c.putText(b.row, value, true)
	}
	if why != "" {
		return 0, "column " + c.name + ": " + why
	}
	return 1, ""
}

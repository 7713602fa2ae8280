package decode

import (
	"encoding/json"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Unit is what numbers count in events without a schema.
type Unit uint8

// Units of time. The zero value is Debezium's own default, microseconds.
const (
	DefaultUnit Unit = iota
	Milliseconds
	Microseconds
	Nanoseconds
)

// Units are the values of the options timestamp_unit and time_unit.
var Units = map[string]Unit{"": DefaultUnit, "ms": Milliseconds, "us": Microseconds, "ns": Nanoseconds}

// DebeziumOptions say what events mean.
type DebeziumOptions struct {
	// Key are the columns of the primary key. With a key, rows are the row that now is there, or the key of
	// one that is gone; without one, updates and deletes take back the row before.
	Key []int
	// TimestampUnit and TimeUnit are for TIMESTAMP and TIME columns of events without a schema. Default to
	// microseconds.
	TimestampUnit, TimeUnit Unit
	// TextDecimals says that events without a schema have decimals as text, not as bytes in base64. Defaults
	// to false.
	TextDecimals bool
}

// Debezium decodes change events: objects with op, before and after, bare or as the payload beside a schema.
//
// An event is a line. Its images are decoded where they stand, into the row that they will be, so that the
// bytes are looked at once; an image that stands where that row is not known yet is skipped and decoded
// last. A schema, which is most of an event's bytes, is only compared with the one before.
type Debezium struct {
	JSON
	opt    DebeziumOptions
	fields []vector.Field
	isKey  []bool

	bare    *layout // without a schema
	layouts map[string]*layout
	last    *layout // of the last schema seen
	applied *layout // whose codes the columns have

	images  func(row, p int) int // decodes an image that is not JSON
	message *Message             // that the event is, nil for a line of a file
	ev      event
}

// A layout is how events with one schema write the columns.
type layout struct {
	schema []byte
	codes  []code
}

// maxLayouts bounds how many schemas are remembered.
const maxLayouts = 64

// An event is what was found in a line so far.
type event struct {
	op byte // 0 when there was none
	// before and after are where the images stand, 0 when they are null or missing.
	before, after int
	seen          member8
	incomplete    string // a column that before does not have
	afterRow      int    // where after was decoded, -1 if it was not
	payload       int    // a payload to be decoded when the schema is known, 0 if there is none
	tombstone     bool   // the payload is null
	layout        *layout
	rows          int
}

// member8 is a set of an event's members.
type member8 uint8

const (
	hasBefore member8 = 1 << iota
	hasAfter
	hasOp
	hasSchema
	hasPayload
)

var _ Decoder = (*Debezium)(nil)

// NewDebezium returns a decoder for the columns. It works with any Builder of changes to the same columns.
func NewDebezium(fields []vector.Field, opt DebeziumOptions) *Debezium {
	d := &Debezium{JSON: *NewJSON(fields), opt: opt, fields: fields, isKey: make([]bool, len(fields)),
		bare: &layout{}, layouts: map[string]*layout{}}
	for _, k := range opt.Key {
		d.isKey[k] = true
	}
	for _, f := range fields {
		d.bare.codes = append(d.bare.codes, opt.bare(f.Type))
	}
	return d
}

// Decode implements Decoder.
func (d *Debezium) Decode(blk *Block, b *Builder) (used int, shared bool) {
	d.start(blk, b)
	d.applied = nil
	p, stop := 0, blk.stop()
	for p < stop && !b.Full() {
		if q := d.blankLine(p); q > 0 {
			p = q
			continue
		}
		b.reserve(2)
		next := d.event(p)
		if next < 0 || blk.tooLong(next-1-p) {
			p = d.reject(blk, p, 2)
			continue
		}
		d.commit(blk.Base + int64(p))
		p = next
	}
	return p, d.finish()
}

// commit accepts the event's rows.
//
// Why: rows of a keyed source have sequence numbers of their own, and no other event can have the byte
// after an event's first.
func (d *Debezium) commit(offset int64) {
	if d.ev.rows == 0 {
		d.b.undo(d.b.row, d.b.row+2)
	}
	for i := range d.ev.rows {
		if len(d.opt.Key) > 0 {
			d.b.commit(offset + int64(i))
		} else {
			d.b.commit(offset)
		}
	}
}

// event decodes the line at p and returns the start of the next one, or -1.
func (d *Debezium) event(p int) int {
	d.ev = event{afterRow: -1, layout: d.bare}
	p = d.blank(p)
	if d.match("null", p) {
		return d.lineEnd(p + 4) // a tombstone
	}
	if d.buf[p] != '{' {
		end := d.skip(p, 0)
		if end < 0 {
			return -1
		}
		return d.fail("expected a change event, found %s", quoted(d.buf[p:end]))
	}
	if p = d.members(p, 0); p < 0 {
		return -1
	}
	if p = d.lineEnd(p); p < 0 {
		return -1
	}
	if d.ev.payload > 0 && d.members(d.ev.payload, 1) < 0 {
		return -1
	}
	if d.ev.tombstone && d.ev.seen&(hasOp|hasBefore|hasAfter) == 0 {
		return p
	}
	if !d.change() {
		return -1
	}
	return p
}

// members decodes the object at p: the line (depth 0) or its payload.
func (d *Debezium) members(p, depth int) int {
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 {
			return -1
		}
		if name == nil {
			return q
		}
		switch string(name) {
		case "before":
			p = d.before(q)
		case "after":
			p = d.after(q)
		case "op":
			p = d.operation(q)
		case "schema":
			if depth > 0 {
				p = d.skip(q, depth)
			} else {
				p = d.schema(q)
			}
		case "payload":
			if depth > 0 {
				p = d.skip(q, depth)
			} else {
				p = d.payload(q)
			}
		default:
			p = d.skip(q, depth)
		}
		if p < 0 {
			return -1
		}
	}
}

// first notes a member and fails when it was there before.
func (d *Debezium) first(m member8, name string) bool {
	if d.ev.seen&m != 0 {
		d.fail("key %s appears twice in the event", name)
		return false
	}
	d.ev.seen |= m
	return true
}

func (d *Debezium) operation(p int) int {
	if !d.first(hasOp, "op") {
		return -1
	}
	if d.buf[p] != '"' {
		end := d.skip(p, 0)
		if end < 0 {
			return -1
		}
		return d.fail("op is %s, not a string", quoted(d.buf[p:end]))
	}
	s, next := d.text(p)
	if next < 0 {
		return -1
	}
	if len(s) != 1 {
		return d.fail("op is %s, not one of c, r, u, d, t and m", quoted(s))
	}
	d.ev.op = s[0]
	return next
}

// payload decodes the payload at p, or leaves it for later when the schema may still come.
func (d *Debezium) payload(p int) int {
	if !d.first(hasPayload, "payload") {
		return -1
	}
	switch {
	case d.match("null", p):
		d.ev.tombstone = true
		return p + 4
	case d.buf[p] != '{':
		end := d.skip(p, 0)
		if end < 0 {
			return -1
		}
		return d.fail("the payload is %s, not a change event", quoted(d.buf[p:end]))
	case d.ev.seen&hasSchema != 0:
		return d.members(p, 1)
	}
	d.ev.payload = p
	return d.skip(p, 0)
}

// schema takes up the schema at p.
func (d *Debezium) schema(p int) int {
	if !d.first(hasSchema, "schema") {
		return -1
	}
	if l := d.last; l != nil && p+len(l.schema) <= len(d.buf) && string(d.buf[p:p+len(l.schema)]) == string(l.schema) {
		d.ev.layout = l
		return p + len(l.schema)
	}
	next := d.skip(p, 0)
	if next < 0 {
		return -1
	}
	if d.buf[p] != '{' {
		return next // null: schemas are switched off
	}
	l := d.layouts[string(d.buf[p:next])]
	if l == nil {
		var err error
		if l, err = d.learnSchema(d.buf[p:next]); err != nil {
			return d.fail("the event's schema cannot be read: %v", err)
		}
	}
	d.last, d.ev.layout = l, l
	return next
}

// learnSchema makes a layout of a schema's text.
func (d *Debezium) learnSchema(text []byte) (*layout, error) {
	var s connectSchema
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	row := s.field("after")
	if row == nil {
		row = s.field("before")
	}
	if row == nil {
		row = &s // of a message's key
	}
	l := &layout{schema: append([]byte(nil), text...)}
	for _, f := range d.fields {
		l.codes = append(l.codes, codeOf(row.field(f.Name), f.Type))
	}
	if len(d.layouts) >= maxLayouts {
		clear(d.layouts)
	}
	d.layouts[string(l.schema)] = l
	return l, nil
}

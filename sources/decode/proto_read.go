package decode

import (
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A protoReader runs programs over messages. What the wire format says of repetitions holds: the last value of a field
// counts, messages of one field are merged, and lists are joined.
type protoReader struct {
	b   *Builder
	why string
}

func (r *protoReader) fail(format string, args ...any) bool {
	r.why = fmt.Sprintf(format, args...)
	return false
}

func (r *protoReader) put(c *column, why string) bool {
	if why != "" {
		r.why = "column " + c.name + ": " + why
	}
	return why == ""
}

func (r *protoReader) malformed(n int) bool {
	return r.fail("the message is not of its schema: %v", protowire.ParseError(n))
}

// message reads a whole message into a row of columns.
func (r *protoReader) message(op *protoOp, cols []*column, row int, body []byte) bool {
	op.begin(cols)
	return r.merge(op, cols, row, body) && r.finish(op, cols, row)
}

// begin forgets the message before.
func (op *protoOp) begin(cols []*column) {
	for i := range op.fields {
		f := &op.fields[i]
		if f.seen, f.n = false, 0; f.to >= 0 && (f.list || f.key != nil) {
			f.start = cols[f.to].kids[0].n
			clear(f.keys)
		}
	}
}

// merge reads the fields of a message, or of a part of one.
func (r *protoReader) merge(op *protoOp, cols []*column, row int, body []byte) bool {
	for len(body) > 0 {
		tag, n := uint64(body[0]), 1
		if tag >= 0x80 {
			if tag, n = protowire.ConsumeVarint(body); n < 0 {
				return r.malformed(n)
			}
		}
		body = body[n:]
		num, typ := tag>>3, protowire.Type(tag&7)
		if num == 0 || num > uint64(protowire.MaxValidNumber) {
			return r.fail("the message is not of its schema: it has a field %d", num)
		}
		size := valueSize(body, typ)
		if size == 0 {
			if size = protowire.ConsumeFieldValue(protowire.Number(num), typ, body); size < 0 {
				return r.malformed(size)
			}
		}
		if f := op.field(int32(num)); f != nil && !r.fieldValue(op, f, cols, row, typ, body[:size]) {
			return false
		}
		body = body[size:]
	}
	return true
}

// valueSize is the length of the commonest values, 0 for others.
func valueSize(body []byte, typ protowire.Type) int {
	switch {
	case len(body) == 0:
	case typ == protowire.VarintType && body[0] < 0x80:
		return 1
	case typ == protowire.BytesType && body[0] < 0x80 && len(body) > int(body[0]):
		return 1 + int(body[0])
	}
	return 0
}

// fieldValue takes up a value of a field, which includes its length if it has one.
func (r *protoReader) fieldValue(op *protoOp, f *protoField, cols []*column, row int, typ protowire.Type, value []byte) bool {
	if f.run == protoRefuse && f.to >= 0 {
		return r.put(cols[f.to], f.why)
	}
	if typ != wireTypes[f.kind] && !(f.list && typ == protowire.BytesType && isPackable(f.kind)) && f.key == nil {
		return true // a field of this number and another type is unknown
	}
	if f.oneof >= 0 {
		for i := range op.fields {
			if other := &op.fields[i]; other != f && other.oneof == f.oneof {
				other.seen = false
			}
		}
	}
	if f.to < 0 {
		return true
	}
	again := f.seen
	f.seen = true
	c := cols[f.to]
	switch {
	case f.key != nil:
		if typ != protowire.BytesType {
			return true
		}
		return r.entry(f, c, packedBody(value))
	case f.list && typ == protowire.BytesType && isPackable(f.kind):
		return r.packed(f, c, row, packedBody(value))
	case f.list:
		return r.item(f, c, row, value)
	case f.run == protoStruct:
		if !again {
			f.op.begin(c.kids)
		}
		return r.merge(f.op, c.kids, row, f.inside(value))
	case f.run > protoStruct:
		switch body := f.inside(value); {
		case !again:
			f.raw, f.owned = body, false
		case !f.owned: // it is still the message's own memory
			f.raw, f.owned = slices.Concat(f.raw, body), true
		default:
			f.raw = append(f.raw, body...)
		}
		return true
	}
	return r.scalar(&f.protoValue, c, row, value)
}

// inside is a message's value without its length, or a group's without its end.
func (v *protoValue) inside(value []byte) []byte {
	if v.kind == protoreflect.GroupKind {
		body, _ := protowire.ConsumeGroup(v.number, value)
		return body
	}
	_, n := protowire.ConsumeVarint(value)
	return value[n:]
}

// finish stores what is known at the end of a message.
func (r *protoReader) finish(op *protoOp, cols []*column, row int) bool {
	for i := range op.fields {
		f := &op.fields[i]
		if f.to < 0 {
			continue
		}
		c := cols[f.to]
		switch {
		case f.run == protoRefuse && !f.seen:
			c.setNull(row)
		case f.key != nil, f.list && c.typ.Kind == vector.List:
			c.putEntry(row, f.start, c.kids[0].n-f.start)
		case f.list:
			if f.n == 0 {
				c.setNull(row)
			} else if f.n != c.typ.Size {
				return r.put(c, fmt.Sprintf("expected %d items, found %d", c.typ.Size, f.n))
			}
		case f.seen && f.run == protoStruct:
			if !r.finish(f.op, c.kids, row) {
				return false
			}
		case f.seen && f.run > protoStruct:
			body := f.raw
			if f.raw = nil; !r.whole(&f.protoValue, c, row, body) {
				return false
			}
		case f.seen:
		case f.implicit && f.run != protoString:
			if !r.zero(&f.protoValue, c, row) {
				return false
			}
		default:
			c.setNull(row)
		}
	}
	for _, i := range op.absent {
		cols[i].setNull(row)
	}
	return true
}

// item reads one value of a list.
func (r *protoReader) item(f *protoField, c *column, row int, value []byte) bool {
	kid := c.kids[0]
	at := row*c.typ.Size + f.n
	if c.typ.Kind == vector.List {
		at = kid.push()
	} else if f.n++; f.n > c.typ.Size {
		return r.put(c, fmt.Sprintf("expected %d items, found more", c.typ.Size))
	}
	return r.value(&f.protoValue, kid, at, value)
}

// value reads a whole value, which includes its length if it has one.
func (r *protoReader) value(v *protoValue, c *column, row int, value []byte) bool {
	if v.run < protoStruct {
		return r.scalar(v, c, row, value)
	}
	return r.whole(v, c, row, v.inside(value))
}

// packed reads the numbers of a list that are written behind each other.
func (r *protoReader) packed(f *protoField, c *column, row int, body []byte) bool {
	for len(body) > 0 {
		size := 0
		switch wireTypes[f.kind] {
		case protowire.Fixed32Type:
			size = 4
		case protowire.Fixed64Type:
			size = 8
		default:
			if _, size = protowire.ConsumeVarint(body); size < 0 {
				return r.malformed(size)
			}
		}
		if size > len(body) {
			return r.fail("the message is not of its schema: a list of %s ends inside a number", f.kind)
		}
		if !r.item(f, c, row, body[:size]) {
			return false
		}
		body = body[size:]
	}
	return true
}

// entry reads an entry of a map. Of entries with one key the last counts.
func (r *protoReader) entry(f *protoField, c *column, body []byte) bool {
	entries := c.kids[0]
	var key, value []byte
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return r.malformed(n)
		}
		size := protowire.ConsumeFieldValue(num, typ, body[n:])
		if size < 0 {
			return r.malformed(size)
		}
		switch v := body[n : n+size]; {
		case num == 1 && typ == wireTypes[f.key.kind]:
			key = v
		case num == 2 && typ == wireTypes[f.kind]:
			value = v
		}
		body = body[n+size:]
	}
	id := string(keyOf(f.key.kind, key))
	at, again := f.keys[id]
	if again {
		entries.kids[1].reset(at)
	} else {
		if f.keys == nil {
			f.keys = map[string]int{}
		}
		at = entries.push()
		f.keys[id] = at
		if !r.valueOrZero(f.key, entries.kids[0], at, key) {
			return false
		}
	}
	return r.valueOrZero(&f.protoValue, entries.kids[1], at, value)
}

// keyOf is the same for the same key, however it is written.
func keyOf(kind protoreflect.Kind, value []byte) []byte {
	switch wireTypes[kind] {
	case protowire.BytesType:
		_, n := protowire.ConsumeVarint(value)
		return value[max(0, n):]
	case protowire.VarintType:
		x, _ := protowire.ConsumeVarint(value)
		switch kind {
		case protoreflect.BoolKind:
			x = min(x, 1)
		case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Sint32Kind:
			x = uint64(uint32(x))
		}
		return binary.LittleEndian.AppendUint64(nil, x)
	}
	if value == nil {
		return make([]byte, map[protowire.Type]int{protowire.Fixed32Type: 4, protowire.Fixed64Type: 8}[wireTypes[kind]])
	}
	return value
}

func (r *protoReader) valueOrZero(v *protoValue, c *column, row int, value []byte) bool {
	if v.run == protoRefuse {
		return r.put(c, v.why)
	}
	if value == nil {
		return r.zero(v, c, row)
	}
	return r.value(v, c, row, value)
}

// zero stores a field's default.
func (r *protoReader) zero(v *protoValue, c *column, row int) bool {
	if v.run >= protoStruct {
		return r.whole(v, c, row, nil)
	}
	return r.scalar(v, c, row, zeroValue[:])
}

// packedBody is a value without its length.
func packedBody(value []byte) []byte {
	_, n := protowire.ConsumeVarint(value)
	return value[n:]
}

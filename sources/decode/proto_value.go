package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/sluice-sql/sluice/internal/vector"
)

// wireTypes are how values of a kind are written.
var wireTypes = [...]protowire.Type{
	protoreflect.BoolKind: protowire.VarintType, protoreflect.EnumKind: protowire.VarintType, protoreflect.Int32Kind: protowire.VarintType,
	protoreflect.Sint32Kind: protowire.VarintType, protoreflect.Uint32Kind: protowire.VarintType, protoreflect.Int64Kind: protowire.VarintType,
	protoreflect.Sint64Kind: protowire.VarintType, protoreflect.Uint64Kind: protowire.VarintType, protoreflect.Sfixed32Kind: protowire.Fixed32Type,
	protoreflect.Fixed32Kind: protowire.Fixed32Type, protoreflect.FloatKind: protowire.Fixed32Type, protoreflect.Sfixed64Kind: protowire.Fixed64Type,
	protoreflect.Fixed64Kind: protowire.Fixed64Type, protoreflect.DoubleKind: protowire.Fixed64Type, protoreflect.StringKind: protowire.BytesType,
	protoreflect.BytesKind: protowire.BytesType, protoreflect.MessageKind: protowire.BytesType, protoreflect.GroupKind: protowire.StartGroupType,
}

func isPackable(kind protoreflect.Kind) bool {
	return wireTypes[kind] != protowire.BytesType && wireTypes[kind] != protowire.StartGroupType
}

// zeroValue is the number 0 in every wire type, and an empty string.
var zeroValue [8]byte

// number returns the value of a number: its magnitude and its sign, or what a double is.
func number(kind protoreflect.Kind, value []byte) (neg bool, abs uint64) {
	signed := int64(0)
	switch kind {
	case protoreflect.Fixed32Kind:
		return false, uint64(binary.LittleEndian.Uint32(value))
	case protoreflect.Fixed64Kind:
		return false, binary.LittleEndian.Uint64(value)
	case protoreflect.Sfixed32Kind:
		signed = int64(int32(binary.LittleEndian.Uint32(value)))
	case protoreflect.Sfixed64Kind:
		signed = int64(binary.LittleEndian.Uint64(value))
	default:
		x := uint64(value[0])
		if x >= 0x80 {
			x, _ = protowire.ConsumeVarint(value)
		}
		switch kind {
		case protoreflect.Uint64Kind:
			return false, x
		case protoreflect.Uint32Kind:
			return false, uint64(uint32(x))
		case protoreflect.Int32Kind, protoreflect.EnumKind:
			signed = int64(int32(x))
		case protoreflect.Sint32Kind:
			signed = protowire.DecodeZigZag(uint64(uint32(x)))
		case protoreflect.Sint64Kind:
			signed = protowire.DecodeZigZag(x)
		default:
			signed = int64(x)
		}
	}
	if signed < 0 {
		return true, uint64(-signed)
	}
	return false, uint64(signed)
}

// scalar stores a value that is not a message.
func (r *protoReader) scalar(v *protoValue, c *column, row int, value []byte) bool {
	switch v.run {
	case protoNumber:
		neg, abs := number(v.kind, value)
		if c.class == classBigint && abs <= math.MaxInt64 {
			if neg {
				abs = -abs
			}
			c.put64(row, abs)
			return true
		}
		return r.put(c, r.b.putWhole(c, row, neg, abs))
	case protoBool:
		x, _ := protowire.ConsumeVarint(value)
		return r.put(c, r.b.putBool(c, row, x != 0))
	case protoFloat:
		if v.kind == protoreflect.FloatKind {
			return r.put(c, r.b.putFloat(c, row, float64(math.Float32frombits(binary.LittleEndian.Uint32(value))), 32))
		}
		return r.put(c, r.b.putFloat(c, row, math.Float64frombits(binary.LittleEndian.Uint64(value)), 64))
	case protoName, protoCode:
		return r.enum(v, c, row, value)
	}
	n, at := protowire.ConsumeVarint(value)
	switch s := value[at : at+int(n)]; v.run {
	case protoText:
		if why := badText(s); why != "" {
			return r.put(c, why)
		}
		c.putCopied(row, r.b.keepText(s))
		return true
	case protoBytes:
		c.putCopied(row, r.b.keepText(s))
		return true
	default:
		return r.put(c, r.b.putString(c, row, s))
	}
}

// enum stores the name of an enum's value; one that the schema does not name is its number.
func (r *protoReader) enum(v *protoValue, c *column, row int, value []byte) bool {
	x, _ := protowire.ConsumeVarint(value)
	n := protoreflect.EnumNumber(int32(x))
	name := v.names[n]
	if v.run == protoCode {
		code, ok := v.codes[n]
		if !ok {
			if name == nil {
				name = wholeText(n < 0, uint64(max(n, -n)))
			}
			return r.put(c, quoted(name)+" is not "+article(c.typ))
		}
		c.putInt(row, uint64(code))
		return true
	}
	if name == nil {
		return r.put(c, r.b.putInt64(c, row, int64(n)))
	}
	c.putCopied(row, r.b.keepText(name))
	return true
}

// whole stores a message as one value.
func (r *protoReader) whole(v *protoValue, c *column, row int, body []byte) bool {
	switch v.run {
	case protoStruct:
		return r.message(v.op, c.kids, row, body)
	case protoWrapper:
		value, ok := r.only(v.inner, body)
		return ok && r.valueOrZero(v.inner, c, row, value)
	case protoJSON:
		return r.json(v, c, row, body)
	case protoTimestamp, protoDuration:
		seconds, nanos, ok := r.seconds(body)
		if !ok {
			return false
		}
		if v.run == protoTimestamp {
			return r.put(c, c.putMoment(row, seconds, nanos))
		}
		return r.put(c, c.putDuration(row, seconds, nanos))
	}
	return r.put(c, v.why)
}

// only returns the value of a wrapper, nil if it has its default.
func (r *protoReader) only(inner *protoValue, body []byte) (value []byte, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return nil, r.malformed(n)
		}
		size := protowire.ConsumeFieldValue(num, typ, body[n:])
		if size < 0 {
			return nil, r.malformed(size)
		}
		if num == 1 && typ == wireTypes[inner.kind] {
			value = body[n : n+size]
		}
		body = body[n+size:]
	}
	return value, true
}

// seconds reads a Timestamp or a Duration.
func (r *protoReader) seconds(body []byte) (seconds, nanos int64, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return 0, 0, r.malformed(n)
		}
		size := protowire.ConsumeFieldValue(num, typ, body[n:])
		if size < 0 {
			return 0, 0, r.malformed(size)
		}
		if typ == protowire.VarintType {
			x, _ := protowire.ConsumeVarint(body[n:])
			switch num {
			case 1:
				seconds = int64(x)
			case 2:
				nanos = int64(int32(x))
			}
		}
		body = body[n+size:]
	}
	return seconds, nanos, true
}

// maxSeconds is more than any timestamp or interval has.
const maxSeconds = math.MaxInt64/microsPerSecond - 1

func (c *column) putMoment(row int, seconds, nanos int64) (why string) {
	fault := timeRange
	if seconds < maxSeconds && seconds > -maxSeconds && nanos >= 0 && nanos < 1e9 {
		fault = c.putInstantOf(row, stamp{micros: seconds*microsPerSecond + nanos/1000, nanos: nanos % 1000})
	}
	if fault != timeOK {
		return fmt.Sprintf("%d seconds and %d nanoseconds are out of range for %s", seconds, nanos, c.typ)
	}
	return ""
}

// putDuration drops what is below a microsecond.
func (c *column) putDuration(row int, seconds, nanos int64) (why string) {
	if seconds >= maxSeconds || seconds <= -maxSeconds || nanos <= -1e9 || nanos >= 1e9 {
		return fmt.Sprintf("%d seconds and %d nanoseconds are out of range for %s", seconds, nanos, c.typ)
	}
	c.put128(row, 0, uint64(seconds*microsPerSecond+nanos/1000))
	return ""
}

// unmarshal reads a message with the library.
//
// Why recover: the library panics on a map's entry whose key is written in another wire type (v1.36.12, dynamicpb).
func unmarshal(body []byte, m *dynamicpb.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return proto.Unmarshal(body, m)
}

// json stores a message as JSON, in the form that Protobuf gives it.
func (r *protoReader) json(v *protoValue, c *column, row int, body []byte) bool {
	m := dynamicpb.NewMessage(v.desc)
	if err := unmarshal(body, m); err != nil {
		return r.fail("column %s: the message cannot be read: %v", c.name, err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return r.fail("column %s: the message cannot be written as JSON: %v", c.name, err)
	}
	var out bytes.Buffer
	// Why: protojson varies its spaces on purpose, from one build to the next.
	if err := json.Compact(&out, text); err != nil {
		return r.fail("column %s: the message cannot be written as JSON: %v", c.name, err)
	}
	if why := badText(out.Bytes()); why != "" {
		return r.put(c, why)
	}
	c.putCopied(row, r.b.keepText(out.Bytes()))
	return true
}

// reset makes a row of a map's values as if it had never been written. What it had in lists stays behind, unused.
func (c *column) reset(row int) {
	if c.valid != nil {
		c.valid[row>>6] |= 1 << (uint(row) & 63)
	}
	if c.width > 0 {
		clear(c.data[row*c.width : (row+1)*c.width])
	}
	switch c.typ.Kind {
	case vector.Struct, vector.Union:
		for _, k := range c.kids {
			k.reset(row)
		}
	case vector.Array:
		for i := range c.typ.Size {
			c.kids[0].reset(row*c.typ.Size + i)
		}
	}
}

package decode

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// maxAvroDepth bounds how deeply values nest that are skipped; the depth of others is that of the columns.
	maxAvroDepth = 500
	// maxFreeItems bounds the items without a byte of their own in a message, whose number is all that they cost.
	maxFreeItems = 1 << 16
)

// An avroReader runs a program over a message.
//
// Invariant: p never exceeds len(buf), and nothing is allocated for a length that the message does not have.
type avroReader struct {
	b    *Builder
	buf  []byte
	p    int
	free int // items without bytes so far
	why  string
}

func (r *avroReader) fail(format string, args ...any) bool {
	r.why = fmt.Sprintf(format, args...)
	return false
}

func (r *avroReader) refuse(c *column, why string) bool {
	r.why = "column " + c.name + ": " + why
	return false
}

func (r *avroReader) ends() bool {
	return r.fail("the message is not of its schema: it ends at byte %d, inside a value", len(r.buf))
}

// long reads a zigzag number of at most ten bytes.
func (r *avroReader) long() (v int64, ok bool) {
	if r.p < len(r.buf) && r.buf[r.p] < 0x80 {
		x := uint64(r.buf[r.p])
		r.p++
		return int64(x>>1) ^ -int64(x&1), true
	}
	x, n := binary.Uvarint(r.buf[r.p:])
	switch {
	case n == 0:
		return 0, r.ends()
	case n < 0:
		return 0, r.fail("the message is not of its schema: the number at byte %d is longer than 64 bits", r.p)
	}
	r.p += n
	return int64(x>>1) ^ -int64(x&1), true
}

// take returns the next n bytes.
func (r *avroReader) take(n int) (s []byte, ok bool) {
	if n > len(r.buf)-r.p {
		return nil, r.ends()
	}
	s = r.buf[r.p : r.p+n : r.p+n]
	r.p += n
	return s, true
}

// blob reads a length and as many bytes.
func (r *avroReader) blob() (s []byte, ok bool) {
	n, ok := r.long()
	if !ok {
		return nil, false
	}
	if n < 0 || n > int64(len(r.buf)-r.p) {
		return nil, r.fail("the message is not of its schema: a text or bytes of length %d at byte %d, and %d bytes are left", n, r.p, len(r.buf)-r.p)
	}
	return r.take(int(n))
}

// block reads how many items follow, 0 at the end, each of at least min bytes, and the length of the block if there
// is one.
func (r *avroReader) block(min int) (count, size int64, ok bool) {
	size = -1
	if count, ok = r.long(); !ok {
		return 0, 0, false
	}
	if count < 0 {
		count = -count
		if size, ok = r.long(); !ok {
			return 0, 0, false
		}
		if size < 0 || size > int64(len(r.buf)-r.p) {
			return 0, 0, r.ends()
		}
	}
	left := int64(len(r.buf) - r.p)
	switch {
	case count < 0 || min > 0 && count > left/int64(min):
		return 0, 0, r.fail("the message is not of its schema: %d items at byte %d, and %d bytes are left", count, r.p, left)
	case min == 0 && count > 0:
		if count > maxFreeItems-int64(r.free) {
			return 0, 0, r.fail("the message has more than %d items without a value", maxFreeItems)
		}
		r.free += int(count)
	}
	return count, size, true
}

// record reads the fields of a record into columns.
func (r *avroReader) record(op *avroOp, cols []*column, row int) bool {
	for i := range op.fields {
		f := &op.fields[i]
		if f.to < 0 {
			if !r.skip(f.node, 0) {
				return false
			}
		} else if !r.read(f.op, cols[f.to], row) {
			return false
		}
	}
	for i := range op.absent {
		a := &op.absent[i]
		c := cols[a.to]
		if a.op == nil {
			c.setNull(row)
		} else if !r.preset(a, c, row) {
			return false
		}
	}
	return true
}

// preset reads a default.
func (r *avroReader) preset(a *avroAbsent, c *column, row int) bool {
	buf, p := r.buf, r.p
	r.buf, r.p = a.preset, 0
	ok := r.read(a.op, c, row)
	r.buf, r.p = buf, p
	return ok
}

// read reads a value into a row of c.
func (r *avroReader) read(op *avroOp, c *column, row int) bool {
	switch op.run {
	case runBigint:
		v, ok := r.long()
		c.put64(row, uint64(v))
		return ok
	case runText:
		s, ok := r.blob()
		return ok && r.text(c, row, s)
	case runDouble:
		s, ok := r.take(8)
		return ok && r.float(c, row, math.Float64frombits(binary.LittleEndian.Uint64(s)), 64)
	case runUnion:
		return r.union(op, c, row)
	case runNull:
		c.setNull(row)
		return true
	case runRecord:
		return r.record(op, c.kids, row)
	case runArray:
		return r.array(op, c, row)
	case runMap:
		return r.mapping(op, c, row)
	case runRefuse:
		return r.refuse(c, op.why)
	}
	return r.scalar(op, c, row)
}

// scalar reads a value that has no others inside it.
func (r *avroReader) scalar(op *avroOp, c *column, row int) bool {
	switch op.run {
	case runInt, runInstant, runSpan:
		return r.number(op, c, row)
	case runBool:
		s, ok := r.take(1)
		if ok && s[0] > 1 {
			return r.fail("the message is not of its schema: the boolean at byte %d is %d", r.p-1, s[0])
		}
		return ok && r.put(c, r.b.putBool(c, row, s[0] == 1))
	case runFloat:
		s, ok := r.take(4)
		return ok && r.float(c, row, float64(math.Float32frombits(binary.LittleEndian.Uint32(s))), 32)
	case runString:
		s, ok := r.blob()
		return ok && r.put(c, r.b.putString(c, row, s))
	case runSymbol, runCode, runIndex:
		return r.symbol(op, c, row)
	case runVariableDecimal:
		return r.variableDecimal(c, row)
	}
	s, ok := r.raw(op.node)
	if !ok {
		return false
	}
	switch op.run {
	case runBytes:
		c.putCopied(row, r.b.keepText(s))
		return true
	case runBytesText:
		return r.text(c, row, s)
	case runDecimal:
		return r.put(c, r.b.putUnscaled(c, row, s, op.scale))
	case runUUID:
		c.put128(row, binary.BigEndian.Uint64(s[8:]), binary.BigEndian.Uint64(s)^1<<63)
		return true
	case runDuration:
		return r.duration(c, row, s)
	}
	panic(fmt.Sprintf("decode: no way to run %d", op.run))
}

// raw reads bytes, of a length of their own or of a fixed one.
func (r *avroReader) raw(n *avroNode) (s []byte, ok bool) {
	if n.kind == avroFixed {
		return r.take(n.size)
	}
	return r.blob()
}

// put refuses a value if there is a reason.
func (r *avroReader) put(c *column, why string) bool {
	if why != "" {
		return r.refuse(c, why)
	}
	return true
}

func (r *avroReader) text(c *column, row int, s []byte) bool {
	if why := badText(s); why != "" {
		return r.refuse(c, why)
	}
	c.putCopied(row, r.b.keepText(s))
	return true
}

func (r *avroReader) float(c *column, row int, f float64, bits int) bool {
	if c.class == classDouble {
		c.putF64(row, f)
		return true
	}
	return r.put(c, r.b.putFloat(c, row, f, bits))
}

func (r *avroReader) number(op *avroOp, c *column, row int) bool {
	v, ok := r.long()
	if !ok {
		return false
	}
	fault := timeOK
	switch op.run {
	case runInt:
		return r.put(c, r.b.putInt64(c, row, v))
	case runInstant:
		fault = c.putInstant(row, op.unit, v)
	case runSpan:
		fault = c.putSpan(row, op.unit, v)
	}
	if fault != timeOK {
		return r.refuse(c, fmt.Sprintf("%d is out of range for %s", v, c.typ))
	}
	return true
}

// symbolOf reads which symbol of an enum follows.
func (r *avroReader) symbolOf(n *avroNode) (i int64, ok bool) {
	if i, ok = r.long(); !ok {
		return 0, false
	}
	if i < 0 || i >= int64(len(n.symbols)) {
		return 0, r.fail("the message is not of its schema: symbol %d of %s, which has %d", i, n.name, len(n.symbols))
	}
	return i, true
}

func (r *avroReader) symbol(op *avroOp, c *column, row int) bool {
	i, ok := r.symbolOf(op.node)
	if !ok {
		return false
	}
	switch s := op.node.symbols[i]; op.run {
	case runSymbol:
		return r.text(c, row, s)
	case runCode:
		if op.codes[i] < 0 {
			return r.refuse(c, quoted(s)+" is not "+article(c.typ))
		}
		c.putInt(row, uint64(op.codes[i]))
		return true
	}
	return r.put(c, r.b.putInt64(c, row, i))
}

// duration stores months, days and milliseconds, three unsigned numbers.
func (r *avroReader) duration(c *column, row int, s []byte) bool {
	months, days, millis := binary.LittleEndian.Uint32(s), binary.LittleEndian.Uint32(s[4:]), binary.LittleEndian.Uint32(s[8:])
	if months > math.MaxInt32 || days > math.MaxInt32 {
		return r.refuse(c, fmt.Sprintf("%d months and %d days are out of range for INTERVAL", months, days))
	}
	c.put128(row, uint64(months)|uint64(days)<<32, uint64(millis)*1000)
	return true
}

func (r *avroReader) variableDecimal(c *column, row int) bool {
	scale, ok := r.long()
	if !ok {
		return false
	}
	s, ok := r.blob()
	return ok && r.put(c, r.b.putUnscaled(c, row, s, scale))
}

// branch reads which branch of a union follows.
func (r *avroReader) branch(n *avroNode) (i int64, ok bool) {
	if i, ok = r.long(); !ok {
		return 0, false
	}
	if i < 0 || i >= int64(len(n.of)) {
		return 0, r.fail("the message is not of its schema: branch %d of a union of %d", i, len(n.of))
	}
	return i, true
}

func (r *avroReader) union(op *avroOp, c *column, row int) bool {
	i, ok := r.branch(op.node)
	if !ok {
		return false
	}
	tag := op.tags[i]
	if tag < 0 {
		return r.read(op.of[i], c, row)
	}
	for j, k := range c.kids[1:] {
		if j != tag {
			k.setNull(row)
		}
	}
	c.kids[0].put8(row, uint64(tag))
	return r.read(op.of[i], c.kids[1+tag], row)
}

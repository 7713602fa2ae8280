package vector

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// maxDecodeRows bounds a chunk's row count, so that rows fit an int32 selection.
const maxDecodeRows = math.MaxInt32

// DecodeChunk decodes what AppendChunk wrote and returns the bytes after it. It checks every length
// against what is left of b before it allocates, and refuses values that would crash DuckDB (enum
// indexes and union tags out of range). Texts alias b: it must not be overwritten while c is in use;
// c.Keep keeps it alive.
func DecodeChunk(types []Type, b []byte) (c *Chunk, rest []byte, err error) {
	d := decoder{b: b}
	n := d.uvarint(maxDecodeRows)
	cols := d.uvarint(math.MaxInt32)
	if d.err == nil && cols != len(types) {
		d.fail("chunk has %d columns, expected %d", cols, len(types))
	}
	if d.err != nil {
		return nil, nil, fmt.Errorf("decode chunk: %w", d.err)
	}
	c = &Chunk{N: n, Cols: make([]Vector, cols), Keep: []any{b}}
	for i, t := range types {
		c.Cols[i] = New(t, 0)
		d.vector(&c.Cols[i], 0, n)
		if d.err != nil {
			return nil, nil, fmt.Errorf("decode column %d of type %s: %w", i, t, d.err)
		}
	}
	return c, d.b, nil
}

// A ValueReader concatenates values that AppendValue wrote into one vector.
type ValueReader struct {
	Out Vector
	n   int
}

// NewValueReader returns a reader of values of type t.
func NewValueReader(t Type) *ValueReader { return &ValueReader{Out: New(t, 0)} }

// Append decodes one value as the next row of Out. Texts alias b, which the caller keeps alive.
func (r *ValueReader) Append(b []byte) error {
	d := decoder{b: b}
	d.vector(&r.Out, r.n, 1)
	if d.err == nil && len(d.b) != 0 {
		d.fail("%d bytes left after a value of type %s", len(d.b), r.Out.Type)
	}
	r.n++
	return d.err
}

// AppendNull makes the next row of Out NULL.
func (r *ValueReader) AppendNull() {
	appendNullRow(&r.Out, r.n)
	r.n++
}

func appendNullRow(v *Vector, have int) {
	v.grow(have, 1)
	v.addNulls(have, 1, []byte{1})
	for i := range v.Children {
		switch v.Type.Kind {
		case Struct, Union:
			appendNullRow(&v.Children[i], have)
		case Array:
			for j := range v.Type.Size {
				appendNullRow(&v.Children[i], have*v.Type.Size+j)
			}
		}
	}
	if v.Type.Kind == List || v.Type.Kind == Map {
		v.PutEntry(have, v.elems(have), 0)
	}
}

// elems returns how many elements the first n rows of a LIST or MAP built in order refer to.
func (v *Vector) elems(n int) int {
	if n == 0 {
		return 0
	}
	off, length := v.Entry(n - 1)
	return off + length
}

// grow makes room for n more zeroed rows after have, doubling so that appending row by row stays linear.
func (v *Vector) grow(have, n int) {
	w := v.Type.Bytes()
	need := (have + n) * w
	if need <= cap(v.Data) {
		v.Data = v.Data[:need]
		clear(v.Data[have*w:])
		return
	}
	room := need
	if have > 0 {
		room = max(need, 2*cap(v.Data))
	}
	data := alignedBytes(room)
	copy(data, v.Data[:have*w])
	v.Data = data[:need]
}

// addNulls extends Valid over n rows after have; mask has a bit set for each NULL, nil for none.
func (v *Vector) addNulls(have, n int, mask []byte) {
	if mask == nil && v.Valid == nil {
		return
	}
	if v.Valid == nil {
		v.Valid = AllValid(have)
	}
	for len(v.Valid) < (have+n+63)/64 {
		v.Valid = append(v.Valid, math.MaxUint64)
	}
	for i, m := range mask {
		for ; m != 0; m &= m - 1 {
			if r := i*8 + bits.TrailingZeros8(m); r < n {
				r += have
				v.Valid[r>>6] &^= 1 << (uint(r) & 63)
			}
		}
	}
}

// A decoder reads from the front of b. After the first failure every read returns zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) uvarint(limit int) int {
	x, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("truncated or overlong number")
		return 0
	}
	if x > uint64(limit) {
		d.fail("number %d exceeds what is possible here (%d)", x, limit)
		return 0
	}
	d.b = d.b[n:]
	return int(x)
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail("truncated: %d bytes wanted, %d left", n, len(d.b))
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

// vector appends n decoded rows to v, which holds have rows.
func (d *decoder) vector(v *Vector, have, n int) {
	var mask []byte
	switch flag := d.take(1); {
	case flag == nil:
		return
	case flag[0] == hasNulls:
		if mask = d.take((n + 7) / 8); d.err != nil {
			return
		}
	case flag[0] != noNulls:
		d.fail("unknown column flag %d", flag[0])
		return
	}
	v.addNulls(have, n, mask)
	switch v.Type.Kind {
	case Varchar, Blob, Bit, Bignum:
		d.strings(v, have, n)
	case List, Map:
		d.lists(v, have, n)
	case Array:
		if n > 0 && v.Type.Size > len(d.b)/n {
			d.fail("truncated: %d arrays of %d elements in %d bytes", n, v.Type.Size, len(d.b))
			return
		}
		d.vector(&v.Children[0], have*v.Type.Size, n*v.Type.Size)
	case Struct:
		for i := range v.Children {
			d.vector(&v.Children[i], have, n)
		}
	case Union:
		for i := range v.Children {
			d.vector(&v.Children[i], have, n)
		}
		if d.err == nil {
			d.checkIndexes(&v.Children[0], have, n, len(v.Type.Fields))
		}
	default:
		d.fixed(v, have, n)
	}
}

func (d *decoder) fixed(v *Vector, have, n int) {
	w := v.Type.Bytes()
	if w == 0 || n > len(d.b)/w {
		d.fail("truncated: %d values of %d bytes in %d bytes", n, w, len(d.b))
		return
	}
	v.grow(have, n)
	copy(v.Data[have*w:], d.take(n*w))
	switch v.Type.Kind {
	case Bool:
		d.checkIndexes(v, have, n, 2)
	case Enum:
		d.checkIndexes(v, have, n, len(v.Type.Values))
	}
}

// checkIndexes refuses values that are not below limit, NULL rows apart.
func (d *decoder) checkIndexes(v *Vector, have, n, limit int) {
	for i := have; i < have+n; i++ {
		var x uint32
		switch v.Type.Bytes() {
		case 1:
			x = uint32(v.U8(i))
		case 2:
			x = uint32(v.U16(i))
		default:
			x = v.U32(i)
		}
		if int(x) >= limit && !v.IsNull(i) {
			d.fail("value %d of %s out of range (%d)", x, v.Type, limit)
			return
		}
	}
}

func (d *decoder) strings(v *Vector, have, n int) {
	if n > len(d.b) {
		d.fail("truncated: %d texts in %d bytes", n, len(d.b))
		return
	}
	v.grow(have, n)
	for i := have; i < have+n; i++ {
		v.PutU32(i*4, uint32(d.uvarint(min(len(d.b), math.MaxUint32))))
	}
	for i := have; i < have+n && d.err == nil; i++ {
		v.PutStr(i, d.take(int(v.U32(i*4))))
	}
	if d.err != nil {
		// Why: a length without its text is a StringRef to nowhere; nobody may ever see one.
		clear(v.Data[have*16:])
	}
}

func (d *decoder) lists(v *Vector, have, n int) {
	if n > len(d.b) {
		d.fail("truncated: %d lists in %d bytes", n, len(d.b))
		return
	}
	v.grow(have, n)
	base := v.elems(have)
	total := 0
	for i := have; i < have+n; i++ {
		length := d.uvarint(len(d.b))
		v.PutEntry(i, base+total, length)
		if total += length; total > len(d.b) {
			d.fail("truncated: lists of %d elements in %d bytes", total, len(d.b))
			return
		}
	}
	d.vector(&v.Children[0], base, total)
}

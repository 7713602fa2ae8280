package decode

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A column is a vector being written. Children of LIST and MAP grow on their own; all other children
// have as many rows as their parent.
type column struct {
	name  string
	typ   vector.Type
	class class
	code  code // how a change event writes the value, if not as JSON
	width int
	data  []byte
	valid []uint64
	cap   int
	n     int // rows in use, of LIST and MAP children
	mark  int // n when the current row began
	kids  []*column
	enum  map[string]uint32 // dictionary of an ENUM
	field map[string]int    // members of a STRUCT or UNION
	seen  []uint32          // rowgen per member, to find duplicate keys
	gen   uint32
}

func newColumn(name string, t vector.Type) *column {
	c := &column{name: name, typ: t, class: classOf(t.Kind), width: t.Bytes()}
	for _, ct := range t.ChildTypes() {
		c.kids = append(c.kids, newColumn(name, ct))
	}
	if t.Kind == vector.Enum {
		c.enum = make(map[string]uint32, len(t.Values))
		for i, v := range t.Values {
			c.enum[v] = uint32(i)
		}
	}
	if len(t.Fields) > 0 {
		c.field = make(map[string]int, len(t.Fields))
		for i, f := range t.Fields {
			c.field[f.Name] = i
		}
		c.seen = make([]uint32, len(t.Fields))
	}
	return c
}

// class groups the kinds that the JSON decoder treats alike.
type class uint8

const (
	classOther class = iota
	classBigint
	classText
	classDouble
	classStamp
	classInteger
	classNested
	classWeight
)

func classOf(k vector.Kind) class {
	switch k {
	case vector.Int64:
		return classBigint
	case vector.Varchar:
		return classText
	case vector.Float64:
		return classDouble
	case vector.Timestamp, vector.TimestampTZ:
		return classStamp
	case vector.Int8, vector.Int16, vector.Int32, vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64,
		vector.Int128, vector.UInt128, vector.Bool:
		return classInteger
	case vector.List, vector.Map, vector.Array, vector.Struct, vector.Union:
		return classNested
	}
	return classOther
}

// alloc returns zeroed bytes at an 8-byte boundary: DuckDB reads words.
func alloc(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)[:n:n]
}

// resize makes room for n rows, keeping what is there.
func (c *column) resize(n int) {
	if c.width > 0 {
		data := alloc(n * c.width)
		copy(data, c.data)
		c.data = data
	}
	if c.valid != nil && len(c.valid) < (n+63)/64 {
		valid := vector.AllValid(n)
		copy(valid, c.valid)
		c.valid = valid
	}
	c.cap = n
	switch c.typ.Kind {
	case vector.Struct, vector.Union:
		for _, k := range c.kids {
			k.resize(n)
		}
	case vector.Array:
		c.kids[0].resize(n * c.typ.Size)
	}
}

// push returns the next free row of a LIST or MAP child.
func (c *column) push() int {
	if c.n == c.cap {
		c.resize(max(64, 2*c.cap))
	}
	c.n++
	return c.n - 1
}

// setNull marks a row and everything below it NULL.
func (c *column) setNull(row int) {
	if c.valid == nil {
		c.valid = vector.AllValid(c.cap)
	}
	c.valid[row>>6] &^= 1 << (uint(row) & 63)
	switch c.typ.Kind {
	case vector.Struct, vector.Union:
		for _, k := range c.kids {
			k.setNull(row)
		}
	case vector.Array:
		for i := range c.typ.Size {
			c.kids[0].setNull(row*c.typ.Size + i)
		}
	case vector.List, vector.Map:
		c.putEntry(row, c.kids[0].n, 0)
	}
}

func (c *column) isNull(row int) bool {
	return c.valid != nil && c.valid[row>>6]&(1<<(uint(row)&63)) == 0
}

// equalRows compares two rows of a column that is not nested.
func (c *column) equalRows(i, j int) bool {
	v := vector.Vector{Type: c.typ, Data: c.data, Valid: c.valid}
	return vector.EqualValue(&v, i, &v, j)
}

// unavailable reports whether the text in a row, or the only one in a list or map, is Debezium's word for a
// value that it does not have.
func (c *column) unavailable(row int) bool {
	switch c.typ.Kind {
	case vector.Varchar, vector.Blob:
		if n := binary.LittleEndian.Uint32(c.data[row*16:]); n != uint32(len(unavailable)) && n != uint32(len(unavailableBytes)) {
			return false
		}
		v := vector.Vector{Type: c.typ, Data: c.data}
		s := v.Str(row)
		return string(s) == unavailable || string(s) == unavailableBytes
	case vector.List:
		v := vector.Vector{Type: c.typ, Data: c.data}
		offset, n := v.Entry(row)
		return n == 1 && c.kids[0].unavailable(offset)
	case vector.Map:
		v := vector.Vector{Type: c.typ, Data: c.data}
		offset, n := v.Entry(row)
		return n == 1 && c.kids[0].kids[0].unavailable(offset)
	}
	return false
}

// setMark remembers where the children of a row begin.
func (c *column) setMark() {
	switch c.typ.Kind {
	case vector.List, vector.Map:
		c.kids[0].mark = c.kids[0].n
		c.kids[0].setMark()
	case vector.Struct, vector.Union, vector.Array:
		for _, k := range c.kids {
			k.setMark()
		}
	}
}

// undoRange makes rows as if they had never been written, and forgets the children since the mark.
//
// Invariant: rows past the last committed one are valid and zero, because setters only clear bits.
func (c *column) undoRange(from, to int) {
	if c.valid != nil {
		for r := from; r < to; r++ {
			c.valid[r>>6] |= 1 << (uint(r) & 63)
		}
	}
	if c.width > 0 {
		clear(c.data[from*c.width : to*c.width])
	}
	switch c.typ.Kind {
	case vector.List, vector.Map:
		k := c.kids[0]
		k.undoRange(k.mark, k.n)
		k.n = k.mark
	case vector.Struct, vector.Union:
		for _, k := range c.kids {
			k.undoRange(from, to)
		}
	case vector.Array:
		c.kids[0].undoRange(from*c.typ.Size, to*c.typ.Size)
	}
}

// take returns the first n rows as a vector and leaves the column empty.
func (c *column) take(n int) vector.Vector {
	v := vector.Vector{Type: c.typ}
	if c.width > 0 {
		if c.data == nil {
			c.data = []byte{}
		}
		v.Data = c.data[: n*c.width : n*c.width]
	}
	if c.valid != nil {
		v.Valid = c.valid[:(n+63)/64]
	}
	for _, k := range c.kids {
		switch c.typ.Kind {
		case vector.List, vector.Map:
			v.Children = append(v.Children, k.take(k.n))
		case vector.Array:
			v.Children = append(v.Children, k.take(n*c.typ.Size))
		default:
			v.Children = append(v.Children, k.take(n))
		}
	}
	c.data, c.valid, c.cap, c.n, c.mark = nil, nil, 0, 0, 0
	return v
}

func (c *column) put8(row int, x uint64)  { c.data[row] = byte(x) }
func (c *column) put16(row int, x uint64) { binary.LittleEndian.PutUint16(c.data[row*2:], uint16(x)) }
func (c *column) put32(row int, x uint64) { binary.LittleEndian.PutUint32(c.data[row*4:], uint32(x)) }
func (c *column) put64(row int, x uint64) { binary.LittleEndian.PutUint64(c.data[row*8:], x) }

func (c *column) put128(row int, lo, hi uint64) {
	d := c.data[row*16 : row*16+16]
	binary.LittleEndian.PutUint64(d, lo)
	binary.LittleEndian.PutUint64(d[8:], hi)
}

func (c *column) putEntry(row, offset, length int) { c.put128(row, uint64(offset), uint64(length)) }

// putInt stores the low bytes of x at the column's width.
func (c *column) putInt(row int, x uint64) {
	switch c.width {
	case 1:
		c.put8(row, x)
	case 2:
		c.put16(row, x)
	case 4:
		c.put32(row, x)
	default:
		c.put64(row, x)
	}
}

func (c *column) putF64(row int, x float64) {
	if x == 0 {
		x = 0 // -0.0 is normalised where rows enter
	}
	c.put64(row, math.Float64bits(x))
}

func (c *column) putF32(row int, x float32) {
	if x == 0 {
		x = 0
	}
	c.put32(row, uint64(math.Float32bits(x)))
}

// putStr points a row at b[s:e] without copying it; b is readable 12 bytes past s.
func (c *column) putStr(row int, b []byte, s, e int) (inline bool) {
	n := e - s
	d := c.data[row*16 : row*16+16]
	w := binary.LittleEndian.Uint64(b[s:])
	if n > 12 {
		binary.LittleEndian.PutUint64(d, uint64(uint32(n))|w<<32)
		*(*uintptr)(unsafe.Pointer(&d[8])) = uintptr(unsafe.Pointer(&b[s]))
		return false
	}
	x := uint64(binary.LittleEndian.Uint32(b[s+8:]))
	if n <= 8 {
		x = 0
		w &= lowBytes(n)
	} else {
		x &= lowBytes(n - 8)
	}
	binary.LittleEndian.PutUint64(d, uint64(n)|w<<32)
	binary.LittleEndian.PutUint64(d[8:], w>>32|x<<32)
	return true
}

// putCopied stores text that already lives in the chunk's arena.
func (c *column) putCopied(row int, s []byte) { vector.PutRef(c.data[row*16:row*16+16:row*16+16], s) }

// lowBytes is a mask of the n lowest bytes, n in 0..8.
func lowBytes(n int) uint64 {
	return ^uint64(0) >> ((8 - uint(n)) << 3 & 63) & -uint64(min(n, 1))
}

package vector

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// Vector is one column. See the package comment for the layout.
type Vector struct {
	Type     Type
	Data     []byte
	Valid    []uint64
	Children []Vector
}

// Chunk is up to Size rows of some columns.
type Chunk struct {
	N    int
	Cols []Vector
	// Keep holds what owns memory that StringRefs point at, so that the garbage collector leaves it.
	Keep []any
}

// IsNull reports whether row i is NULL.
func (v *Vector) IsNull(i int) bool {
	return v.Valid != nil && v.Valid[i>>6]&(1<<(uint(i)&63)) == 0
}

// SetNull marks row i of an owned vector of n rows NULL.
func (v *Vector) SetNull(i, n int) {
	if v.Valid == nil {
		v.Valid = AllValid(n)
	}
	v.Valid[i>>6] &^= 1 << (uint(i) & 63)
}

// AllValid returns a validity mask for n rows with every bit set.
func AllValid(n int) []uint64 {
	m := make([]uint64, (n+63)/64)
	for i := range m {
		m[i] = math.MaxUint64
	}
	return m
}

// The typed accessors below read row i of a vector of that physical width; they do not look at Valid.

func (v *Vector) U8(i int) uint8       { return v.Data[i] }
func (v *Vector) Bool(i int) bool      { return v.Data[i] != 0 }
func (v *Vector) U16(i int) uint16     { return binary.LittleEndian.Uint16(v.Data[i*2:]) }
func (v *Vector) U32(i int) uint32     { return binary.LittleEndian.Uint32(v.Data[i*4:]) }
func (v *Vector) U64(i int) uint64     { return binary.LittleEndian.Uint64(v.Data[i*8:]) }
func (v *Vector) I32(i int) int32      { return int32(v.U32(i)) }
func (v *Vector) I64(i int) int64      { return int64(v.U64(i)) }
func (v *Vector) F64(i int) float64    { return math.Float64frombits(v.U64(i)) }
func (v *Vector) F32(i int) float32    { return math.Float32frombits(v.U32(i)) }
func (v *Vector) Raw16(i int) [16]byte { return [16]byte(v.Data[i*16 : i*16+16]) }

// Entry returns the (offset, length) of row i of a LIST or MAP.
func (v *Vector) Entry(i int) (offset, length int) {
	return int(binary.LittleEndian.Uint64(v.Data[i*16:])), int(binary.LittleEndian.Uint64(v.Data[i*16+8:]))
}

func (v *Vector) PutU8(i int, x uint8)     { v.Data[i] = x }
func (v *Vector) PutU16(i int, x uint16)   { binary.LittleEndian.PutUint16(v.Data[i*2:], x) }
func (v *Vector) PutU32(i int, x uint32)   { binary.LittleEndian.PutUint32(v.Data[i*4:], x) }
func (v *Vector) PutU64(i int, x uint64)   { binary.LittleEndian.PutUint64(v.Data[i*8:], x) }
func (v *Vector) PutI64(i int, x int64)    { v.PutU64(i, uint64(x)) }
func (v *Vector) PutF64(i int, x float64)  { v.PutU64(i, math.Float64bits(x)) }
func (v *Vector) PutRaw(i int, x [16]byte) { copy(v.Data[i*16:], x[:]) }

// PutEntry sets the (offset, length) of row i of a LIST or MAP.
func (v *Vector) PutEntry(i, offset, length int) {
	binary.LittleEndian.PutUint64(v.Data[i*16:], uint64(offset))
	binary.LittleEndian.PutUint64(v.Data[i*16+8:], uint64(length))
}

// New returns an owned, zeroed vector of n rows; LIST and MAP children start empty and are replaced by
// the caller, ARRAY, STRUCT and UNION children are made here.
func New(t Type, n int) Vector {
	v := Vector{Type: t}
	if w := t.Bytes(); w > 0 {
		// Eight-byte aligned, because DuckDB and the typed accessors of other packages read words.
		v.Data = alignedBytes(n * w)
	}
	switch t.Kind {
	case List, Map:
		v.Children = []Vector{New(*t.Elem, 0)}
	case Array:
		v.Children = []Vector{New(*t.Elem, n*t.Size)}
	case Struct, Union:
		for _, ct := range t.ChildTypes() {
			v.Children = append(v.Children, New(ct, n))
		}
	}
	return v
}

// NewChunk returns an owned, zeroed chunk of n rows.
func NewChunk(types []Type, n int) *Chunk {
	c := &Chunk{N: n, Cols: make([]Vector, len(types))}
	for i, t := range types {
		c.Cols[i] = New(t, n)
	}
	return c
}

func alignedBytes(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)[:n:n]
}

// Types returns the column types.
func (c *Chunk) Types() []Type {
	out := make([]Type, len(c.Cols))
	for i := range c.Cols {
		out[i] = c.Cols[i].Type
	}
	return out
}

// Check panics when a vector cannot hold n rows: an impossible state, caught near where it was made.
func (v *Vector) Check(n int) {
	if w := v.Type.Bytes(); len(v.Data) < n*w {
		panic(fmt.Sprintf("vector: %s has %d bytes for %d rows of %d", v.Type, len(v.Data), n, w))
	}
	if v.Valid != nil && len(v.Valid) < (n+63)/64 {
		panic(fmt.Sprintf("vector: %s has %d validity words for %d rows", v.Type, len(v.Valid), n))
	}
}

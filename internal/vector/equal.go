package vector

import (
	"bytes"
	"encoding/binary"
)

// EqualRows reports whether row i of a and row j of b are not distinct, in SQL's sense, over the
// columns cols of both.
func EqualRows(a *Chunk, i int, b *Chunk, j int, cols []int) bool {
	for _, k := range cols {
		if !EqualValue(&a.Cols[k], i, &b.Cols[k], j) {
			return false
		}
	}
	return true
}

// EqualValue is SQL's IS NOT DISTINCT FROM for row i of a and row j of b, two vectors of one type:
// NULLs are equal, NaNs are equal, 0.0 equals -0.0, an interval of 30 days equals one of a month.
func EqualValue(a *Vector, i int, b *Vector, j int) bool {
	if a.IsNull(i) || b.IsNull(j) {
		return a.IsNull(i) && b.IsNull(j)
	}
	switch a.Type.Kind {
	case Varchar, Blob, Bit, Bignum:
		return bytes.Equal(a.Str(i), b.Str(j))
	case List, Map, Array:
		return equalLists(a, i, b, j)
	case Struct:
		for m := range a.Children {
			if !EqualValue(&a.Children[m], i, &b.Children[m], j) {
				return false
			}
		}
		return true
	case Union:
		ta, tb := &a.Children[0], &b.Children[0]
		if !EqualValue(ta, i, tb, j) {
			return false
		}
		m := 1 + int(ta.U8(i))
		return ta.IsNull(i) || EqualValue(&a.Children[m], i, &b.Children[m], j)
	}
	w := a.Type.Bytes()
	return EqualFixed(a.Type.Kind, a.Data[i*w:i*w+w], b.Data[j*w:j*w+w])
}

// EqualFixed compares two non-NULL values of a fixed-width kind, as raw bytes of its width.
func EqualFixed(k Kind, a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	le := binary.LittleEndian
	switch k {
	case Float32:
		return normal32(le.Uint32(a)) == normal32(le.Uint32(b))
	case Float64:
		return normal64(le.Uint64(a)) == normal64(le.Uint64(b))
	case Interval:
		alo, ahi := normalInterval(le.Uint64(a), le.Uint64(a[8:]))
		blo, bhi := normalInterval(le.Uint64(b), le.Uint64(b[8:]))
		return alo == blo && ahi == bhi
	}
	return false
}

func equalLists(a *Vector, i int, b *Vector, j int) bool {
	size := a.Type.Size
	ao, an, bo, bn := i*size, size, j*size, size
	if a.Type.Kind != Array {
		ao, an = a.Entry(i)
		bo, bn = b.Entry(j)
	}
	if an != bn {
		return false
	}
	for e := range an {
		if !EqualValue(&a.Children[0], ao+e, &b.Children[0], bo+e) {
			return false
		}
	}
	return true
}

package valuetext

import (
	"math"

	"github.com/sluice-sql/sluice/internal/vector"
)

// SetNull marks row i of a vector of n rows NULL, and with a STRUCT its fields, as DuckDB does.
func SetNull(v *vector.Vector, i, n int) {
	v.SetNull(i, n)
	if v.Type.Kind == vector.Struct || v.Type.Kind == vector.Union {
		for f := range v.Children {
			SetNull(&v.Children[f], i, n)
		}
	}
}

func setValid(v *vector.Vector, i int) {
	if v.Valid != nil {
		v.Valid[i>>6] |= 1 << (uint(i) & 63)
	}
}

// Len returns how many rows an owned vector has room for.
func Len(v *vector.Vector) int {
	switch {
	case v.Type.Kind == vector.Array:
		return Len(&v.Children[0]) / max(v.Type.Size, 1)
	case v.Type.Bytes() == 0:
		return Len(&v.Children[0])
	}
	return len(v.Data) / v.Type.Bytes()
}

// Extend adds n rows to an owned vector, in amortised constant time a row, and returns the first and
// the new length.
func Extend(v *vector.Vector, n int) (first, total int) {
	first = Len(v)
	total = first + n
	extendTo(v, total)
	return first, total
}

func extendTo(v *vector.Vector, total int) {
	if w := v.Type.Bytes(); w > 0 {
		v.Data = append(v.Data, make([]byte, total*w-len(v.Data))...)
	}
	for v.Valid != nil && len(v.Valid) < (total+63)/64 {
		v.Valid = append(v.Valid, math.MaxUint64)
	}
	switch v.Type.Kind {
	case vector.Array:
		extendTo(&v.Children[0], total*v.Type.Size)
	case vector.Struct, vector.Union:
		for f := range v.Children {
			extendTo(&v.Children[f], total)
		}
	}
}

// Package vectortest makes random types and chunks for tests. Everything is drawn from the given
// generator, so a seed repeats a failure.
package vectortest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

var scalars = []vector.Kind{
	vector.Bool, vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.UInt8, vector.UInt16, vector.UInt32,
	vector.UInt64, vector.Int128, vector.UInt128, vector.Float32, vector.Float64, vector.Decimal, vector.Date, vector.Time,
	vector.TimeTZ, vector.TimeNS, vector.Timestamp, vector.TimestampS, vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ,
	vector.Interval, vector.UUID, vector.Enum, vector.Varchar, vector.Blob, vector.Bit, vector.Bignum, vector.Null,
}

// Type returns a random type nested at most depth levels. Text, BIGINT and DOUBLE come up more often
// than the rest.
func Type(r *rand.Rand, depth int) vector.Type {
	if depth > 0 && r.IntN(4) == 0 {
		return nested(r, depth-1)
	}
	if r.IntN(2) == 0 {
		return vector.Of([]vector.Kind{vector.Int64, vector.Varchar, vector.Float64}[r.IntN(3)])
	}
	switch k := scalars[r.IntN(len(scalars))]; k {
	case vector.Decimal:
		w := uint8(1 + r.IntN(38))
		return vector.Type{Kind: k, Width: w, Scale: uint8(r.IntN(int(w) + 1))}
	case vector.Enum:
		t := vector.Type{Kind: k}
		for i := range []int{3, 300}[r.IntN(2)] {
			t.Values = append(t.Values, fmt.Sprint("v", i))
		}
		return t
	default:
		return vector.Of(k)
	}
}

func nested(r *rand.Rand, depth int) vector.Type {
	elem := Type(r, depth)
	switch r.IntN(5) {
	case 0:
		return vector.ListOf(elem)
	case 1:
		return vector.Type{Kind: vector.Array, Size: 1 + r.IntN(3), Elem: &elem}
	case 2:
		key := vector.Of(vector.Varchar)
		pair := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: key}, {Name: "value", Type: elem}}}
		return vector.Type{Kind: vector.Map, Elem: &pair}
	}
	t := vector.Type{Kind: []vector.Kind{vector.Struct, vector.Union}[r.IntN(2)]}
	for i := range 1 + r.IntN(3) {
		t.Fields = append(t.Fields, vector.Field{Name: fmt.Sprint("f", i), Type: Type(r, depth)})
	}
	return t
}

// Chunk returns n random rows of the given types. Each scalar is drawn from about domain values, so a
// small domain makes equal rows likely; a tenth of all values is NULL.
func Chunk(r *rand.Rand, types []vector.Type, n, domain int) *vector.Chunk {
	texts := &vector.Arena{}
	c := &vector.Chunk{N: n, Keep: []any{texts}}
	for _, t := range types {
		c.Cols = append(c.Cols, column(r, t, n, domain, texts))
	}
	return c
}

func column(r *rand.Rand, t vector.Type, n, domain int, texts *vector.Arena) vector.Vector {
	v := vector.New(t, n)
	switch t.Kind {
	case vector.List, vector.Map:
		total := 0
		for i := range n {
			// A gap of unreferenced elements, as filtered DuckDB vectors have.
			total += r.IntN(2)
			length := r.IntN(3)
			v.PutEntry(i, total, length)
			total += length
		}
		child := column(r, *t.Elem, total, domain, texts)
		if t.Kind == vector.Map {
			// Neither entries nor keys of a MAP can be NULL.
			child = vector.Vector{Type: child.Type, Children: child.Children}
			child.Children[0] = column(r, child.Children[0].Type, total, domain, texts)
			notNull(&child.Children[0], total, texts)
		}
		v.Children = []vector.Vector{child}
	case vector.Array:
		v.Children = []vector.Vector{column(r, *t.Elem, n*t.Size, domain, texts)}
	case vector.Struct, vector.Union:
		v.Children = nil
		for _, ct := range t.ChildTypes() {
			v.Children = append(v.Children, column(r, ct, n, domain, texts))
		}
		if t.Kind == vector.Union {
			v.Children[0].Valid = nil
			for i := range n {
				v.Children[0].PutU8(i, uint8(r.IntN(len(t.Fields))))
			}
		}
	default:
		for i := range n {
			put(r, &v, i, r.IntN(domain), texts)
		}
	}
	for i := range n {
		if t.Kind == vector.Null || r.IntN(10) == 0 {
			v.SetNull(i, n)
			poison(&v, i)
		}
	}
	return v
}

// poison makes the text of a row that must not be read point to nowhere: reading it ends the process.
func poison(v *vector.Vector, i int) {
	if v.Type.IsString() {
		v.PutU32(4*i, 1000)
		v.PutI64(2*i+1, 8)
	}
}

// notNull gives NULL rows the value of the domain's first word.
func notNull(v *vector.Vector, n int, texts *vector.Arena) {
	for i := range n {
		if v.IsNull(i) {
			v.PutStr(i, texts.Copy([]byte(word(0))))
		}
	}
	v.Valid = nil
}

// put stores the x-th value of the kind's domain in row i.
func put(r *rand.Rand, v *vector.Vector, i, x int, texts *vector.Arena) {
	switch v.Type.Kind {
	case vector.Bool:
		v.PutU8(i, uint8(x&1))
	case vector.Float32:
		v.PutU32(i, math.Float32bits(float32(floats(r, x))))
	case vector.Float64:
		v.PutF64(i, floats(r, x))
	case vector.Enum:
		putInt(v, i, x%len(v.Type.Values))
	case vector.Interval:
		// 30 days and one month are the same interval.
		months, days := int32(x), int32(0)
		if r.IntN(2) == 0 {
			months, days = int32(x)-1, 30
		}
		v.PutU32(4*i, uint32(months))
		v.PutU32(4*i+1, uint32(days))
		v.PutI64(2*i+1, int64(x%2))
	case vector.Varchar, vector.Blob:
		v.PutStr(i, texts.Copy([]byte(word(x))))
	case vector.Bit:
		v.PutStr(i, []byte{0, byte(x)})
	case vector.Bignum:
		v.PutStr(i, []byte{0x80, 0, 1, byte(x)})
	default:
		putInt(v, i, x-1)
	}
}

func putInt(v *vector.Vector, i, x int) {
	switch v.Type.Bytes() {
	case 1:
		v.PutU8(i, uint8(x))
	case 2:
		v.PutU16(i, uint16(x))
	case 4:
		v.PutU32(i, uint32(x))
	case 8:
		v.PutI64(i, int64(x))
	default:
		v.PutI64(2*i, int64(x))
		v.PutI64(2*i+1, int64(x)>>63)
	}
}

// floats returns one of several bit patterns of the same value where there are some.
func floats(r *rand.Rand, x int) float64 {
	switch x {
	case 0:
		return math.Copysign(0, float64(r.IntN(2))-0.5)
	case 1:
		return math.Float64frombits(0x7ff8000000000001 + uint64(r.IntN(2))<<63)
	case 2:
		return math.Inf(-1)
	}
	return float64(x) / 4
}

// word returns texts of all size classes: empty, inline, just too long to inline, long.
func word(x int) string {
	switch x % 4 {
	case 0:
		return strings.Repeat("k", x/4)
	case 1:
		return fmt.Sprintf("thirteen%05d", x)
	case 2:
		return fmt.Sprint("long ", x, strings.Repeat(" and longer", x%37))
	}
	return fmt.Sprint("key", x)
}

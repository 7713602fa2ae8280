package vector

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Row hashes are part of the checkpoint log (digests), so they are the same in every process and must
// never change. Values are folded with wyhash's 128-bit multiply (Wang Yi, public domain), texts are
// hashed with XXH3.
const (
	hashP0   = 0xa0761d6478bd642f
	hashP1   = 0xe7037ed1a0b428db
	hashNull = 0x8ebc6af09c88c6e3
	hashSeed = 0x589965cc75374cc3
)

// fold combines a running hash with the next value; it is not symmetric.
func fold(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^hashP0, x^hashP1)
	hi, lo = bits.Mul64(lo^hashP0, hi^hashP1)
	return hi ^ lo
}

// HashRows sets out[i] to a 64-bit hash of row i over the given columns, in order. Rows that
// are not distinct in SQL's sense hash alike: NULL is a value of its own, NaNs are one value, -0.0 is
// 0.0, intervals are compared as DuckDB does (30 days are a month).
func HashRows(c *Chunk, cols []int, out []uint64) { hashRows(c, cols, out, hashSeed) }

func hashRows(c *Chunk, cols []int, out []uint64, seed uint64) {
	out = out[:c.N]
	for i := range out {
		out[i] = seed
	}
	for _, k := range cols {
		hashVector(&c.Cols[k], nil, out, seed)
	}
}

// hashVector folds rows sel of v into out.
func hashVector(v *Vector, sel []int32, out []uint64, seed uint64) {
	sel, _ = resolve(v, sel, len(out))
	switch v.Type.Kind {
	case Varchar, Blob, Bit, Bignum:
		hashStrings(v, sel, out, seed)
	case List, Map, Array:
		hashLists(v, sel, out, seed)
	case Struct, Union:
		hashStructs(v, sel, out, seed)
	default:
		hashFixed(v, sel, out)
	}
}

func hashFixed(v *Vector, sel []int32, out []uint64) {
	w := v.Type.Bytes()
	if sel == nil && w == 8 && v.Type.Kind != Float64 {
		data := v.Data[:len(out)*8]
		for i := range out {
			out[i] = fold(out[i], binary.LittleEndian.Uint64(data[i*8:]))
		}
		return
	}
	for i := range out {
		r := row(sel, i)
		if r < 0 {
			out[i] = fold(out[i], hashNull)
			continue
		}
		switch w {
		case 1:
			out[i] = fold(out[i], uint64(v.U8(r)))
		case 2:
			out[i] = fold(out[i], uint64(v.U16(r)))
		case 4:
			x := v.U32(r)
			if v.Type.Kind == Float32 {
				x = normal32(x)
			}
			out[i] = fold(out[i], uint64(x))
		case 8:
			x := v.U64(r)
			if v.Type.Kind == Float64 {
				x = normal64(x)
			}
			out[i] = fold(out[i], x)
		default:
			lo, hi := v.U64(2*r), v.U64(2*r+1)
			if v.Type.Kind == Interval {
				lo, hi = normalInterval(lo, hi)
			}
			out[i] = fold(fold(out[i], lo), hi)
		}
	}
}

// normal64 maps the bits of a double to those of the one value it is equal to.
func normal64(x uint64) uint64 {
	if x<<1 == 0 {
		return 0
	}
	if x&^(1<<63) > 0x7ff0000000000000 {
		return math.Float64bits(math.NaN())
	}
	return x
}

func normal32(x uint32) uint32 {
	if x<<1 == 0 {
		return 0
	}
	if x&^(1<<31) > 0x7f800000 {
		return 0x7fc00000
	}
	return x
}

// normalInterval carries microseconds to days and days to months, as DuckDB does to compare. The
// result is (months and days, microseconds); it does not overflow: days gain at most 2^63/86.4e9.
func normalInterval(lo, hi uint64) (uint64, uint64) {
	const dayMicros, monthDays = 86_400_000_000, 30
	micros := int64(hi)
	days := int64(int32(lo>>32)) + micros/dayMicros
	months := int64(int32(lo)) + days/monthDays
	return uint64(months)<<32 | uint64(uint32(days%monthDays)), uint64(micros % dayMicros)
}

func hashStrings(v *Vector, sel []int32, out []uint64, seed uint64) {
	for i := range out {
		if r := row(sel, i); r >= 0 {
			out[i] = fold(out[i], xxh3.HashSeed(v.Str(r), seed))
		} else {
			out[i] = fold(out[i], hashNull)
		}
	}
}

// hashLists hashes all elements as one vector, then folds each row's elements and their number.
func hashLists(v *Vector, sel []int32, out []uint64, seed uint64) {
	elems, lengths := elements(v, sel, len(out))
	hashes := make([]uint64, len(elems))
	for i := range hashes {
		hashes[i] = seed
	}
	hashVector(&v.Children[0], elems, hashes, seed)
	for i, length := range lengths {
		if length < 0 {
			out[i] = fold(out[i], hashNull)
			continue
		}
		h := uint64(length)
		for _, x := range hashes[:length] {
			h = fold(h, x)
		}
		hashes = hashes[length:]
		out[i] = fold(out[i], h)
	}
}

// elements returns the child rows of the selected lists end to end, and their lengths, -1 for NULL.
func elements(v *Vector, sel []int32, n int) (elems, lengths []int32) {
	elems, lengths = []int32{}, make([]int32, n)
	for i := range n {
		r := row(sel, i)
		if r < 0 {
			lengths[i] = -1
			continue
		}
		off, length := r*v.Type.Size, v.Type.Size
		if v.Type.Kind != Array {
			off, length = v.Entry(r)
		}
		lengths[i] = int32(length)
		for e := range length {
			elems = append(elems, int32(off+e))
		}
	}
	return elems, lengths
}

func hashStructs(v *Vector, sel []int32, out []uint64, seed uint64) {
	inner := make([]uint64, len(out))
	for i := range inner {
		inner[i] = seed
	}
	for m := range v.Children {
		s := sel
		if v.Type.Kind == Union && m > 0 {
			s = memberSelection(v, m, sel, len(out))
		}
		hashVector(&v.Children[m], s, inner, seed)
	}
	for i := range out {
		if row(sel, i) < 0 {
			inner[i] = hashNull
		}
		out[i] = fold(out[i], inner[i])
	}
}

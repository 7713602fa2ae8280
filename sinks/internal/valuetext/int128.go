package valuetext

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/sluice-sql/sluice/internal/vector"
)

// U128 is an unsigned 128-bit integer.
type U128 struct{ Hi, Lo uint64 }

// ErrOverflow says that a number does not fit its type.
var ErrOverflow = errors.New("number out of range")

// Unscaled returns row i of an integer or DECIMAL vector as magnitude and sign.
func Unscaled(v *vector.Vector, i int) (mag U128, neg bool) {
	switch w := v.Type.Bytes(); {
	case v.Type.Kind == vector.UInt8, v.Type.Kind == vector.UInt16, v.Type.Kind == vector.UInt32, v.Type.Kind == vector.UInt64:
		return U128{Lo: unsigned(v, i, w)}, false
	case v.Type.Kind == vector.UInt128:
		return raw128(v, i), false
	case w == 16:
		m := raw128(v, i)
		if int64(m.Hi) < 0 {
			return m.negate(), true
		}
		return m, false
	default:
		x := int64(unsigned(v, i, w)) << (64 - 8*w) >> (64 - 8*w)
		if x < 0 {
			return U128{Lo: -uint64(x)}, true
		}
		return U128{Lo: uint64(x)}, false
	}
}

func unsigned(v *vector.Vector, i, width int) uint64 {
	switch width {
	case 1:
		return uint64(v.U8(i))
	case 2:
		return uint64(v.U16(i))
	case 4:
		return uint64(v.U32(i))
	}
	return v.U64(i)
}

func raw128(v *vector.Vector, i int) U128 {
	r := v.Raw16(i)
	return U128{Hi: binary.LittleEndian.Uint64(r[8:]), Lo: binary.LittleEndian.Uint64(r[:])}
}

func (m U128) negate() U128 {
	lo, borrow := bits.Sub64(0, m.Lo, 0)
	hi, _ := bits.Sub64(0, m.Hi, borrow)
	return U128{Hi: hi, Lo: lo}
}

// PutUnscaled writes an integer or the unscaled value of a DECIMAL, if it fits.
func PutUnscaled(v *vector.Vector, i int, m U128, neg bool) error {
	w := v.Type.Bytes()
	switch v.Type.Kind {
	case vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64:
		if m.Hi != 0 || neg && m.Lo != 0 || w < 8 && m.Lo>>(8*w) != 0 {
			return ErrOverflow
		}
		putWidth(v, i, w, m.Lo)
		return nil
	case vector.UInt128:
		if neg && m != (U128{}) {
			return ErrOverflow
		}
		put128(v, i, m)
		return nil
	}
	if w == 16 {
		if m.Hi > 1<<63 || m.Hi == 1<<63 && (m.Lo != 0 || !neg) {
			return ErrOverflow
		}
		if neg {
			m = m.negate()
		}
		put128(v, i, m)
		return nil
	}
	limit := uint64(1) << (8*w - 1)
	if m.Hi != 0 || m.Lo > limit || m.Lo == limit && !neg {
		return ErrOverflow
	}
	x := m.Lo
	if neg {
		x = -x
	}
	putWidth(v, i, w, x)
	return nil
}

func putWidth(v *vector.Vector, i, width int, x uint64) {
	switch width {
	case 1:
		v.PutU8(i, uint8(x))
	case 2:
		v.PutU16(i, uint16(x))
	case 4:
		v.PutU32(i, uint32(x))
	default:
		v.PutU64(i, x)
	}
}

func put128(v *vector.Vector, i int, m U128) {
	var r [16]byte
	binary.LittleEndian.PutUint64(r[:], m.Lo)
	binary.LittleEndian.PutUint64(r[8:], m.Hi)
	v.PutRaw(i, r)
}

// MulAdd returns m*mul + add, or ok=false on overflow.
func (m U128) MulAdd(mul, add uint64) (out U128, ok bool) {
	h1, lo := bits.Mul64(m.Lo, mul)
	h2, hi := bits.Mul64(m.Hi, mul)
	hi, c1 := bits.Add64(hi, h1, 0)
	lo, c2 := bits.Add64(lo, add, 0)
	hi, c3 := bits.Add64(hi, 0, c2)
	return U128{Hi: hi, Lo: lo}, h2 == 0 && c1 == 0 && c3 == 0
}

const pow19 = 10_000_000_000_000_000_000 // the largest power of ten in 64 bits

// div19 returns m divided by 10^19, and the rest.
func (m U128) div19() (U128, uint64) {
	hi, r := m.Hi/pow19, m.Hi%pow19
	lo, r := bits.Div64(r, m.Lo, pow19)
	return U128{Hi: hi, Lo: lo}, r
}

// Digits writes m in decimal into the end of buf and returns the digits, at least min of them.
func (m U128) Digits(buf *[48]byte, min int) []byte {
	n := len(buf)
	for m.Hi != 0 {
		var r uint64
		m, r = m.div19()
		for range 19 {
			n--
			buf[n] = byte('0' + r%10)
			r /= 10
		}
	}
	for x := m.Lo; x != 0; x /= 10 {
		n--
		buf[n] = byte('0' + x%10)
	}
	for len(buf)-n < min {
		n--
		buf[n] = '0'
	}
	return buf[n:]
}

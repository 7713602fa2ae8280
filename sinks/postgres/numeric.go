package postgres

import (
	"encoding/binary"
	"errors"
	"math/big"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// The binary form of numeric: number of digits, weight of the first, sign, display scale (16 bits each),
// then digits of base 10000, aligned at the decimal point (numeric_recv in the server's numeric.c).
const (
	numericNegative = 0x4000
	numericSpecial  = 0x8000 // this bit marks NaN and the infinities
)

func putNumeric(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	mag, neg := valuetext.Unscaled(v, i)
	var buf [48]byte
	scale := int(v.Type.Scale)
	return appendNumeric(dst, mag.Digits(&buf, scale), scale, neg)
}

func putBignum(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	x := valuetext.BignumInt(v.Str(i))
	return appendNumeric(dst, new(big.Int).Abs(x).Append(nil, 10), 0, x.Sign() < 0)
}

// appendNumeric writes decimal digits (ASCII), the last scale of which stand behind the point.
func appendNumeric(dst, digits []byte, scale int, neg bool) ([]byte, error) {
	whole := len(digits) - scale
	for whole > 0 && digits[0] == '0' {
		digits, whole = digits[1:], whole-1
	}
	mark := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	weight := (whole+3)/4 - 1
	// The first group is the one that holds the digits above a multiple of four before the point.
	pos := whole - 4*(weight+1) // ≤ 0: as if the digits began with that many zeros
	n, lead, last := 0, true, len(dst)
	for ; pos < len(digits); pos += 4 {
		g := uint16(0)
		for k := pos; k < pos+4; k++ {
			g *= 10
			if k >= 0 && k < len(digits) {
				g += uint16(digits[k] - '0')
			}
		}
		if lead && g == 0 {
			weight--
			continue
		}
		lead = false
		dst = be.AppendUint16(dst, g)
		n++
		if g != 0 {
			last = len(dst)
		}
	}
	n -= (len(dst) - last) / 2 // trailing zero groups are not stored
	dst = dst[:last]
	sign := uint16(0)
	if n == 0 {
		weight = 0
	} else if neg {
		sign = numericNegative
	}
	head := dst[mark+4:]
	be.PutUint16(head, uint16(n))
	be.PutUint16(head[2:], uint16(int16(weight)))
	be.PutUint16(head[4:], sign)
	be.PutUint16(head[6:], uint16(scale))
	return putVar(dst, mark)
}

var errNumeric = errors.New("numeric value does not fit the column's type")

// splitNumeric reads the header.
func splitNumeric(b []byte) (groups []byte, weight int, neg bool, err error) {
	if len(b) < 8 {
		return nil, 0, false, errNumeric
	}
	n, sign := int(be.Uint16(b)), be.Uint16(b[4:])
	if sign&numericSpecial != 0 || len(b) != 8+2*n {
		return nil, 0, false, errNumeric
	}
	return b[8:], int(int16(be.Uint16(b[2:]))), sign == numericNegative, nil
}

// takeNumeric reads an integer or DECIMAL; digits that the type has no room for are an error.
func takeNumeric(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	groups, weight, neg, err := splitNumeric(b)
	if err != nil {
		return err
	}
	var m valuetext.U128
	ok := true
	// Position 10^p of the next decimal digit, down to 10^-scale.
	scale := int(v.Type.Scale)
	for p := 4*weight + 3; p >= -scale && ok; p-- {
		d := numericDigit(groups, weight, p)
		m, ok = m.MulAdd(10, uint64(d))
	}
	for p := -scale - 1; p >= 4*(weight-len(groups)/2+1); p-- {
		if numericDigit(groups, weight, p) != 0 {
			return errNumeric
		}
	}
	if !ok {
		return errNumeric
	}
	return valuetext.PutUnscaled(v, i, m, neg)
}

var pow10 = [4]uint16{1, 10, 100, 1000}

// numericDigit returns the decimal digit that counts 10^p.
func numericDigit(groups []byte, weight, p int) uint16 {
	g := weight - floorDiv4(p) // index of the group
	if g < 0 || 2*g >= len(groups) {
		return 0
	}
	return binary.BigEndian.Uint16(groups[2*g:]) / pow10[p-4*floorDiv4(p)] % 10
}

func floorDiv4(p int) int { return p >> 2 }

func takeBignum(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	groups, weight, neg, err := splitNumeric(b)
	if err != nil {
		return err
	}
	x, base := new(big.Int), big.NewInt(10000)
	for g := 0; g <= weight; g++ {
		x.Mul(x, base)
		if 2*g < len(groups) {
			x.Add(x, big.NewInt(int64(be.Uint16(groups[2*g:]))))
		}
	}
	if len(groups)/2 > weight+1 {
		return errNumeric
	}
	if neg {
		x.Neg(x)
	}
	v.PutStr(i, r.Arena.Copy(valuetext.BignumBytes(x)))
	return nil
}

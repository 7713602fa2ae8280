package valuetext

import "math/big"

// BignumInt decodes DuckDB's BIGNUM: three header bytes (the top bit set, then the number of bytes),
// then the magnitude, big-endian; all bits inverted when negative.
func BignumInt(b []byte) *big.Int {
	neg := b[0]&0x80 == 0
	mag := append([]byte(nil), b[3:]...)
	if neg {
		for k := range mag {
			mag[k] = ^mag[k]
		}
	}
	x := new(big.Int).SetBytes(mag)
	if neg {
		x.Neg(x)
	}
	return x
}

// BignumBytes is the inverse of BignumInt.
func BignumBytes(x *big.Int) []byte {
	mag := x.Bytes()
	if len(mag) == 0 {
		mag = []byte{0}
	}
	n := uint32(len(mag)) | 0x800000
	out := append([]byte{byte(n >> 16), byte(n >> 8), byte(n)}, mag...)
	if x.Sign() < 0 {
		for k := range out {
			out[k] = ^out[k]
		}
	}
	return out
}

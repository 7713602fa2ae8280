package vector

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Text renders row i of v for people: as DuckDB's cast to VARCHAR does for scalar kinds, as JSON for
// nested ones; NULL is "NULL" at the top and null inside JSON.
func Text(v *Vector, i int) string {
	if v.IsNull(i) {
		return "NULL"
	}
	if v.Type.IsNested() {
		return string(AppendJSON(nil, v, i))
	}
	return scalarText(v, i)
}

func scalarText(v *Vector, i int) string {
	switch v.Type.Kind {
	case Bool:
		return strconv.FormatBool(v.Bool(i))
	case Int8, Int16, Int32, Int64:
		return strconv.FormatInt(v.Int(i), 10)
	case UInt8, UInt16, UInt32, UInt64:
		return strconv.FormatUint(v.Uint(i), 10)
	case Int128, UInt128:
		return v.Big(i).String()
	case Float32:
		return floatText(float64(v.F32(i)), 32)
	case Float64:
		return floatText(v.F64(i), 64)
	case Decimal:
		return decimalText(v.Big(i), int(v.Type.Scale))
	case UUID:
		return uuidText(v.Raw16(i))
	case Enum:
		return v.Type.Values[v.Uint(i)]
	case Varchar:
		return string(v.Str(i))
	case Blob:
		return blobText(v.Str(i))
	case Bit:
		return bitText(v.Str(i))
	case Bignum:
		return bignumText(v.Str(i))
	case Interval:
		return intervalText(v.I32(4*i), v.I32(4*i+1), v.I64(2*i+1))
	case Null:
		return "NULL"
	}
	return timeText(v, i)
}

// Int returns row i of a signed integer, DATE, TIME or TIMESTAMP kind (or a DECIMAL up to 18 digits) as
// its native integer.
func (v *Vector) Int(i int) int64 {
	switch v.Type.Bytes() {
	case 1:
		return int64(int8(v.U8(i)))
	case 2:
		return int64(int16(v.U16(i)))
	case 4:
		return int64(v.I32(i))
	case 8:
		return v.I64(i)
	}
	panic(fmt.Sprintf("vector: %s is not an integer of at most 8 bytes", v.Type))
}

// Uint returns row i of an unsigned integer kind or the index of an ENUM.
func (v *Vector) Uint(i int) uint64 {
	switch v.Type.Bytes() {
	case 1:
		return uint64(v.U8(i))
	case 2:
		return uint64(v.U16(i))
	case 4:
		return uint64(v.U32(i))
	case 8:
		return v.U64(i)
	}
	panic(fmt.Sprintf("vector: %s is not an integer of at most 8 bytes", v.Type))
}

// Big returns row i of any integer kind, or the unscaled integer of a DECIMAL.
func (v *Vector) Big(i int) *big.Int {
	switch {
	case v.Type.Bytes() == 16:
		hi := new(big.Int).SetUint64(v.U64(2*i + 1))
		if v.Type.Kind != UInt128 {
			hi.SetInt64(v.I64(2*i + 1))
		}
		return hi.Lsh(hi, 64).Add(hi, new(big.Int).SetUint64(v.U64(2*i)))
	case v.Type.Kind >= UInt8 && v.Type.Kind <= UInt64:
		return new(big.Int).SetUint64(v.Uint(i))
	}
	return big.NewInt(v.Int(i))
}

// floatText prints the shortest text that reads back as x, with DuckDB's choice of notation.
func floatText(x float64, bitSize int) string {
	switch {
	case math.IsNaN(x):
		return "nan"
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	}
	e := strconv.FormatFloat(x, 'e', -1, bitSize)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if x != 0 && (exp < -4 || exp >= 16) {
		return e
	}
	f := strconv.FormatFloat(x, 'f', -1, bitSize)
	if !strings.Contains(f, ".") {
		f += ".0"
	}
	return f
}

func decimalText(unscaled *big.Int, scale int) string {
	digits := new(big.Int).Abs(unscaled).String()
	if scale > 0 {
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale+1-len(digits)) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if unscaled.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

func uuidText(raw [16]byte) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], binary.LittleEndian.Uint64(raw[8:])^1<<63)
	binary.BigEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(raw[:]))
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func blobText(b []byte) string {
	var out strings.Builder
	for _, c := range b {
		if c < 32 || c > 126 || c == '\\' || c == '\'' || c == '"' {
			fmt.Fprintf(&out, `\x%02X`, c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// bitText reads DuckDB's BIT: a byte with the number of padding bits, then the bits, padding first.
func bitText(b []byte) string {
	var out strings.Builder
	for i := 8; i < 8*len(b); i++ {
		if i >= 8+int(b[0]) {
			out.WriteByte('0' + b[i/8]>>(7-i%8)&1)
		}
	}
	return out.String()
}

// bignumText reads DuckDB's BIGNUM: three header bytes (the top bit set when not negative), then a
// big-endian magnitude; all of it complemented when negative.
func bignumText(b []byte) string {
	if len(b) < 4 {
		return blobText(b)
	}
	mag := append([]byte(nil), b[3:]...)
	negative := b[0]&0x80 == 0
	if negative {
		for i := range mag {
			mag[i] = ^mag[i]
		}
	}
	x := new(big.Int).SetBytes(mag)
	if negative {
		x.Neg(x)
	}
	return x.String()
}

package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// putFunc appends row i of v, which is not NULL, in COPY BINARY form: the length (4 bytes, big-endian)
// and the type's binary representation, as the server's …_recv function reads it.
type putFunc func(dst []byte, v *vector.Vector, i int) ([]byte, error)

// Days and microseconds from DuckDB's epoch (1970) to Postgres's (2000).
const (
	epochDays   = 10957
	epochMicros = epochDays * 24 * 3600 * 1_000_000
)

var errRange = errors.New("value out of Postgres's range")

var be = binary.BigEndian

func put2(dst []byte, x uint16) ([]byte, error) {
	return append(dst, 0, 0, 0, 2, byte(x>>8), byte(x)), nil
}

func put4(dst []byte, x uint32) ([]byte, error) {
	return append(dst, 0, 0, 0, 4, byte(x>>24), byte(x>>16), byte(x>>8), byte(x)), nil
}

func put8(dst []byte, x uint64) ([]byte, error) {
	return be.AppendUint64(append(dst, 0, 0, 0, 8), x), nil
}

// putVar patches the length of what was appended behind the four bytes at mark.
func putVar(dst []byte, mark int) ([]byte, error) {
	n := len(dst) - mark - 4
	if n > maxValueBytes {
		return dst, fmt.Errorf("value of %d bytes; Postgres takes at most 1 GiB", n)
	}
	be.PutUint32(dst[mark:], uint32(n))
	return dst, nil
}

const maxValueBytes = 1<<30 - 1<<10

func putBool(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return append(dst, 0, 0, 0, 1, v.U8(i)), nil
}
func putInt8(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return put2(dst, uint16(int8(v.U8(i))))
}
func putUint8(dst []byte, v *vector.Vector, i int) ([]byte, error) { return put2(dst, uint16(v.U8(i))) }
func putInt16(dst []byte, v *vector.Vector, i int) ([]byte, error) { return put2(dst, v.U16(i)) }
func putUint16(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return put4(dst, uint32(v.U16(i)))
}
func putInt32(dst []byte, v *vector.Vector, i int) ([]byte, error) { return put4(dst, v.U32(i)) }
func putUint32(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return put8(dst, uint64(v.U32(i)))
}
func putInt64(dst []byte, v *vector.Vector, i int) ([]byte, error) { return put8(dst, v.U64(i)) }

// Adding zero turns minus zero, which DuckDB holds equal to zero but hashes apart from it here, into zero.
func putFloat32(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return put4(dst, math.Float32bits(v.F32(i)+0))
}
func putFloat64(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return put8(dst, math.Float64bits(v.F64(i)+0))
}

func putDate(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	switch d := v.I32(i); {
	case d == valuetext.InfinityDate:
		return put4(dst, math.MaxInt32)
	case d == valuetext.NegInfinityDate:
		return put4(dst, 1<<31)
	case d < math.MinInt32+epochDays+1:
		return dst, errRange
	default:
		return put4(dst, uint32(d-epochDays))
	}
}

func putTimeNS(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	return put8(dst, uint64((v.I64(i)+500)/1000)) // rounded, as DuckDB's cast to TIME does
}

func putTimeTZ(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	micros, offset := valuetext.SplitTimeTZ(v.U64(i))
	dst = be.AppendUint64(append(dst, 0, 0, 0, 12), uint64(micros))
	return be.AppendUint32(dst, uint32(-offset)), nil // Postgres counts seconds west
}

func putTimestamp(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	t := v.I64(i)
	switch t {
	case valuetext.InfinityTimestamp:
		return put8(dst, math.MaxInt64)
	case valuetext.NegInfinityTimestamp:
		return put8(dst, 1<<63)
	}
	const limit = math.MaxInt64 / 2 // far beyond Postgres's last year, and safe from overflow
	switch v.Type.Kind {
	case vector.TimestampS:
		if t > limit/1_000_000 || t < -limit/1_000_000 {
			return dst, errRange
		}
		t *= 1_000_000
	case vector.TimestampMS:
		if t > limit/1000 || t < -limit/1000 {
			return dst, errRange
		}
		t *= 1000
	case vector.TimestampNS:
		t /= 1000 // towards zero, as DuckDB's cast to TIMESTAMP does
	}
	if t < math.MinInt64+epochMicros+1 {
		return dst, errRange
	}
	return put8(dst, uint64(t-epochMicros))
}

func putInterval(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	dst = be.AppendUint64(append(dst, 0, 0, 0, 16), v.U64(2*i+1))
	dst = be.AppendUint32(dst, v.U32(4*i+1))
	return be.AppendUint32(dst, v.U32(4*i)), nil
}

func putUUID(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	u := valuetext.UUIDBytes(v, i)
	return append(append(dst, 0, 0, 0, 16), u[:]...), nil
}

func putText(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	mark := len(dst)
	return putVar(appendText(append(dst, 0, 0, 0, 0), v.Str(i)), mark)
}

func putEnum(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	k := 0
	switch v.Type.Bytes() {
	case 1:
		k = int(v.U8(i))
	case 2:
		k = int(v.U16(i))
	default:
		k = int(v.U32(i))
	}
	mark := len(dst)
	return putVar(appendText(append(dst, 0, 0, 0, 0), []byte(v.Type.Values[k])), mark)
}

func putBytes(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	mark := len(dst)
	return putVar(append(append(dst, 0, 0, 0, 0), v.Str(i)...), mark)
}

// putBits shifts DuckDB's BIT, whose padding is at the top and counted in the first byte, to Postgres's,
// whose padding is at the bottom.
func putBits(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	b := v.Str(i)
	pad, data := uint(b[0]), b[1:]
	mark := len(dst)
	dst = be.AppendUint32(append(dst, 0, 0, 0, 0), uint32(8*len(data))-uint32(pad))
	for k, x := range data {
		next := byte(0)
		if k+1 < len(data) {
			next = data[k+1]
		}
		dst = append(dst, x<<pad|next>>(8-pad))
	}
	return putVar(dst, mark)
}

func putJSON(dst []byte, v *vector.Vector, i int) ([]byte, error) {
	mark := len(dst)
	w := valuetext.Writer{Escape: appendText}
	return putVar(w.JSON(append(dst, 0, 0, 0, 0, 1), v, i), mark) // 1 is jsonb's format version
}

// putList writes a one-dimensional array: dimensions, null flag, element type, (length, lower bound), elements.
func putList(elem mapping) putFunc {
	return func(dst []byte, v *vector.Vector, i int) ([]byte, error) {
		off, n := i*v.Type.Size, v.Type.Size
		if v.Type.Kind == vector.List {
			off, n = v.Entry(i)
		}
		mark := len(dst)
		dims, hasNull := uint32(min(n, 1)), uint32(0)
		child := &v.Children[0]
		for j := off; j < off+n; j++ {
			if child.IsNull(j) {
				hasNull = 1
				break
			}
		}
		dst = be.AppendUint32(append(dst, 0, 0, 0, 0), dims)
		dst = be.AppendUint32(dst, hasNull)
		dst = be.AppendUint32(dst, elem.oid)
		if n > 0 {
			dst = be.AppendUint32(dst, uint32(n))
			dst = be.AppendUint32(dst, 1)
		}
		for j := off; j < off+n; j++ {
			if child.IsNull(j) {
				dst = append(dst, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			var err error
			if dst, err = elem.put(dst, child, j); err != nil {
				return dst, err
			}
		}
		return putVar(dst, mark)
	}
}

package postgres

import (
	"errors"
	"math"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// takeFunc stores the binary representation b, as the server's …_send function writes it, as row i of v.
type takeFunc func(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error

var errWidth = errors.New("the server sent a value of an unexpected width")

func takeBool(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) != 1 {
		return errWidth
	}
	v.PutU8(i, b[0])
	return nil
}

// takeInt reads int2, int4 and int8 (time included) into an integer of any width.
func takeInt(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	x, err := signed(b)
	if err != nil {
		return err
	}
	if v.Type.Kind == vector.Time {
		v.PutI64(i, x)
		return nil
	}
	mag := uint64(x)
	if x < 0 {
		mag = -mag
	}
	return valuetext.PutUnscaled(v, i, valuetext.U128{Lo: mag}, x < 0)
}

func signed(b []byte) (int64, error) {
	switch len(b) {
	case 2:
		return int64(int16(be.Uint16(b))), nil
	case 4:
		return int64(int32(be.Uint32(b))), nil
	case 8:
		return int64(be.Uint64(b)), nil
	}
	return 0, errWidth
}

func takeFloat32(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) != 4 {
		return errWidth
	}
	v.PutU32(i, be.Uint32(b))
	return nil
}

func takeFloat64(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) != 8 {
		return errWidth
	}
	v.PutU64(i, be.Uint64(b))
	return nil
}

func takeDate(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	x, err := signed(b)
	if err != nil {
		return err
	}
	switch x {
	case math.MaxInt32:
		x = valuetext.InfinityDate
	case math.MinInt32:
		x = valuetext.NegInfinityDate
	default:
		x += epochDays
	}
	v.PutU32(i, uint32(int32(x)))
	return nil
}

func takeTimeNS(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	x, err := signed(b)
	v.PutI64(i, x*1000)
	return err
}

func takeTimeTZ(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) != 12 {
		return errWidth
	}
	v.PutU64(i, valuetext.JoinTimeTZ(int64(be.Uint64(b)), -int32(be.Uint32(b[8:]))))
	return nil
}

func takeTimestamp(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	x, err := signed(b)
	if err != nil {
		return err
	}
	switch x {
	case math.MaxInt64:
		x = valuetext.InfinityTimestamp
	case math.MinInt64:
		x = valuetext.NegInfinityTimestamp
	default:
		x += epochMicros
		switch v.Type.Kind {
		case vector.TimestampS:
			x /= 1_000_000
		case vector.TimestampMS:
			x /= 1000
		case vector.TimestampNS:
			x *= 1000
		}
	}
	v.PutI64(i, x)
	return nil
}

func takeInterval(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) != 16 {
		return errWidth
	}
	valuetext.PutInterval(v, i, int32(be.Uint32(b[12:])), int32(be.Uint32(b[8:])), int64(be.Uint64(b)))
	return nil
}

func takeUUID(_ *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) != 16 {
		return errWidth
	}
	valuetext.PutUUID(v, i, b)
	return nil
}

func takeText(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error { return r.Text(v, i, b) }

func takeBytes(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	v.PutStr(i, r.Arena.Copy(b))
	return nil
}

// takeBits is the inverse of putBits; DuckDB wants its padding bits set.
func takeBits(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) < 4 {
		return errWidth
	}
	n, data := int(be.Uint32(b)), b[4:]
	if len(data) != (n+7)/8 {
		return errWidth
	}
	pad := uint(8-n%8) % 8
	out := make([]byte, 1+len(data))
	out[0] = byte(pad)
	carry := ^byte(0)
	for k, x := range data {
		out[1+k] = carry<<(8-pad) | x>>pad
		carry = x
	}
	v.PutStr(i, r.Arena.Copy(out))
	return nil
}

func takeJSON(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
	if len(b) == 0 || b[0] != 1 {
		return errWidth
	}
	return r.JSON(v, i, valuetext.Len(v), b[1:])
}

func takeList(elem mapping) takeFunc {
	return func(r *valuetext.Reader, v *vector.Vector, i int, b []byte) error {
		if len(b) < 12 {
			return errWidth
		}
		n := 0
		if dims := be.Uint32(b); dims == 1 && len(b) >= 20 {
			n, b = int(be.Uint32(b[12:])), b[20:]
		} else if dims != 0 {
			return errors.New("the array has more than one dimension")
		}
		child := &v.Children[0]
		first, total := i*v.Type.Size, valuetext.Len(child)
		if v.Type.Kind == vector.List {
			first, total = valuetext.Extend(child, n)
			v.PutEntry(i, first, n)
		} else if n != v.Type.Size {
			return errWidth
		}
		for j := first; j < first+n; j++ {
			var cell []byte
			var err error
			if cell, b, err = nextCell(b); err != nil {
				return err
			}
			if cell == nil {
				valuetext.SetNull(child, j, total)
			} else if err := elem.take(r, child, j, cell); err != nil {
				return err
			}
		}
		return nil
	}
}

// nextCell splits a length-prefixed value off b; nil is NULL.
func nextCell(b []byte) (cell, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errWidth
	}
	n := int(int32(be.Uint32(b)))
	if b = b[4:]; n < 0 {
		return nil, b, nil
	}
	if len(b) < n {
		return nil, nil, errWidth
	}
	return b[:n:n], b[n:], nil
}

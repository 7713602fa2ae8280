package valuetext

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-sql/sluice/internal/vector"
)

func TestCivil(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(math.MinInt32, math.MaxInt32).Draw(t, "day")
		y, m, d := civil(day)
		if dayOf(y, m, d) != day {
			t.Fatalf("day %d is %d-%d-%d, which is day %d", day, y, m, d, dayOf(y, m, d))
		}
		want := time.Unix(day*86400, 0).UTC()
		if int64(want.Year()) != y || int(want.Month()) != m || want.Day() != d {
			t.Fatalf("day %d is %d-%d-%d, want %s", day, y, m, d, want.Format(time.DateOnly))
		}
	})
}

func TestBignum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "neg") {
			x.Neg(x)
		}
		if got := BignumInt(BignumBytes(x)); got.Cmp(x) != 0 {
			t.Fatalf("%s became %s", x, got)
		}
	})
}

// TestScalars writes what was read for random values of the wide types.
func TestScalars(t *testing.T) {
	for _, k := range []vector.Kind{vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.Int128, vector.UInt8, vector.UInt16,
		vector.UInt32, vector.UInt64, vector.UInt128, vector.Timestamp, vector.TimestampS, vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ,
		vector.UUID, vector.Interval} {
		rapid.Check(t, func(t *rapid.T) {
			v := vector.New(vector.Of(k), 1)
			raw := rapid.SliceOfN(rapid.Byte(), len(v.Data), len(v.Data)).Draw(t, "raw")
			copy(v.Data, raw)
			switch k {
			case vector.TimestampS: // within what fits a TIMESTAMP
				v.PutI64(0, v.I64(0)/1_000_000)
			case vector.TimestampMS:
				v.PutI64(0, v.I64(0)/1000)
			case vector.Interval:
				if v.I64(1) == math.MinInt64 {
					return
				}
			}
			var w Writer
			text := w.Text(nil, &v, 0)
			back := vector.New(vector.Of(k), 1)
			rd := Reader{Arena: &vector.Arena{}}
			if err := rd.Text(&back, 0, text); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.Data, back.Data); diff != "" {
				t.Fatalf("%s: %s", text, diff)
			}
		})
	}
}

func TestReadErrors(t *testing.T) {
	for _, tt := range []struct {
		typ  vector.Type
		text string
	}{
		{vector.Of(vector.Int8), "128"},
		{vector.Of(vector.Int8), "-129"},
		{vector.Of(vector.UInt64), "-1"},
		{vector.Of(vector.UInt64), "18446744073709551616"},
		{vector.Of(vector.Int128), "170141183460469231731687303715884105728"},
		{vector.Of(vector.UInt128), "340282366920938463463374607431768211456"},
		{vector.Of(vector.Int32), "1.5"},
		{vector.Of(vector.Int32), "x"},
		{vector.Of(vector.Date), "yesterday"},
		{vector.Of(vector.Timestamp), "2001-01-01"},
		{vector.Of(vector.Interval), "3 fortnights"},
		{vector.Of(vector.Blob), `\x0`},
		{vector.Of(vector.Bignum), "1.5"},
		{vector.Type{Kind: vector.Enum, Values: []string{"a"}}, "b"},
	} {
		v := vector.New(tt.typ, 1)
		rd := Reader{Arena: &vector.Arena{}}
		if err := rd.Text(&v, 0, []byte(tt.text)); err == nil {
			t.Errorf("%s took %q", tt.typ, tt.text)
		}
	}
}

package vector_test

import (
	"math"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

func fixed(t vector.Type, words ...uint64) vector.Vector {
	v := vector.New(t, 2)
	switch t.Bytes() {
	case 1:
		v.PutU8(0, uint8(words[0]))
	case 2:
		v.PutU16(0, uint16(words[0]))
	case 4:
		v.PutU32(0, uint32(words[0]))
	default:
		for i, w := range words {
			v.PutU64(i, w)
		}
	}
	return v
}

func str(k vector.Kind, s string) vector.Vector {
	v := vector.New(vector.Of(k), 1)
	v.PutStr(0, []byte(s))
	return v
}

// The expected texts are what DuckDB 1.5.5 answers for CAST(… AS VARCHAR).
func TestText(t *testing.T) {
	f64 := func(x float64) vector.Vector { return fixed(vector.Of(vector.Float64), math.Float64bits(x)) }
	neg := func(x int64) uint64 { return uint64(-x) }
	dec := func(w, s uint8, words ...uint64) vector.Vector {
		return fixed(vector.Type{Kind: vector.Decimal, Width: w, Scale: s}, words...)
	}
	of := func(k vector.Kind, words ...uint64) vector.Vector { return fixed(vector.Of(k), words...) }
	for _, c := range []struct {
		v    vector.Vector
		want string
	}{
		{f64(1), "1.0"}, {f64(1e15), "1000000000000000.0"}, {f64(1e16), "1e+16"}, {f64(1e-4), "0.0001"}, {f64(1e-5), "1e-05"},
		{f64(123456789.123), "123456789.123"}, {f64(math.Copysign(0, -1)), "-0.0"}, {f64(1e300), "1e+300"}, {f64(1.5e-7), "1.5e-07"},
		{f64(math.NaN()), "nan"}, {f64(math.Inf(-1)), "-inf"},
		{of(vector.Float32, uint64(math.Float32bits(0.1))), "0.1"}, {of(vector.Float32, uint64(math.Float32bits(16777216))), "16777216.0"},
		{of(vector.Bool, 1), "true"}, {of(vector.Int8, 0xff), "-1"}, {of(vector.UInt16, 65535), "65535"},
		{of(vector.Int128, neg(5), math.MaxUint64), "-5"}, {of(vector.UInt128, 0, 1), "18446744073709551616"},
		{dec(4, 2, 5), "0.05"}, {dec(4, 2, uint64(uint16(0xfffb))), "-0.05"}, {dec(38, 0, 12, 0), "12"}, {dec(18, 3, neg(1234567)), "-1234.567"},
		{of(vector.Date, 0), "1970-01-01"}, {of(vector.Date, neg(735160)), "0044-03-15 (BC)"},
		{of(vector.Date, math.MaxInt32), "infinity"}, {of(vector.Date, uint64(0x80000001)), "-infinity"},
		{of(vector.Timestamp, 1704164645120000), "2024-01-02 03:04:05.12"}, {of(vector.TimestampS, 1704164645), "2024-01-02 03:04:05"},
		{of(vector.TimestampNS, 1704164645000000120), "2024-01-02 03:04:05.00000012"}, {of(vector.TimestampTZ, 1704157445500000), "2024-01-02 01:04:05.5+00"},
		{of(vector.TimestampTZ, neg(735160*86400e6-3600e6)), "0044-03-15 (BC) 01:00:00+00"},
		{of(vector.Timestamp, neg(1)), "1969-12-31 23:59:59.999999"}, {of(vector.Timestamp, math.MaxInt64), "infinity"},
		{of(vector.Time, 11045500000), "03:04:05.5"}, {of(vector.TimeNS, 36000123456789), "10:00:00.123456789"},
		{of(vector.TimeTZ, 11045000000<<24|(57599-9000)), "03:04:05+02:30"}, {of(vector.TimeTZ, 11045000000<<24|(57599+10)), "03:04:05-00:10"},
		{of(vector.Interval, uint64(uint32(0xfffffff2))|3<<32, neg(19800000000)), "-1 year -2 months 3 days -05:30:00"},
		{of(vector.Interval, 0, 0), "00:00:00"}, {of(vector.Interval, 1<<32, 1), "1 day 00:00:00.000001"}, {of(vector.Interval, 25, 0), "2 years 1 month"},
		{of(vector.Interval, 0, 360000000000), "100:00:00"},
		{of(vector.UUID, 0x1234123456789abc, 0x1234567812341234^1<<63), "12345678-1234-1234-1234-123456789abc"},
		{str(vector.Blob, "\xaa\x00abc\\\"'~\x7f"), `\xAA\x00abc\x5C\x22\x27~\x7F`}, {str(vector.Bit, "\x03\xf5"), "10101"},
		{str(vector.Bignum, "\x80\x00\x01\x05"), "5"}, {str(vector.Bignum, "\x7f\xff\xfe\xfa"), "-5"},
		{str(vector.Varchar, "it's"), "it's"},
	} {
		if got := vector.Text(&c.v, 0); got != c.want {
			t.Errorf("%s: %q, want %q", c.v.Type, got, c.want)
		}
	}
}

func TestTextNested(t *testing.T) {
	list := vector.New(vector.ListOf(vector.Of(vector.Varchar)), 1)
	list.PutEntry(0, 1, 2)
	list.Children[0] = vector.New(vector.Of(vector.Varchar), 3)
	list.Children[0].PutStr(1, []byte("a\"\n\x01é\xff"))
	list.Children[0].SetNull(2, 3)
	if got, want := vector.Text(&list, 0), `["a\"\n\u0001é�",null]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestEqualValue(t *testing.T) {
	f64 := func(bits uint64) vector.Vector { return fixed(vector.Of(vector.Float64), bits) }
	iv := func(months, days uint64, micros int64) vector.Vector {
		return fixed(vector.Of(vector.Interval), months|days<<32, uint64(micros))
	}
	null := vector.New(vector.Of(vector.Float64), 1)
	null.SetNull(0, 1)
	for _, c := range []struct {
		name string
		a, b vector.Vector
		want bool
	}{
		{"zeros", f64(0), f64(1 << 63), true},
		{"NaNs", f64(0x7ff8000000000001), f64(0xfff0000000000002), true},
		{"infinity is not NaN", f64(0x7ff0000000000000), f64(0x7ff0000000000001), false},
		{"NULLs", null, null, true},
		{"NULL and zero", null, f64(0), false},
		{"a month and 30 days", iv(1, 0, 0), iv(0, 30, 0), true},
		{"a month and 29 days with 24 hours", iv(1, 0, 0), iv(0, 29, 86400e6), true},
		{"a month less an hour", iv(1, 0, -3600e6), iv(0, 29, 23*3600e6), false},
	} {
		if got := vector.EqualValue(&c.a, 0, &c.b, 0); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		var ha, hb [1]uint64
		vector.HashRows(&vector.Chunk{N: 1, Cols: []vector.Vector{c.a}}, []int{0}, ha[:])
		vector.HashRows(&vector.Chunk{N: 1, Cols: []vector.Vector{c.b}}, []int{0}, hb[:])
		if (ha == hb) != c.want {
			t.Errorf("%s: hashes equal %v, want %v", c.name, ha == hb, c.want)
		}
	}
}

// Hashes are in logs: this test fails when they change, and then so must the log's version.
func TestHashesAreStable(t *testing.T) {
	c := &vector.Chunk{N: 1, Cols: []vector.Vector{fixed(vector.Of(vector.Int64), 42), str(vector.Varchar, "a longer text")}}
	var h [1]uint64
	vector.HashRows(c, []int{0, 1}, h[:])
	var d vector.Digest
	d.AddChunk(c)
	if h[0] != wantHash || d.String() != wantDigest {
		t.Errorf("hash %#x digest %s", h[0], d.String())
	}
}

const (
	wantHash   = 0x253ecdc91f8598ba
	wantDigest = "3a589fed944eddf0e2348dbff1cddc17"
)

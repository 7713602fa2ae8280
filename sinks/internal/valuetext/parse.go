package valuetext

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Reader stores values that a Writer wrote into rows of owned vectors.
type Reader struct {
	// Arena receives text; put it into the chunk's Keep.
	Arena *vector.Arena
	// Unescape, if set, undoes the Writer's Escape.
	Unescape func(text []byte) []byte
}

// JSON stores a JSON document as row i of v, a vector of n rows.
func (r *Reader) JSON(v *vector.Vector, i, n int, doc []byte) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return fmt.Errorf("read JSON for %s: %w", v.Type, err)
	}
	return r.value(v, i, n, x)
}

func (r *Reader) value(v *vector.Vector, i, n int, x any) error {
	if x == nil {
		SetNull(v, i, n)
		return nil
	}
	switch t := v.Type; t.Kind {
	case vector.List, vector.Array:
		elems, ok := x.([]any)
		if !ok || t.Kind == vector.Array && len(elems) != t.Size {
			return r.mismatch(v, x)
		}
		first, total := i*t.Size, n*t.Size
		if t.Kind == vector.List {
			first, total = Extend(&v.Children[0], len(elems))
			v.PutEntry(i, first, len(elems))
		}
		return r.elements(&v.Children[0], first, total, elems)
	case vector.Struct:
		return r.structure(v, i, n, x)
	case vector.Map:
		return r.mapping(v, i, x)
	case vector.Union:
		return r.union(v, i, n, x)
	}
	switch x := x.(type) {
	case bool:
		return r.Text(v, i, []byte(strconv.FormatBool(x)))
	case json.Number:
		return r.Text(v, i, []byte(x))
	case string:
		return r.Text(v, i, []byte(x))
	}
	return r.mismatch(v, x)
}

func (r *Reader) mismatch(v *vector.Vector, x any) error {
	return fmt.Errorf("a JSON %T is no %s", x, v.Type)
}

func (r *Reader) elements(child *vector.Vector, first, total int, elems []any) error {
	for j, e := range elems {
		if err := r.value(child, first+j, total, e); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) structure(v *vector.Vector, i, n int, x any) error {
	list, isList := x.([]any)
	object, isObject := x.(map[string]any)
	if isList && len(list) != len(v.Children) || !isList && !isObject {
		return r.mismatch(v, x)
	}
	for f := range v.Children {
		var e any
		if isList {
			e = list[f]
		} else {
			e = object[v.Type.Fields[f].Name]
		}
		if err := r.value(&v.Children[f], i, n, e); err != nil {
			return err
		}
	}
	return nil
}

// mapping stores the entries ordered by key text: see the package comment.
func (r *Reader) mapping(v *vector.Vector, i int, x any) error {
	object, ok := x.(map[string]any)
	if !ok {
		return r.mismatch(v, x)
	}
	names := make([]string, 0, len(object))
	for k := range object {
		names = append(names, k)
	}
	sort.Strings(names)
	first, total := Extend(&v.Children[0], len(names))
	v.PutEntry(i, first, len(names))
	keys, values := &v.Children[0].Children[0], &v.Children[0].Children[1]
	for j, k := range names {
		var err error
		if keys.Type.IsNested() {
			err = r.JSON(keys, first+j, total, []byte(k))
		} else {
			err = r.Text(keys, first+j, []byte(k))
		}
		if err == nil {
			err = r.value(values, first+j, total, object[k])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) union(v *vector.Vector, i, n int, x any) error {
	object, ok := x.(map[string]any)
	if !ok || len(object) != 1 {
		return r.mismatch(v, x)
	}
	for f, field := range v.Type.Fields {
		SetNull(&v.Children[f+1], i, n)
		e, ok := object[field.Name]
		if !ok {
			continue
		}
		v.Children[0].PutU8(i, uint8(f))
		if e != nil {
			setValid(&v.Children[f+1], i)
		}
		if err := r.value(&v.Children[f+1], i, n, e); err != nil {
			return err
		}
	}
	return nil
}

// Text stores the text of a scalar as row i of v.
func (r *Reader) Text(v *vector.Vector, i int, text []byte) error {
	s := string(text)
	var err error
	switch t := v.Type; t.Kind {
	case vector.Bool:
		var b bool
		if b, err = strconv.ParseBool(s); b {
			v.PutU8(i, 1)
		}
	case vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.Int128, vector.Null,
		vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64, vector.UInt128, vector.Decimal:
		err = parseNumber(v, i, s)
	case vector.Float32, vector.Float64:
		err = parseFloat(v, i, s)
	case vector.Date:
		var d int32
		d, err = parseDate(s)
		v.PutU32(i, uint32(d))
	case vector.Time, vector.TimeNS:
		var x int64
		x, _, err = parseClock(s, map[vector.Kind]int64{vector.Time: 1e6, vector.TimeNS: 1e9}[t.Kind])
		v.PutI64(i, x)
	case vector.TimeTZ:
		x, rest, cerr := parseClock(s, 1e6)
		off, oerr := parseOffset(rest)
		if err = cerr; err == nil {
			err = oerr
		}
		v.PutU64(i, JoinTimeTZ(x, off))
	case vector.Timestamp, vector.TimestampTZ, vector.TimestampS, vector.TimestampMS, vector.TimestampNS:
		unit := map[vector.Kind]int64{vector.TimestampS: 1, vector.TimestampMS: 1e3, vector.TimestampNS: 1e9}[t.Kind]
		if unit == 0 {
			unit = 1e6
		}
		var x int64
		x, err = parseTimestamp(s, unit)
		v.PutI64(i, x)
	case vector.Interval:
		var months, days int32
		var micros int64
		months, days, micros, err = parseInterval(s)
		PutInterval(v, i, months, days, micros)
	case vector.UUID:
		var b []byte
		if b, err = hex.DecodeString(strings.ReplaceAll(s, "-", "")); err == nil && len(b) == 16 {
			PutUUID(v, i, b)
		}
	case vector.Enum:
		k := slices.Index(t.Values, string(r.plain(text)))
		if k < 0 {
			err = errSyntax
		}
		putWidth(v, i, t.Bytes(), uint64(max(k, 0)))
	case vector.Varchar:
		v.PutStr(i, r.Arena.Copy(r.plain(text)))
	case vector.Blob:
		var b []byte
		b, err = parseBlob(s)
		v.PutStr(i, r.Arena.Copy(b))
	case vector.Bit:
		v.PutStr(i, r.Arena.Copy(parseBits(s)))
	case vector.Bignum:
		x, ok := new(big.Int).SetString(s, 10)
		if !ok {
			return fmt.Errorf("%q is no %s", s, t)
		}
		v.PutStr(i, r.Arena.Copy(BignumBytes(x)))
	default:
		err = errSyntax
	}
	if err != nil {
		return fmt.Errorf("%q is no %s: %w", s, v.Type, err)
	}
	return nil
}

func (r *Reader) plain(text []byte) []byte {
	if r.Unescape != nil {
		return r.Unescape(text)
	}
	return text
}

// PutInterval writes an INTERVAL.
func PutInterval(v *vector.Vector, i int, months, days int32, micros int64) {
	binary.LittleEndian.PutUint32(v.Data[i*16:], uint32(months))
	binary.LittleEndian.PutUint32(v.Data[i*16+4:], uint32(days))
	binary.LittleEndian.PutUint64(v.Data[i*16+8:], uint64(micros))
}

func parseNumber(v *vector.Vector, i int, s string) error {
	neg := strings.HasPrefix(s, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	scale := int(v.Type.Scale)
	frac = strings.TrimRight(frac, "0")
	if len(frac) > scale || whole == "" {
		return errSyntax
	}
	var m U128
	for _, c := range []byte(whole + frac + strings.Repeat("0", scale-len(frac))) {
		if c < '0' || c > '9' {
			return errSyntax
		}
		var ok bool
		if m, ok = m.MulAdd(10, uint64(c-'0')); !ok {
			return ErrOverflow
		}
	}
	return PutUnscaled(v, i, m, neg)
}

func parseFloat(v *vector.Vector, i int, s string) error {
	size := 8 * v.Type.Bytes()
	f, err := strconv.ParseFloat(s, size)
	if size == 32 {
		v.PutU32(i, math.Float32bits(float32(f)))
	} else {
		v.PutF64(i, f)
	}
	return err
}

func parseBlob(s string) ([]byte, error) {
	var out []byte
	for s != "" {
		if s[0] != '\\' {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		if len(s) < 4 {
			return nil, errSyntax
		}
		b, err := hex.DecodeString(s[2:4])
		if err != nil {
			return nil, err
		}
		out, s = append(out, b...), s[4:]
	}
	return out, nil
}

func parseBits(s string) []byte {
	pad := (8 - len(s)%8) % 8
	out := make([]byte, 1+(len(s)+7)/8)
	out[0] = byte(pad)
	for k := range pad {
		out[1] |= 0x80 >> k
	}
	for k := range len(s) {
		if s[k] == '1' {
			out[1+(k+pad)/8] |= 0x80 >> ((k + pad) % 8)
		}
	}
	return out
}

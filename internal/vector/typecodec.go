package vector

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Types are written as
//
//	types   | count uvarint | type … |
//	type    | kind byte | parameters |
//	  DECIMAL       width byte, scale byte
//	  ENUM          count uvarint, then per value: length uvarint, text
//	  LIST MAP      the element type
//	  ARRAY         size uvarint, the element type
//	  STRUCT UNION  count uvarint, then per field: length uvarint, name, type
//
// Kind numbers are the constants of type.go, which only ever grow.

const (
	// maxTypeDepth bounds nesting, so that a decoder cannot be driven into the end of its stack.
	maxTypeDepth = 64
	// maxArraySize is DuckDB's own limit for ARRAY.
	maxArraySize = 100_000
)

// AppendTypes appends the encoding of a list of types to dst.
func AppendTypes(dst []byte, types []Type) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(types)))
	for _, t := range types {
		dst = appendType(dst, t)
	}
	return dst
}

func appendType(dst []byte, t Type) []byte {
	dst = append(dst, byte(t.Kind))
	switch t.Kind {
	case Decimal:
		dst = append(dst, t.Width, t.Scale)
	case Enum:
		dst = binary.AppendUvarint(dst, uint64(len(t.Values)))
		for _, v := range t.Values {
			dst = appendText(dst, v)
		}
	case List, Map:
		dst = appendType(dst, *t.Elem)
	case Array:
		dst = binary.AppendUvarint(dst, uint64(t.Size))
		dst = appendType(dst, *t.Elem)
	case Struct, Union:
		dst = binary.AppendUvarint(dst, uint64(len(t.Fields)))
		for _, f := range t.Fields {
			dst = appendText(dst, f.Name)
			dst = appendType(dst, f.Type)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// DecodeTypes decodes what AppendTypes wrote and returns the bytes after it. Types that DuckDB cannot
// have (an empty STRUCT, an ARRAY of size 0, a MAP whose entries are not pairs) are refused.
func DecodeTypes(b []byte) (types []Type, rest []byte, err error) {
	d := decoder{b: b}
	n := d.uvarint(len(b))
	for range n {
		if d.err != nil {
			break
		}
		types = append(types, d.typ(0))
	}
	if d.err != nil {
		return nil, nil, fmt.Errorf("decode types: %w", d.err)
	}
	return types, d.b, nil
}

func (d *decoder) typ(depth int) Type {
	if depth > maxTypeDepth {
		d.fail("type nested deeper than %d", maxTypeDepth)
		return Type{}
	}
	head := d.take(1)
	if d.err != nil {
		return Type{}
	}
	t := Type{Kind: Kind(head[0])}
	if t.Kind == Invalid || t.Kind > Null {
		d.fail("unknown type kind %d", head[0])
		return t
	}
	switch t.Kind {
	case Decimal:
		if p := d.take(2); d.err == nil {
			t.Width, t.Scale = p[0], p[1]
		}
		if t.Width < 1 || t.Width > 38 || t.Scale > t.Width {
			d.fail("impossible DECIMAL(%d,%d)", t.Width, t.Scale)
		}
	case Enum:
		for range d.uvarint(len(d.b)) {
			t.Values = append(t.Values, d.text())
		}
	case List, Map, Array:
		if t.Kind == Array {
			if t.Size = d.uvarint(maxArraySize); t.Size == 0 {
				d.fail("ARRAY of size 0")
			}
		}
		elem := d.typ(depth + 1)
		t.Elem = &elem
		if t.Kind == Map && (elem.Kind != Struct || len(elem.Fields) != 2) {
			d.fail("MAP entry is not a pair")
		}
	case Struct, Union:
		d.fields(&t, depth)
	}
	return t
}

func (d *decoder) fields(t *Type, depth int) {
	n := d.uvarint(min(len(d.b), math.MaxInt32))
	if n == 0 || t.Kind == Union && n > 256 {
		d.fail("%s of %d fields", kindNames[t.Kind], n)
	}
	for range n {
		if d.err != nil {
			return
		}
		name := d.text()
		t.Fields = append(t.Fields, Field{Name: name, Type: d.typ(depth + 1)})
	}
}

func (d *decoder) text() string { return string(d.take(d.uvarint(len(d.b)))) }

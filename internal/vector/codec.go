package vector

import "encoding/binary"

// The canonical columnar encoding, used by the checkpoint log, by snapshots and for nested values inside
// the state store. Integers are little endian; "uvarint" is encoding/binary's.
//
//	chunk   | N uvarint | columns uvarint | column … |
//	column  | 0                    | payload |            no row is NULL
//	        | 1 | ⌈N/8⌉ mask bytes | payload |            mask bit i set: row i is NULL
//	payload, by kind
//	  fixed width        N × width bytes, NULL rows zero
//	  VARCHAR BLOB …     N × uvarint length (NULL: 0), then the texts end to end
//	  LIST MAP           N × uvarint length (NULL: 0), then one column of all elements end to end
//	  ARRAY              one column of N × Size elements
//	  STRUCT             one column of N rows a field
//	  UNION              the tag column, then one column of N rows a member
//
// Types are not part of it: whoever decodes knows them (AppendTypes writes them down).
//
// Invariant: equal content gives equal bytes, whatever the input's layout was. So children of a NULL
// parent and the members that a union's tag does not select are written as NULL, list elements are
// packed in row order, mask padding is zero and booleans are 0 or 1. Floats keep their bits.
//
// Invariant: every row of every column takes at least one byte, so a decoder can refuse an impossible
// row count before it allocates for it.

const (
	noNulls  = 0
	hasNulls = 1
)

// AppendChunk appends the canonical encoding of c, which may have more than Size rows, to dst.
func AppendChunk(dst []byte, c *Chunk) []byte {
	dst = binary.AppendUvarint(dst, uint64(c.N))
	dst = binary.AppendUvarint(dst, uint64(len(c.Cols)))
	for i := range c.Cols {
		dst = appendVector(dst, &c.Cols[i], nil, c.N)
	}
	return dst
}

// AppendValue appends the canonical encoding of the one-row column that holds row i of v.
func AppendValue(dst []byte, v *Vector, i int) []byte {
	return appendVector(dst, v, []int32{int32(i)}, 1)
}

// A selection names rows of a vector: nil is rows 0..n-1 in order, -1 stands for NULL. Nested children
// are always visited through one, so that slots nobody refers to, which may hold dangling
// StringRefs, are never read.

// resolve folds v's own NULLs into a selection. It returns sel unchanged and false if no row is NULL.
func resolve(v *Vector, sel []int32, n int) ([]int32, bool) {
	first := firstNull(v, sel, n)
	if first == n {
		return sel, false
	}
	out := make([]int32, n)
	for i := range n {
		r := int32(i)
		if sel != nil {
			r = sel[i]
		}
		if i >= first && r >= 0 && v.IsNull(int(r)) {
			r = -1
		}
		out[i] = r
	}
	return out, true
}

func firstNull(v *Vector, sel []int32, n int) int {
	if sel == nil {
		if v.Valid == nil {
			return n
		}
		for i := range n {
			if v.IsNull(i) {
				return i
			}
		}
		return n
	}
	for i, r := range sel[:n] {
		if r < 0 || v.IsNull(int(r)) {
			return i
		}
	}
	return n
}

// appendVector appends rows sel of v as one column.
func appendVector(dst []byte, v *Vector, sel []int32, n int) []byte {
	sel, nulls := resolve(v, sel, n)
	if !nulls {
		dst = append(dst, noNulls)
	} else {
		dst = append(dst, hasNulls)
		at := len(dst)
		dst = append(dst, make([]byte, (n+7)/8)...)
		for i, r := range sel {
			if r < 0 {
				dst[at+i>>3] |= 1 << (i & 7)
			}
		}
	}
	switch v.Type.Kind {
	case Varchar, Blob, Bit, Bignum:
		return appendStrings(dst, v, sel, n)
	case List, Map:
		elems, lengths := elements(v, sel, n)
		for _, length := range lengths {
			dst = binary.AppendUvarint(dst, uint64(max(0, length)))
		}
		return appendVector(dst, &v.Children[0], elems, len(elems))
	case Array:
		return appendVector(dst, &v.Children[0], arraySelection(v.Type.Size, sel, n), n*v.Type.Size)
	case Struct:
		for i := range v.Children {
			dst = appendVector(dst, &v.Children[i], sel, n)
		}
		return dst
	case Union:
		dst = appendVector(dst, &v.Children[0], sel, n)
		for m := 1; m < len(v.Children); m++ {
			dst = appendVector(dst, &v.Children[m], memberSelection(v, m, sel, n), n)
		}
		return dst
	}
	return appendFixed(dst, v, sel, n)
}

func appendFixed(dst []byte, v *Vector, sel []int32, n int) []byte {
	w := v.Type.Bytes()
	at := len(dst)
	if sel == nil {
		dst = append(dst, v.Data[:n*w]...)
	} else {
		dst = append(dst, make([]byte, n*w)...)
		for i, r := range sel {
			if r >= 0 {
				copy(dst[at+i*w:at+i*w+w], v.Data[int(r)*w:int(r)*w+w])
			}
		}
	}
	if v.Type.Kind == Bool {
		for i, b := range dst[at:] {
			if b > 1 {
				dst[at+i] = 1
			}
		}
	}
	return dst
}

func appendStrings(dst []byte, v *Vector, sel []int32, n int) []byte {
	for i := range n {
		if r := row(sel, i); r >= 0 {
			dst = binary.AppendUvarint(dst, uint64(v.U32(r*4)))
		} else {
			dst = append(dst, 0)
		}
	}
	for i := range n {
		if r := row(sel, i); r >= 0 {
			dst = append(dst, v.Str(r)...)
		}
	}
	return dst
}

func row(sel []int32, i int) int {
	if sel == nil {
		return i
	}
	return int(sel[i])
}

// arraySelection expands rows of an ARRAY to rows of its child.
func arraySelection(size int, sel []int32, n int) []int32 {
	if sel == nil {
		return nil
	}
	out := make([]int32, 0, n*size)
	for _, r := range sel[:n] {
		for j := range size {
			if r < 0 {
				out = append(out, -1)
			} else {
				out = append(out, r*int32(size)+int32(j))
			}
		}
	}
	return out
}

// memberSelection returns the rows whose union tag selects child m (children start after the tag).
func memberSelection(v *Vector, m int, sel []int32, n int) []int32 {
	tag := &v.Children[0]
	out := make([]int32, n)
	for i := range n {
		r := row(sel, i)
		if r < 0 || tag.IsNull(r) || int(tag.U8(r)) != m-1 {
			r = -1
		}
		out[i] = int32(r)
	}
	return out
}

package vector

import (
	"fmt"
	"math/bits"
)

// Clone returns an owned deep copy: no memory is shared, and the long strings of a column lie in one
// block. NULL cells are zeroed and fields of NULL structs are made NULL, so that equal chunks are equal
// byte for byte.
func (c *Chunk) Clone() *Chunk {
	out := &Chunk{N: c.N, Cols: make([]Vector, len(c.Cols))}
	for i := range c.Cols {
		out.Cols[i] = cloneVector(&c.Cols[i], c.N, nil, out)
	}
	return out
}

// cloneVector copies n rows; a row that mask leaves out is under a NULL parent and may hold garbage.
func cloneVector(v *Vector, n int, mask []uint64, keep *Chunk) Vector {
	out := Vector{Type: v.Type, Valid: cloneMask(v.Valid, mask, n)}
	if w := v.Type.Bytes(); w > 0 {
		out.Data = alignedBytes(n * w)
		copy(out.Data, v.Data[:n*w])
		eachNull(out.Valid, n, func(i int) { clear(out.Data[i*w : i*w+w]) })
	}
	switch v.Type.Kind {
	case Varchar, Blob, Bit, Bignum:
		cloneStrings(&out, n, keep)
	case List, Map:
		rows := 0
		for i := range n {
			if off, length := out.Entry(i); length > 0 {
				rows = max(rows, off+length)
			}
		}
		out.Children = []Vector{cloneVector(&v.Children[0], rows, nil, keep)}
	case Array:
		out.Children = []Vector{cloneVector(&v.Children[0], n*v.Type.Size, spread(out.Valid, n, v.Type.Size), keep)}
	case Struct, Union:
		out.Children = make([]Vector, len(v.Children))
		for i := range v.Children {
			out.Children[i] = cloneVector(&v.Children[i], n, out.Valid, keep)
		}
	}
	return out
}

// cloneMask returns the rows valid in both masks; nil if neither has one.
func cloneMask(a, b []uint64, n int) []uint64 {
	if a == nil {
		a, b = b, nil
	}
	if a == nil {
		return nil
	}
	out := append(make([]uint64, 0, (n+63)/64), a[:(n+63)/64]...)
	if b != nil {
		for i := range out {
			out[i] &= b[i]
		}
	}
	return out
}

// spread repeats each bit of a mask size times: the mask of an array's child.
func spread(mask []uint64, n, size int) []uint64 {
	if mask == nil {
		return nil
	}
	out := AllValid(n * size)
	eachNull(mask, n, func(i int) {
		for j := i * size; j < (i+1)*size; j++ {
			out[j>>6] &^= 1 << (uint(j) & 63)
		}
	})
	return out
}

// eachNull calls f with the rows below n that a mask leaves out.
func eachNull(mask []uint64, n int, f func(int)) {
	for w, word := range mask {
		for nulls := ^word; nulls != 0; nulls &= nulls - 1 {
			if i := w*64 + bits.TrailingZeros64(nulls); i < n {
				f(i)
			}
		}
	}
}

// cloneStrings moves the text behind the refs of out into one block.
func cloneStrings(out *Vector, n int, keep *Chunk) {
	total := 0
	for i := range n {
		if s := out.Str(i); len(s) > inlineLen {
			total += len(s)
		}
	}
	if total == 0 {
		return
	}
	block := make([]byte, 0, total)
	for i := range n {
		if s := out.Str(i); len(s) > inlineLen {
			at := len(block)
			block = append(block, s...)
			out.PutStr(i, block[at:])
		}
	}
	// Invariant: no append moved the block, or refs would dangle.
	if len(block) != total {
		panic(fmt.Sprintf("vector: cloned %d bytes of strings, expected %d", len(block), total))
	}
	keep.Keep = append(keep.Keep, block)
}

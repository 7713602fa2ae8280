package duck

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// appendNodes adds the preorder walk of a type's vectors, which bridge.c follows.
func appendNodes(nodes []C.sl_node, t vector.Type) []C.sl_node {
	n := C.sl_node{op: C.SL_FLAT}
	switch t.Kind {
	case vector.List, vector.Map:
		n.op = C.SL_LIST
	case vector.Array:
		n.op, n.arg = C.SL_ARRAY, C.uint64_t(t.Size)
	case vector.Struct, vector.Union:
		n.op, n.arg = C.SL_STRUCT, C.uint64_t(len(t.ChildTypes()))
	}
	nodes = append(nodes, n)
	for _, ct := range t.ChildTypes() {
		nodes = appendNodes(nodes, ct)
	}
	return nodes
}

// A reader views DuckDB's chunks as vector chunks. It belongs to one result or one lookup function.
type reader struct {
	nodes []C.sl_node
	// tmp has the flat copies of nested columns; in C memory, because C writes pointers there. Nil
	// without nested columns.
	tmp   *unsafe.Pointer
	chunk vector.Chunk
}

func newReader(types []vector.Type) *reader {
	r := &reader{chunk: *vector.NewChunk(types, 0)}
	nested := false
	for _, t := range types {
		r.nodes = appendNodes(r.nodes, t)
		nested = nested || t.IsNested()
	}
	if nested {
		r.tmp = (*unsafe.Pointer)(C.calloc(C.size_t(len(types)), C.size_t(unsafe.Sizeof(uintptr(0)))))
	}
	return r
}

// view reads a DuckDB chunk. The answer is valid until release, and while the DuckDB chunk lives.
func (r *reader) view(chunk unsafe.Pointer) *vector.Chunk {
	if len(r.nodes) == 0 {
		r.chunk.N = int(C.sl_chunk_rows(chunk))
		return &r.chunk
	}
	r.chunk.N = int(C.sl_read_chunk(chunk, C.uint64_t(len(r.chunk.Cols)), &r.nodes[0], r.tmp))
	nodes := r.nodes
	for i := range r.chunk.Cols {
		nodes = viewVector(&r.chunk.Cols[i], nodes)
	}
	return &r.chunk
}

func viewVector(v *vector.Vector, nodes []C.sl_node) []C.sl_node {
	n := &nodes[0]
	rows := int(n.rows)
	if w := v.Type.Bytes(); w > 0 && rows > 0 {
		v.Data = unsafe.Slice((*byte)(n.data), rows*w)
	} else if w > 0 {
		v.Data = v.Data[:0]
	}
	v.Valid = nil
	if n.valid != nil && rows > 0 {
		v.Valid = unsafe.Slice((*uint64)(unsafe.Pointer(n.valid)), (rows+63)/64)
	}
	nodes = nodes[1:]
	for i := range v.Children {
		nodes = viewVector(&v.Children[i], nodes)
	}
	return nodes
}

// release frees the copies that the last view made.
func (r *reader) release() {
	if r.tmp != nil {
		C.sl_release(r.tmp, C.uint64_t(len(r.chunk.Cols)))
	}
}

// close frees everything; the reader must not be used again.
func (r *reader) close() {
	r.release()
	C.free(unsafe.Pointer(r.tmp))
	r.tmp = nil
}

// A writer copies vectors into DuckDB's. It belongs to one scan or one lookup function.
type writer struct {
	nodes []C.sl_node
	// valid has the mask of each node as it will be written, nil without NULLs.
	valid [][]uint64
	at    int
}

func newWriter(types ...vector.Type) *writer {
	w := &writer{}
	for _, t := range types {
		w.nodes = appendNodes(w.nodes, t)
	}
	w.valid = make([][]uint64, len(w.nodes))
	return w
}

// begin forgets the vectors of the last chunk.
func (w *writer) begin() { w.at = 0 }

// plan notes what a vector of n rows needs: list sizes and masks. mask, if not nil, has the rows that
// its parent left valid.
//
// Why the mask: DuckDB expects the fields of a NULL struct to be NULL too (struct_extract hands out the
// child vector as it is), while other writers may mark only the parent.
func (w *writer) plan(v *vector.Vector, n int, mask []uint64) {
	v.Check(n)
	node := &w.nodes[w.at]
	valid := intersect(v.Valid, mask, n)
	w.valid[w.at] = valid
	node.nulls = 0
	if valid != nil {
		node.nulls = 1
	}
	w.at++
	switch v.Type.Kind {
	case vector.List, vector.Map:
		rows := listRows(v, n, valid)
		node.arg = C.uint64_t(rows)
		w.plan(&v.Children[0], rows, nil)
	case vector.Array:
		w.plan(&v.Children[0], n*v.Type.Size, spread(valid, n, v.Type.Size))
	case vector.Struct, vector.Union:
		for i := range v.Children {
			w.plan(&v.Children[i], n, valid)
		}
	}
}

// fill copies a planned vector of n rows.
func (w *writer) fill(v *vector.Vector, n int) {
	node, valid := &w.nodes[w.at], w.valid[w.at]
	w.at++
	if width := v.Type.Bytes(); width > 0 && n > 0 {
		dst := unsafe.Slice((*byte)(node.data), n*width)
		copy(dst, v.Data[:n*width])
		if width == 16 && valid != nil && (v.Type.IsString() || v.Type.IsNested()) {
			clearNulls(dst, valid, n)
		}
	}
	if valid != nil && n > 0 {
		copy(unsafe.Slice((*uint64)(unsafe.Pointer(node.valid)), (n+63)/64), valid)
	}
	switch v.Type.Kind {
	case vector.List, vector.Map:
		w.fill(&v.Children[0], int(node.arg))
	case vector.Array:
		w.fill(&v.Children[0], n*v.Type.Size)
	case vector.Struct, vector.Union:
		for i := range v.Children {
			w.fill(&v.Children[i], n)
		}
	}
}

// listRows returns how many rows of the child n entries refer to.
func listRows(v *vector.Vector, n int, valid []uint64) int {
	rows := 0
	for i := range n {
		if valid != nil && valid[i>>6]&(1<<(uint(i)&63)) == 0 {
			continue
		}
		off, length := v.Entry(i)
		if off < 0 || length < 0 || off > math.MaxInt-length {
			panic(fmt.Sprintf("list entry %d is (%d, %d)", i, off, length))
		}
		if length > 0 {
			rows = max(rows, off+length)
		}
	}
	return rows
}

// intersect returns the rows valid in both masks, nil when there is no NULL among n.
func intersect(a, b []uint64, n int) []uint64 {
	words := (n + 63) / 64
	if a == nil || b == nil {
		if a == nil {
			a = b
		}
		if a == nil || allValid(a, n) {
			return nil
		}
		return a[:words]
	}
	out := make([]uint64, words)
	for i := range out {
		out[i] = a[i] & b[i]
	}
	if allValid(out, n) {
		return nil
	}
	return out
}

func allValid(mask []uint64, n int) bool {
	for i := range n / 64 {
		if mask[i] != math.MaxUint64 {
			return false
		}
	}
	rest := uint(n) % 64
	return rest == 0 || ^mask[n/64]<<(64-rest) == 0
}

// spread repeats each bit of a mask size times: the mask of an array's child.
func spread(mask []uint64, n, size int) []uint64 {
	if mask == nil {
		return nil
	}
	out := vector.AllValid(n * size)
	for i := range n {
		if mask[i>>6]&(1<<(uint(i)&63)) != 0 {
			continue
		}
		for j := i * size; j < (i+1)*size; j++ {
			out[j>>6] &^= 1 << (uint(j) & 63)
		}
	}
	return out
}

// clearNulls zeroes 16-byte cells of NULL rows, so that DuckDB never meets a stale pointer or offset.
func clearNulls(dst []byte, valid []uint64, n int) {
	for w := range (n + 63) / 64 {
		for nulls := ^valid[w]; nulls != 0; nulls &= nulls - 1 {
			if i := w*64 + bits.TrailingZeros64(nulls); i < n {
				clear(dst[i*16 : i*16+16])
			}
		}
	}
}

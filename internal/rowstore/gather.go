package rowstore

import (
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A buffer is the memory of a gathered chunk, reused by the next gather into it.
type buffer struct {
	chunk vector.Chunk
	data  [][]uint64
	valid [][]uint64
	nulls []uint8
	most  int // rows of the largest chunk so far
}

// maxKeptRows bounds what one large answer leaves allocated.
const maxKeptRows = 1 << 16

func (b *buffer) trim() {
	if b.most > maxKeptRows {
		*b = buffer{}
	}
}

// gather copies the first ncols columns of slots into b's chunk. Texts are not copied: they stay valid
// until Commit.
func (t *Table) gather(b *buffer, ptrs []slot, ncols int) *vector.Chunk {
	if len(b.data) < ncols {
		b.data, b.valid = make([][]uint64, ncols), make([][]uint64, ncols)
		b.nulls = make([]uint8, t.lay.nullsLen)
	}
	b.most = max(b.most, len(ptrs))
	b.chunk = vector.Chunk{N: len(ptrs), Cols: resizeCols(b.chunk.Cols, ncols)}
	t.collectNulls(b.nulls, ptrs)
	for k := range ncols {
		c, out := &t.lay.cols[k], &b.chunk.Cols[k]
		if c.nested {
			*out = t.gatherNested(c, ptrs)
			continue
		}
		words := resize(&b.data[k], (len(ptrs)*c.width+7)/8)
		*out = vector.Vector{Type: c.typ, Data: []byte{}}
		if len(ptrs) > 0 {
			out.Data = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(ptrs)*c.width)
			gatherFixed(out.Data, c, ptrs)
		}
		if b.nulls[k>>3]&(1<<(k&7)) != 0 {
			out.Valid = resize(&b.valid[k], (len(ptrs)+63)/64)
			t.gatherValid(out.Valid, c, ptrs)
		}
	}
	return &b.chunk
}

func resizeCols(cols []vector.Vector, n int) []vector.Vector {
	if cap(cols) < n {
		return make([]vector.Vector, n)
	}
	return cols[:n]
}

// collectNulls says per column whether any row is NULL, so that most columns need no mask.
func (t *Table) collectNulls(nulls []uint8, ptrs []slot) {
	clear(nulls)
	for _, p := range ptrs {
		for j := range nulls {
			nulls[j] |= *(*uint8)(unsafe.Add(p, t.lay.nulls+j))
		}
	}
}

func (t *Table) gatherValid(valid []uint64, c *column, ptrs []slot) {
	clear(valid)
	for i, p := range ptrs {
		if !t.lay.isNull(p, c) {
			valid[i>>6] |= 1 << (i & 63)
		}
	}
}

func gatherFixed(data []byte, c *column, ptrs []slot) {
	switch c.width {
	case 1:
		gatherWords(unsafe.Slice((*uint8)(unsafe.Pointer(&data[0])), len(ptrs)), c.off, ptrs)
	case 2:
		gatherWords(unsafe.Slice((*uint16)(unsafe.Pointer(&data[0])), len(ptrs)), c.off, ptrs)
	case 4:
		gatherWords(unsafe.Slice((*uint32)(unsafe.Pointer(&data[0])), len(ptrs)), c.off, ptrs)
	case 8:
		gatherWords(unsafe.Slice((*uint64)(unsafe.Pointer(&data[0])), len(ptrs)), c.off, ptrs)
	default:
		gatherWords(unsafe.Slice((*[2]uint64)(unsafe.Pointer(&data[0])), len(ptrs)), c.off, ptrs)
	}
}

func gatherWords[T any](out []T, off int, ptrs []slot) {
	for i, p := range ptrs {
		out[i] = *(*T)(unsafe.Add(p, off))
	}
}

// gatherNested decodes the values of a nested column into an owned vector whose texts are the arena's.
func (t *Table) gatherNested(c *column, ptrs []slot) vector.Vector {
	r := vector.NewValueReader(c.typ)
	for _, p := range ptrs {
		if t.lay.isNull(p, c) {
			r.AppendNull()
		} else if err := r.Append(vector.RefBytes(c.bytes(p))); err != nil {
			invariant("state %q holds an undecodable %s: %v", t.spec.Name, c.typ, err)
		}
	}
	return r.Out
}

// pointers returns the slots of rows; 0 gives the absent row.
func (t *Table) pointers(ids []rowID) []slot {
	ptrs := resize(&t.scratch.ptrs, len(ids))
	for i, id := range ids {
		if ptrs[i] = t.absent; id != 0 {
			ptrs[i] = t.blocks.at(id)
		}
	}
	return ptrs
}

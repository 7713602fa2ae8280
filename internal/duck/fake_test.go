package duck

import (
	"fmt"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A fakeState keeps rows in owned chunks and finds them by a Go map over the rendered key.
type fakeState struct {
	t      testing.TB
	nkey   int
	types  []vector.Type
	chunks []*vector.Chunk
	index  map[string][]rowAt
	gets   int
}

type rowAt struct{ chunk, row int }

func newFakeState(t testing.TB, key []vector.Field, nkey int, chunks []*vector.Chunk) *fakeState {
	s := &fakeState{t: t, nkey: nkey, chunks: chunks, index: map[string][]rowAt{}}
	if len(key) < nkey {
		t.Fatal("a key column is missing")
	}
	for c, ch := range chunks {
		s.types = ch.Types()
		for i := range ch.N {
			k := rowKey(ch, nkey, i)
			s.index[k] = append(s.index[k], rowAt{c, i})
		}
	}
	return s
}

func (s *fakeState) Len() int {
	n := 0
	for _, ch := range s.chunks {
		n += ch.N
	}
	return n
}

func rowKey(ch *vector.Chunk, nkey, i int) string {
	k := ""
	for c := range nkey {
		k += cellText(&ch.Cols[c], i) + "|"
	}
	return k
}

func cellText(v *vector.Vector, i int) string {
	switch {
	case v.IsNull(i):
		return "NULL"
	case v.Type.IsString():
		return fmt.Sprintf("%q", v.Str(i))
	case v.Type.Kind == vector.List:
		off, n := v.Entry(i)
		s := "["
		for j := off; j < off+n; j++ {
			s += cellText(&v.Children[0], j) + ","
		}
		return s + "]"
	case v.Type.Kind == vector.Struct:
		s := "{"
		for c := range v.Children {
			s += cellText(&v.Children[c], i) + ","
		}
		return s + "}"
	}
	w := v.Type.Bytes()
	return fmt.Sprintf("%x", v.Data[i*w:i*w+w])
}

func (s *fakeState) Get(keys *vector.Chunk) (*vector.Chunk, []bool) {
	s.gets++
	found, from := make([]bool, keys.N), make([]rowAt, keys.N)
	for i := range keys.N {
		if hits := s.index[rowKey(keys, s.nkey, i)]; len(hits) > 0 {
			found[i], from[i] = true, hits[0]
		}
	}
	return s.gather(from, found), found
}

func (s *fakeState) Rows(prefix *vector.Chunk) (*vector.Chunk, []int) {
	var from []rowAt
	start := make([]int, 1, prefix.N+1)
	for i := range prefix.N {
		from = append(from, s.index[rowKey(prefix, len(prefix.Cols), i)]...)
		start = append(start, len(from))
	}
	return s.gather(from, nil), start
}

func (s *fakeState) Scan() func() *vector.Chunk {
	at := 0
	return func() *vector.Chunk {
		if at == len(s.chunks) {
			return nil
		}
		at++
		return s.chunks[at-1]
	}
}

// gather copies rows; those not found hold garbage, as the contract allows.
func (s *fakeState) gather(from []rowAt, found []bool) *vector.Chunk {
	out := vector.NewChunk(s.types, len(from))
	for c := range out.Cols {
		dst := &out.Cols[c]
		for i := range dst.Data {
			dst.Data[i] = 0xEE
		}
		for i, at := range from {
			if found == nil || found[i] {
				copyCell(dst, i, len(from), &s.chunks[at.chunk].Cols[c], at.row)
			}
		}
	}
	out.Keep = []any{s.chunks}
	return out
}

// copyCell copies one cell, strings by reference, list elements appended.
func copyCell(dst *vector.Vector, i, n int, src *vector.Vector, j int) {
	if src.IsNull(j) {
		dst.SetNull(i, n)
		return
	}
	w := src.Type.Bytes()
	switch src.Type.Kind {
	case vector.List, vector.Map:
		off, length := src.Entry(j)
		at := childRows(dst)
		grow(&dst.Children[0], at, length)
		for k := range length {
			copyCell(&dst.Children[0], at+k, at+length, &src.Children[0], off+k)
		}
		dst.PutEntry(i, at, length)
	case vector.Array:
		size := src.Type.Size
		for k := range size {
			copyCell(&dst.Children[0], i*size+k, n*size, &src.Children[0], j*size+k)
		}
	case vector.Struct, vector.Union:
		for k := range src.Children {
			copyCell(&dst.Children[k], i, n, &src.Children[k], j)
		}
	default:
		copy(dst.Data[i*w:i*w+w], src.Data[j*w:j*w+w])
	}
}

// rowsOf counts the rows that a vector holds.
func rowsOf(v *vector.Vector) int {
	if w := v.Type.Bytes(); w > 0 {
		return len(v.Data) / w
	}
	if v.Type.Kind == vector.Array {
		return rowsOf(&v.Children[0]) / v.Type.Size
	}
	return rowsOf(&v.Children[0])
}

func childRows(list *vector.Vector) int { return rowsOf(&list.Children[0]) }

// grow adds rows to a vector of n.
func grow(v *vector.Vector, n, more int) {
	if w := v.Type.Bytes(); w > 0 {
		v.Data = append(v.Data, make([]byte, more*w)...)
	}
	if v.Valid != nil {
		for len(v.Valid) < (n+more+63)/64 {
			v.Valid = append(v.Valid, ^uint64(0))
		}
	}
	switch v.Type.Kind {
	case vector.Array:
		grow(&v.Children[0], n*v.Type.Size, more*v.Type.Size)
	case vector.Struct, vector.Union:
		for i := range v.Children {
			grow(&v.Children[i], n, more)
		}
	}
}

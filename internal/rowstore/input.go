package rowstore

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// input is a chunk that comes in, as keys or as rows: nested columns as StringRefs to their encoding,
// key and prefix hashes of every row.
type input struct {
	chunk *vector.Chunk
	// data is per column what slots hold: Vector.Data, or refs to encoded nested values.
	data       [][]byte
	hash       []uint64
	prefixHash []uint64
}

// read prepares the first ncols columns of c and hashes the key, if they hold it.
func (t *Table) read(c *vector.Chunk, ncols int) *input {
	if len(c.Cols) < ncols {
		invariant("state %q was given %d columns, expected %d", t.spec.Name, len(c.Cols), ncols)
	}
	in := &input{chunk: c, data: make([][]byte, ncols)}
	for k := range ncols {
		v := &c.Cols[k]
		if !v.Type.Equal(t.types[k]) {
			invariant("state %q column %d was given %s, expected %s", t.spec.Name, k, v.Type, t.types[k])
		}
		if in.data[k] = v.Data; t.lay.cols[k].nested {
			in.data[k] = in.encode(v, c.N)
		}
	}
	if ncols >= t.spec.NKey {
		in.hash = resize(&t.scratch.hash, c.N)
		t.hashRows(c, t.spec.NKey, in.hash)
	}
	return in
}

// readPrefix is read for calls that need the prefix lists as well.
func (t *Table) readPrefix(c *vector.Chunk, ncols int) *input {
	in := t.read(c, ncols)
	if t.linked {
		in.prefixHash = resize(&t.scratch.prefixHash, c.N)
		t.hashRows(c, t.spec.NPrefix, in.prefixHash)
	}
	return in
}

// hashRows hashes the first ncols columns.
func (t *Table) hashRows(c *vector.Chunk, ncols int, out []uint64) {
	vector.HashRows(c, t.columns[:ncols], out)
	if t.collide != 0 {
		for i := range out {
			out[i] &^= t.collide
		}
	}
}

// encode returns StringRefs to the encoding of each value of a nested column.
func (in *input) encode(v *vector.Vector, n int) []byte {
	var blobs []byte
	ends := make([]int, n)
	for i := range n {
		if !v.IsNull(i) {
			blobs = vector.AppendValue(blobs, v, i)
		}
		ends[i] = len(blobs)
	}
	refs, from := make([]byte, n*16), 0
	for i, end := range ends {
		vector.PutRef(refs[i*16:i*16+16], blobs[from:end])
		from = end
	}
	// Why: refs are opaque bytes to the collector.
	in.chunk = keeping(in.chunk, blobs)
	return refs
}

// keeping returns c with b kept alive by it.
func keeping(c *vector.Chunk, b []byte) *vector.Chunk {
	return &vector.Chunk{N: c.N, Cols: c.Cols, Keep: append(c.Keep[:len(c.Keep):len(c.Keep)], b)}
}

func resize[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n+n/4)
	}
	return (*s)[:n]
}

// keyMatches reports whether row i of in is not distinct from a slot over the first n columns.
func (t *Table) keyMatches(in *input, i int, p slot, n int) bool {
	for k := range n {
		if !t.valueMatches(in, i, p, &t.lay.cols[k]) {
			return false
		}
	}
	return true
}

func (t *Table) valueMatches(in *input, i int, p slot, c *column) bool {
	v := &in.chunk.Cols[c.index]
	if null := t.lay.isNull(p, c); null || v.IsNull(i) {
		return null && v.IsNull(i)
	}
	a, b := c.bytes(p), in.data[c.index][i*c.width:(i+1)*c.width]
	switch {
	case c.nested:
		return bytes.Equal(vector.RefBytes(a), vector.RefBytes(b)) || t.nestedMatches(a, v, i)
	case c.ref:
		return equalRefs(a, b)
	}
	return vector.EqualFixed(c.typ.Kind, a, b)
}

// equalRefs compares two StringRefs; the first word has the length and the first four bytes.
func equalRefs(a, b []byte) bool {
	if binary.LittleEndian.Uint64(a) != binary.LittleEndian.Uint64(b) {
		return false
	}
	return bytes.Equal(vector.RefBytes(a), vector.RefBytes(b))
}

// nestedMatches compares values whose encodings differ but that may yet be equal, as 0.0 and -0.0.
func (t *Table) nestedMatches(ref []byte, v *vector.Vector, i int) bool {
	r := vector.NewValueReader(v.Type)
	if err := r.Append(vector.RefBytes(ref)); err != nil {
		invariant("state %q holds an undecodable %s: %v", t.spec.Name, v.Type, err)
	}
	return vector.EqualValue(&r.Out, 0, v, i)
}

// lookup finds the rows with the keys of in; 0 stands for no row. Passes over all keys, not key by key,
// let the processor overlap the cache misses.
func (t *Table) lookup(in *input) []rowID {
	n := in.chunk.N
	ids := resize(&t.scratch.ids, n)
	ptrs := resize(&t.scratch.ptrs, n)
	t.keys.touch(in.hash)
	for i, h := range in.hash {
		p := t.keys.probe(h)
		ids[i] = p.next()
	}
	for i, id := range ids {
		if ptrs[i] = t.absent; id != 0 {
			ptrs[i] = t.blocks.at(id)
		}
	}
	bad := t.compare(in, ptrs, ids)
	for i, b := range bad {
		if b {
			ids[i] = t.find(in, i)
		}
	}
	return ids
}

// find is lookup for one key.
func (t *Table) find(in *input, i int) rowID {
	for p := t.keys.probe(in.hash[i]); ; {
		id := p.next()
		if id == 0 || t.keyMatches(in, i, t.blocks.at(id), t.spec.NKey) {
			return id
		}
	}
}

// compare marks the rows whose candidate has another key.
func (t *Table) compare(in *input, ptrs []slot, ids []rowID) []bool {
	bad := resize(&t.scratch.bad, len(ids))
	clear(bad)
	for k := range t.spec.NKey {
		c := &t.lay.cols[k]
		v := &in.chunk.Cols[k]
		if c.width == 8 && c.typ.Kind != vector.Float64 && v.Valid == nil {
			words := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(v.Data))), len(ids))
			for i, p := range ptrs {
				bad[i] = bad[i] || *(*uint64)(unsafe.Add(p, c.off)) != words[i] || t.lay.isNull(p, c)
			}
			continue
		}
		for i, p := range ptrs {
			bad[i] = bad[i] || !t.valueMatches(in, i, p, c)
		}
	}
	for i, id := range ids {
		bad[i] = bad[i] && id != 0
	}
	return bad
}

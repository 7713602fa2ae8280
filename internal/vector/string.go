package vector

import (
	"encoding/binary"
	"unsafe"
)

// A StringRef is DuckDB's string_t, 16 bytes:
//
//	length ≤ 12:  | length uint32 | 12 bytes of text, zero padded            |
//	length > 12:  | length uint32 | first 4 bytes | pointer to the text (8)  |
//
// The pointer is stored as plain bytes, which the garbage collector does not see: whoever writes one
// keeps the text alive (Chunk.Keep) and must not let it live on a stack.
const inlineLen = 12

// Str returns the bytes of row i of a string vector. They alias the vector's memory.
func (v *Vector) Str(i int) []byte { return RefBytes(v.Data[i*16 : i*16+16 : i*16+16]) }

// PutStr points row i at b without copying it. The caller keeps b alive.
func (v *Vector) PutStr(i int, b []byte) { PutRef(v.Data[i*16:i*16+16:i*16+16], b) }

// RefBytes returns the text of a 16-byte StringRef, aliasing its memory.
func RefBytes(ref []byte) []byte {
	n := int(binary.LittleEndian.Uint32(ref))
	if n <= inlineLen {
		return ref[4 : 4+n : 4+n]
	}
	p := *(*unsafe.Pointer)(unsafe.Pointer(&ref[8]))
	return unsafe.Slice((*byte)(p), n)
}

// PutRef writes a 16-byte StringRef that points at b, or holds it when it is short.
func PutRef(ref, b []byte) {
	binary.LittleEndian.PutUint32(ref, uint32(len(b)))
	if len(b) <= inlineLen {
		clear(ref[4:16])
		copy(ref[4:16], b)
		return
	}
	copy(ref[4:8], b[:4])
	*(*uintptr)(unsafe.Pointer(&ref[8])) = uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// Arena copies short-lived bytes into blocks that live as long as the arena does. The zero value is
// ready. Put it in Chunk.Keep.
type Arena struct {
	blocks [][]byte
	cur    []byte
}

const arenaBlockBytes = 64 << 10

// Copy returns a copy of b that stays valid while the arena is reachable.
func (a *Arena) Copy(b []byte) []byte {
	if len(b) > cap(a.cur)-len(a.cur) {
		a.cur = make([]byte, 0, max(arenaBlockBytes, len(b)))
		a.blocks = append(a.blocks, a.cur)
	}
	n := len(a.cur)
	a.cur = append(a.cur, b...)
	return a.cur[n:len(a.cur):len(a.cur)]
}

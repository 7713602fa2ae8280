package rowstore

import (
	"fmt"
	"unsafe"
)

// Extents double from the first size to the last, so that a table of one row is small and one of ten
// million rows needs few mappings. Why not one huge reservation: it fails under vm.overcommit_memory=2.
const (
	minExtentBytes = 256 << 10
	maxExtentBytes = 64 << 20
)

// extents hands out memory that is given back only all at once. Untouched pages cost nothing.
type extents struct {
	maps   [][]byte
	cur    []byte // the unused rest of the last extent
	mapped int
	next   int
}

// alloc returns n zeroed bytes, 16-byte aligned.
func (e *extents) alloc(n int) unsafe.Pointer {
	n = (n + 15) &^ 15
	if n > len(e.cur) {
		e.next = min(max(2*e.next, minExtentBytes), maxExtentBytes)
		e.cur = mustMap(max(e.next, n))
		e.maps = append(e.maps, e.cur)
		e.mapped += len(e.cur)
	}
	p := unsafe.Pointer(unsafe.SliceData(e.cur))
	e.cur = e.cur[n:]
	return p
}

func (e *extents) close() {
	for _, m := range e.maps {
		mustUnmap(m)
	}
	*e = extents{}
}

// mustMap panics when the system has no memory: the operations on a table have no other way out, and
// the caller that recovers may still Close it.
func mustMap(n int) []byte {
	b, err := mapMemory(n)
	if err != nil {
		panic(fmt.Errorf("rowstore: map %d bytes for state: %w", n, err))
	}
	return b
}

func mustUnmap(b []byte) {
	if err := unmapMemory(b); err != nil {
		panic(fmt.Errorf("rowstore: unmap %d bytes of state: %w", len(b), err))
	}
}

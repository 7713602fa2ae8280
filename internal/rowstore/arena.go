package rowstore

import (
	"math/bits"
	"unsafe"
)

// Texts up to maxClassBytes are rounded up to a size class: multiples of 16 up to 128, then four steps a
// doubling, so that at most a fifth is lost to rounding. Longer ones are mapped on their own.
const (
	maxClassBytes = 1 << 20
	linearClasses = 8
	numClasses    = linearClasses + 4*13
)

// A text is the memory behind a StringRef of more than inline length.
type text struct {
	p unsafe.Pointer
	n uint32
}

// arena stores texts. Freed memory is reused for the same class only.
type arena struct {
	mem   extents
	free  [numClasses]unsafe.Pointer // lists threaded through the first word of freed memory
	huge  map[unsafe.Pointer][]byte
	hugeN int // bytes in huge
	used  int // bytes in use, rounded to classes
	waste int // bytes in free lists
}

// class returns the size class of n bytes and its size.
func class(n int) (k, size int) {
	if n <= 128 {
		k = (n+15)/16 - 1
		return k, (k + 1) * 16
	}
	// e is the power of two at or below n-1; quarter steps above it.
	e := bits.Len(uint(n-1)) - 1
	step := 1 << (e - 2)
	q := (n - 1 - 1<<e) / step
	return linearClasses + (e-7)*4 + q, 1<<e + (q+1)*step
}

// put copies b, which is longer than inline, into the arena.
func (a *arena) put(b []byte) text {
	p := a.alloc(len(b))
	copy(unsafe.Slice((*byte)(p), len(b)), b)
	return text{p, uint32(len(b))}
}

func (a *arena) alloc(n int) unsafe.Pointer {
	if n > maxClassBytes {
		return a.allocHuge(n)
	}
	k, size := class(n)
	a.used += size
	if p := a.free[k]; p != nil {
		a.free[k] = *(*unsafe.Pointer)(p)
		a.waste -= size
		return p
	}
	return a.mem.alloc(size)
}

func (a *arena) allocHuge(n int) unsafe.Pointer {
	if a.huge == nil {
		a.huge = map[unsafe.Pointer][]byte{}
	}
	m := mustMap(n)
	p := unsafe.Pointer(unsafe.SliceData(m))
	a.huge[p] = m
	a.used += n
	a.hugeN += n
	return p
}

// release gives a text's memory back for reuse.
func (a *arena) release(t text) {
	if t.n > maxClassBytes {
		m := a.huge[t.p]
		delete(a.huge, t.p)
		a.used -= len(m)
		a.hugeN -= len(m)
		mustUnmap(m)
		return
	}
	k, size := class(int(t.n))
	// Why uintptr: a pointer store would have the write barrier look at the old word, which is text.
	*(*uintptr)(t.p) = uintptr(a.free[k])
	a.free[k] = t.p
	a.used -= size
	a.waste += size
}

func (a *arena) close() {
	for _, m := range a.huge {
		mustUnmap(m)
	}
	a.mem.close()
	*a = arena{}
}

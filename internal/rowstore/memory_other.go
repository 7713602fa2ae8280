//go:build !unix

package rowstore

import "unsafe"

// mapMemory returns n zeroed bytes. Without mmap they are on the Go heap, in objects that hold no
// pointers, so the garbage collector does not look inside; the table's extents keep them alive.
func mapMemory(n int) ([]byte, error) {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n), nil
}

func unmapMemory([]byte) error { return nil }

//go:build unix

package rowstore

import "golang.org/x/sys/unix"

// mapMemory returns n zeroed bytes off the Go heap, page aligned.
func mapMemory(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmapMemory(b []byte) error { return unix.Munmap(b) }

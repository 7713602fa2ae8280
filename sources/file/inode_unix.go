//go:build unix

package file

import (
	"os"
	"syscall"
)

// inodeOf returns the inode number, 0 where the file system has none.
func inodeOf(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}

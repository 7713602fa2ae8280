//go:build !unix

package file

import "os"

// inodeOf returns 0: replaced files are then noticed by size and content alone.
func inodeOf(os.FileInfo) uint64 { return 0 }

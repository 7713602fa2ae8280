package vfs

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
)

// Crash says what a power cut leaves of the work that was not synced.
type Crash struct {
	// KeepPercent of the unsynced bytes of every file, and of the unsynced entry changes of every
	// directory, survive. Without Rand the first ones do, as a file system that writes in order has it.
	KeepPercent int
	// Rand, if set, decides block by block and change by change, so that later bytes can survive
	// where earlier ones did not: those read as zeros, as after a delayed allocation.
	Rand *rand.Rand
}

// crashBlock is the size of the pieces that survive or not; far below a real page, to make small test
// files tear in many ways.
const crashBlock = 64

// CrashClone returns the file system as found after a power cut at this moment. The original is not
// changed, and no lock is held in the clone.
func (m *Mem) CrashClone(c Crash) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	clone := NewMem()
	clone.dirs = maps.Clone(m.dirs)
	entries := maps.Clone(m.durable)
	var undone []entryOp
	for i, op := range m.pending {
		if c.keeps(i, len(m.pending)) {
			op.apply(entries)
		} else if op.from != "" {
			undone = append(undone, op)
		}
	}
	for _, op := range slices.Backward(undone) {
		moveDirs(clone.dirs, op.to, op.from)
	}
	for path, n := range entries {
		for d := filepath.Dir(path); !clone.dirs[d]; d = filepath.Dir(d) {
			clone.dirs[d] = true // it was removed, and its files have come back
		}
		data := n.crash(c)
		left := &node{data: data, synced: append([]byte(nil), data...), dirtyFrom: len(data)}
		clone.files[path], clone.durable[path] = left, left
	}
	return clone
}

// keeps decides about item i of n.
func (c Crash) keeps(i, n int) bool {
	if c.Rand != nil {
		return c.Rand.IntN(100) < c.KeepPercent
	}
	return i*100 < n*c.KeepPercent
}

func (n *node) crash(c Crash) []byte {
	if c.KeepPercent >= 100 {
		return append([]byte(nil), n.written()...)
	}
	left := append([]byte(nil), n.synced...)
	if len(n.data) < len(left) {
		return left // the truncation did not survive
	}
	if c.Rand == nil {
		unsynced := len(n.data) - n.dirtyFrom
		kept := n.data[n.dirtyFrom : n.dirtyFrom+unsynced*c.KeepPercent/100]
		return overlay(left, kept, n.dirtyFrom)
	}
	for from := n.dirtyFrom; from < len(n.data); from += crashBlock {
		if c.keeps(0, 0) {
			left = overlay(left, n.data[from:min(from+crashBlock, len(n.data))], from)
		}
	}
	return left
}

// overlay writes src into dst at off, growing it with zeros.
func overlay(dst, src []byte, off int) []byte {
	if grow := off + len(src) - len(dst); grow > 0 {
		dst = append(dst, make([]byte, grow)...)
	}
	copy(dst[off:], src)
	return dst
}

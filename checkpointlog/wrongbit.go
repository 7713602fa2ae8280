package checkpointlog

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// A wrongBit is one wrong bit: where it is, and what the byte is and should be.
type wrongBit struct {
	off         int64
	found, want byte
}

// findFlip looks for the one bit that makes a checksum right: of the covered bytes [from, to), or of the
// checksum itself, which stands at crcAt. A CRC is linear, so what a wrong bit does to it depends only on
// how far the bit is from the end; for CRC-32C the positions of 256 MiB all differ.
func findFlip(f vfs.File, seed uint32, from, to, crcAt int64) (wrongBit, bool) {
	stored, computed, ok := sums(f, seed, from, to, crcAt)
	if !ok || stored == computed {
		return wrongBit{}, false
	}
	syndrome := stored ^ computed
	off, bit := crcAt, 0
	if bits.OnesCount32(syndrome) == 1 {
		bit = bits.TrailingZeros32(syndrome)
		off, bit = off+int64(bit/8), bit%8
	} else {
		fromEnd, b, ok := flippedBit(syndrome, to-from)
		if !ok {
			return wrongBit{}, false
		}
		off, bit = to-1-fromEnd, b
	}
	found, ok := byteAt(f, off)
	return wrongBit{off, found, found ^ 1<<bit}, ok
}

// sums reads the stored checksum and computes the one of the bytes.
func sums(f vfs.File, seed uint32, from, to, crcAt int64) (stored, computed uint32, ok bool) {
	var b [4]byte
	if _, err := f.ReadAt(b[:], crcAt); err != nil && err != io.EOF {
		return 0, 0, false
	}
	computed = seed
	section := io.NewSectionReader(f, from, to-from)
	buf := make([]byte, 64<<10)
	for {
		n, err := section.Read(buf)
		computed = crc32.Update(computed, castagnoli, buf[:n])
		if err == io.EOF {
			return binary.LittleEndian.Uint32(b[:]), computed, true
		}
		if err != nil {
			return 0, 0, false
		}
	}
}

// flippedBit runs a checksum's difference backwards, byte by byte, until it is what one bit makes of it.
func flippedBit(syndrome uint32, n int64) (fromEnd int64, bit int, ok bool) {
	var index [256]byte // of a table entry by its high byte, which is unique
	single := make(map[uint32]int, 8)
	for i, v := range castagnoli {
		index[v>>24] = byte(i)
	}
	for b := range 8 {
		single[castagnoli[1<<b]] = b
	}
	for fromEnd = range n {
		if bit, ok := single[syndrome]; ok {
			return fromEnd, bit, true
		}
		i := index[syndrome>>24]
		syndrome = (syndrome^castagnoli[i])<<8 | uint32(i)
	}
	return 0, 0, false
}

func byteAt(f vfs.File, off int64) (byte, bool) {
	var b [1]byte
	n, _ := f.ReadAt(b[:], off)
	return b[0], n == 1
}

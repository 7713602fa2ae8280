package decode

import "fmt"

// A Block is a run of bytes of one partition that begins at a row.
type Block struct {
	// Buf holds the rows, then at least PadBytes of anything.
	Buf []byte
	// N is the length of the rows. Buf[N-1] is a line end; the reader adds one to a last row without.
	N int
	// Base is the offset of Buf[0] in its partition.
	Base int64
	// MaxBytes ends decoding at the first row boundary at or past it, 0 for no bound.
	MaxBytes int64
	// MaxRow is the most bytes a row may have without its line end, 0 for no bound.
	MaxRow int
	// Avail is how many bytes are there in all, part of a line after the rows included.
	Avail int
	// Final says that no bytes follow, so that a row that does not end here is malformed.
	Final bool
}

// stop is the index at which no further row may begin.
func (blk *Block) stop() int {
	if blk.MaxBytes > 0 && blk.MaxBytes < int64(blk.N) {
		return int(blk.MaxBytes)
	}
	return blk.N
}

// tooLong reports whether a row of n bytes is over the bound.
func (blk *Block) tooLong(n int) bool { return blk.MaxRow > 0 && n > blk.MaxRow }

// TooLong is the reason of a row over the bound.
func TooLong(max int) string { return fmt.Sprintf("the row is longer than %d bytes", max) }

// A Decoder turns blocks into rows.
type Decoder interface {
	// Decode appends the block's rows to b until the block or a limit ends it, and returns how many bytes
	// it used up, always at a row boundary. shared says that b's chunks refer to the block's memory, which
	// must then not be written again.
	Decode(blk *Block, b *Builder) (used int, shared bool)
}

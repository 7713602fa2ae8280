package vector

import (
	"fmt"
	"math/bits"
)

// A Digest is an order-independent 128-bit hash of a multiset of rows: the sum modulo 2^128 of two
// independent hashes of each row. Adding the same rows in any order and in any chunks gives the same
// digest; a duplicate row counts twice. The zero value is the digest of no rows.
//
// It finds accidents, not forgeries: somebody who may choose rows freely can make two sums collide.
type Digest struct {
	hi, lo  uint64
	rows    int64
	scratch []uint64
}

// Seeds of the two hashes. They are part of the checkpoint log's format.
const (
	digestSeedLo = 0x1d8e4e27c47d124f
	digestSeedHi = 0x2127599bf4325c37
)

// AddChunk adds all rows of c, over all its columns.
func (d *Digest) AddChunk(c *Chunk) { d.AddTagged(0, c) }

// AddTagged adds all rows of c as members of a part of their own: the same row under another tag
// counts as another row.
func (d *Digest) AddTagged(tag uint64, c *Chunk) {
	cols := make([]int, len(c.Cols))
	for i := range cols {
		cols[i] = i
	}
	if cap(d.scratch) < 2*c.N {
		d.scratch = make([]uint64, 2*c.N)
	}
	lo, hi := d.scratch[:c.N], d.scratch[c.N:2*c.N]
	hashRows(c, cols, lo, digestSeedLo+tag)
	hashRows(c, cols, hi, digestSeedHi+tag)
	for i := range lo {
		// Why: the last fold keeps a tag's effect in rows of zero columns.
		d.add(fold(hi[i], tag), fold(lo[i], tag))
	}
	d.rows += int64(c.N)
}

// Add adds another digest.
func (d *Digest) Add(e Digest) {
	d.add(e.hi, e.lo)
	d.rows += e.rows
}

func (d *Digest) add(hi, lo uint64) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, lo, 0)
	d.hi, _ = bits.Add64(d.hi, hi, carry)
}

// Rows returns how many rows were added.
func (d *Digest) Rows() int64 { return d.rows }

// String returns the sum as 32 hexadecimal digits.
func (d *Digest) String() string { return fmt.Sprintf("%016x%016x", d.hi, d.lo) }

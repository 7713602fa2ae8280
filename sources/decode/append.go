package decode

import (
	"bytes"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Append adds rows [from, to) of a chunk whose first columns are the builder's, the weight included; offset
// is that of row from, and each row takes one. Rows with a NUL in a text become bad rows; -0.0 becomes 0.0. The
// builder keeps src alive instead of copying its texts.
//
// It stops early when the builder is full, and returns the row after the last one used.
func (b *Builder) Append(src *vector.Chunk, from, to int, offset int64, raw func(row int) []byte) int {
	nul := false
	for i := range b.cols {
		nul = nul || mayHoldNUL(&src.Cols[i])
	}
	for row := from; row < to; {
		if b.Full() {
			return row
		}
		if nul {
			if c := b.nulColumn(src, row); c != nil {
				b.AddBad(offset+int64(row-from), "column "+c.name+": the text has a NUL character, which Postgres cannot store", raw(row))
				row++
				continue
			}
		}
		b.begin()
		n := min(to-row, b.cap-b.row)
		if b.MaxRows > 0 {
			n = int(min(int64(n), b.MaxRows-b.rows-int64(len(b.Bad))))
		}
		if nul {
			n = 1
		}
		for i, c := range b.cols {
			c.appendRange(b.row, &src.Cols[i], row, n)
		}
		b.keepOnce(src)
		for i := range n {
			b.commit(offset + int64(row-from+i))
		}
		row += n
	}
	return to
}

// keepOnce keeps a chunk's memory alive for as long as the open chunk.
func (b *Builder) keepOnce(src *vector.Chunk) {
	if n := len(b.keep); n == 0 || b.keep[n-1] != any(src) {
		b.keep = append(b.keep, src)
	}
}

func (b *Builder) nulColumn(src *vector.Chunk, row int) *column {
	for i, c := range b.cols {
		if hasNUL(&src.Cols[i], row) {
			return c
		}
	}
	return nil
}

// mayHoldNUL reports whether any text below v has a NUL; rows under a NULL may be looked at in vain.
func mayHoldNUL(v *vector.Vector) bool {
	if v.Type.Kind == vector.Varchar {
		for i := range len(v.Data) / 16 {
			if !v.IsNull(i) && bytes.IndexByte(v.Str(i), 0) >= 0 {
				return true
			}
		}
	}
	for i := range v.Children {
		if mayHoldNUL(&v.Children[i]) {
			return true
		}
	}
	return false
}

// hasNUL reports whether a text in row i of v has a NUL.
func hasNUL(v *vector.Vector, i int) bool {
	if v.IsNull(i) {
		return false
	}
	switch v.Type.Kind {
	case vector.Varchar:
		return bytes.IndexByte(v.Str(i), 0) >= 0
	case vector.List, vector.Map:
		offset, n := v.Entry(i)
		return anyNUL(&v.Children[0], offset, n)
	case vector.Array:
		return anyNUL(&v.Children[0], i*v.Type.Size, v.Type.Size)
	case vector.Struct, vector.Union:
		for j := range v.Children {
			if hasNUL(&v.Children[j], i) {
				return true
			}
		}
	}
	return false
}

func anyNUL(v *vector.Vector, offset, n int) bool {
	for i := range n {
		if hasNUL(v, offset+i) {
			return true
		}
	}
	return false
}

// appendRange copies rows [from, from+n) of v to rows row and on. Texts are shared.
func (c *column) appendRange(row int, v *vector.Vector, from, n int) {
	if v.Valid != nil {
		for i := range n {
			if v.IsNull(from + i) {
				c.setNull(row + i)
			}
		}
	}
	switch c.typ.Kind {
	case vector.List, vector.Map:
		for i := range n {
			if !v.IsNull(from + i) {
				c.appendList(row+i, v, from+i)
			}
		}
	case vector.Array:
		c.kids[0].appendRange(row*c.typ.Size, &v.Children[0], from*c.typ.Size, n*c.typ.Size)
	case vector.Struct, vector.Union:
		for j, k := range c.kids {
			k.appendRange(row, &v.Children[j], from, n)
		}
	default:
		copy(c.data[row*c.width:(row+n)*c.width], v.Data[from*c.width:])
		c.normalize(row, n)
	}
}

func (c *column) appendList(row int, v *vector.Vector, i int) {
	offset, n := v.Entry(i)
	kid := c.kids[0]
	start := kid.n
	for range n {
		kid.push()
	}
	kid.appendRange(start, &v.Children[0], offset, n)
	c.putEntry(row, start, n)
}

// normalize turns -0.0 into 0.0.
func (c *column) normalize(row, n int) {
	var sign byte
	switch c.typ.Kind {
	case vector.Float64, vector.Float32:
		sign = 0x80
	default:
		return
	}
	for i := row; i < row+n; i++ {
		d := c.data[i*c.width : (i+1)*c.width]
		if d[c.width-1] == sign && allZero(d[:c.width-1]) {
			d[c.width-1] = 0
		}
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

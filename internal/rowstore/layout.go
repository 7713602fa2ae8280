package rowstore

import (
	"encoding/binary"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A slot is
//
//	| 16-byte columns | 8-byte columns | next, prev uint32 | 4 | 2 | 1 | flags byte | NULL bits | pad to 8 |
//
// Columns keep their order within a width, so every value is aligned. Text and nested columns are
// 16-byte StringRefs. next and prev are there only with a linked prefix.
type layout struct {
	cols     []column
	links    int // offset of next and prev, -1 without
	flags    int // offset of the flags byte
	nulls    int // offset of the NULL bits: bit i set when column i is NULL
	nullsLen int
	size     int
}

type column struct {
	typ    vector.Type
	off    int
	width  int
	ref    bool // a StringRef, to text or to a nested value's encoding
	nested bool
	index  int
}

// Flags of a slot. A slot without live is a hole, or a row deleted in this batch.
const (
	flagLive  = 1 << iota
	flagNew   // inserted in this batch
	flagDirty // existed before this batch, whose undo log has its image
	flagBorn  // inserted since the last snapshot began
	flagOther // existed when the last snapshot began, and has changed since

	// flagSince outlives a batch: it is what the next delta snapshot goes by.
	flagSince = flagBorn | flagOther
)

const inlineLen = 12

func newLayout(cols []vector.Field, linked bool) layout {
	l := layout{links: -1}
	for i, f := range cols {
		c := column{typ: f.Type, width: f.Type.Bytes(), ref: f.Type.IsString(), nested: f.Type.IsNested(), index: i}
		if c.nested {
			c.width, c.ref = 16, true
		}
		l.cols = append(l.cols, c)
	}
	for _, w := range []int{16, 8, 4, 2, 1} {
		if w == 4 && linked {
			l.links = l.size
			l.size += 8
		}
		for i := range l.cols {
			if c := &l.cols[i]; c.width == w {
				c.off = l.size
				l.size += w
			}
		}
	}
	l.flags = l.size
	l.nulls = l.flags + 1
	l.nullsLen = (len(cols) + 7) / 8
	l.size = (l.nulls + l.nullsLen + 7) &^ 7
	return l
}

// A slot is addressed by a pointer to its first byte.
type slot = unsafe.Pointer

func (l *layout) flag(p slot) *uint8 { return (*uint8)(unsafe.Add(p, l.flags)) }

func (l *layout) live(p slot) bool { return *l.flag(p)&flagLive != 0 }

func (l *layout) isNull(p slot, c *column) bool {
	return *(*uint8)(unsafe.Add(p, l.nulls+c.index>>3))&(1<<(c.index&7)) != 0
}

func (l *layout) setNull(p slot, c *column, null bool) {
	b := (*uint8)(unsafe.Add(p, l.nulls+c.index>>3))
	if null {
		*b |= 1 << (c.index & 7)
	} else {
		*b &^= 1 << (c.index & 7)
	}
}

// next and prev are the prefix list's links; see links.go.
func (l *layout) next(p slot) *rowID { return (*rowID)(unsafe.Add(p, l.links)) }
func (l *layout) prev(p slot) *rowID { return (*rowID)(unsafe.Add(p, l.links+4)) }

// bytes returns the value of a column as raw bytes of its width.
func (c *column) bytes(p slot) []byte { return unsafe.Slice((*byte)(unsafe.Add(p, c.off)), c.width) }

// text returns the memory behind a ref column, and false if the value is inline.
func (c *column) text(p slot) (text, bool) {
	ref := c.bytes(p)
	n := binary.LittleEndian.Uint32(ref)
	if n <= inlineLen {
		return text{}, false
	}
	return text{*(*unsafe.Pointer)(unsafe.Add(p, c.off+8)), n}, true
}

// integer returns a column's value as its native integer; unsigned 64-bit values saturate. It is used
// for eviction columns only.
func (c *column) integer(p slot) int64 {
	q := unsafe.Add(p, c.off)
	switch c.typ.Kind {
	case vector.Int8:
		return int64(*(*int8)(q))
	case vector.UInt8:
		return int64(*(*uint8)(q))
	case vector.Int16:
		return int64(*(*int16)(q))
	case vector.UInt16:
		return int64(*(*uint16)(q))
	case vector.Int32, vector.Date:
		return int64(*(*int32)(q))
	case vector.UInt32:
		return int64(*(*uint32)(q))
	case vector.UInt64:
		return int64(min(*(*uint64)(q), 1<<63-1))
	}
	return *(*int64)(q)
}

// evictable reports whether rows can be ordered by a column of this kind.
func evictable(k vector.Kind) bool {
	switch k {
	case vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64,
		vector.Date, vector.Timestamp, vector.TimestampS, vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ:
		return true
	}
	return false
}

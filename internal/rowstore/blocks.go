package rowstore

import "unsafe"

const (
	maxBlockBytes = 64 << 10
	minBlockRows  = 16
	maxBlockRows  = 2048
)

// A blockList hands out slots in order. A rowID is block number << shift | slot number; block numbers
// are reused once a block is empty, so the order of rows is that of the list, not of the numbers.
//
// Invariant: only the tail block has slots that were never handed out. Slot 0 of block 0 is never
// handed out, so rowID 0 means none.
type blockList struct {
	shift uint
	rows  int // slots a block
	slot  int // bytes a slot
	bytes int // bytes a block
	bases []unsafe.Pointer
	meta  []block
	free  []uint32
	head  uint32
	tail  uint32
	stamp uint64 // ord of the last block appended
}

type block struct {
	ord        uint64 // grows along the list
	next, prev uint32 // noBlock at the ends
	used       int32  // slots handed out
	live       int32  // rows among them that are live now
	queued     bool   // in the list of blocks to look at for compaction
	changed    bool   // has rows that were inserted or changed since the last snapshot began
	pending    bool   // had such rows when the running snapshot began
}

const noBlock = ^uint32(0)

func (l *blockList) init(slotBytes int) {
	for l.shift = 4; 1<<l.shift < maxBlockRows && slotBytes<<(l.shift+1) <= maxBlockBytes; l.shift++ {
	}
	l.rows, l.slot = 1<<l.shift, slotBytes
	l.bytes = l.rows * slotBytes
	l.head, l.tail = noBlock, noBlock
}

func (l *blockList) used() int { return len(l.bases) - len(l.free) }

// at returns the slot of a row.
func (l *blockList) at(id rowID) slot {
	return unsafe.Add(l.bases[id>>l.shift], int(id&(1<<l.shift-1))*l.slot)
}

func (l *blockList) block(id rowID) *block { return &l.meta[id>>l.shift] }

// take returns a block without memory of its own order, from the free list or new.
func (l *blockList) take(mem *extents) uint32 {
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free = l.free[:n-1]
		return b
	}
	b := uint32(len(l.bases))
	if uint64(b+1)<<l.shift > 1<<32 {
		invariant("more than %d row slots", uint64(1)<<32)
	}
	l.bases = append(l.bases, mem.alloc(l.bytes))
	l.meta = append(l.meta, block{})
	return b
}

// push returns the next slot at the end of the order. Its memory is not cleared.
func (l *blockList) push(mem *extents) rowID {
	if l.tail == noBlock || int(l.meta[l.tail].used) == l.rows {
		b := l.take(mem)
		l.stamp++
		l.meta[b] = block{ord: l.stamp, next: noBlock, prev: l.tail}
		if b == 0 {
			l.meta[b].used = 1
		}
		if l.tail == noBlock {
			l.head = b
		} else {
			l.meta[l.tail].next = b
		}
		l.tail = b
	}
	m := &l.meta[l.tail]
	id := l.tail<<l.shift | uint32(m.used)
	m.used++
	m.live++
	return id
}

// pop takes back the last slot handed out. Only a rollback does that.
func (l *blockList) pop(id rowID) {
	b := id >> l.shift
	m := &l.meta[b]
	m.used--
	if b != l.tail || uint32(m.used) != id&(1<<l.shift-1) {
		invariant("row %d taken back is not the last one", id)
	}
	if m.used == 0 || b == 0 && m.used == 1 {
		l.release(b)
	}
}

// insertBefore puts an empty block before block b and gives it b's place in the order, so b must be
// released before anything compares positions.
func (l *blockList) insertBefore(b uint32, mem *extents) uint32 {
	n := l.take(mem)
	m := &l.meta[b]
	l.meta[n] = block{ord: m.ord, next: b, prev: m.prev}
	if n == 0 {
		l.meta[n].used = 1
	}
	if m.prev == noBlock {
		l.head = n
	} else {
		l.meta[m.prev].next = n
	}
	m.prev = n
	return n
}

// release takes a block out of the order for reuse.
func (l *blockList) release(b uint32) {
	m := &l.meta[b]
	if m.prev == noBlock {
		l.head = m.next
	} else {
		l.meta[m.prev].next = m.next
	}
	if m.next == noBlock {
		l.tail = m.prev
	} else {
		l.meta[m.next].prev = m.prev
	}
	*m = block{next: noBlock, prev: noBlock}
	l.free = append(l.free, b)
}

// A position is a place in the order.
type position struct {
	block uint32
	slot  int32
	ord   uint64
}

func (l *blockList) position(id rowID) position {
	b := id >> l.shift
	return position{b, int32(id & (1<<l.shift - 1)), l.meta[b].ord}
}

// end returns the place of the next row to be inserted.
func (l *blockList) end() position {
	if l.tail == noBlock {
		return position{block: noBlock, ord: l.stamp + 1}
	}
	return position{l.tail, l.meta[l.tail].used, l.meta[l.tail].ord}
}

func (p position) before(q position) bool {
	return p.ord < q.ord || p.ord == q.ord && p.slot < q.slot
}

// walk calls f with the rows from a position on, dead ones included, until f returns false or the
// order ends; it returns where to go on.
func (l *blockList) walk(from position, f func(id rowID, p slot) bool) position {
	b, s := from.block, from.slot
	for b != noBlock {
		m := &l.meta[b]
		if b == 0 && s == 0 {
			s = 1
		}
		for ; s < m.used; s++ {
			id := b<<l.shift | uint32(s)
			if !f(id, l.at(id)) {
				return position{b, s, m.ord}
			}
		}
		if m.next == noBlock {
			return position{b, s, m.ord}
		}
		b, s = m.next, 0
	}
	return position{block: noBlock, ord: l.stamp + 1}
}

// start returns the place of the first row.
func (l *blockList) start() position {
	if l.head == noBlock {
		return l.end()
	}
	return position{l.head, 0, l.meta[l.head].ord}
}

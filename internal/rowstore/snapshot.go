package rowstore

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A block of a full snapshot is
//
//	| version 1 | schema hash uint64 | rows, a vector chunk |
//
// and the blocks hold the table's rows in insertion order. A block of a delta snapshot is a delta (delta.go)
// without an eviction: first blocks of removed keys, then of updated and inserted rows in their order.
const snapshotVersion = 1

// snapshot is a running image of the table as it was when it began: a cursor moves through the order, and a
// row ahead of it is copied before its first change. Rows inserted since are behind the end.
// Invariant: while one runs no slot is reused and no block merged, and replaced texts are held.
type snapshot struct {
	active   bool
	delta    bool
	cursor   position
	end      position
	removed  [][]byte    // keys, of a delta
	saved    []savedRows // by block, as far as the cursor has not passed it
	imageLen int         // words a slot
	// numbers are by slot of block entered: which of its images is the row's, counted from 1. They hold during a slice.
	numbers []uint16
	entered uint32
	held    [][]text
	// updated and inserted are the rows of one block; a full snapshot's are all in inserted.
	updated, inserted []slot
	visited           int // slots and clean blocks that the last SnapshotNext looked at
	bytes             int // of the rows of the block, about
}

// savedRows are rows of a block as they were before they were changed.
//
// Why by block: what is saved is found without hashing, grows by a block's size at most, so that no batch pays for
// copying all of it, and goes when the cursor has passed the block.
type savedRows struct {
	seen   []uint64 // a bit a slot: the row was changed; without an image a delta leaves it out
	slots  []uint16 // whose images they are, in the order in which they were saved
	images []uint64 // slots, flags included
}

const (
	// visitsPerRow bounds how many slots a slice looks at to find a row to write.
	visitsPerRow = 8
	// maxSliceBytes ends a slice early when rows are wide.
	maxSliceBytes = 1 << 20
)

// SnapshotBegin starts an image of the table as it is now, at a commit boundary. It costs nothing by
// itself. A snapshot that is already running is abandoned.
func (t *Table) SnapshotBegin() {
	t.SnapshotAbort()
	t.beginSnapshot(snapshot{})
}

// SnapshotBeginDelta is SnapshotBegin for what changed since the last snapshot began, or TrackChanges was
// called. The table must track changes (Tracks). Its blocks are for ApplyDelta.
func (t *Table) SnapshotBeginDelta() {
	if !t.since.on || t.snap.active {
		invariant("state %q: a delta snapshot of a table that does not track its changes", t.spec.Name)
	}
	t.beginSnapshot(snapshot{delta: true, removed: t.since.removed})
}

func (t *Table) beginSnapshot(s snapshot) {
	if len(t.undo.ops) > 0 {
		invariant("state %q: a snapshot begins inside a batch", t.spec.Name)
	}
	for id := range t.blocks.meta {
		m := &t.blocks.meta[id]
		m.pending, m.changed = m.changed, false
	}
	s.active, s.cursor, s.end = true, t.blocks.start(), t.blocks.end()
	s.saved, s.imageLen = make([]savedRows, len(t.blocks.meta)), t.lay.size/8
	t.snap, t.since, t.kept = s, since{on: true}, 0
}

// KeptRows is how many rows batches have had to copy for the running snapshot, or for the last one.
func (t *Table) KeptRows() int { return t.kept }

// before keeps a row's image if the snapshot has yet to write it. The row's flags count from this snapshot on.
func (s *snapshot) before(t *Table, id rowID) {
	if !s.active {
		return
	}
	at := t.blocks.position(id)
	if at.before(s.cursor) || !at.before(s.end) || s.delta && !t.blocks.meta[at.block].pending {
		return
	}
	rows := &s.saved[at.block]
	if rows.seen == nil {
		rows.seen = make([]uint64, (t.blocks.rows+63)/64)
	}
	word, bit := &rows.seen[at.slot>>6], uint64(1)<<(at.slot&63)
	if *word&bit != 0 {
		return
	}
	*word |= bit
	p := t.blocks.at(id)
	flag := t.lay.flag(p)
	if s.delta && *flag&flagSince == 0 {
		return
	}
	t.kept++
	rows.slots = append(rows.slots, uint16(at.slot))
	rows.images = append(rows.images, unsafe.Slice((*uint64)(p), s.imageLen)...)
	*flag &^= flagSince
}

// image returns what was saved of a row, nil if nothing was; skip says that a delta leaves the row out.
func (s *snapshot) image(t *Table, at position) (p slot, skip bool) {
	rows := &s.saved[at.block]
	if rows.seen == nil || rows.seen[at.slot>>6]&(1<<(at.slot&63)) == 0 {
		return nil, false
	}
	if s.entered != at.block {
		s.entered = at.block
		clear(resize(&s.numbers, t.blocks.rows))
		for i, slot := range rows.slots {
			s.numbers[slot] = uint16(i + 1)
		}
	}
	n := int(s.numbers[at.slot])
	if n == 0 {
		return nil, true
	}
	return unsafe.Pointer(&rows.images[(n-1)*s.imageLen]), false
}

// SnapshotNext appends the next block of at most maxRows rows to dst; done says that it was the last,
// and ends the snapshot. A block may be empty before that: a call looks at a bounded number of slots, so that
// a delta with few rows in a large table does not hold batches up.
func (t *Table) SnapshotNext(dst []byte, maxRows int) (out []byte, done bool) {
	s := &t.snap
	if !s.active {
		return dst, true
	}
	if len(s.removed) > 0 {
		dst, s.removed = t.appendSince(dst, s.removed[0], nil, nil), s.removed[1:]
	} else {
		t.collect(max(1, maxRows))
		switch {
		case len(s.updated)+len(s.inserted) == 0:
		case s.delta:
			dst = t.appendSince(dst, nil, s.updated, s.inserted)
		default:
			dst = vector.AppendChunk(t.appendHeader(dst, snapshotVersion), t.gather(&t.keyBuf, s.inserted, len(t.lay.cols)))
		}
	}
	if done = len(s.removed) == 0 && !s.cursor.before(s.end); done {
		t.endSnapshot()
	}
	return dst, done
}

// collect moves the cursor on until it has found that many rows, or has looked at its share of slots.
func (t *Table) collect(maxRows int) {
	s := &t.snap
	s.updated, s.inserted, s.visited, s.bytes = s.updated[:0], s.inserted[:0], 0, 0
	s.entered = noBlock // batches may have saved more of a block since the last slice
	limit := maxRows * visitsPerRow
	for s.visited < limit && s.bytes < maxSliceBytes && len(s.updated)+len(s.inserted) < maxRows && s.cursor.before(s.end) {
		b := s.cursor.block
		m := &t.blocks.meta[b]
		s.visited++
		if to := t.endIn(b); s.cursor.slot >= to || s.delta && !m.pending {
			s.saved[b] = savedRows{}
			if s.cursor = s.end; m.next != noBlock && m.ord < s.end.ord {
				s.cursor = position{m.next, 0, t.blocks.meta[m.next].ord}
			}
			continue
		}
		if id := b<<t.blocks.shift | uint32(s.cursor.slot); id != 0 {
			t.visit(id, s.cursor)
		}
		s.cursor.slot++
	}
}

// endIn returns the slot at which the snapshot's part of a block ends.
func (t *Table) endIn(b uint32) int32 {
	if b == t.snap.end.block {
		return t.snap.end.slot
	}
	return t.blocks.meta[b].used
}

// visit takes a row into the block if the snapshot has it.
func (t *Table) visit(id rowID, at position) {
	s, p := &t.snap, t.blocks.at(id)
	switch image, skip := s.image(t, at); {
	case skip:
		return
	case image != nil:
		p = image
	case !t.lay.live(p), s.delta && *t.lay.flag(p)&flagSince == 0:
		return
	}
	if flag := t.lay.flag(p); s.delta && *flag&flagBorn == 0 {
		s.updated = append(s.updated, p)
	} else {
		s.inserted = append(s.inserted, p)
	}
	*t.lay.flag(p) &^= flagSince
	s.bytes += t.lay.size
	for k := range t.lay.cols {
		if c := &t.lay.cols[k]; c.ref {
			if x, outside := c.text(p); outside {
				s.bytes += int(x.n)
			}
		}
	}
}

// endSnapshot lets go of what a snapshot held.
func (t *Table) endSnapshot() {
	t.dead = append(t.dead, t.snap.held...)
	t.snap = snapshot{}
}

// SnapshotAbort gives a snapshot up, also one that is complete and was not made durable: the next one must be
// full. Before the first it does nothing.
func (t *Table) SnapshotAbort() {
	t.endSnapshot()
	t.since = since{}
}

// Load adds a block of a snapshot to a table that has seen no batch yet. Blocks must be loaded in the
// order in which they were written. After an error the table is of no use.
func (t *Table) Load(b []byte) error {
	rows, err := t.DecodeBlock(b)
	if err != nil {
		return err
	}
	return t.LoadBlock(rows)
}

// DecodeBlock is the first half of Load. It may be called from any goroutine while the table is used: it reads
// nothing that changes. The answer refers to b.
func (t *Table) DecodeBlock(b []byte) (*vector.Chunk, error) {
	if len(b) == 0 {
		return nil, nil
	}
	rows, err := t.decodeBlock(b)
	if err != nil {
		return nil, t.loadError(err)
	}
	return rows, nil
}

func (t *Table) loadError(err error) error {
	return fmt.Errorf("load snapshot of state %q: %w", t.spec.Name, err)
}

func (t *Table) decodeBlock(b []byte) (*vector.Chunk, error) {
	b, err := t.readHeader(b, snapshotVersion)
	if err != nil {
		return nil, err
	}
	c, rest, err := t.decodeRows(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes left over", len(rest))
	}
	return c, err
}

// LoadBlock is the second half of Load.
func (t *Table) LoadBlock(rows *vector.Chunk) error {
	if len(t.undo.ops) > 0 {
		invariant("state %q: LoadBlock inside a batch", t.spec.Name)
	}
	if rows == nil {
		return nil
	}
	before := t.keys.n
	t.inParts(rows, func(c *vector.Chunk) { t.upsert(c, nil) })
	if t.keys.n != before+rows.N {
		t.Rollback()
		return t.loadError(errors.New("a key occurs twice"))
	}
	t.Commit()
	return nil
}

package rowstore

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A snapshot block is
//
//	| version 1 | schema hash uint64 | rows, a vector chunk |
//
// and the blocks of a snapshot hold its rows in insertion order.
const snapshotVersion = 1

// snapshot is a running image of the table as it was at SnapshotBegin: a cursor moves through the order,
// and a row ahead of it is copied before its first change. Rows inserted since are behind the end.
// Invariant: while one runs no slot is reused and no block merged, and replaced texts are held.
type snapshot struct {
	active   bool
	cursor   position
	end      position
	saved    map[rowID]int // offsets into images
	images   []uint64      // slots as they were
	imageLen int           // words a slot
	held     []text
}

// SnapshotBegin starts an image of the table as it is now, at a commit boundary. It costs nothing by
// itself. A snapshot that is already running is abandoned.
func (t *Table) SnapshotBegin() {
	if len(t.undo.ops) > 0 {
		invariant("state %q: SnapshotBegin inside a batch", t.spec.Name)
	}
	t.SnapshotAbort()
	t.snap = snapshot{
		active: true, cursor: t.blocks.start(), end: t.blocks.end(), saved: map[rowID]int{}, imageLen: t.lay.size / 8,
	}
}

// before keeps a row's image if the snapshot has yet to write it.
func (s *snapshot) before(t *Table, id rowID) {
	if !s.active {
		return
	}
	at := t.blocks.position(id)
	if _, kept := s.saved[id]; kept || at.before(s.cursor) || !at.before(s.end) {
		return
	}
	s.saved[id] = len(s.images)
	s.images = append(s.images, unsafe.Slice((*uint64)(t.blocks.at(id)), s.imageLen)...)
}

// SnapshotNext appends the next block of at most maxRows rows to dst; done says that it was the last,
// and ends the snapshot. Nothing is appended if no rows are left.
func (t *Table) SnapshotNext(dst []byte, maxRows int) (out []byte, done bool) {
	s := &t.snap
	if !s.active {
		return dst, true
	}
	ptrs := make([]slot, 0, min(max(1, maxRows), t.keys.n+len(s.saved)))
	s.cursor = t.blocks.walk(s.cursor, func(id rowID, p slot) bool {
		if len(ptrs) == max(1, maxRows) || !t.blocks.position(id).before(s.end) {
			return false
		}
		if image, ok := s.saved[id]; ok {
			ptrs = append(ptrs, unsafe.Pointer(&s.images[image]))
		} else if t.lay.live(p) {
			ptrs = append(ptrs, p)
		}
		return true
	})
	if len(ptrs) > 0 {
		dst = t.appendHeader(dst, snapshotVersion)
		dst = vector.AppendChunk(dst, t.gather(&t.keyBuf, ptrs, len(t.lay.cols)))
	}
	if done = !s.cursor.before(s.end); done {
		t.SnapshotAbort()
	}
	return dst, done
}

// SnapshotAbort ends a running snapshot early; without one it does nothing.
func (t *Table) SnapshotAbort() {
	if t.snap.active {
		t.releaseTexts(t.snap.held)
	}
	t.snap = snapshot{}
}

// Load adds a block of a snapshot to a table that has seen no batch yet. Blocks must be loaded in the
// order in which they were written. After an error the table is of no use.
func (t *Table) Load(b []byte) error {
	if len(t.undo.ops) > 0 {
		invariant("state %q: Load inside a batch", t.spec.Name)
	}
	if len(b) == 0 {
		return nil
	}
	if err := t.load(b); err != nil {
		return fmt.Errorf("load snapshot of state %q: %w", t.spec.Name, err)
	}
	return nil
}

func (t *Table) load(b []byte) error {
	b, err := t.readHeader(b, snapshotVersion)
	if err != nil {
		return err
	}
	c, rest, err := t.decodeRows(b)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return fmt.Errorf("%d bytes left over", len(rest))
	}
	before := t.keys.n
	t.upsert(c, nil)
	if t.keys.n != before+c.N {
		t.Rollback()
		return errors.New("a key occurs twice")
	}
	t.Commit()
	return nil
}

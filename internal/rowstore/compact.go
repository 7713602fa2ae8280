package rowstore

import (
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Deleted rows leave holes, because the order of slots is the order of rows. Commit frees blocks that are
// empty and merges a thinned block with a neighbour when both fit into three quarters of one. So any two
// neighbours hold more than that, and a row is moved less than once for each one that was inserted.

// thinned notes that a block lost a row.
func (t *Table) thinned(id rowID) {
	if m := t.blocks.block(id); !m.queued {
		m.queued = true
		t.sparse = append(t.sparse, id>>t.blocks.shift)
	}
}

// idleMerges is how many merges a commit may do that are not its own share.
const idleMerges = 16

// compact looks at the blocks that lost rows since it last did. It waits while a snapshot runs.
//
// Why a bound on merges: what gathered during a snapshot is worked off over many batches, so that none of them
// waits long. A batch's own share is four merges for a block of rows that it changed, more than it can cause.
func (t *Table) compact(changed int) {
	if t.snap.active {
		return
	}
	merges := idleMerges + 4*changed/t.blocks.rows
	left := t.sparse[:0]
	for _, b := range t.sparse {
		m := &t.blocks.meta[b]
		// Why: a block released since, by a merge or a rollback, may have been queued before.
		if !m.queued {
			continue
		}
		if b == t.blocks.tail {
			left = append(left, b) // rows still go there: look again when it is full
			continue
		}
		if merges == 0 && m.live > 0 {
			left = append(left, b)
			continue
		}
		m.queued = false
		switch {
		case m.live == 0:
			t.blocks.release(b)
		case t.fits(m.prev, b):
			t.merge(m.prev, b)
			merges--
		case m.next != t.blocks.tail && t.fits(b, m.next):
			t.merge(b, m.next)
			merges--
		}
	}
	t.sparse = left
}

func (t *Table) fits(a, b uint32) bool {
	return a != noBlock && b != noBlock && int(t.blocks.meta[a].live+t.blocks.meta[b].live) <= t.blocks.rows*3/4
}

// merge moves the rows of two neighbours to a new block in their place.
func (t *Table) merge(a, b uint32) {
	to := t.blocks.insertBefore(a, &t.mem)
	for _, from := range [2]uint32{a, b} {
		t.blocks.meta[to].changed = t.blocks.meta[to].changed || t.blocks.meta[from].changed
		t.moveRows(from, to)
		t.blocks.release(from)
	}
}

func (t *Table) moveRows(from, to uint32) {
	l := &t.blocks
	ids := make([]rowID, 0, l.meta[from].live)
	for s := range uint32(l.meta[from].used) {
		id := from<<l.shift | s
		if id != 0 && t.lay.live(l.at(id)) {
			ids = append(ids, id)
		}
	}
	for i := 0; i < len(ids); i += vector.Size {
		batch := ids[i:min(i+vector.Size, len(ids))]
		hashes := t.hashesOf(batch)
		for j, id := range batch {
			t.moveRow(id, to, rowHashes{hashes.key[j : j+1], hashes.prefix[j : j+1]})
		}
	}
}

func (t *Table) moveRow(old rowID, to uint32, hash rowHashes) {
	l := &t.blocks
	m := &l.meta[to]
	id := to<<l.shift | uint32(m.used)
	m.used++
	m.live++
	p, q := l.at(old), l.at(id)
	copy(unsafe.Slice((*byte)(q), l.slot), unsafe.Slice((*byte)(p), l.slot))
	*t.lay.flag(p) = 0
	t.keys.replace(hash.key[0], old, id)
	if t.linked {
		t.moveLinks(old, id, hash.prefix[0])
	}
	t.schedule(id, q)
}

package rowstore

import "unsafe"

type opKind uint8

const (
	opInsert opKind = iota
	opUpdate        // image holds the slot as it was
	opDelete
	opEvict // a delete that a bound in the delta stands for
)

// An undoLog holds what a batch did, in order: enough to undo it, and to find the rows that changed.
type undoLog struct {
	ops    []undoOp
	images []byte
	// texts were stored in this batch: a rollback frees them. replaced were in rows that were updated
	// or deleted: a commit frees them. A text may be in both.
	texts, replaced []text
	evicted         bool
	bound           int64 // rows earlier than bound were evicted, if evicted
}

type undoOp struct {
	kind  opKind
	id    rowID
	image int // offset into images, for opUpdate
}

func (u *undoLog) push(kind opKind, id rowID) { u.ops = append(u.ops, undoOp{kind: kind, id: id}) }

func (u *undoLog) pushImage(id rowID, image []byte) {
	u.ops = append(u.ops, undoOp{opUpdate, id, len(u.images)})
	u.images = append(u.images, image...)
}

// maxKeptUndo bounds what a large batch leaves allocated for the next.
const maxKeptUndo = 1 << 20

func (u *undoLog) reset() {
	if len(u.ops) > maxKeptUndo || len(u.images) > 64*maxKeptUndo {
		*u = undoLog{}
		return
	}
	*u = undoLog{ops: u.ops[:0], images: u.images[:0], texts: u.texts[:0], replaced: u.replaced[:0]}
}

// Commit makes the batch's changes final and frees what they replaced.
func (t *Table) Commit() {
	t.track()
	changed := len(t.undo.ops)
	for _, op := range t.undo.ops {
		*t.lay.flag(t.blocks.at(op.id)) &= flagLive | flagSince
		if op.kind == opDelete || op.kind == opEvict {
			t.thinned(op.id)
		}
	}
	budget := idleReleases + len(t.undo.replaced)*5/4
	if t.snap.active {
		// The snapshot may still have to write rows that refer to these.
		if len(t.undo.replaced) > 0 {
			t.snap.held, t.undo.replaced = append(t.snap.held, t.undo.replaced), nil
		}
	} else {
		t.releaseTexts(t.undo.replaced)
	}
	t.releaseDead(budget)
	t.undo.reset()
	t.change = nil
	t.trim()
	t.compact(changed)
	t.order.tidy(t)
}

// Rollback undoes the batch: rows, their order and all indexes are as after the last Commit.
func (t *Table) Rollback() {
	hashes := t.undoHashes()
	for i := len(t.undo.ops) - 1; i >= 0; i-- {
		op := t.undo.ops[i]
		p := t.blocks.at(op.id)
		switch op.kind {
		case opUpdate:
			copy(unsafe.Slice((*byte)(p), t.lay.size), t.undo.images[op.image:op.image+t.lay.size])
			if t.spec.EvictColumn >= t.spec.NKey {
				t.schedule(op.id, p)
			}
			continue
		case opInsert:
			t.keys.remove(hashes.key[i], op.id)
			if t.linked {
				t.unlink(op.id, hashes.prefix[i])
			}
			*t.lay.flag(p) = 0
			t.blocks.block(op.id).live--
			t.blocks.pop(op.id)
		case opDelete, opEvict:
			t.keys.insert(hashes.key[i], op.id)
			if t.linked {
				t.relink(op.id, hashes.prefix[i])
			}
			*t.lay.flag(p) |= flagLive
			t.blocks.block(op.id).live++
			// An Evict in this batch may have dropped its entry, whoever deleted the row.
			t.schedule(op.id, p)
		}
	}
	t.releaseTexts(t.undo.texts)
	t.undo.reset()
	t.change = nil
}

// trim lets go of memory that only a large batch needs.
func (t *Table) trim() {
	for _, b := range []*buffer{&t.getBuf, &t.rowsBuf, &t.keyBuf} {
		b.trim()
	}
	if max(cap(t.scratch.ptrs), cap(t.scratch.ids), cap(t.scratch.hash)) > 2*maxKeptRows {
		t.scratch = scratch{}
	}
}

func (t *Table) releaseTexts(texts []text) {
	for _, x := range texts {
		t.arena.release(x)
	}
}

// idleReleases is how many texts a commit may free that are not its own share.
const idleReleases = 8192

// releaseDead frees texts that a snapshot held. Why a budget: there may be millions, and no batch is to wait for all
// of them. It is more than a batch adds, so they get fewer even if one snapshot follows the other.
func (t *Table) releaseDead(budget int) {
	for len(t.dead) > 0 && budget > 0 {
		last := &t.dead[len(t.dead)-1]
		n := min(budget, len(*last))
		t.releaseTexts((*last)[len(*last)-n:])
		budget -= n
		if *last = (*last)[:len(*last)-n]; len(*last) == 0 {
			*last = nil
			t.dead = t.dead[:len(t.dead)-1]
		}
	}
}

// rowHashes are the hashes of rows that are in slots.
type rowHashes struct{ key, prefix []uint64 }

// undoHashes hashes the keys of all changed rows, whose slots still hold them.
func (t *Table) undoHashes() rowHashes {
	ids := make([]rowID, len(t.undo.ops))
	for i, op := range t.undo.ops {
		ids[i] = op.id
	}
	return t.hashesOf(ids)
}

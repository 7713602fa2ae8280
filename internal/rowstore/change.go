package rowstore

import (
	"math"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Upsert changes an unweighted table: rows has all columns; where live is false the row with that key is
// deleted (other columns are not looked at), else it is inserted or replaced. A nil live means all true.
// Rows are applied in order, so of several with one key the last counts.
func (t *Table) Upsert(rows *vector.Chunk, live []bool) {
	if t.spec.Weighted {
		invariant("state %q is weighted: Add to it, do not Upsert", t.spec.Name)
	}
	t.upsert(rows, live)
}

func (t *Table) upsert(rows *vector.Chunk, live []bool) {
	t.change = nil
	in := t.readPrefix(rows, len(t.lay.cols))
	ids := t.lookup(in)
	for i, id := range ids {
		if id = t.current(in, i, id); live != nil && !live[i] {
			if id != 0 {
				t.deleteRow(id, in.hash[i], prefixHash(in, i), opDelete)
			}
		} else if id != 0 {
			t.updateRow(in, i, id)
		} else {
			t.insertRow(in, i)
		}
	}
}

// replace puts rows at the end of the order; those with their keys are deleted first.
func (t *Table) replace(rows *vector.Chunk) {
	t.change = nil
	in := t.readPrefix(rows, len(t.lay.cols))
	for i, id := range t.lookup(in) {
		if id = t.current(in, i, id); id != 0 {
			t.deleteRow(id, in.hash[i], prefixHash(in, i), opDelete)
		}
		t.insertRow(in, i)
	}
}

// inParts calls f with parts of a chunk that are small enough for the index entries that a lookup touched to be in
// the cache still when its rows are changed.
func (t *Table) inParts(c *vector.Chunk, f func(*vector.Chunk)) {
	if c.N <= t.partRows {
		f(c)
		return
	}
	for from := 0; from < c.N; from += t.partRows {
		f(c.Slice(from, min(from+t.partRows, c.N)))
	}
}

// deleteKeys deletes the rows with the given keys, those that exist.
func (t *Table) deleteKeys(keys *vector.Chunk) {
	t.change = nil
	in := t.readPrefix(keys, t.spec.NKey)
	for i, id := range t.lookup(in) {
		if id = t.current(in, i, id); id != 0 {
			t.deleteRow(id, in.hash[i], prefixHash(in, i), opDelete)
		}
	}
}

// Add changes a weighted table: the column behind the key is the BIGINT weight to add to the row that the
// key names; a column behind that replaces the row's. A row whose weight becomes 0 is gone. A weight that becomes negative, overflows or
// is NULL panics with an *InvariantError that shows the row; the batch can still be rolled back.
func (t *Table) Add(rows *vector.Chunk) {
	if !t.spec.Weighted {
		invariant("state %q is not weighted: Upsert to it, do not Add", t.spec.Name)
	}
	t.change = nil
	in := t.readPrefix(rows, len(t.lay.cols))
	weights := &in.chunk.Cols[t.spec.NKey]
	for i, id := range t.lookup(in) {
		if weights.IsNull(i) {
			invariant("state %q: NULL weight for %s", t.spec.Name, rowText(rows, i))
		}
		id = t.current(in, i, id)
		t.addWeight(in, i, id, weights.I64(i))
	}
}

func (t *Table) addWeight(in *input, i int, id rowID, w int64) {
	var old int64
	if id != 0 {
		old = *t.weight(t.blocks.at(id))
	}
	sum := old + w
	if sum < 0 || w > 0 && old > math.MaxInt64-w {
		invariant("state %q: weight %d + %d of row %s: the input deletes what was never there, or the plan is wrong",
			t.spec.Name, old, w, rowText(in.chunk, i))
	}
	switch {
	case id == 0 && sum > 0:
		t.insertRow(in, i)
	case id != 0 && sum == 0:
		t.deleteRow(id, in.hash[i], prefixHash(in, i), opDelete)
	case id != 0 && (w != 0 || t.touches()):
		t.saveImage(id)
		*t.weight(t.blocks.at(id)) = sum
		t.touch(in, i, id)
	}
}

// touches says that a weighted table has a column behind the weight.
func (t *Table) touches() bool { return t.spec.NKey+1 < len(t.lay.cols) }

// touch gives a weighted row the new value of the column behind its weight.
func (t *Table) touch(in *input, i int, id rowID) {
	if !t.touches() {
		return
	}
	p, c := t.blocks.at(id), &t.lay.cols[t.spec.NKey+1]
	before := t.evictValue(p)
	t.lay.setNull(p, c, false)
	t.store(p, c, in, i)
	if t.evictValue(p) != before {
		t.schedule(id, p)
	}
}

func (t *Table) weight(p slot) *int64 {
	return (*int64)(unsafe.Add(p, t.lay.cols[t.spec.NKey].off))
}

func rowText(c *vector.Chunk, i int) string {
	out := "("
	for k := range c.Cols {
		if k > 0 {
			out += ", "
		}
		out += vector.Text(&c.Cols[k], i)
	}
	return out + ")"
}

func prefixHash(in *input, i int) uint64 {
	if in.prefixHash == nil {
		return 0
	}
	return in.prefixHash[i]
}

// current corrects the answer of a lookup for what earlier rows of the same chunk did: they may have
// deleted the row, or inserted the key.
func (t *Table) current(in *input, i int, id rowID) rowID {
	if id != 0 && t.lay.live(t.blocks.at(id)) {
		return id
	}
	return t.find(in, i)
}

func (t *Table) insertRow(in *input, i int) {
	head := rowID(0)
	if t.linked {
		head = t.headOf(in, i)
	}
	id := t.blocks.push(&t.mem)
	p := t.blocks.at(id)
	clear(unsafe.Slice((*byte)(unsafe.Add(p, t.lay.flags)), t.lay.size-t.lay.flags))
	for k := range t.lay.cols {
		t.store(p, &t.lay.cols[k], in, i)
	}
	*t.lay.flag(p) = flagLive | flagNew
	t.keys.insert(in.hash[i], id)
	if t.linked {
		t.link(id, head, in.prefixHash[i])
	}
	t.schedule(id, p)
	t.undo.push(opInsert, id)
}

// store writes a value into a slot that holds none in this column.
func (t *Table) store(p slot, c *column, in *input, i int) {
	dst := c.bytes(p)
	if in.chunk.Cols[c.index].IsNull(i) {
		t.lay.setNull(p, c, true)
		clear(dst)
		return
	}
	src := in.data[c.index][i*c.width : (i+1)*c.width]
	if !c.ref {
		copyFixed(dst, src)
		return
	}
	b := vector.RefBytes(src)
	if len(b) <= inlineLen {
		copyFixed(dst, src)
		return
	}
	x := t.arena.put(b)
	t.undo.texts = append(t.undo.texts, x)
	vector.PutRef(dst, unsafe.Slice((*byte)(x.p), x.n))
}

func copyFixed(dst, src []byte) {
	if len(src) == 8 {
		*(*uint64)(unsafe.Pointer(&dst[0])) = *(*uint64)(unsafe.Pointer(&src[0]))
		return
	}
	copy(dst, src)
}

// updateRow replaces all columns but the key's: the first spelling of a key is kept.
func (t *Table) updateRow(in *input, i int, id rowID) {
	t.saveImage(id)
	p := t.blocks.at(id)
	before := t.evictValue(p)
	for k := t.spec.NKey; k < len(t.lay.cols); k++ {
		c := &t.lay.cols[k]
		if c.ref {
			old, outside := c.text(p)
			src := in.data[k][i*c.width : (i+1)*c.width]
			if outside && !in.chunk.Cols[k].IsNull(i) && equalRefs(c.bytes(p), src) {
				continue
			}
			if outside {
				t.undo.replaced = append(t.undo.replaced, old)
			}
		}
		t.lay.setNull(p, c, false)
		t.store(p, c, in, i)
	}
	if t.evictValue(p) != before {
		t.schedule(id, p)
	}
}

// deleteRow takes a live row out of index, list and sight. Its slot stays as it is until Commit.
func (t *Table) deleteRow(id rowID, hash, prefixHash uint64, op opKind) {
	t.snap.before(t, id)
	p := t.blocks.at(id)
	t.keys.remove(hash, id)
	if t.linked {
		t.unlink(id, prefixHash)
	}
	for k := range t.lay.cols {
		if c := &t.lay.cols[k]; c.ref {
			if x, outside := c.text(p); outside {
				t.undo.replaced = append(t.undo.replaced, x)
			}
		}
	}
	*t.lay.flag(p) &^= flagLive
	t.blocks.block(id).live--
	t.undo.push(op, id)
}

// saveImage keeps what a row was before its first change in this batch, for Rollback and Snapshot.
func (t *Table) saveImage(id rowID) {
	p := t.blocks.at(id)
	flag := t.lay.flag(p)
	if *flag&(flagNew|flagDirty) != 0 {
		return
	}
	t.snap.before(t, id)
	t.undo.pushImage(id, unsafe.Slice((*byte)(p), t.lay.size))
	*flag |= flagDirty
}

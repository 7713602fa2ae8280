package rowstore

import "github.com/sluice-sql/sluice/internal/vector"

// Get looks up unique keys: keys has the key columns, at most vector.Size rows. Row i of the answer is the
// row with key i, over all columns, and found[i] says whether there is one; if not, it is all NULL.
//
// The chunk is valid until the next Get or Commit; the texts it refers to until Commit, whatever happens
// to their rows in this batch.
func (t *Table) Get(keys *vector.Chunk) (rows *vector.Chunk, found []bool) {
	ids := t.lookup(t.read(keys, t.spec.NKey))
	found = resize(&t.scratch.found, len(ids))
	for i, id := range ids {
		found[i] = id != 0
	}
	return t.gather(&t.getBuf, t.pointers(ids), len(t.lay.cols)), found
}

// Rows looks up key prefixes: prefix has the prefix columns. The matches of prefix i are rows
// [start[i], start[i+1]) of the answer, in insertion order; start has one more entry than prefix has rows.
//
// The chunk may have more than vector.Size rows. It is valid until the next Rows or Commit; the texts it
// refers to until Commit, whatever happens to their rows in this batch.
func (t *Table) Rows(prefix *vector.Chunk) (rows *vector.Chunk, start []int) {
	start = make([]int, prefix.N+1)
	var ids []rowID
	switch {
	case t.spec.NPrefix == 0:
		ids = t.allRows(start)
	case t.linked:
		ids = t.matches(t.readPrefix(prefix, t.spec.NPrefix), start)
	default:
		for i, id := range t.lookup(t.read(prefix, t.spec.NKey)) {
			if id != 0 {
				ids = append(ids, id)
			}
			start[i+1] = len(ids)
		}
	}
	return t.gather(&t.rowsBuf, t.pointers(ids), len(t.lay.cols)), start
}

// allRows is Rows without prefix columns: every row matches every one of them.
func (t *Table) allRows(start []int) []rowID {
	var ids []rowID
	for i := range len(start) - 1 {
		t.blocks.walk(t.blocks.start(), func(id rowID, p slot) bool {
			if t.lay.live(p) {
				ids = append(ids, id)
			}
			return true
		})
		start[i+1] = len(ids)
	}
	return ids
}

// matches follows the lists of all prefixes in step, so that their cache misses overlap, and then puts
// the rows in order of prefix.
func (t *Table) matches(in *input, start []int) []rowID {
	type match struct {
		prefix int32
		id     rowID
	}
	var all, active []match
	for i := range in.chunk.N {
		if id := t.headOf(in, i); id != 0 {
			active = append(active, match{int32(i), id})
		}
	}
	for len(active) > 0 {
		all = append(all, active...)
		left := active[:0]
		for _, m := range active {
			start[m.prefix+1]++
			if m.id = *t.lay.next(t.blocks.at(m.id)); m.id != 0 {
				left = append(left, m)
			}
		}
		active = left
	}
	for i := range len(start) - 1 {
		start[i+1] += start[i]
	}
	ids := resize(&t.scratch.ids, len(all))
	at := append([]int(nil), start...)
	for _, m := range all {
		ids[at[m.prefix]] = m.id
		at[m.prefix]++
	}
	return ids
}

// Scan returns a function that returns all rows in insertion order, chunk by chunk of at most
// vector.Size rows, and nil at the end. A chunk is valid until the next call; several scans may run side by
// side. Rows changed while it runs may or may not be seen; it must not be used across Commit or Rollback.
func (t *Table) Scan() func() *vector.Chunk {
	var buf buffer
	ptrs := make([]slot, 0, vector.Size)
	at := t.blocks.start()
	return func() *vector.Chunk {
		ptrs = ptrs[:0]
		at = t.blocks.walk(at, func(_ rowID, p slot) bool {
			if len(ptrs) == vector.Size {
				return false
			}
			if t.lay.live(p) {
				ptrs = append(ptrs, p)
			}
			return true
		})
		if len(ptrs) == 0 {
			return nil
		}
		return t.gather(&buf, ptrs, len(t.lay.cols))
	}
}

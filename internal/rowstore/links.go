package rowstore

// Rows with the same prefix form a list in insertion order: next is 0 at the last row, prev of the
// first row is the last one, so both ends are at hand. The prefix index holds the first row. Rows taken out keep
// their links, so that undoing in reverse order can put them back ("dancing links", Knuth).

// headOf returns the first row with the prefix of key row i, 0 if there is none.
func (t *Table) headOf(in *input, i int) rowID {
	for p := t.prefix.probe(in.prefixHash[i]); ; {
		id := p.next()
		if id == 0 || t.keyMatches(in, i, t.blocks.at(id), t.spec.NPrefix) {
			return id
		}
	}
}

// link appends a row to the list whose first row is head (0: there is none yet).
func (t *Table) link(id, head rowID, hash uint64) {
	p := t.blocks.at(id)
	*t.lay.next(p) = 0
	if head == 0 {
		*t.lay.prev(p) = id
		t.prefix.insert(hash, id)
		return
	}
	h := t.blocks.at(head)
	last := *t.lay.prev(h)
	*t.lay.prev(p) = last
	*t.lay.next(t.blocks.at(last)) = id
	*t.lay.prev(h) = id
}

// unlink takes a row out of its list.
func (t *Table) unlink(id rowID, hash uint64) {
	p := t.blocks.at(id)
	next, prev := *t.lay.next(p), *t.lay.prev(p)
	first := *t.lay.next(t.blocks.at(prev)) == 0
	switch {
	case first && next == 0:
		t.prefix.remove(hash, id)
	case first:
		t.prefix.replace(hash, id, next)
		*t.lay.prev(t.blocks.at(next)) = prev
	case next == 0:
		*t.lay.next(t.blocks.at(prev)) = 0
		*t.lay.prev(t.blocks.at(t.headEndingAt(id, hash))) = prev
	default:
		*t.lay.next(t.blocks.at(prev)) = next
		*t.lay.prev(t.blocks.at(next)) = prev
	}
}

// relink undoes unlink. Invariant: the list is as unlink left it.
func (t *Table) relink(id rowID, hash uint64) {
	p := t.blocks.at(id)
	next, prev := *t.lay.next(p), *t.lay.prev(p)
	switch {
	case prev == id:
		t.prefix.insert(hash, id)
	case next == 0:
		head := t.headEndingAt(prev, hash)
		*t.lay.next(t.blocks.at(prev)) = id
		*t.lay.prev(t.blocks.at(head)) = id
	case *t.lay.next(t.blocks.at(prev)) == 0: // it was the first: prev is the last
		t.prefix.replace(hash, next, id)
		*t.lay.prev(t.blocks.at(next)) = id
	default:
		*t.lay.next(t.blocks.at(prev)) = id
		*t.lay.prev(t.blocks.at(next)) = id
	}
}

// headEndingAt returns the first row of the list whose last row is known; no keys need comparing.
func (t *Table) headEndingAt(last rowID, hash uint64) rowID {
	for p := t.prefix.probe(hash); ; {
		id := p.next()
		if id == 0 {
			invariant("row %d with prefix hash %#x ends no list", last, hash)
		}
		if *t.lay.prev(t.blocks.at(id)) == last {
			return id
		}
	}
}

// moveLinks lets a row's neighbours point at its new place, to which it has been copied.
func (t *Table) moveLinks(old, id rowID, hash uint64) {
	p := t.blocks.at(id)
	next, prev := *t.lay.next(p), *t.lay.prev(p)
	if prev == old { // alone in its list
		*t.lay.prev(p) = id
		t.prefix.replace(hash, old, id)
		return
	}
	if *t.lay.next(t.blocks.at(prev)) == 0 {
		t.prefix.replace(hash, old, id)
	} else {
		*t.lay.next(t.blocks.at(prev)) = id
	}
	if next != 0 {
		*t.lay.prev(t.blocks.at(next)) = id
	} else {
		*t.lay.prev(t.blocks.at(t.headEndingAt(old, hash))) = id
	}
}

package rowstore

import (
	"cmp"
	"slices"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// timeOrder is a 4-ary min-heap of (eviction value, row), so that Evict visits the rows it deletes and no
// others. It is maintained lazily: an entry is stale when its row is dead or has another value, and is
// dropped when it comes to the top; a row may have several entries. Pages keep growth from copying.
type timeOrder struct {
	pages [][]orderEntry
	n     int
}

type orderEntry struct {
	value int64
	id    rowID
}

const (
	pageShift = 12
	heapArity = 4
	// orderSlack entries beyond twice the rows are tolerated before the heap is rebuilt.
	orderSlack = 4096
)

func (o *timeOrder) at(i int) *orderEntry { return &o.pages[i>>pageShift][i&(1<<pageShift-1)] }

func (o *timeOrder) bytes() int {
	return len(o.pages) << pageShift * int(unsafe.Sizeof(orderEntry{}))
}

func (o *timeOrder) push(e orderEntry) {
	if o.n>>pageShift == len(o.pages) {
		o.pages = append(o.pages, make([]orderEntry, 1<<pageShift))
	}
	i := o.n
	o.n++
	for i > 0 {
		up := (i - 1) / heapArity
		if o.at(up).value <= e.value {
			break
		}
		*o.at(i) = *o.at(up)
		i = up
	}
	*o.at(i) = e
}

func (o *timeOrder) pop() orderEntry {
	top := *o.at(0)
	o.n--
	last := *o.at(o.n)
	// One spare page stays, so that a row at a page's edge does not allocate each time.
	if spare := o.n>>pageShift + 2; len(o.pages) > spare {
		clear(o.pages[spare:])
		o.pages = o.pages[:spare]
	}
	if o.n > 0 {
		o.sink(0, last)
	}
	return top
}

// sink places e at i or below.
func (o *timeOrder) sink(i int, e orderEntry) {
	for {
		least, v := -1, e.value
		for c := i*heapArity + 1; c <= i*heapArity+heapArity && c < o.n; c++ {
			if x := o.at(c).value; x < v {
				least, v = c, x
			}
		}
		if least < 0 {
			*o.at(i) = e
			return
		}
		*o.at(i) = *o.at(least)
		i = least
	}
}

// tidy rebuilds the heap when most of it is stale: amortised, a constant cost a change.
func (o *timeOrder) tidy(t *Table) {
	if o.n <= 2*t.keys.n+orderSlack {
		return
	}
	*o = timeOrder{}
	t.blocks.walk(t.blocks.start(), func(id rowID, p slot) bool {
		if t.lay.live(p) {
			t.schedule(id, p)
		}
		return true
	})
}

// schedule enters a row into the time order.
func (t *Table) schedule(id rowID, p slot) {
	if at := t.evictValue(p); !at.null {
		t.order.push(orderEntry{at.value, id})
	}
}

// evictTime is a row's place in time; NULL is never evicted.
type evictTime struct {
	value int64
	null  bool
}

func (t *Table) evictValue(p slot) evictTime {
	if t.spec.EvictColumn < 0 {
		return evictTime{null: true}
	}
	c := &t.lay.cols[t.spec.EvictColumn]
	return evictTime{c.integer(p), t.lay.isNull(p, c)}
}

// Evict deletes the rows whose eviction column, as its native integer, is less than bound, and returns
// how many it deleted. NULLs are never evicted. Its cost follows the number of rows deleted.
func (t *Table) Evict(bound int64) int { return t.evict(bound, 0) }

// Due returns a function that returns the rows that Evict(bound) would delete, in insertion order, chunk by
// chunk of at most vector.Size rows, and nil at the end. A chunk is valid until the next call; the table must
// not change while it runs. Its cost follows the number of those rows, stale entries of the heap included,
// which the Evict that follows takes out.
func (t *Table) Due(bound int64) func() *vector.Chunk {
	ids := t.dueRows(bound)
	var buf buffer
	return func() *vector.Chunk {
		n := min(len(ids), vector.Size)
		if n == 0 {
			return nil
		}
		c := t.gather(&buf, t.pointers(ids[:n]), len(t.lay.cols))
		ids = ids[n:]
		return c
	}
}

// dueRows walks the heap from its top and no further than values below bound.
func (t *Table) dueRows(bound int64) []rowID {
	if t.spec.EvictColumn < 0 {
		invariant("state %q has no column to evict by", t.spec.Name)
	}
	var ids []rowID
	open := []int{0}
	for len(open) > 0 {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		if i >= t.order.n || t.order.at(i).value >= bound {
			continue
		}
		for c := i*heapArity + 1; c <= i*heapArity+heapArity; c++ {
			open = append(open, c)
		}
		e := t.order.at(i)
		if p := t.blocks.at(e.id); t.lay.live(p) && t.evictValue(p) == (evictTime{value: e.value}) {
			ids = append(ids, e.id)
		}
	}
	slices.SortFunc(ids, func(a, b rowID) int {
		return cmp.Or(cmp.Compare(t.blocks.block(a).ord, t.blocks.block(b).ord), cmp.Compare(a, b))
	})
	return slices.Compact(ids) // a row may have several entries
}

// evict leaves alone rows that have any of the given flags.
func (t *Table) evict(bound int64, spare uint8) int {
	if t.spec.EvictColumn < 0 {
		invariant("state %q has no column to evict by", t.spec.Name)
	}
	t.change = nil
	total := 0
	var spared []orderEntry
	for t.order.n > 0 && t.order.at(0).value < bound {
		ids := t.due(bound, spare, &spared)
		hashes := t.hashesOf(ids)
		for i, id := range ids {
			if t.lay.live(t.blocks.at(id)) {
				t.deleteRow(id, hashes.key[i], hashes.prefix[i], opEvict)
				total++
			}
		}
	}
	for _, e := range spared {
		t.order.push(e)
	}
	// A bound that evicts nothing here evicts nothing in a recovered table, and needs no record.
	if total > 0 && (!t.undo.evicted || t.undo.bound < bound) {
		t.undo.evicted, t.undo.bound = true, bound
	}
	return total
}

// due pops up to a chunk of rows earlier than bound; a row may come twice.
func (t *Table) due(bound int64, spare uint8, spared *[]orderEntry) []rowID {
	ids := make([]rowID, 0, vector.Size)
	for len(ids) < vector.Size && t.order.n > 0 && t.order.at(0).value < bound {
		e := t.order.pop()
		switch p := t.blocks.at(e.id); {
		case !t.lay.live(p) || t.evictValue(p) != evictTime{value: e.value}: // stale
		case *t.lay.flag(p)&spare != 0:
			*spared = append(*spared, e)
		default:
			ids = append(ids, e.id)
		}
	}
	return ids
}

// hashesOf hashes the keys and prefixes of rows that are in slots, live or not.
func (t *Table) hashesOf(ids []rowID) rowHashes {
	h := rowHashes{make([]uint64, len(ids)), make([]uint64, len(ids))}
	for from := 0; from < len(ids); from += vector.Size {
		to := min(from+vector.Size, len(ids))
		c := t.gather(&t.keyBuf, t.pointers(ids[from:to]), t.spec.NKey)
		t.hashRows(c, t.spec.NKey, h.key[from:to])
		if t.linked {
			t.hashRows(c, t.spec.NPrefix, h.prefix[from:to])
		}
	}
	return h
}

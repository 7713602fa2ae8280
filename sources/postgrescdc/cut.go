package postgrescdc

import (
	"slices"
	"sync"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// Sources of one slot move together: what the first of them reads in a batch, from some position, the others read,
// too, however the log has grown meanwhile. So the position in a ledger is one for all of them, and always between
// two transactions.

// A cut is where a batch of all sources ends that begins at a position.
type cut struct {
	from     int64
	to       offsets
	more     bool
	entries  []ingestlog.Entry
	takenBy  map[string]bool
	rowsLeft int64
}

// cuts remembers the newest ones: the engine reads one batch ahead.
type cuts struct {
	mu   sync.Mutex
	list []*cut
}

// maxCuts is how many are remembered; whoever comes later than that makes a cut of its own.
const maxCuts = 1024

// find returns the cut that a source has not taken yet.
func (c *cuts) find(from int64, source string) *cut {
	at := slices.IndexFunc(c.list, func(k *cut) bool { return k.from == from })
	if at < 0 {
		return nil
	}
	k := c.list[at]
	if k.takenBy[source] {
		c.list = slices.Delete(c.list, at, at+1) // a new round begins
		return nil
	}
	k.takenBy[source] = true
	return k
}

func (c *cuts) add(k *cut, source string, sources int) {
	for _, old := range c.list {
		old.entries = nil // memory for two batches' bytes is enough
	}
	if sources > 1 {
		k.takenBy = map[string]bool{source: true}
		c.list = append(c.list, k)
	}
	if len(c.list) > maxCuts {
		c.list = c.list[1:]
	}
}

// choose finds where a batch from a position ends: as many transactions as fit in the limit, and at least one.
type choose struct {
	decoders []*rowDecoder
	max      microbatch.Limits
	rows     int64
	bytes    int64
	cut      *cut
	// upTo is where the log ends.
	upTo int64
}

// boundary implements span.
func (c *choose) boundary(at offsets, d *document, recs []record) (bool, error) {
	var rows, bytes int64
	for i := range recs {
		for _, dec := range c.decoders {
			n, err := dec.rows(d, &recs[i])
			if err != nil {
				return false, err
			}
			if n > 0 {
				rows, bytes = rows+n, bytes+int64(recs[i].bytes)
			}
		}
	}
	if rows > 0 && c.rows > 0 && (c.over(c.rows+rows, c.bytes+bytes)) {
		c.cut.more = true
		return false, nil
	}
	if c.rows, c.bytes = c.rows+rows, c.bytes+bytes; c.rows == 0 {
		return true, nil // nothing yet that anybody would read
	}
	if rows > 0 {
		c.cut.to = at
	}
	if c.full() {
		c.cut.more = at.At < c.upTo
		return false, nil
	}
	return true, nil
}

func (c *choose) over(rows, bytes int64) bool {
	return c.max.MaxRows > 0 && rows > c.max.MaxRows || c.max.MaxBytes > 0 && bytes > c.max.MaxBytes
}

func (c *choose) full() bool {
	return c.max.MaxRows > 0 && c.rows >= c.max.MaxRows || c.max.MaxBytes > 0 && c.bytes >= c.max.MaxBytes
}

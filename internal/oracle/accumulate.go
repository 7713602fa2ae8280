package oracle

import (
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// An Accumulator applies an output's deltas the way a sink does, in plain Go maps, and refuses what no
// sink could apply: deleting a row that is not there, two rows of one key.
type Accumulator struct {
	out    planner.Output
	chunks []*vector.Chunk
	copies [][]int64 // of every row of every chunk
	index  map[string]place
}

type place struct{ chunk, row int }

// NewAccumulator returns an empty table for an output.
func NewAccumulator(out planner.Output) *Accumulator {
	return &Accumulator{out: out, index: map[string]place{}}
}

// Apply adds a batch's delta: the output's columns, then the weight.
func (a *Accumulator) Apply(delta []*vector.Chunk) error {
	seen := map[string]bool{}
	// Deletes first: a sink applies them first, so that a key may move.
	for _, sign := range []int64{-1, 1} {
		for _, c := range delta {
			for i := 0; i < c.N; i++ {
				w := c.Cols[len(c.Cols)-1].I64(i)
				if w*sign <= 0 {
					continue
				}
				if err := a.row(c, i, w, seen); err != nil {
					return fmt.Errorf("apply the delta of %q: %w", a.out.Name, err)
				}
			}
		}
	}
	return nil
}

func (a *Accumulator) row(c *vector.Chunk, i int, w int64, seen map[string]bool) error {
	cols := a.keyColumns()
	var key []byte
	for _, k := range cols {
		key = vector.AppendValue(key, &c.Cols[k], i)
	}
	at, found := a.index[string(key)]
	if a.out.Mode != planner.Append {
		if seen[string(key)] {
			return fmt.Errorf("two rows of the key %s", rowText(c, i))
		}
		seen[string(key)] = true
	}
	switch a.out.Mode {
	case planner.Append:
		if w != 1 {
			return fmt.Errorf("weight %d in an append-only output: %s", w, rowText(c, i))
		}
		a.put(c, i, 1)
	case planner.Upsert:
		if w != 1 && w != -1 {
			return fmt.Errorf("weight %d in a keyed output: %s", w, rowText(c, i))
		}
		if found {
			a.copies[at.chunk][at.row] = 0
			delete(a.index, string(key))
		} else if w < 0 {
			return fmt.Errorf("delete of a row that is not there: %s", rowText(c, i))
		}
		if w > 0 {
			a.index[string(key)] = a.put(c, i, 1)
		}
	case planner.Multiset:
		if !found {
			at = a.put(c, i, 0)
			a.index[string(key)] = at
		}
		a.copies[at.chunk][at.row] += w
		if a.copies[at.chunk][at.row] < 0 {
			return fmt.Errorf("row deleted more often than inserted: %s", rowText(c, i))
		}
	}
	return nil
}

func (a *Accumulator) keyColumns() []int {
	if a.out.Mode == planner.Upsert {
		return a.out.Key
	}
	all := make([]int, len(a.out.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

// put remembers row i of c with n copies.
func (a *Accumulator) put(c *vector.Chunk, i int, n int64) place {
	last := len(a.chunks) - 1
	if last < 0 || a.chunks[last] != c {
		a.chunks = append(a.chunks, c)
		a.copies = append(a.copies, make([]int64, c.N))
		last++
	}
	a.copies[last][i] = n
	return place{last, i}
}

// Rows returns the table's rows, without weights.
func (a *Accumulator) Rows() []*vector.Chunk {
	var out []*vector.Chunk
	for ci, c := range a.chunks {
		for round := int64(1); ; round++ {
			keep := make([]bool, c.N)
			any := false
			for i, n := range a.copies[ci] {
				keep[i] = n >= round
				any = any || keep[i]
			}
			if !any {
				break
			}
			rows := vector.Filter(c, keep)
			out = append(out, &vector.Chunk{N: rows.N, Cols: rows.Cols[:len(rows.Cols)-1], Keep: rows.Keep})
		}
	}
	return out
}

func rowText(c *vector.Chunk, i int) string {
	s := ""
	for j := range c.Cols {
		if c.Cols[j].IsNull(i) {
			s += "NULL "
			continue
		}
		s += vector.Text(&c.Cols[j], i) + " "
	}
	return s
}

package rowstore

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
)

// A model is the table as a plain list of one-row chunks in insertion order, searched from end to end.
type model struct {
	spec  Spec
	types []vector.Type
	rows  []*vector.Chunk
}

func (m *model) find(c *vector.Chunk, i, ncols int) int {
	return slices.IndexFunc(m.rows, func(r *vector.Chunk) bool { return vector.EqualRows(r, 0, c, i, columns(ncols)) })
}

func (m *model) upsert(c *vector.Chunk, live []bool) {
	for i := range c.N {
		at := m.find(c, i, m.spec.NKey)
		row := vector.Gather(c, []int32{int32(i)}).Clone()
		switch {
		case !live[i] && at >= 0:
			m.rows = slices.Delete(m.rows, at, at+1)
		case !live[i]:
		case at >= 0:
			copy(row.Cols[:m.spec.NKey], m.rows[at].Cols[:m.spec.NKey])
			row.Keep = append(row.Keep, m.rows[at])
			m.rows[at] = row
		default:
			m.rows = append(m.rows, row)
		}
	}
}

func (m *model) add(c *vector.Chunk) {
	for i := range c.N {
		at := m.find(c, i, m.spec.NKey)
		row := vector.Gather(c, []int32{int32(i)}).Clone()
		w := &row.Cols[m.spec.NKey]
		if at < 0 {
			if w.I64(0) > 0 {
				m.rows = append(m.rows, row)
			}
			continue
		}
		if w.PutI64(0, w.I64(0)+m.rows[at].Cols[m.spec.NKey].I64(0)); w.I64(0) == 0 {
			m.rows = slices.Delete(m.rows, at, at+1)
			continue
		}
		copy(row.Cols[:m.spec.NKey], m.rows[at].Cols[:m.spec.NKey])
		row.Keep = append(row.Keep, m.rows[at])
		m.rows[at] = row
	}
}

func (m *model) evict(bound int64) int {
	n := len(m.rows)
	m.rows = slices.DeleteFunc(m.rows, func(r *vector.Chunk) bool { return m.isDue(r, bound) })
	return n - len(m.rows)
}

func (m *model) isDue(r *vector.Chunk, bound int64) bool {
	v := &r.Cols[m.spec.EvictColumn]
	return !v.IsNull(0) && v.Big(0).Cmp(big.NewInt(bound)) < 0
}

// due lists the rows that evict would delete, bit for bit.
func (m *model) due(bound int64) []string {
	var out []string
	for _, r := range m.rows {
		if m.isDue(r, bound) {
			out = append(out, rowBytes(r, 0, len(r.Cols)))
		}
	}
	return out
}

func (m *model) clone() *model {
	return &model{m.spec, m.types, slices.Clone(m.rows)}
}

func columns(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// rowBytes is a row's content, bit for bit.
func rowBytes(c *vector.Chunk, i, ncols int) string {
	var b []byte
	for k := range ncols {
		b = vector.AppendValue(b, &c.Cols[k], i)
	}
	return string(b)
}

func concat(types []vector.Type, rows []*vector.Chunk) *vector.Chunk {
	out := &vector.Chunk{N: len(rows)}
	for k, t := range types {
		r := vector.NewValueReader(t)
		for _, row := range rows {
			b := vector.AppendValue(nil, &row.Cols[k], 0)
			out.Keep = append(out.Keep, b)
			if err := r.Append(b); err != nil {
				panic(err)
			}
		}
		out.Cols = append(out.Cols, r.Out)
	}
	return out
}

func randomSpec(r *rand.Rand) Spec {
	s := Spec{Name: "s", EvictColumn: -1, Weighted: r.IntN(3) == 0}
	for i := range 1 + r.IntN(5) {
		s.Cols = append(s.Cols, vector.Field{Name: fmt.Sprint("c", i), Type: vectortest.Type(r, 2)})
	}
	if s.Weighted {
		s.NKey = len(s.Cols)
		s.Cols = append(s.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	} else {
		s.NKey = r.IntN(len(s.Cols) + 1)
	}
	s.NPrefix = r.IntN(s.NKey + 1)
	for i, f := range s.Cols {
		if evictable(f.Type.Kind) && !(s.Weighted && i == s.NKey) && r.IntN(3) > 0 {
			s.EvictColumn = i
		}
	}
	if s.Weighted && r.IntN(3) == 0 {
		s.EvictColumn = len(s.Cols)
		s.Cols = append(s.Cols, vector.Field{Name: "_at", Type: vector.Of(vector.Timestamp)})
	}
	return s
}

func TestAnswersSurviveGC(t *testing.T) {
	tab, err := New(Spec{Name: "s", Cols: []vector.Field{{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.Of(vector.Varchar)}}, NKey: 1, EvictColumn: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	rows := func(n int, text string) *vector.Chunk {
		c := vector.NewChunk(tab.types, n)
		for i := range n {
			c.Cols[0].PutI64(i, int64(i))
			b := []byte(strings.Repeat(text, 1+i%50) + fmt.Sprint(" and more than twelve bytes ", i))
			c.Keep = append(c.Keep, b)
			c.Cols[1].PutStr(i, b)
		}
		return c
	}
	tab.Upsert(rows(2000, "old "), nil)
	tab.Commit()
	runtime.GC()
	got, _ := tab.Get(rows(2000, ""))
	want := vector.AppendChunk(nil, rows(2000, "old "))
	for range 5 {
		tab.Upsert(rows(2000, "new "), nil)
		tab.Upsert(rows(2000, "newer "), nil)
		runtime.GC()
		_ = make([]byte, 1<<20)
	}
	if !bytes.Equal(vector.AppendChunk(nil, got), want) {
		t.Error("texts changed under an answer")
	}
	tab.Rollback()
	runtime.GC()
	if got, _ = tab.Get(rows(2000, "")); !bytes.Equal(vector.AppendChunk(nil, got), want) {
		t.Error("texts changed by a rollback")
	}
}

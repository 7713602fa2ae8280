package planner

import (
	"sort"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

func (a *aggCompiler) keyNames() string { return renamedKeys(len(a.keys)) }

func renamedKeys(n int) string {
	var b strings.Builder
	for i := 0; i < n; i++ {
		b.WriteString("k" + itoa(i) + ", ")
	}
	return b.String()
}

func (a *aggCompiler) keyFields() []vector.Field {
	var out []vector.Field
	for i, t := range a.keyTypes {
		out = append(out, vector.Field{Name: "k" + itoa(i), Type: t})
	}
	return out
}

// recomputeGroups keeps the columns that the recomputed calls read, as a multiset a group, and computes
// those calls for the groups in pTable. It returns the table (keys, t…) of results.
//
// Rows reach the aggregates in arrival order where the input has one, so that list() and its like agree
// with one-shot DuckDB; otherwise in the order in which the store got them, which replay repeats.
func (a *aggCompiler) recomputeGroups(pTable string) (string, error) {
	cols := a.recomputedColumns()
	s := State{Name: a.name("values"), Weighted: true, NPrefix: len(a.keys), EvictColumn: -1, Cols: a.keyFields()}
	var list strings.Builder
	for i, c := range cols {
		s.Cols = append(s.Cols, vector.Field{Name: "v" + itoa(i), Type: a.child.types[c]})
		list.WriteString("c" + itoa(c) + " AS v" + itoa(i) + ", ")
	}
	ordered := a.child.seq
	group := ordinals(len(a.keys) + len(cols))
	delta := "SELECT " + a.keyList() + list.String()
	w := a.child.weight()
	if ordered {
		at, err := a.describe("SELECT _seq FROM (" + a.child.sql + ")")
		if err != nil {
			return "", err
		}
		s.Cols = append(s.Cols, vector.Field{Name: "_seq", Type: at[0].Type})
	}
	switch {
	case ordered && a.child.append:
		delta += "_seq, 1::BIGINT AS _w FROM (" + a.child.sql + ")"
	case ordered:
		delta += "_seq, sum(_w)::BIGINT AS _w FROM (" + a.child.sql + ") GROUP BY " + ordinals(len(a.keys)+len(cols)+1) + " HAVING sum(_w) <> 0"
	default:
		delta += "sum(" + w + ")::BIGINT AS _w FROM (" + a.child.sql + ") GROUP BY " + group + " HAVING sum(" + w + ") <> 0"
	}
	s.Cols = append(s.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	s.NKey = len(s.Cols) - 1
	a.bound(&s)
	if err := a.addState(s); err != nil {
		return "", err
	}
	if err := a.apply(s.Name, delta); err != nil {
		return "", err
	}
	return a.recomputeTouched(pTable, s, cols, ordered)
}

func (a *aggCompiler) recomputeTouched(pTable string, s State, cols []int, ordered bool) (string, error) {
	at := map[int]int{}
	fields := ""
	for i, c := range cols {
		at[c] = i
		fields += ", _r.v" + itoa(i) + " AS v" + itoa(i)
	}
	extra := ""
	if ordered {
		fields += ", _r._seq AS _seq"
		extra = "_seq"
	}
	rows := "SELECT " + a.keyNames() + "unnest(" + s.Name + "_rows(" + trimComma(a.keyNames()) + ")) AS _r FROM " + pTable
	repeat := "unnest(range(_r._w)) AS _i"
	if ordered && a.child.append {
		repeat = "1 AS _i" // a source row occurs once
	}
	expanded := "SELECT " + a.keyNames() + repeat + fields + " FROM (" + rows + ")"
	p := &printer{column: func(i int) string { return "v" + itoa(at[i]) }}
	var b strings.Builder
	b.WriteString("SELECT " + a.keyNames())
	group := " GROUP BY " + ordinals(len(a.keys))
	if !a.grouped {
		// Why: over no rows at all an ungrouped aggregate still has a value, and it is not always NULL.
		b.Reset()
		b.WriteString("SELECT " + a.keyList())
		group = ""
	}
	for _, call := range a.recompute {
		e := a.n.calls[call]
		order := ""
		if orderSensitive(e) {
			order = extra
		}
		text, err := p.aggregate(e, order)
		if err != nil {
			return "", err
		}
		b.WriteString(text + " AS t" + itoa(a.slots[call][0]) + ", ")
	}
	table := a.name("t")
	return table, a.materialize(table, trimComma(b.String())+" FROM ("+expanded+")"+group)
}

// recomputedColumns lists the child's columns that recomputed calls read, in order.
func (a *aggCompiler) recomputedColumns() []int {
	seen := map[int]bool{}
	for _, call := range a.recompute {
		for c := range a.n.calls[call].refs() {
			seen[c] = true
		}
	}
	var out []int
	for c := range seen {
		out = append(out, c)
	}
	sort.Ints(out)
	return out
}

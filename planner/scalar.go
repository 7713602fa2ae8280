package planner

import (
	"slices"

	"github.com/sluice-sql/sluice/internal/vector"
)

// tooManyRows is DuckDB's own complaint about a scalar subquery.
const tooManyRows = "error('more than one row returned by a subquery used as an expression')"

// oneRow turns a SINGLE join, a correlated scalar subquery, into a LEFT join. Where the right side may have
// more than one row for a left row, it is grouped by the correlation, and a group of more raises the error
// that DuckDB would: correlation columns come from the left side, so that every group meets a left row.
func (c *compiler) oneRow(n *join) error {
	right, err := c.compile(n.right, demand{})
	if err != nil {
		return err
	}
	n.kind = leftJoin
	if right.keyed && n.meetsAtMostOne(right.key) {
		return nil
	}
	types := n.right.types()
	group := map[int]int{} // right column → group
	agg := &aggregate{child: n.right}
	for _, cond := range n.conds {
		if !cond.isKey() || cond.right.Class != "BOUND_REF" {
			return notYet("a scalar subquery correlated by more than equal columns")
		}
		i := int(cond.right.Index)
		if _, seen := group[i]; !seen {
			group[i] = len(agg.groups)
			agg.groups, agg.out = append(agg.groups, ref(i)), append(agg.out, types[i])
		}
	}
	if len(n.rest) > 0 || len(agg.groups) == 0 {
		return notYet("a scalar subquery correlated by more than equal columns")
	}
	one := &project{child: agg, out: types}
	bigint := planType{ID: "BIGINT"}
	agg.calls = []*expr{{Class: "BOUND_AGGREGATE", Type: "BOUND_AGGREGATE", Name: "count_star", AggregateType: "NON_DISTINCT", ReturnType: &bigint}}
	agg.out = append(agg.out, vector.Of(vector.Int64))
	count := ref(len(agg.groups))
	for i, t := range types {
		if g, ok := group[i]; ok {
			one.exprs = append(one.exprs, ref(g))
			continue
		}
		// Why max: of one row it is the row's value, and unlike first() it needs no order.
		agg.calls = append(agg.calls, &expr{Class: "BOUND_AGGREGATE", Type: "BOUND_AGGREGATE", Name: "max", AggregateType: "NON_DISTINCT",
			Children: []*expr{typedRef(i, t)}})
		one.exprs = append(one.exprs, raw("CASE WHEN {0} > 1 THEN "+tooManyRows+" ELSE {1} END", "", count, ref(len(agg.out))))
		agg.out = append(agg.out, t)
	}
	n.right = one
	return nil
}

// meetsAtMostOne says that a key of the right side is among the join's keys.
func (n *join) meetsAtMostOne(key []int) bool {
	return n.covers(key, func(c joinCond) *expr { return c.right })
}

// leftMeetsAtMostOne is meetsAtMostOne for a right row and a key of the left side.
func (n *join) leftMeetsAtMostOne(key []int) bool {
	return n.covers(key, func(c joinCond) *expr { return c.left })
}

func (n *join) covers(key []int, side func(joinCond) *expr) bool {
	keys, _ := n.split()
	for _, k := range key {
		if !slices.ContainsFunc(keys, func(c joinCond) bool { return isRefTo(side(c), k) }) {
			return false
		}
	}
	return true
}

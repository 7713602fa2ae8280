package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// groupingSets builds GROUP BY ROLLUP, CUBE and GROUPING SETS from operators that have rules: every row is
// repeated for each set with the set's number, the group columns that the set leaves out become NULL, and
// the number is one more group column. The empty set is an aggregate of its own, because it has a row even
// over no input.
func (b *treeBuilder) groupingSets(n *planNode, agg *aggregate) (node, error) {
	var sets [][]int
	var parts []node
	for _, s := range n.GroupingSets {
		if len(s) > 0 {
			sets = append(sets, s)
			continue
		}
		parts = append(parts, b.emptySet(n, agg))
	}
	if len(n.GroupingSets) == 0 {
		sets = append(sets, allOf(len(agg.groups)))
	}
	if len(sets) > 0 {
		parts = append(parts, b.numberedSets(n, agg, sets))
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return &unionAll{children: parts}, nil
}

func allOf(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// numberedSets is child → unnest(set numbers) → project(child's columns, group columns, number) →
// aggregate → project(groups, calls, grouping functions).
func (b *treeBuilder) numberedSets(n *planNode, agg *aggregate, sets [][]int) node {
	nc, ng := len(agg.child.types()), len(agg.groups)
	var numbers []string
	for i := range sets {
		numbers = append(numbers, itoa(i))
	}
	listType := planType{ID: "LIST", Info: &planTypeInfo{ChildType: &planType{ID: "INTEGER"}}}
	list := raw("["+strings.Join(numbers, ", ")+"]", "")
	list.ReturnType = &listType
	repeated := &unnest{child: agg.child, lists: []*expr{list}, out: []vector.Type{vector.Of(vector.Int32)}, distinct: true}
	below := &project{child: repeated}
	for i, t := range agg.child.types() {
		below.exprs, below.out = append(below.exprs, ref(i)), append(below.out, t)
	}
	for g, e := range agg.groups {
		below.exprs, below.out = append(below.exprs, groupInSets(e, g, sets, nc)), append(below.out, agg.out[g])
	}
	below.exprs, below.out = append(below.exprs, ref(nc)), append(below.out, vector.Of(vector.Int32))
	inner := &aggregate{child: below, calls: slices.Clone(agg.calls)}
	inner.out = append(append(slices.Clone(agg.out[:ng]), vector.Of(vector.Int32)), agg.out[ng:]...)
	for g := 0; g <= ng; g++ {
		inner.groups = append(inner.groups, ref(nc+g))
	}
	top := &project{child: inner}
	for g := range agg.groups {
		top.exprs, top.out = append(top.exprs, ref(g)), append(top.out, agg.out[g])
	}
	for i := range agg.calls {
		top.exprs, top.out = append(top.exprs, ref(ng+1+i)), append(top.out, agg.out[ng+i])
	}
	for _, args := range n.GroupingFunctions {
		text := "CASE {0}"
		for i, s := range sets {
			text += fmt.Sprintf(" WHEN %d THEN %d", i, groupingBits(args, s))
		}
		top.exprs = append(top.exprs, raw("("+text+" END)::BIGINT", "BIGINT", ref(ng)))
		top.out = append(top.out, vector.Of(vector.Int64))
	}
	return top
}

// groupInSets is a group expression where the set has it, NULL where not.
func groupInSets(e *expr, group int, sets [][]int, number int) *expr {
	var in []string
	for i, s := range sets {
		if slices.Contains(s, group) {
			in = append(in, itoa(i))
		}
	}
	if len(in) == len(sets) {
		return e
	}
	if len(in) == 0 {
		in = []string{"-1"}
	}
	out := raw("CASE WHEN {0} IN ("+strings.Join(in, ", ")+") THEN {1} END", "", ref(number), e)
	out.ReturnType = e.ReturnType
	return out
}

// groupingBits is GROUPING(args) in a set: a bit an argument, the first one highest, set where the group
// column is left out.
func groupingBits(args, set []int) int {
	bits := 0
	for _, a := range args {
		bits <<= 1
		if !slices.Contains(set, a) {
			bits |= 1
		}
	}
	return bits
}

// emptySet is the grand total.
func (b *treeBuilder) emptySet(n *planNode, agg *aggregate) node {
	ng := len(agg.groups)
	inner := &aggregate{child: agg.child, calls: slices.Clone(agg.calls), out: slices.Clone(agg.out[ng:])}
	top := &project{child: inner}
	for g := range agg.groups {
		null := raw("NULL::"+agg.out[g].String(), "")
		null.ReturnType = agg.groups[g].ReturnType
		top.exprs, top.out = append(top.exprs, null), append(top.out, agg.out[g])
	}
	for i := range agg.calls {
		top.exprs, top.out = append(top.exprs, ref(i)), append(top.out, agg.out[ng+i])
	}
	for _, args := range n.GroupingFunctions {
		top.exprs = append(top.exprs, raw(fmt.Sprintf("%d::BIGINT", groupingBits(args, nil)), "BIGINT"))
		top.out = append(top.out, vector.Of(vector.Int64))
	}
	return top
}

package planner

import (
	"slices"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Where the order of an aggregate's input is settled by the query itself, it can be computed over rows that
// have no order: over joins, unions and results that change.

// orderedByArguments says that a call's own ORDER BY leaves nothing open: what is equal in it is equal in the
// arguments, to the last bit.
func orderedByArguments(e *expr) bool {
	if e.OrderBys == nil || len(e.Children) == 0 || looseEquality(e) {
		return false
	}
	for _, arg := range e.Children {
		if arg.Class != "BOUND_CONSTANT" && !slices.ContainsFunc(e.OrderBys.Orders, func(o order) bool { return sameExpr(o.Expr, arg) }) {
			return false
		}
	}
	return true
}

// looseEquality says that a call has arguments which can be equal and yet differ, as 0.0 and -0.0 do.
func looseEquality(e *expr) bool {
	return readsType(e, func(t vector.Type) bool { return isFloat(t) || t.Kind == vector.Interval || t.IsNested() })
}

// sortedInput gives an aggregate's calls over a sorted subquery its ORDER BY, if that settles them:
// ARRAY(SELECT x … ORDER BY x).
func sortedInput(n *planNode) {
	if len(n.Children) != 1 || n.Children[0].Type != "LOGICAL_ORDER_BY" {
		return
	}
	sort := n.Children[0]
	same := func(e *expr) *expr { return e }
	if below := sort.Children; len(below) == 1 && below[0].Type == "LOGICAL_PROJECTION" {
		same = func(e *expr) *expr { return firstOfEqual(e, below[0].Expressions) }
	}
	for i, e := range n.Expressions {
		if e.AggregateType == "DISTINCT" || !orderSensitive(e) {
			continue
		}
		orders := sort.Orders
		if e.OrderBys != nil {
			orders = e.OrderBys.Orders
		}
		ordered := *e
		ordered.OrderBys, ordered.Children = &orderBys{}, nil
		for _, o := range orders {
			o.Expr = same(o.Expr)
			ordered.OrderBys.Orders = append(ordered.OrderBys.Orders, o)
		}
		for _, c := range e.Children {
			ordered.Children = append(ordered.Children, same(c))
		}
		if orderedByArguments(&ordered) {
			ordered.anyOrder = true // as bound, it orders by another column of the same value
			ordered.OrderBys, ordered.Children = e.OrderBys, e.Children
			if e.OrderBys == nil {
				ordered.OrderBys = &orderBys{Orders: orders}
			}
			n.Expressions[i] = &ordered
		}
	}
}

// firstOfEqual replaces a reference to one of several equal columns by one to the first of them.
func firstOfEqual(e *expr, columns []*expr) *expr {
	if e.Class != "BOUND_REF" {
		return e
	}
	for i, c := range columns {
		if sameExpr(c, columns[e.Index]) {
			return ref(i)
		}
	}
	return e
}

// sortedOutput recognises list_sort(list(x)), which is how list(x ORDER BY x) binds: the list itself may come
// in any order.
func sortedOutput(n *planNode) {
	below := n.Children
	var filters []*expr
	for len(below) == 1 && below[0].Type == "LOGICAL_FILTER" {
		filters = append(filters, below[0].Expressions...)
		below = below[0].Children
	}
	if len(below) != 1 || below[0].Type != "LOGICAL_AGGREGATE_AND_GROUP_BY" {
		return
	}
	agg := below[0]
	for i, call := range agg.Expressions {
		if (call.Name == "list" || call.Name == "array_agg") && !looseEquality(call) && onlySorted(append(filters, n.Expressions...), len(agg.Groups)+i) {
			call.anyOrder = true
		}
	}
}

// onlySorted says that a column is read by nothing but list_sort.
func onlySorted(es []*expr, column int) bool {
	reads, sorts := 0, 0
	for _, e := range es {
		e.walk(func(x *expr) {
			if isRefTo(x, column) {
				reads++
			}
			if x.Class == "BOUND_FUNCTION" && x.Name == "list_sort" && isRefTo(x.Children[0], column) {
				sorts++
			}
		})
	}
	return reads > 0 && reads == sorts
}

package planner

// simplify merges projections, which binding leaves behind wherever a view, a macro or a subquery was, so
// that plans and their SQL read like the query. It changes no result: an expression is merged into its
// reader only if that does not compute it twice.
func (s *simplifier) simplify(n node) node {
	switch n := n.(type) {
	case *project:
		n.child = s.simplify(n.child)
		return mergeProjects(n)
	case *filter:
		n.child = s.simplify(n.child)
		return s.pushFilter(n)
	case *join:
		n.left, n.right = s.simplify(n.left), s.simplify(n.right)
	case *window:
		n.child = s.simplify(n.child)
	case *setOp:
		n.left, n.right = s.simplify(n.left), s.simplify(n.right)
	case *unnest:
		n.child = s.simplify(n.child)
	case *arrival:
		n.child = s.simplify(n.child)
	case *aggregate:
		n.child = s.simplify(n.child)
		if by := n.overSessions(); by != nil {
			return by
		}
		return pruneAggregateInput(n)
	case *unionAll:
		for i := range n.children {
			n.children[i] = s.simplify(n.children[i])
		}
	}
	return n
}

// simplifier knows the trees of the materialized views before this one.
type simplifier struct{ views map[string]bool }

// isView says that a subtree is another materialized view's result. A filter stays above it: below, it
// would make another operator with a state of its own, where that view's changes are there to be filtered.
func (s *simplifier) isView(n node) bool {
	return len(s.views) > 0 && s.views[newIdentities().id(n)]
}

// remember makes a tree known to the views after it.
func (s *simplifier) remember(n node) {
	if s.views == nil {
		s.views = map[string]bool{}
	}
	s.views[newIdentities().id(n)] = true
}

func mergeProjects(n *project) node {
	for {
		inner, ok := n.child.(*project)
		if !ok || !mergeable(n.exprs, inner.exprs) {
			break
		}
		for i, e := range n.exprs {
			n.exprs[i] = substitute(e, inner.exprs)
		}
		n.child = inner.child
	}
	if isIdentity(n) {
		return n.child
	}
	return n
}

// mergeable says that no inner expression worth computing once is read more than once.
func mergeable(outer, inner []*expr) bool {
	uses := make([]int, len(inner))
	for _, e := range outer {
		e.walk(func(x *expr) {
			if x.Class == "BOUND_REF" {
				uses[x.Index]++
			}
		})
	}
	for i, e := range inner {
		if uses[i] > 1 && e.Class != "BOUND_REF" && e.Class != "BOUND_CONSTANT" {
			return false
		}
	}
	return true
}

func isIdentity(n *project) bool {
	if len(n.exprs) != len(n.child.types()) {
		return false
	}
	for i, e := range n.exprs {
		if e.Class != "BOUND_REF" || e.Index != uint64(i) {
			return false
		}
	}
	return true
}

// pruneAggregateInput drops the columns below an aggregate that it does not read, and computes group
// expressions of a merged projection in place.
func pruneAggregateInput(n *aggregate) node {
	inner, ok := n.child.(*project)
	if !ok {
		return n
	}
	all := append(append([]*expr{}, n.groups...), n.calls...)
	used := map[int]bool{}
	for _, e := range all {
		for i := range e.refs() {
			used[i] = true
		}
	}
	if len(used) == len(inner.exprs) {
		return n
	}
	if len(used) == 0 {
		n.child = inner.child // count(*) and its like: a SELECT needs a column, and the child has one
		return n
	}
	pruned := &project{child: inner.child}
	at := make([]*expr, len(inner.exprs))
	for i, e := range inner.exprs {
		if used[i] {
			at[i] = &expr{Class: "BOUND_REF", Type: "BOUND_REF", Index: uint64(len(pruned.exprs)), ReturnType: e.ReturnType}
			pruned.exprs = append(pruned.exprs, e)
			pruned.out = append(pruned.out, inner.out[i])
		}
	}
	for i, e := range n.groups {
		n.groups[i] = substitute(e, at)
	}
	for i, e := range n.calls {
		n.calls[i] = substitute(e, at)
	}
	n.child = mergeProjects(pruned)
	return n
}

// substitute copies e with every reference replaced by what the referred column is.
func substitute(e *expr, by []*expr) *expr {
	if e == nil {
		return nil
	}
	if e.Class == "BOUND_REF" {
		to := *by[e.Index]
		if to.ReturnType == nil && to.known == nil {
			to.ReturnType, to.known = e.ReturnType, e.known
		}
		return &to
	}
	out := *e
	out.Child, out.Left, out.Right = substitute(e.Child, by), substitute(e.Left, by), substitute(e.Right, by)
	out.Else, out.Filter = substitute(e.Else, by), substitute(e.Filter, by)
	out.Children = nil
	for _, c := range e.Children {
		out.Children = append(out.Children, substitute(c, by))
	}
	out.Filters, out.StartExpr, out.EndExpr = substitute(e.Filters, by), substitute(e.StartExpr, by), substitute(e.EndExpr, by)
	out.OffsetExpr, out.DefaultExpr = substitute(e.OffsetExpr, by), substitute(e.DefaultExpr, by)
	out.Partitions = nil
	for _, c := range e.Partitions {
		out.Partitions = append(out.Partitions, substitute(c, by))
	}
	out.Orders, out.ArgOrders = substituteOrders(e.Orders, by), substituteOrders(e.ArgOrders, by)
	out.CaseChecks = append(out.CaseChecks[:0:0], e.CaseChecks...)
	for i := range out.CaseChecks {
		out.CaseChecks[i].When = substitute(out.CaseChecks[i].When, by)
		out.CaseChecks[i].Then = substitute(out.CaseChecks[i].Then, by)
	}
	if e.OrderBys != nil {
		orders := *e.OrderBys
		orders.Orders = substituteOrders(orders.Orders, by)
		out.OrderBys = &orders
	}
	return &out
}

func substituteOrders(orders []order, by []*expr) []order {
	out := append(orders[:0:0], orders...)
	for i := range out {
		out[i].Expr = substitute(out[i].Expr, by)
	}
	return out
}

package planner

import "github.com/sluice-sql/sluice/internal/vector"

// Building joins, subqueries, common table expressions and set operations from a bound plan.

// delimScope is the left side of a correlated join while its right side is built.
type delimScope struct {
	left    node
	columns []*expr
}

// delimGet is what a correlated subquery sees of the outer query: the distinct values of the outer
// columns that it refers to. DuckDB's own executor does the same; as a node of the tree it is maintained
// like any other DISTINCT.
func (b *treeBuilder) delimGet() (node, error) {
	if len(b.delims) == 0 {
		return nil, notYet("a correlated scan outside a correlated join")
	}
	d := b.delims[len(b.delims)-1]
	p := &project{child: d.left, exprs: d.columns}
	var err error
	for _, e := range d.columns {
		if e.Class != "BOUND_REF" {
			return nil, notYet("a correlated expression")
		}
	}
	for _, e := range d.columns {
		p.out = append(p.out, d.left.types()[e.Index])
	}
	return distinctOf(p), err
}

// join builds a comparison join, a cross product or a correlated join.
func (b *treeBuilder) join(n *planNode) (*join, error) {
	if len(n.Children) != 2 {
		return nil, notYet("%s with %d inputs", operatorName(n), len(n.Children))
	}
	left, err := b.build(n.Children[0])
	if err != nil {
		return nil, err
	}
	return b.joinOf(n, left)
}

// joinOf builds a join whose left side is built.
func (b *treeBuilder) joinOf(n *planNode, left node) (*join, error) {
	if n.Type == "LOGICAL_DELIM_JOIN" {
		b.delims = append(b.delims, delimScope{left, n.DuplicateEliminated})
	}
	right, err := b.build(n.Children[1])
	if n.Type == "LOGICAL_DELIM_JOIN" {
		b.delims = b.delims[:len(b.delims)-1]
	}
	if err != nil {
		return nil, err
	}
	j := &join{kind: innerJoin, left: left, right: right}
	for _, c := range n.Conditions {
		if c.Left == nil || c.Right == nil {
			return nil, notYet("a join condition that is not a comparison")
		}
		j.conds = append(j.conds, joinCond{c.Left, c.Right, c.Comparison})
		if err := b.check(left.types(), []*expr{c.Left}, false); err != nil {
			return nil, err
		}
		if err := b.check(right.types(), []*expr{c.Right}, false); err != nil {
			return nil, err
		}
	}
	if n.Condition != nil {
		// Why apart: one predicate that is no comparison of the two sides hides the others, keys among them.
		for _, p := range conjuncts(n.Condition) {
			if c, ok := asCondition(p, len(left.types()), len(j.types())); ok {
				j.conds = append(j.conds, c)
			} else {
				j.rest = append(j.rest, p)
			}
			if err := b.check(j.types(), []*expr{p}, false); err != nil {
				return nil, err
			}
		}
	}
	if n.Type == "LOGICAL_ASOF_JOIN" {
		return j, j.asof(n.JoinType)
	}
	switch n.JoinType {
	case "", "INNER":
	case "LEFT", "RIGHT", "SEMI", "ANTI", "SINGLE", "MARK":
		j.kind = joinKind(n.JoinType)
	case "OUTER", "FULL":
		j.kind = fullJoin
	default:
		return nil, notYet("a %s join", n.JoinType)
	}
	return j, nil
}

// conjuncts are the terms of an AND, or the expression itself.
func conjuncts(e *expr) []*expr {
	if e.Class != "BOUND_CONJUNCTION" || e.Type != "CONJUNCTION_AND" {
		return []*expr{e}
	}
	var out []*expr
	for _, c := range e.Children {
		out = append(out, conjuncts(c)...)
	}
	return out
}

// asof makes a join of the given type an ASOF join. DuckDB puts the conditions in any order; one is an
// inequality, the others are keys.
func (n *join) asof(joinType string) error {
	switch joinType {
	case "INNER":
		n.kind = asofJoin
	case "LEFT":
		n.kind = asofLeftJoin
	case "SEMI", "ANTI":
		n.kind = joinKind(joinType) // whether there is a nearest row is whether there is any
	default:
		return notYet("an ASOF %s join has no incremental rule yet", joinType)
	}
	if _, others := n.split(); len(others) != 1 || len(n.rest) > 0 {
		return notYet("an ASOF join with %d inequalities", len(others))
	}
	return nil
}

// joinNode builds a join that stands by itself.
func (b *treeBuilder) joinNode(n *planNode) (node, error) {
	if n.Type == "LOGICAL_DELIM_JOIN" {
		if u, err := b.lateralUnnest(n); err == nil {
			return u, nil
		}
	}
	if isMark(n) {
		out, _, err := b.mark(n, nil)
		return out, err
	}
	return b.join(n)
}

// ref refers to a column of the child.
func ref(i int) *expr { return &expr{Class: "BOUND_REF", Type: "BOUND_REF", Index: uint64(i)} }

// typedRef is ref where the column's type is asked for.
func typedRef(i int, t vector.Type) *expr {
	e := ref(i)
	e.known = &t
	return e
}

// raw is SQL of the planner's own in place of a bound expression; {0}, {1}… are its children.
func raw(sql, typeID string, children ...*expr) *expr {
	t := planType{ID: typeID}
	return &expr{Class: "SLUICE_RAW", Name: sql, ReturnType: &t, Children: children}
}

// cte builds a common table expression once; every reference shares the node.
func (b *treeBuilder) cte(n *planNode) (node, error) {
	def, err := b.build(n.Children[0])
	if err != nil {
		return nil, err
	}
	if b.ctes == nil {
		b.ctes = map[uint64]node{}
	}
	b.ctes[n.TableIndex] = def
	return b.build(n.Children[1])
}

func (b *treeBuilder) cteRef(n *planNode) (node, error) {
	def, ok := b.ctes[n.CTEIndex]
	if !ok {
		return nil, notYet("a recursive reference")
	}
	return def, nil
}

func (b *treeBuilder) checkOrders(child node, orders []order) error {
	var es []*expr
	for _, o := range orders {
		es = append(es, o.Expr)
	}
	return b.check(child.types(), es, false)
}

// distinctOn is the first row of each group in the given order.
func (b *treeBuilder) distinctOn(n *planNode) (node, error) {
	child, err := b.only(n)
	if err != nil {
		return nil, err
	}
	if err := b.check(child.types(), n.DistinctTargets, false); err != nil {
		return nil, err
	}
	if n.OrderBy == nil || len(n.OrderBy.Orders) == 0 {
		if !arrives(child) {
			return nil, notYet("DISTINCT ON without ORDER BY, over rows that have no order")
		}
		return firstArrived(child, n.DistinctTargets, 0, 1), nil
	}
	if err := b.checkOrders(child, n.OrderBy.Orders); err != nil {
		return nil, err
	}
	return numbered(child, n.DistinctTargets, n.OrderBy.Orders, 0, 1), nil
}

// setOperation builds EXCEPT and INTERSECT, with or without ALL.
func (b *treeBuilder) setOperation(n *planNode) (node, error) {
	left, err := b.build(n.Children[0])
	if err != nil {
		return nil, err
	}
	right, err := b.build(n.Children[1])
	if err != nil {
		return nil, err
	}
	op := "EXCEPT"
	if n.Type == "LOGICAL_INTERSECT" {
		op = "INTERSECT"
	}
	if n.SetopAll {
		op += " ALL"
	}
	return &setOp{op: op, left: left, right: right}, nil
}

// oneRowGuards replaces the guard that binding puts over a scalar subquery, CASE WHEN count > 1 THEN
// error(…) ELSE value END: its error() binds to a type that text cannot ask for.
func oneRowGuards(es []*expr) []*expr {
	out := make([]*expr, len(es))
	for i, e := range es {
		out[i] = e
		if e.Class != "BOUND_CASE" || len(e.CaseChecks) != 1 || e.ReturnType == nil {
			continue
		}
		when, then := e.CaseChecks[0].When, e.CaseChecks[0].Then
		if then.Class != "BOUND_FUNCTION" || then.Name != "error" || when.Class != "BOUND_COMPARISON" || when.Type != "COMPARE_GREATERTHAN" {
			continue
		}
		out[i] = raw("CASE WHEN {0} > 1 THEN "+tooManyRows+" ELSE {1} END", "", when.Left, e.Else)
		out[i].ReturnType = e.ReturnType
	}
	return out
}

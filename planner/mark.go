package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A MARK join adds a column to its left side: whether x IN (…), EXISTS (…) or x > ANY (…) holds. It needs
// no rule of its own; it is composed of joins and aggregates. Conditions that are NULL-safe correlate the
// subquery with the row, the others compare.
//
//	EXISTS      left ⟕ distinct right keys, true               matched
//	x IN (…)    left × F, ⟕ distinct right values, true        see markCase
//	x > ANY (…) left × F                                        x > F.min
//
// F says of the right side, by correlation: that it is empty (em), that it holds a NULL (hn), and what its
// extremes are. Invariant: F holds booleans, not counts, so that it stays silent until one flips; every
// change of F touches all left rows.

// isMark says that a plan node is a MARK join.
func isMark(n *planNode) bool {
	return n.JoinType == "MARK" && (n.Type == "LOGICAL_COMPARISON_JOIN" || n.Type == "LOGICAL_DELIM_JOIN")
}

// mark builds a MARK join under a filter with the given predicates (none: it stands by itself), and
// returns those that it has not applied. A predicate of the left side alone goes below the join; WHERE x IN
// and WHERE [NOT] EXISTS become semi and anti joins, whose mark is known.
func (b *treeBuilder) mark(n *planNode, preds []*expr) (out node, rest []*expr, err error) {
	if len(n.Children) != 2 {
		return nil, nil, notYet("%s with %d inputs", operatorName(n), len(n.Children))
	}
	var left node
	if below := n.Children[0]; isMark(below) {
		left, preds, err = b.mark(below, preds)
	} else {
		left, err = b.build(below)
	}
	if err != nil {
		return nil, nil, err
	}
	nl := len(left.types())
	var below []*expr
	kind := joinKind("")
	for _, p := range preds {
		switch negated := p.Class == "BOUND_OPERATOR" && p.Type == "OPERATOR_NOT"; {
		case onlyBelow(p, nl):
			below = append(below, p)
		case kind == "" && isRefTo(p, nl):
			kind = semiJoin
		case kind == "" && negated && isRefTo(p.Children[0], nl):
			kind = antiJoin
		default:
			rest = append(rest, p)
		}
	}
	if len(below) > 0 {
		left = &filter{left, below}
		if err := b.check(left.types(), below, false); err != nil {
			return nil, nil, err
		}
	}
	j, err := b.joinOf(n, left)
	if err != nil {
		return nil, nil, err
	}
	out, err = b.marked(j, kind)
	return out, rest, err
}

// filterMark builds a filter over a MARK join.
func (b *treeBuilder) filterMark(n *planNode) (node, error) {
	out, rest, err := b.mark(n.Children[0], n.Expressions)
	if err != nil || len(rest) == 0 {
		return out, err
	}
	return &filter{out, rest}, b.check(out.types(), rest, false)
}

func isRefTo(e *expr, column int) bool { return e.Class == "BOUND_REF" && int(e.Index) == column }

// onlyBelow says that an expression reads columns before n only.
func onlyBelow(e *expr, n int) bool {
	for i := range e.refs() {
		if i >= n {
			return false
		}
	}
	return true
}

// marked composes a MARK join of which only rows with a true mark (kind SEMI), only rows with a false one
// (ANTI) or all rows are wanted.
func (b *treeBuilder) marked(j *join, kind joinKind) (node, error) {
	m := &markParts{b: b, j: j, nl: len(j.left.types())}
	if len(j.rest) > 0 {
		return nil, notYet("a subquery compared by %s", printAll(j.rest))
	}
	equal := true
	for _, c := range j.conds {
		if c.comparison == "COMPARE_NOT_DISTINCT_FROM" {
			m.correlated = append(m.correlated, c)
			continue
		}
		m.compared = append(m.compared, c)
		equal = equal && c.comparison == "COMPARE_EQUAL"
	}
	switch {
	case !equal && len(m.compared) > 1:
		return nil, notYet("rows compared with a subquery by something other than =")
	case kind == semiJoin && equal, kind == antiJoin && len(m.compared) == 0:
		j.kind = kind
		return m.withMark(j, boolean(kind == semiJoin)), nil
	case kind == antiJoin && equal:
		return m.notIn()
	}
	out, err := m.value(equal)
	if err != nil || kind == "" {
		return out, err
	}
	wanted := ref(m.nl)
	if kind == antiJoin {
		wanted = raw("(NOT {0})", "BOOLEAN", wanted)
	}
	return &filter{out, []*expr{wanted}}, nil
}

func boolean(v bool) *expr {
	if v {
		return raw("true", "BOOLEAN")
	}
	return raw("false", "BOOLEAN")
}

// markParts is a MARK join taken apart.
type markParts struct {
	b                    *treeBuilder
	j                    *join
	nl                   int
	correlated, compared []joinCond
}

// withMark keeps the left side's columns of a node and adds the mark.
func (m *markParts) withMark(n node, mark *expr) node {
	out := &project{child: n}
	for i, t := range m.j.left.types() {
		out.exprs, out.out = append(out.exprs, ref(i)), append(out.out, t)
	}
	out.exprs, out.out = append(out.exprs, mark), append(out.out, vector.Of(vector.Bool))
	return out
}

// value is the mark of every left row.
func (m *markParts) value(equal bool) (node, error) {
	if len(m.compared) == 0 {
		out, err := m.matched(m.j.left, m.correlated)
		return m.withMark(out, raw("({0} IS NOT NULL)", "BOOLEAN", ref(len(out.types())-1))), err
	}
	out, err := m.facts(!equal)
	if err != nil {
		return nil, err
	}
	em, hn := m.nl+len(m.correlated), m.nl+len(m.correlated)+1
	if !equal {
		return m.withMark(out, m.markCase(em, hn, m.againstExtremes(hn+1))), nil
	}
	last := len(out.types())
	if out, err = m.matched(out, m.j.conds); err != nil {
		return nil, err
	}
	return m.withMark(out, m.markCase(em, hn, raw("({0} IS NOT NULL)", "BOOLEAN", ref(last+len(m.j.conds))))), nil
}

// markCase is three-valued IN: nothing is in an empty set, NULL may or may not be in any other, and what
// is not found may still be the NULL in it.
func (m *markParts) markCase(em, hn int, found *expr) *expr {
	return raw("CASE WHEN coalesce({0}, true) THEN false WHEN {1} THEN NULL WHEN {2} THEN true WHEN {3} THEN NULL ELSE false END", "BOOLEAN",
		ref(em), m.isNull(), found, ref(hn))
}

// isNull is the condition that the left side's value is NULL, or one of a row's.
func (m *markParts) isNull() *expr {
	var left []*expr
	for _, c := range m.compared {
		left = append(left, c.left)
	}
	return anyNull(left)
}

func anyNull(es []*expr) *expr {
	var parts []string
	for i := range es {
		parts = append(parts, "{"+itoa(i)+"} IS NULL")
	}
	return raw("("+strings.Join(parts, " OR ")+")", "BOOLEAN", es...)
}

// againstExtremes is x op ANY (set) by the set's extremes, min in column at and max in the next.
func (m *markParts) againstExtremes(at int) *expr {
	c := m.compared[0]
	least, most := ref(at), ref(at+1)
	switch op := comparisons[c.comparison]; op {
	case "<", "<=":
		return raw("({0} "+op+" {1})", "BOOLEAN", c.left, most)
	case ">", ">=":
		return raw("({0} "+op+" {1})", "BOOLEAN", c.left, least)
	}
	return raw("({0} <> {1} OR {0} <> {2})", "BOOLEAN", c.left, least, most)
}

// notIn keeps the left rows that are surely not in the set: they match nothing, and either the set is empty
// or there is no NULL on either side that could be equal.
func (m *markParts) notIn() (node, error) {
	known, err := m.facts(false)
	if err != nil {
		return nil, err
	}
	em, hn := ref(m.nl+len(m.correlated)), ref(m.nl+len(m.correlated)+1)
	sure := &filter{known, []*expr{raw("(coalesce({0}, true) OR NOT ({1} OR {2}))", "BOOLEAN", em, m.isNull(), hn)}}
	return m.withMark(&join{kind: antiJoin, left: sure, right: m.j.right, conds: m.j.conds}, boolean(false)), nil
}

// facts appends to the left side the correlation columns, em and hn, and with extremes the least and the
// greatest value.
func (m *markParts) facts(extremes bool) (node, error) {
	var groups, values []*expr
	for _, c := range m.correlated {
		groups = append(groups, c.right)
	}
	for _, c := range m.compared {
		values = append(values, c.right)
	}
	bigint := planType{ID: "BIGINT"}
	call := func(name string, t *planType, filter *expr, args ...*expr) *expr {
		return &expr{Class: "BOUND_AGGREGATE", Type: "BOUND_AGGREGATE", Name: name, AggregateType: "NON_DISTINCT", ReturnType: t, Children: args, Filter: filter}
	}
	calls := []*expr{call("count_star", &bigint, nil), call("count_star", &bigint, anyNull(values))}
	types := []vector.Type{vector.Of(vector.Int64), vector.Of(vector.Int64)}
	if extremes {
		t, err := m.b.typesOver(m.j.right, values)
		if err != nil {
			return nil, err
		}
		if values[0].ReturnType == nil {
			return nil, notYet("a subquery compared without a type")
		}
		calls = append(calls, call("min", values[0].ReturnType, nil, values[0]), call("max", values[0].ReturnType, nil, values[0]))
		types = append(types, t[0], t[0])
	}
	keys, err := m.b.typesOver(m.j.right, groups)
	if err != nil {
		return nil, err
	}
	nk := len(keys)
	agg := &aggregate{child: m.j.right, groups: groups, calls: calls, out: append(keys, types...)}
	f := &project{child: agg}
	on := &join{kind: innerJoin, left: m.j.left, right: f}
	for i, c := range m.correlated {
		f.exprs, f.out = append(f.exprs, ref(i)), append(f.out, agg.out[i])
		on.kind, on.conds = leftJoin, append(on.conds, joinCond{c.left, ref(i), c.comparison})
	}
	f.exprs = append(f.exprs, raw("({0} = 0)", "BOOLEAN", ref(nk)), raw("({0} > 0)", "BOOLEAN", ref(nk+1)))
	f.out = append(f.out, vector.Of(vector.Bool), vector.Of(vector.Bool))
	for i := nk + 2; i < len(agg.out); i++ {
		f.exprs, f.out = append(f.exprs, ref(i)), append(f.out, agg.out[i])
	}
	return on, nil
}

// matched joins a node that starts with the left side's columns with the distinct right values of the
// conditions and a column that is true where there is one.
func (m *markParts) matched(left node, conds []joinCond) (node, error) {
	var right, compared []*expr
	on := &join{kind: leftJoin, left: left}
	for i, c := range conds {
		right = append(right, c.right)
		if c.comparison == "COMPARE_EQUAL" {
			compared = append(compared, ref(i))
		}
		on.conds = append(on.conds, joinCond{c.left, ref(i), c.comparison})
	}
	types, err := m.b.typesOver(m.j.right, right)
	if err != nil {
		return nil, err
	}
	var values node = &project{child: m.j.right, exprs: right, out: types}
	if len(compared) > 0 {
		values = &filter{values, []*expr{raw("(NOT {0})", "BOOLEAN", anyNull(compared))}}
	}
	flagged := &project{child: distinctOf(values)}
	for i, t := range types {
		flagged.exprs, flagged.out = append(flagged.exprs, ref(i)), append(flagged.out, t)
	}
	flagged.exprs, flagged.out = append(flagged.exprs, boolean(true)), append(flagged.out, vector.Of(vector.Bool))
	on.right = flagged
	return on, nil
}

// typesOver are the types of expressions over a node; a bare reference has its column's.
func (b *treeBuilder) typesOver(n node, es []*expr) ([]vector.Type, error) {
	return typesOver(n.types(), es)
}

func typesOver(types []vector.Type, es []*expr) ([]vector.Type, error) {
	var out []vector.Type
	for _, e := range es {
		if e.Class == "BOUND_REF" {
			out = append(out, types[e.Index])
			continue
		}
		t, err := typeOf(e)
		if err != nil {
			return nil, notYet("%v", err)
		}
		out = append(out, t)
	}
	return out, nil
}

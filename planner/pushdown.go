package planner

// pushFilter moves predicates to where they cost least: into an inner join they become keys, conditions
// or filters of one side (FROM a, b WHERE a.k = b.k binds as a filter over a cross product), into a window
// operator they become its QUALIFY, so that rows which do not pass are never compared.
func (s *simplifier) pushFilter(n *filter) node {
	if s.isView(n.child) {
		return n
	}
	switch child := n.child.(type) {
	case *project:
		if onlyRefs(child.exprs) {
			preds := make([]*expr, len(n.preds))
			for i, p := range n.preds {
				preds[i] = substitute(p, child.exprs)
			}
			below := *child
			below.child = s.pushFilter(&filter{child.child, preds})
			return &below
		}
	case *join:
		if child.kind == innerJoin {
			return s.pushIntoJoin(n.preds, child)
		}
	case *window:
		if len(child.keep) == 0 && !child.drop {
			return pushIntoWindow(n.preds, child)
		}
	}
	return n
}

// onlyRefs says that a projection just picks columns.
func onlyRefs(es []*expr) bool {
	for _, e := range es {
		if e.Class != "BOUND_REF" {
			return false
		}
	}
	return true
}

func (s *simplifier) pushIntoJoin(preds []*expr, j *join) node {
	out := *j
	nl := len(j.left.types())
	var left, right, terms []*expr
	for _, p := range preds {
		terms = append(terms, conjuncts(p)...)
	}
	for _, p := range terms {
		onLeft, onRight := sides(p, nl)
		switch {
		case onLeft && !onRight:
			left = append(left, p)
		case onRight && !onLeft:
			right = append(right, shift(p, -nl, len(j.types())))
		default:
			if c, ok := asCondition(p, nl, len(j.types())); ok {
				out.conds = append(append([]joinCond{}, out.conds...), c)
			} else {
				out.rest = append(append([]*expr{}, out.rest...), p)
			}
		}
	}
	if len(left) > 0 {
		out.left = s.pushFilter(&filter{j.left, left})
	}
	if len(right) > 0 {
		out.right = s.pushFilter(&filter{j.right, right})
	}
	return &out
}

// sides says which inputs of a join an expression reads.
func sides(e *expr, nl int) (left, right bool) {
	for i := range e.refs() {
		if i < nl {
			left = true
		} else {
			right = true
		}
	}
	return left, right
}

// asCondition splits a comparison of one side with the other.
func asCondition(p *expr, nl, columns int) (joinCond, bool) {
	if p.Class != "BOUND_COMPARISON" {
		return joinCond{}, false
	}
	ll, lr := sides(p.Left, nl)
	rl, rr := sides(p.Right, nl)
	switch {
	case ll && !lr && rr && !rl:
		return joinCond{p.Left, shift(p.Right, -nl, columns), p.Type}, true
	case lr && !ll && rl && !rr && flipped[p.Type] != "":
		return joinCond{p.Right, shift(p.Left, -nl, columns), flipped[p.Type]}, true
	}
	return joinCond{}, false
}

// flipped comparisons have their sides exchanged.
var flipped = map[string]string{
	"COMPARE_EQUAL": "COMPARE_EQUAL", "COMPARE_NOTEQUAL": "COMPARE_NOTEQUAL",
	"COMPARE_NOT_DISTINCT_FROM": "COMPARE_NOT_DISTINCT_FROM", "COMPARE_DISTINCT_FROM": "COMPARE_DISTINCT_FROM",
	"COMPARE_LESSTHAN": "COMPARE_GREATERTHAN", "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
	"COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO", "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}

// pushIntoWindow makes a filter the window's own, and recognises row_number() … <= n.
func pushIntoWindow(preds []*expr, w *window) node {
	out := *w
	out.keep = preds
	out.most = out.rankLimit()
	return &out
}

// rankLimit is n if the one call is a row number or rank and keep lets only n of them pass; 0 if not.
func (n *window) rankLimit() int64 {
	if len(n.calls) != 1 || n.calls[0].e == nil || !rankFunctions[n.calls[0].e.Type] || len(n.calls[0].e.Partitions) != len(n.partition) {
		return 0
	}
	for _, p := range n.keep {
		if limit, ok := rankBound(p, len(n.child.types())); ok {
			return limit
		}
	}
	return 0
}

// rankFunctions number rows such that a row's number never falls when rows are added.
var rankFunctions = map[string]bool{"WINDOW_ROW_NUMBER": true, "WINDOW_RANK": true, "WINDOW_RANK_DENSE": true}

// rankBound recognises column <= n, column < n and column = n.
func rankBound(p *expr, column int) (int64, bool) {
	if p.Class != "BOUND_COMPARISON" || p.Left.Class != "BOUND_REF" || int(p.Left.Index) != column {
		return 0, false
	}
	c := p.Right
	if c.Class == "BOUND_CAST" {
		c = c.Child
	}
	if c.Class != "BOUND_CONSTANT" || c.Value.IsNull || (c.Value.Type.ID != "INTEGER" && c.Value.Type.ID != "BIGINT") {
		return 0, false
	}
	n := int64(atoi(string(c.Value.Value)))
	switch p.Type {
	case "COMPARE_LESSTHANOREQUALTO", "COMPARE_EQUAL":
	case "COMPARE_LESSTHAN":
		n--
	default:
		return 0, false
	}
	return n, n > 0
}

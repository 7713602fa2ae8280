package planner

// pushFilter moves predicates to where they cost least: into an inner join they become keys, conditions
// or filters of one side (FROM a, b WHERE a.k = b.k binds as a filter over a cross product), into a window
// operator they become its QUALIFY, so that rows which do not pass are never compared.
func pushFilter(n *filter) node {
	switch child := n.child.(type) {
	case *project:
		if onlyRefs(child.exprs) {
			preds := make([]*expr, len(n.preds))
			for i, p := range n.preds {
				preds[i] = substitute(p, child.exprs)
			}
			below := *child
			below.child = pushFilter(&filter{child.child, preds})
			return &below
		}
	case *join:
		if child.kind == innerJoin {
			return pushIntoJoin(n.preds, child)
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

func pushIntoJoin(preds []*expr, j *join) node {
	out := *j
	nl := len(j.left.types())
	var left, right []*expr
	for _, p := range preds {
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
		out.left = pushFilter(&filter{j.left, left})
	}
	if len(right) > 0 {
		out.right = pushFilter(&filter{j.right, right})
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
	first := len(w.child.types())
	for _, p := range preds {
		for i, call := range w.calls {
			if n, ok := rankBound(p, first+i); ok && call.e != nil && rankFunctions[call.e.Type] && len(call.e.Partitions) == len(w.partition) && i == 0 && len(w.calls) == 1 {
				out.most = n
			}
		}
	}
	return &out
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

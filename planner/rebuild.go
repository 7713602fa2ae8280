package planner

import "slices"

// Rebuilding a tree without the columns that nobody reads.

func (p *pruner) rebuild(n node) pruned {
	id := p.ids.id(n)
	if out, ok := p.done[id]; ok {
		return out
	}
	need := p.need[id]
	var out pruned
	switch n := n.(type) {
	case *scan:
		out = rebuildScan(n, need)
	case *project:
		out = p.rebuildProject(n, need)
	case *filter:
		child := p.input(n.child, needs(n, need)[0])
		out = pruned{&filter{child.n, child.moved(n.preds)}, child.at}
	case *unnest:
		out = p.rebuildUnnest(n, need)
	case *arrival:
		child := p.input(n.child, needs(n, need)[0])
		out = pruned{&arrival{child.n}, append(slices.Clone(child.at), len(child.n.types()))}
	case *unionAll:
		out = p.rebuildUnion(n, need)
	case *aggregate:
		out = p.rebuildAggregate(n, need)
	case *join:
		out = p.rebuildJoin(n, need)
	case *window:
		out = p.rebuildWindow(n, need)
	case *sessions:
		out = p.rebuildSessions(n, need)
	case *setOp:
		whole := *n
		whole.left, _ = narrow(p.rebuild(n.left), allColumns(n.left))
		whole.right, _ = narrow(p.rebuild(n.right), allColumns(n.right))
		out = pruned{&whole, positions(allColumns(n))}
	default:
		out = pruned{n, positions(allColumns(n))}
	}
	p.done[id] = out
	return out
}

// positions numbers the columns that stay.
func positions(kept []bool) []int {
	at := make([]int, len(kept))
	next := 0
	for i, k := range kept {
		at[i] = -1
		if k {
			at[i] = next
			next++
		}
	}
	return at
}

// moved are expressions over the old columns, over the new ones.
func (p pruned) moved(es []*expr) []*expr {
	by := moves(p.at)
	out := make([]*expr, len(es))
	for i, e := range es {
		out[i] = substitute(e, by)
	}
	return out
}

// moves are what references become; nil for a column that is gone, which nothing refers to.
func moves(at []int) []*expr {
	by := make([]*expr, len(at))
	for i, to := range at {
		if to >= 0 {
			by[i] = ref(to)
		}
	}
	return by
}

// narrow puts a projection over a node that has other columns than the needed ones, or in another order.
// A relation has at least one column.
func narrow(p pruned, need []bool) (node, []int) {
	need = atLeastOne(need, p.at)
	pr := &project{child: p.n}
	types := p.n.types()
	for i, k := range need {
		if k {
			pr.exprs, pr.out = append(pr.exprs, ref(p.at[i])), append(pr.out, types[p.at[i]])
		}
	}
	return scanned(mergeProjects(pr)), positions(need)
}

// input is narrow for a child whose own columns cost nothing unless it is a scan, which several views may
// have asked for more.
func (p *pruner) input(n node, need []bool) pruned {
	from := p.rebuild(n)
	if _, ok := from.n.(*scan); !ok {
		return from
	}
	child, at := narrow(from, need)
	return pruned{child, at}
}

// scanned makes a projection that picks columns of a scan that scan.
func scanned(n node) node {
	p, ok := n.(*project)
	if !ok || !onlyRefs(p.exprs) {
		return n
	}
	s, ok := p.child.(*scan)
	if !ok || s.source.Changes == Keyed {
		return n
	}
	out := &scan{source: s.source}
	for _, e := range p.exprs {
		out.cols = append(out.cols, s.cols[e.Index])
	}
	return out
}

// atLeastOne adds a column that is there to an empty set.
func atLeastOne(need []bool, at []int) []bool {
	if slices.Contains(need, true) {
		return need
	}
	need = clone(need)
	for i, to := range at {
		if to >= 0 {
			need[i] = true
			break
		}
	}
	return need
}

// rebuildScan leaves a keyed source's row whole: its state is one for all readers.
func rebuildScan(n *scan, need []bool) pruned {
	all := positions(allColumns(n))
	if n.source.Changes == Keyed {
		return pruned{n, all}
	}
	need = atLeastOne(need, all)
	return pruned{&scan{n.source, pick(n.cols, need)}, positions(need)}
}

func (p *pruner) rebuildProject(n *project, need []bool) pruned {
	child := p.input(n.child, needs(n, need)[0])
	if !slices.Contains(need, true) {
		// Only how many rows there are is read: the first column of the child stands for them.
		return pruned{child.n, positions(first(len(need)))}
	}
	return pruned{scanned(mergeProjects(&project{child.n, child.moved(pick(n.exprs, need)), pick(n.out, need)})), positions(need)}
}

func (p *pruner) rebuildUnnest(n *unnest, need []bool) pruned {
	child := p.input(n.child, needs(n, need)[0])
	whole := *n
	whole.child, whole.lists = child.n, child.moved(n.lists)
	at := slices.Clone(child.at)
	for i := range n.lists {
		at = append(at, len(child.n.types())+i)
	}
	return pruned{&whole, at}
}

func (p *pruner) rebuildUnion(n *unionAll, need []bool) pruned {
	need = needs(n, need)[0]
	out := &unionAll{}
	for _, ch := range n.children {
		one, _ := narrow(p.rebuild(ch), need)
		out.children = append(out.children, one)
	}
	return pruned{out, positions(need)}
}

func (p *pruner) rebuildAggregate(n *aggregate, need []bool) pruned {
	child := p.input(n.child, needs(n, need)[0])
	kept := append(make([]bool, 0, len(n.out)), allColumns(n)[:len(n.groups)]...)
	kept = append(kept, n.keptCalls(need)...)
	out := *n
	out.child = child.n
	out.groups = child.moved(n.groups)
	out.calls = child.moved(pick(n.calls, kept[len(n.groups):]))
	out.out = pick(n.out, kept)
	return pruned{&out, positions(kept)}
}

func (p *pruner) rebuildJoin(n *join, need []bool) pruned {
	sides := n.needs(need)
	left, atLeft := narrow(p.rebuild(n.left), sides[0])
	right, atRight := narrow(p.rebuild(n.right), sides[1])
	both := slices.Clone(atLeft)
	for _, to := range atRight {
		if to >= 0 {
			to += len(left.types())
		}
		both = append(both, to)
	}
	out := *n
	out.left, out.right = left, right
	out.conds = nil
	l, r := moves(atLeft), moves(atRight)
	for _, c := range n.conds {
		out.conds = append(out.conds, joinCond{substitute(c.left, l), substitute(c.right, r), c.comparison})
	}
	out.rest = pruned{at: both}.moved(n.rest)
	return pruned{&out, both[:len(n.types())]}
}

func (p *pruner) rebuildWindow(n *window, need []bool) pruned {
	kept := n.keptCalls(need)
	from := p.rebuild(n.child)
	if !slices.Contains(kept, true) && len(n.keep) == 0 {
		at := slices.Clone(from.at)
		for range len(n.types()) - len(from.at) {
			at = append(at, -1)
		}
		return pruned{from.n, at}
	}
	child, at := narrow(from, n.needs(need))
	below := pruned{child, at}
	out := *n
	out.child, out.partition = child, below.moved(n.partition)
	out.calls = nil
	all := slices.Clone(at)
	for i, call := range n.calls {
		if !kept[i] {
			all = append(all, -1)
			continue
		}
		all = append(all, len(child.types())+len(out.calls))
		out.calls = append(out.calls, below.movedCall(call))
	}
	out.keep = pruned{at: all}.moved(n.keep)
	if out.most == 0 {
		out.most = out.rankLimit() // the calls that hid it may be gone
	}
	return pruned{&out, all[:len(n.types())]}
}

func (p pruned) movedCall(call windowCall) windowCall {
	if call.e != nil {
		call.e = substitute(call.e, moves(p.at))
	}
	call.orders = substituteOrders(call.orders, moves(p.at))
	return call
}

func (p *pruner) rebuildSessions(n *sessions, need []bool) pruned {
	kept := clone(need)
	for i := range n.groups {
		kept[i] = true
	}
	child := p.input(n.child, needs(n, need)[0])
	out := *n
	out.child = child.n
	by := child.moved([]*expr{n.key, n.ts})
	out.key, out.ts = by[0], by[1]
	out.calls, out.out = child.moved(n.keptCalls(need)), pick(n.out, kept)
	return pruned{&out, positions(kept)}
}

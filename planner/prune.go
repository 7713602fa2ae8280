package planner

import "slices"

// Column pruning: operators keep and compute only what somebody reads. Binding leaves whole rows below
// SELECT *, macros and views, and calls of a subquery that nobody looks at.
//
// All views of a pipeline are pruned together, by identity, so that a sub-plan that several read has the
// columns that any of them needs, and is still one. An operator that inputsOf does not know keeps all below it. Columns can only be dropped where that changes no
// row: group keys, set operations and DISTINCT keep theirs.

type pruner struct {
	ids   *identities
	order []node            // one of each identity, readers before what they read
	need  map[string][]bool // per column
	done  map[string]pruned
}

// pruned is what became of a node: at has the new position of each old column, -1 if it is gone.
type pruned struct {
	n  node
	at []int
}

// prune returns the roots with the columns that nobody reads gone from below them.
func prune(roots []node) []node {
	p := &pruner{ids: newIdentities(), need: map[string][]bool{}, done: map[string]pruned{}}
	for _, root := range roots {
		p.visit(root)
	}
	for _, root := range roots {
		p.ask(root, allColumns(root))
	}
	for i := len(p.order) - 1; i >= 0; i-- { // visit lists children first
		n := p.order[i]
		for at, ch := range inputsOf(n) {
			p.ask(ch, needs(n, p.need[p.ids.id(n)])[at])
		}
	}
	out := make([]node, len(roots))
	for i, root := range roots {
		out[i], _ = narrow(p.rebuild(root), allColumns(root))
	}
	return out
}

func (p *pruner) visit(n node) {
	id := p.ids.id(n)
	if _, seen := p.need[id]; seen {
		return
	}
	p.need[id] = make([]bool, len(n.types()))
	for _, ch := range inputsOf(n) {
		p.visit(ch)
	}
	p.order = append(p.order, n)
}

func (p *pruner) ask(n node, columns []bool) {
	need := p.need[p.ids.id(n)]
	for i, c := range columns {
		need[i] = need[i] || c
	}
}

func allColumns(n node) []bool {
	all := make([]bool, len(n.types()))
	for i := range all {
		all[i] = true
	}
	return all
}

// needs says, per input of a node, which columns it reads to give the needed ones.
func needs(n node, need []bool) [][]bool {
	switch n := n.(type) {
	case *project:
		return [][]bool{readBy(make([]bool, len(n.child.types())), pick(n.exprs, need))}
	case *filter:
		return [][]bool{readBy(clone(need), n.preds)}
	case *unnest:
		return [][]bool{readBy(clone(need[:len(n.child.types())]), n.lists)}
	case *arrival:
		return [][]bool{clone(need[:len(n.child.types())])}
	case *unionAll:
		if !slices.Contains(need, true) {
			need = first(len(need)) // the same of all children
		}
		out := make([][]bool, len(n.children))
		for i := range out {
			out[i] = need
		}
		return out
	case *aggregate:
		return [][]bool{readBy(make([]bool, len(n.child.types())), append(append([]*expr{}, n.groups...), pick(n.calls, n.keptCalls(need))...))}
	case *join:
		return n.needs(need)
	case *window:
		return [][]bool{n.needs(need)}
	case *sessions:
		return [][]bool{readBy(make([]bool, len(n.child.types())), append([]*expr{n.key, n.ts}, n.keptCalls(need)...))}
	case *setOp:
		return [][]bool{allColumns(n.left), allColumns(n.right)}
	}
	return nil
}

// keptCalls are the calls that are read; a total without any keeps one, since its row has to have a column.
func (n *aggregate) keptCalls(need []bool) []bool {
	kept := clone(need[len(n.groups):])
	if len(n.groups) > 0 || len(kept) == 0 {
		return kept
	}
	if !slices.Contains(kept, true) {
		kept[0] = true
	}
	return kept
}

func (n *join) needs(need []bool) [][]bool {
	nl, nr := len(n.left.types()), len(n.right.types())
	both := make([]bool, nl+nr)
	copy(both, need) // a semi join gives the left side only
	readBy(both, n.rest)
	left, right := clone(both[:nl]), clone(both[nl:])
	for _, c := range n.conds {
		readBy(left, []*expr{c.left})
		readBy(right, []*expr{c.right})
	}
	return [][]bool{left, right}
}

// keptCalls are the calls that are read, by others or by keep.
func (n *window) keptCalls(need []bool) []bool {
	nc := len(n.child.types())
	all := make([]bool, nc+len(n.calls))
	copy(all, need)
	return readBy(all, n.keep)[nc:]
}

func (n *window) needs(need []bool) []bool {
	nc := len(n.child.types())
	all := make([]bool, nc+len(n.calls))
	copy(all, need)
	readBy(all, n.keep)
	child := clone(all[:nc])
	readBy(child, n.partition)
	for i, call := range n.calls {
		if all[nc+i] {
			readBy(child, call.exprs())
		}
	}
	return child
}

// exprs are the expressions of a call, over the window's input.
func (c windowCall) exprs() []*expr {
	var out []*expr
	if c.e != nil {
		out = append(out, c.e)
	}
	for _, o := range c.orders {
		out = append(out, o.Expr)
	}
	return out
}

// readBy adds the columns that expressions read to a set.
func readBy(set []bool, es []*expr) []bool {
	for _, e := range es {
		for i := range e.refs() {
			set[i] = true
		}
	}
	return set
}

// first is the set of the first of n columns.
func first(n int) []bool {
	set := make([]bool, n)
	set[0] = true
	return set
}

func clone(set []bool) []bool { return append([]bool{}, set...) }

// pick keeps the elements in the set.
func pick[T any](list []T, set []bool) []T {
	var out []T
	for i, x := range list {
		if set[i] {
			out = append(out, x)
		}
	}
	return out
}

package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Explain describes an operator of a view's plan, for people and for --json.
type Explain struct {
	Op     string   `json:"op"`
	Detail string   `json:"detail,omitempty"`
	Class  string   `json:"class"` // linear, stateful, touched-partition, full, sink
	Mode   string   `json:"mode"`  // append, upsert, retract, multiset
	Key    []string `json:"key,omitempty"`
	States []string `json:"states,omitempty"`
	// Bound says what limits the operator's state.
	Bound string `json:"bound,omitempty"`
	// Watermark says, for an operator with state, below what no later row of it goes.
	Watermark string `json:"watermark,omitempty"`
	// Scans says which states every batch reads whole, so that a batch costs more the more there is.
	Scans []string `json:"scans,omitempty"`
	Steps []int    `json:"steps,omitempty"` // indexes into Program.Steps
	// Shared names the view under which the operator and all below it are described: they run once for both.
	Shared   string `json:"shared,omitempty"`
	same     *Explain
	Children []*Explain `json:"children,omitempty"`
}

// Below are the operator's inputs, those of one that is described under another view included.
func (ex *Explain) Below() []*Explain {
	if ex.same != nil {
		return ex.same.Below()
	}
	return ex.Children
}

// explain describes a compiled tree. What has state is described once, where it was first met.
func (c *compiler) explain(n node) *Explain {
	at := c.notes[n]
	if first := at.made.explain; first != nil && at.made.stateful {
		again := *first
		again.Shared, again.same, again.Children, again.Steps, again.States, again.Bound, again.Watermark, again.Scans = at.made.view, first, nil, nil, nil, "", "", nil
		return &again
	}
	ex := c.describeNode(n)
	at.made.explain = ex
	return ex
}

func (c *compiler) describeNode(n node) *Explain {
	ex := &Explain{Class: "linear"}
	var children []node
	switch n := n.(type) {
	case *scan:
		var names []string
		for _, col := range n.cols {
			names = append(names, n.source.Columns[col].Name)
		}
		ex.Op, ex.Detail = "scan "+n.source.Name, strings.Join(names, ", ")
		if n.source.HasWeight() {
			ex.Detail += n.source.explain()
		}
		if n.source.Table {
			ex.Op = "table " + n.source.Name
		}
		if n.source.about != "" {
			ex.Detail += "; " + n.source.about
		}
	case *project:
		ex.Op, ex.Detail, children = "project", explainProject(n), []node{n.child}
	case *filter:
		ex.Op, ex.Detail, children = "filter", over(n.child).texts(n.preds), []node{n.child}
	case *unnest:
		ex.Op, ex.Detail, children = "unnest", over(n.child).texts(n.lists), []node{n.child}
	case *unionAll:
		ex.Op, children = "union all", n.children
	case *arrival:
		ex.Op, ex.Detail, children = "arrival", "numbers the rows as they come", []node{n.child}
	case *join:
		ex.Op, ex.Detail, ex.Class = strings.ToLower(string(n.kind))+" join", explainJoin(n), "stateful"
		switch {
		case n.streamSide() != 0:
			ex.Class = "linear"
			ex.Detail += "; looked up in a static table, nothing of the stream is kept"
		case n.kind != innerJoin:
			ex.Class = "touched-partition"
		}
		children = []node{n.left, n.right}
	case *window:
		ex.Op, ex.Detail, ex.Class, children = "window", explainWindow(n), "touched-partition", []node{n.child}
	case *sessions:
		ex.Op, ex.Class, ex.Detail, children = "aggregate by session", "stateful", explainSessions(n), []node{n.child}
	case *setOp:
		ex.Op, ex.Class, children = strings.ToLower(n.op), "stateful", []node{n.left, n.right}
	case *aggregate:
		ex.Op, children = "aggregate", []node{n.child}
		if len(n.calls) == 0 {
			ex.Op = "distinct"
		}
		ex.Detail, ex.Class = explainCalls(n)
	}
	for _, ch := range children {
		ex.Children = append(ex.Children, c.explain(ch))
	}
	c.explainNote(ex, n, children)
	return ex
}

// explainNote adds what compiling the node left: its states, steps, changelog mode and key.
func (c *compiler) explainNote(ex *Explain, n node, children []node) {
	at := c.notes[n]
	firstStep, firstState := at.firstStep, at.firstState
	for _, ch := range children {
		firstStep, firstState = max(firstStep, c.notes[ch].steps), max(firstState, c.notes[ch].states)
	}
	for i := firstStep; i < at.steps; i++ {
		ex.Steps = append(ex.Steps, i)
	}
	for i := range c.program.States[firstState:at.states] {
		s := &c.program.States[firstState+i]
		ex.States = append(ex.States, s.Name)
		ex.Bound = s.Bound
		if s.EvictColumn < 0 && s.Never == "" && s.Bound != oneRow && !strings.HasPrefix(s.Bound, "the table's rows") {
			s.Never = neverEvicted(n)
			if c.ttl > 0 {
				s.Never += "; state_ttl leaves it alone: operators that take rows back must know them"
			}
		}
	}
	ex.Scans = c.program.scans(ex.States)
	if len(ex.States) > 0 {
		ex.Watermark = at.r.floorsText(names(n))
	}
	switch {
	case at.r.pairs && at.r.keyed:
		ex.Mode = "upsert"
	case !at.r.pairs && at.r.append:
		ex.Mode = "append"
	default:
		ex.Mode = "retract"
	}
	if at.r.keyed {
		called := names(n)
		for _, k := range at.r.key {
			ex.Key = append(ex.Key, called[k])
		}
	}
}

// explainOutput puts the sink's step on top.
func (c *compiler) explainOutput(child *Explain, cols []vector.Field, first int) *Explain {
	out := c.program.Outputs[len(c.program.Outputs)-1]
	ex := &Explain{Op: "output " + out.Name, Class: "sink", Mode: out.Mode.String(), Children: []*Explain{child}}
	for _, k := range out.Key {
		ex.Key = append(ex.Key, cols[k].Name)
	}
	for i := first; i < len(c.program.Steps); i++ {
		ex.Steps = append(ex.Steps, i)
	}
	return ex
}

// explainJoin lists the conditions: those that rows are looked up by, then the rest.
func explainJoin(n *join) string {
	var on []string
	keys, others := n.split()
	l, r, both := sideNames(n)
	for _, k := range keys {
		on = append(on, named(l).text(k.left)+" "+comparisons[k.comparison]+" "+named(r).text(k.right))
	}
	if len(on) == 0 {
		on = append(on, "no key: every row meets every row")
	}
	for _, c := range others {
		on = append(on, named(l).text(c.left)+" "+comparisons[c.comparison]+" "+named(r).text(c.right))
	}
	for _, e := range n.rest {
		on = append(on, named(both).text(e))
	}
	return strings.Join(on, "; ")
}

// sideNames are the columns of a join's sides; those whose name is on both have the side's in front.
func sideNames(n *join) (left, right, both []string) {
	left, right = names(n.left), names(n.right)
	for i, l := range left {
		if j := slices.Index(right, l); j >= 0 {
			left[i], right[j] = "left."+l, "right."+l
		}
	}
	return left, right, append(slices.Clone(left), right...)
}

// explainProject lists the columns with what they are.
func explainProject(n *project) string {
	var out []string
	given, p := names(n), over(n.child)
	for i, e := range n.exprs {
		text := p.text(e)
		if text != given[i] {
			text = given[i] + ": " + text
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// explainWindow lists partition, calls and filter.
func explainWindow(n *window) string {
	p, all := over(n.child), *n
	all.drop = false
	out := "one partition"
	if len(n.partition) > 0 {
		out = "by " + p.texts(n.partition)
	}
	for _, call := range n.calls {
		if call.e != nil {
			out += "; " + p.text(call.e)
			continue
		}
		orders, err := p.orderList(call.orders)
		if err == nil {
			out += "; row_number() by " + readable(strings.Join(orders, ", "))
		}
	}
	if len(n.keep) > 0 {
		out += "; where " + over(&all).texts(n.keep)
	}
	return out
}

// explainCalls lists group keys and calls with their rules, and classifies the operator.
func explainCalls(n *aggregate) (detail, class string) {
	class = "stateful"
	p := over(n.child)
	detail = "by " + p.texts(n.groups)
	if len(n.groups) == 0 {
		detail = "one row"
	}
	retracts := !appendOnly(n.child)
	for _, e := range n.calls {
		text := p.text(e)
		plan, err := planCall(e, !retracts)
		if err != nil {
			continue
		}
		if plan.rule == ruleRecompute {
			class = "touched-partition"
		}
		note := plan.rule.String()
		if plan.rule == ruleMerge && len(e.Children) == 1 && driftable(e) {
			note += ", floating point: the last digits depend on where batches are cut"
		}
		detail += "; " + text + " [" + note + "]"
	}
	return detail, class
}

// driftable says that a merged partial is a sum of floats.
func driftable(e *expr) bool {
	types, err := typesOf(e.Children)
	return err == nil && isFloat(types[0]) && (e.Name == "sum" || e.Name == "avg" || e.Name == "mean" || e.Name == "product" ||
		strings.HasPrefix(e.Name, "stddev") || strings.HasPrefix(e.Name, "var"))
}

func (k StepKind) String() string { return [...]string{"materialize", "apply", "emit", "check"}[k] }

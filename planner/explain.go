package planner

import (
	"fmt"
	"io"
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
	Steps     []int  `json:"steps,omitempty"` // indexes into Program.Steps
	// Shared names the view under which the operator and all below it are described: they run once for both.
	Shared   string `json:"shared,omitempty"`
	same     *Explain
	Children []*Explain `json:"children,omitempty"`
}

// explain describes a compiled tree. What has state is described once, where it was first met.
func (c *compiler) explain(n node) *Explain {
	at := c.notes[n]
	if first := at.made.explain; first != nil && at.made.stateful {
		again := *first
		again.Shared, again.same, again.Children, again.Steps, again.States, again.Bound, again.Watermark = at.made.view, first, nil, nil, nil, "", ""
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
		ex.Op, ex.Detail, children = "project", printAll(n.exprs), []node{n.child}
	case *filter:
		ex.Op, ex.Detail, children = "filter", printAll(n.preds), []node{n.child}
	case *unnest:
		ex.Op, ex.Detail, children = "unnest", printAll(n.lists), []node{n.child}
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
		if s.EvictColumn < 0 && s.Never == "" && s.Bound != "one row" && !strings.HasPrefix(s.Bound, "the table's rows") {
			s.Never = neverEvicted(n)
			if c.ttl > 0 {
				s.Never += "; state_ttl leaves it alone: operators that take rows back must know them"
			}
		}
	}
	if len(ex.States) > 0 {
		ex.Watermark = at.r.floorsText()
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
		for _, k := range at.r.key {
			ex.Key = append(ex.Key, "c"+itoa(k))
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

func printAll(es []*expr) string {
	var parts []string
	for _, e := range es {
		s, err := columns("c").expr(e)
		if err != nil {
			s = "?"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// explainJoin lists the conditions: those that rows are looked up by, then the rest.
func explainJoin(n *join) string {
	var on []string
	keys, _ := n.split()
	for _, k := range keys {
		l, err1 := columns("a").expr(k.left)
		r, err2 := columns("b").expr(k.right)
		if err1 == nil && err2 == nil {
			on = append(on, l+" "+comparisons[k.comparison]+" "+r)
		}
	}
	if len(on) == 0 {
		on = append(on, "no key: every row meets every row")
	}
	if pred, err := n.predicate(); err == nil && pred != "" {
		on = append(on, pred)
	}
	return strings.Join(on, "; ")
}

// explainWindow lists partition, calls and filter.
func explainWindow(n *window) string {
	out := "one partition"
	if len(n.partition) > 0 {
		out = "by " + printAll(n.partition)
	}
	for _, call := range n.calls {
		if call.e != nil {
			out += "; " + printAll([]*expr{call.e})
			continue
		}
		orders, err := columns("c").orderList(call.orders)
		if err == nil {
			out += "; row_number() by " + strings.Join(orders, ", ")
		}
	}
	if len(n.keep) > 0 {
		out += "; where " + printAll(n.keep)
	}
	return out
}

// explainCalls lists group keys and calls with their rules, and classifies the operator.
func explainCalls(n *aggregate) (detail, class string) {
	class = "stateful"
	detail = "by " + printAll(n.groups)
	if len(n.groups) == 0 {
		detail = "one row"
	}
	retracts := !appendOnly(n.child)
	for _, e := range n.calls {
		text, err := columns("c").aggregate(e, "")
		if err != nil {
			text = e.Name
		}
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

// WriteExplain prints the plans of all views: the tree, the state tables and the SQL of every step.
func WriteExplain(w io.Writer, p *Pipeline) error {
	var b strings.Builder
	for i, v := range p.Views {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "view %s\n", v.Name)
		if v.Fallback != "" {
			fmt.Fprintf(&b, "  recomputed in full every batch: %s\n", v.Fallback)
		}
		if v.Loses != "" {
			fmt.Fprintf(&b, "  NOT what its query says, by state_ttl: %s\n", v.Loses)
		}
		v.Explain.write(&b, "  ")
	}
	if len(p.Program.States) > 0 {
		b.WriteString("\nstate\n")
	}
	for _, s := range p.Program.States {
		s.write(&b)
	}
	b.WriteString("\nsteps of a batch\n")
	for i, s := range p.Program.Steps {
		fmt.Fprintf(&b, "  %2d %s %s\n     %s\n", i, s.Kind, s.Target, s.SQL)
	}
	fmt.Fprintf(&b, "\nfingerprint %s\n", p.Program.Fingerprint)
	_, err := io.WriteString(w, b.String())
	return err
}

func (k StepKind) String() string { return [...]string{"materialize", "apply", "emit", "check"}[k] }

func (ex *Explain) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%s  (%s, %s", indent, ex.Op, ex.Class, ex.Mode)
	if len(ex.Key) > 0 {
		fmt.Fprintf(b, ", key %s", strings.Join(ex.Key, " "))
	}
	b.WriteString(")\n")
	if ex.Detail != "" {
		fmt.Fprintf(b, "%s  %s\n", indent, ex.Detail)
	}
	if len(ex.States) > 0 {
		fmt.Fprintf(b, "%s  state %s: %s\n", indent, strings.Join(ex.States, " "), ex.Bound)
	}
	if ex.Watermark != "" {
		fmt.Fprintf(b, "%s  later rows have %s\n", indent, ex.Watermark)
	}
	if ex.Shared != "" {
		fmt.Fprintf(b, "%s  shared with view %s\n", indent, ex.Shared)
	}
	if len(ex.Steps) > 0 {
		fmt.Fprintf(b, "%s  steps %s\n", indent, strings.Trim(fmt.Sprint(ex.Steps), "[]"))
	}
	for _, ch := range ex.Children {
		ch.write(b, indent+"  ")
	}
}

func (s State) write(b *strings.Builder) {
	var cols []string
	for i, f := range s.Cols {
		text := f.Name + " " + f.Type.String()
		if i < s.NKey {
			text += " key"
		}
		cols = append(cols, text)
	}
	access := "hash index on the key"
	if s.NPrefix > 0 {
		access += fmt.Sprintf(", multimap on its first %d", s.NPrefix)
	}
	fmt.Fprintf(b, "  %s (%s)\n     %s; %s", s.Name, strings.Join(cols, ", "), access, s.Bound)
	if evicted := s.Evicted(); evicted != "" {
		b.WriteString(": " + evicted)
	}
	if s.Never != "" {
		fmt.Fprintf(b, "; never evicted: %s", s.Never)
	}
	b.WriteString("\n")
}

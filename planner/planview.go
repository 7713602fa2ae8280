package planner

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// A plannedView is an output on its way from its text to steps.
type plannedView struct {
	st   *ddl.View
	cols []vector.Field
	// tree is nil if an operator has no rule; reason says which.
	tree   node
	reason *unsupported
}

// planViews plans the outputs together: the trees of all are there before any is compiled, so that what
// they share has the columns that any of them needs.
func (p *planning) planViews(outputs []*ddl.View) error {
	var problems []error
	var views []*plannedView
	s := &simplifier{}
	for _, st := range outputs {
		v, err := p.readView(st, s)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		views = append(views, v)
	}
	if len(problems) > 0 {
		return ddl.Join(problems...)
	}
	var trees []node
	for _, v := range views {
		if v.tree != nil {
			trees = append(trees, v.tree)
		}
	}
	trees = prune(trees)
	for _, v := range views {
		if v.tree != nil {
			v.tree, trees = trees[0], trees[1:]
		}
		if err := p.planView(v); err != nil {
			problems = append(problems, err)
		}
	}
	return ddl.Join(problems...)
}

// readView checks an output and builds its tree.
func (p *planning) readView(st *ddl.View, s *simplifier) (*plannedView, error) {
	query := "SELECT * FROM " + st.Name.SQL()
	cols, err := p.binder.Describe(p.ctx, query)
	if err != nil {
		return nil, p.sqlError(st.Query, err)
	}
	if err := p.outputColumns(st, cols); err != nil {
		return nil, err
	}
	v := &plannedView{st: st, cols: cols}
	if v.tree, err = p.readTree(st, query, s); err == nil && hasMarked(v.tree) {
		if err := p.binder.Exec(p.ctx, plainSession()); err != nil {
			return nil, fmt.Errorf("plan view %q: %w", st.Name.Name, err)
		}
		v.tree, err = p.readTree(st, query, s)
		if err := p.binder.Exec(p.ctx, markedSession); err != nil {
			return nil, fmt.Errorf("plan view %q: %w", st.Name.Name, err)
		}
	}
	if own := (*ddl.Error)(nil); errors.As(err, &own) {
		return nil, err
	}
	if err != nil && !errors.As(err, &v.reason) {
		return nil, fmt.Errorf("plan view %q: %w", st.Name.Name, err)
	}
	if v.reason == nil {
		s.remember(v.tree)
	}
	return v, nil
}

// readTree binds a view's query and builds its tree.
func (p *planning) readTree(st *ddl.View, query string, s *simplifier) (node, error) {
	doc, err := p.binder.SerializePlan(p.ctx, query)
	if err != nil {
		return nil, p.sqlError(st.Query, err)
	}
	if err := p.deterministic(st, doc); err != nil {
		return nil, err
	}
	return p.tree(doc, s)
}

// planView compiles one output: incrementally if every operator has a rule, by full recompute if not.
func (p *planning) planView(v *plannedView) (err error) {
	view := View{Name: v.st.Name.Name, Query: v.st.Query.SQL, Columns: v.cols}
	if v.tree != nil {
		mark := p.mark()
		view.Explain, err = p.incremental(v)
		if errors.As(err, &v.reason) {
			p.reset(mark)
		}
	}
	if v.reason != nil && v.st.EmitOnWindowClose {
		return p.neverCloses(v.st, "it is recomputed in full, because "+v.reason.reason)
	}
	if v.reason != nil {
		view.Fallback = v.reason.reason
		view.Explain, err = p.fullRecompute(v.st, v.cols, v.reason.reason)
	}
	if own := (*ddl.Error)(nil); errors.As(err, &own) {
		return own
	}
	if err != nil {
		return fmt.Errorf("plan view %q: %w", view.Name, err)
	}
	view.Loses = p.loses[view.Name]
	view.Closed = p.closed[view.Name]
	p.out.Views = append(p.out.Views, view)
	return nil
}

// outputColumns refuses what a table cannot have.
func (p *planning) outputColumns(st *ddl.View, cols []vector.Field) error {
	if len(st.Columns) == 0 {
		// Why: CREATE VIEW renames the second of two equal names without a word.
		own, err := p.binder.Describe(p.ctx, st.Query.SQL)
		if err != nil {
			return p.sqlError(st.Query, err)
		}
		cols = own
	}
	seen := map[string]bool{}
	for _, c := range cols {
		if strings.HasPrefix(c.Name, "_sluice") {
			return p.file.Errorf(st.Name.Span, "view %q has a column %q: such names are sluice's own", st.Name.Name, c.Name)
		}
		if seen[strings.ToLower(c.Name)] {
			return p.file.Errorf(st.Name.Span, "view %q has two columns named %q", st.Name.Name, c.Name).
				WithHint("give one an alias: … AS another_name")
		}
		seen[strings.ToLower(c.Name)] = true
	}
	return nil
}

type programMark struct{ states, steps, outputs, setup, shared int }

func (p *planning) mark() programMark {
	g := p.out.Program
	return programMark{states: len(g.States), steps: len(g.Steps), outputs: len(g.Outputs), setup: len(g.Setup),
		shared: len(p.shared.order)}
}

func (p *planning) reset(m programMark) {
	g := p.out.Program
	g.States, g.Steps, g.Outputs, g.Setup = g.States[:m.states], g.Steps[:m.steps], g.Outputs[:m.outputs], g.Setup[:m.setup]
	p.shared.forget(m.shared)
}

// tree builds a view's tree.
func (p *planning) tree(doc []byte, s *simplifier) (node, error) {
	plan, err := decodePlan(doc)
	if err != nil {
		return nil, err
	}
	check := &rebinder{p.ctx, p.binder}
	tree, err := (&treeBuilder{sources: p.inputs, check: check.check}).build(plan)
	if err != nil {
		return nil, err
	}
	return s.simplify(tree), nil
}

func (p *planning) incremental(v *plannedView) (*Explain, error) {
	c := p.compiler(v.st)
	v.tree = c.withTTL(v.tree)
	r, err := c.compile(v.tree, demand{})
	if err != nil {
		return nil, err
	}
	p.loses[v.st.Name.Name] = c.lossyBelow(v.tree)
	ex := c.explain(v.tree)
	if v.st.EmitOnWindowClose {
		if r, ex, err = p.closeWindows(c, v.st, v.cols, r, ex); err != nil {
			return nil, err
		}
	}
	first := len(p.out.Program.Steps)
	if err := c.emit(v.st.Name.Name, v.cols, r); err != nil {
		return nil, err
	}
	return c.explainOutput(ex, v.cols, first), nil
}

func (p *planning) compiler(st *ddl.View) *compiler {
	return &compiler{ctx: p.ctx, binder: p.binder, program: p.out.Program, view: "_" + plainName(st.Name.Name), counter: &p.names,
		notes: map[node]*note{}, sources: p.inputs, shared: p.shared, owner: st.Name.Name, zset: changelogs(p.file)[st.Name.Key()], ttl: p.stateTTL()}
}

// plainName keeps what needs no quotes in SQL.
func plainName(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			b.WriteRune(r)
		}
	}
	s := b.String()
	if len(s) > 40 {
		s = s[:40]
	}
	return s
}

// deterministic refuses functions whose value replay could not repeat.
func (p *planning) deterministic(st *ddl.View, doc []byte) error {
	return p.repeatableIn(st.Query, doc, st.Query.SQL, 0, fmt.Sprintf("view %q", st.Name.Name))
}

// repeatable is deterministic for a piece of the file, which starts in the query at an offset.
func (p *planning) repeatable(t ddl.Text, query string, offset int, what string) error {
	doc, err := p.binder.SerializePlan(p.ctx, query)
	if err != nil {
		return p.sqlErrorAt(t, offset, err)
	}
	return p.repeatableIn(t, doc, query, offset, what)
}

func (p *planning) repeatableIn(t ddl.Text, doc []byte, query string, offset int, what string) error {
	var plan any
	if err := json.Unmarshal(doc, &plan); err != nil {
		return fmt.Errorf("read the bound plan: %w", err)
	}
	var bad []string
	sample := false
	visitPlan(plan, func(x map[string]any) {
		sample = sample || x["type"] == "LOGICAL_SAMPLE"
		name, _, args := boundCall(x)
		// age(t) counts from today.
		if (p.refused[name] || name == "age" && args == 1) && !slices.Contains(bad, name) {
			bad = append(bad, name)
		}
	})
	if sample {
		return p.file.Errorf(t.Span, "%s samples rows, which a replay of the batch could not repeat", what).
			WithHint("filter on a hash of a column instead: WHERE hash(id) %% 10 = 0")
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad) // the walk has no order
	span := t.Span
	if at := p.callIn(query, bad[0]); at >= offset {
		span = p.file.SpanIn(t, at-offset)
	}
	return p.file.Errorf(span, "%s calls %s(), whose result a replay of the batch could not repeat", what, strings.Join(bad, "(), ")).
		WithHint("%s", insteadOf(bad[0]))
}

// callIn finds where a query calls a function, -1 if it does not itself or cannot be told. The view's own
// text is bound again for that: under a view, locations count from other texts.
func (p *planning) callIn(query, function string) int {
	doc, err := p.binder.SerializePlan(p.ctx, query)
	var plan any
	if err != nil || json.Unmarshal(doc, &plan) != nil {
		return -1
	}
	found := -1
	visitPlan(plan, func(x map[string]any) {
		if name, at, _ := boundCall(x); name == function && at >= 0 && at < len(query) && (found < 0 || at < found) {
			found = at
		}
	})
	return found
}

// boundCall returns the name of a bound function call, its location in the text (-1 if unknown) and the
// number of its arguments; no name if x is something else.
func boundCall(x map[string]any) (name string, location, args int) {
	class, _ := x["expression_class"].(string)
	if class != "BOUND_FUNCTION" && class != "BOUND_AGGREGATE" {
		return "", -1, 0
	}
	name, _ = x["name"].(string)
	location = -1
	if at, ok := x["query_location"].(float64); ok && at < 1<<31 {
		location = int(at)
	}
	children, _ := x["children"].([]any)
	return name, location, len(children)
}

// visitPlan visits every object of a JSON document.
func visitPlan(doc any, visit func(map[string]any)) {
	switch x := doc.(type) {
	case map[string]any:
		visit(x)
		for _, v := range x {
			visitPlan(v, visit)
		}
	case []any:
		for _, v := range x {
			visitPlan(v, visit)
		}
	}
}

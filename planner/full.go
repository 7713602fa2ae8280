package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// The full-recompute rule: keep every source row, run the user's own query over all of them each batch,
// and emit the difference to what it gave before. It is right for anything that DuckDB can run, and its
// cost grows with all the input so far; explain says so.

// fullRecompute adds the rule for one view. Kept inputs are shared by all views that fall back.
func (p *planning) fullRecompute(st *ddl.View, cols []vector.Field, reason string) (*Explain, error) {
	g := p.out.Program
	var states []string
	for i := range p.out.Sources {
		name, err := p.keepInput(i)
		if err != nil {
			return nil, err
		}
		states = append(states, name)
	}
	p.keepViews()
	c := p.compiler(st)
	first := len(g.Steps)
	now, diff := c.name("now"), c.name("diff")
	out := State{Name: c.name("out"), Weighted: true, NKey: len(cols), EvictColumn: -1, Bound: "grows with the view's rows"}
	for i, f := range cols {
		out.Cols = append(out.Cols, vector.Field{Name: "c" + itoa(i), Type: f.Type})
	}
	out.Cols = append(out.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	if err := c.addState(out); err != nil {
		return nil, err
	}
	var list strings.Builder
	for i, f := range cols {
		list.WriteString(quoteIdent(f.Name) + " AS c" + itoa(i) + ", ")
	}
	if err := c.materialize(now, "SELECT "+trimComma(list.String())+" FROM "+st.Name.SQL()); err != nil {
		return nil, err
	}
	names := renamed("c", "c", len(cols))
	r := &relation{sql: "SELECT " + names + "1::BIGINT AS _w FROM " + now + " UNION ALL SELECT " + names + "-_w FROM " + out.Name + "_scan()"}
	if err := c.materialize(diff, consolidate(r, len(cols))); err != nil {
		return nil, err
	}
	if err := c.apply(out.Name, "SELECT * FROM "+diff); err != nil {
		return nil, err
	}
	g.Outputs = append(g.Outputs, Output{Name: st.Name.Name, Columns: cols, Mode: Multiset})
	g.Steps = append(g.Steps, Step{Kind: Emit, Target: st.Name.Name, SQL: "SELECT * FROM " + diff})
	ex := &Explain{Op: "recompute", Class: "full", Mode: Multiset.String(), Detail: reason,
		Bound: "grows with all input: every batch runs the whole query again"}
	ex.States = append(states, out.Name)
	ex.Scans = g.scans(ex.States)
	for i := first; i < len(g.Steps); i++ {
		ex.Steps = append(ex.Steps, i)
	}
	return ex, nil
}

// keepInput makes the state that holds a source's rows by arrival sequence, and the view of the source's
// name that the user's queries read.
func (p *planning) keepInput(at int) (string, error) {
	g, src := p.out.Program, &p.out.Sources[at]
	name := "_all" + itoa(at) + "_" + plainName(src.Name) // numbered: two names can have the same plain letters
	for _, s := range g.States {
		if s.Name == name {
			return name, nil
		}
	}
	if in := p.inputs[src.Name]; in.HasWeight() {
		return name, p.keepChanging(in, name)
	}
	s := State{Name: name, NKey: 1, EvictColumn: -1, Bound: "grows with the source's rows",
		Cols: []vector.Field{{Name: "_seq", Type: vector.Of(vector.Int64)}}}
	var in, out strings.Builder
	for i, c := range src.Columns {
		s.Cols = append(s.Cols, vector.Field{Name: "v" + itoa(i), Type: c.Type})
		in.WriteString(quoteIdent(c.Name) + " AS v" + itoa(i) + ", ")
		out.WriteString("v" + itoa(i) + " AS " + quoteIdent(c.Name) + ", ")
	}
	g.States = append(g.States, s)
	if err := declareState(p.ctx, p.binder, s); err != nil {
		return "", err
	}
	// Why first: the kept rows include this batch's before any view is recomputed.
	step := Step{Kind: Apply, Target: name, SQL: "SELECT _seq, " + in.String() + "true AS _live FROM " + inputFunction(src.Name) + "()"}
	g.Steps = append(g.Steps, step)
	// Why ORDER BY: one-shot DuckDB sees partition after partition, batches interleave them.
	g.Setup = append(g.Setup, "CREATE VIEW "+quoteIdent(src.Name)+" AS SELECT "+trimComma(out.String())+" FROM "+name+"_scan() ORDER BY _seq")
	return name, nil
}

// keepViews makes the user's views available to the queries.
func (p *planning) keepViews() {
	g := p.out.Program
	for _, sql := range p.viewSQL {
		present := false
		for _, s := range g.Setup {
			present = present || s == sql
		}
		if !present {
			g.Setup = append(g.Setup, sql)
		}
	}
}

// keepChanging is keepInput for a source whose rows change: it keeps the rows that are there now.
func (p *planning) keepChanging(in *SourceInput, name string) error {
	g := p.out.Program
	s := State{Name: name, EvictColumn: -1, Bound: "grows with the source's rows"}
	apply, view := "SELECT ", "SELECT "
	order := "_seq"
	var fields []string
	// Why the key first: a state's key columns are its first.
	stored := slices.Clone(in.Key)
	for i := range in.Columns {
		if !slices.Contains(in.Key, i) {
			stored = append(stored, i)
		}
	}
	for _, i := range stored {
		c, text := in.Columns[i], settled(in.Columns[i])
		if in.Changes == Keyed {
			text = in.prelude.names[i]
		}
		s.Cols = append(s.Cols, vector.Field{Name: "v" + itoa(i), Type: c.Type})
		apply += text + " AS v" + itoa(i) + ", "
	}
	for i, c := range in.Columns {
		view += "v" + itoa(i) + " AS " + quoteIdent(c.Name) + ", "
		fields = append(fields, "'v"+itoa(i)+"': v"+itoa(i))
	}
	view = trimComma(view) + " FROM "
	if in.Changes == Keyed {
		s.NKey = len(in.Key)
		s.Cols = append(s.Cols, vector.Field{Name: "_seq", Type: vector.Of(vector.Int64)})
		apply += "_seq, _there AS _live FROM " + in.prelude.table
		view += name + "_scan()"
	} else {
		s.NKey, s.Weighted = len(in.Columns), true
		s.Cols = append(s.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
		apply += "sum(_w)::BIGINT AS _w FROM " + inputFunction(in.Name) + "() GROUP BY " + ordinals(len(in.Columns)) + " HAVING sum(_w) <> 0"
		view += "(SELECT *, unnest(range(_w)) AS _i FROM " + name + "_scan())"
		order = "{" + strings.Join(fields, ", ") + "}"
	}
	g.States = append(g.States, s)
	if err := declareState(p.ctx, p.binder, s); err != nil {
		return err
	}
	g.Steps = append(g.Steps, Step{Kind: Apply, Target: name, SQL: apply})
	g.Setup = append(g.Setup, "CREATE VIEW "+quoteIdent(in.Name)+" AS "+view+" ORDER BY "+order)
	return nil
}

package planner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A compiler turns the tree of one materialized view into steps, appended to the pipeline's program.
type compiler struct {
	ctx     context.Context
	binder  Binder
	program *Program
	view    string // a prefix for names, safe in SQL without quotes
	counter *int   // numbers the names of the whole program
	notes   map[node]*note
	sources map[string]*SourceInput
	zset    zset
	shared  *sharing
	owner   string        // the view's name, for explain
	ttl     time.Duration // SET state_ttl; 0: never
}

// note is what explain needs to know of a compiled node.
type note struct {
	r                  *relation
	want               demand
	firstStep, steps   int // the program's steps before and after it was compiled
	firstState, states int
	again              *note // the same node compiled for another demand
	made               *made
}

// demand says what the consumer of a relation needs beyond its columns.
type demand struct {
	seq bool // _seq, the arrival order
}

// compile returns the delta of a node. One that is read twice (a common table expression, the outer side
// of a correlated subquery, a sub-plan of an earlier view) is compiled once: its text reads only what the
// first compilation left in temp tables, and the batch's input.
func (c *compiler) compile(n node, want demand) (*relation, error) {
	first := c.notes[n]
	for at := first; at != nil; at = at.again {
		if at.r != nil && at.want == want {
			return at.r, nil
		}
	}
	at := &note{want: want, firstStep: len(c.program.Steps), firstState: len(c.program.States)}
	if first != nil && first.r != nil {
		// Why the first stays: what is explained of a reader begins behind the steps of the node below, and the
		// reader that came first was made before these.
		at.again, first.again = first.again, at
	} else {
		c.notes[n] = at
	}
	key := c.shared.key(n, want) // before the rule, which may change the node
	m, ok := c.shared.made[key]
	if !ok {
		r, err := c.rule(n, want)
		if err != nil {
			return nil, err
		}
		m = &made{r: r, view: c.owner, stateful: len(c.program.Steps) > at.firstStep}
		c.shared.keep(key, m)
		c.shared.loses[c.shared.ids.id(n)] = r.loses
	}
	at.made, at.r, at.steps, at.states = m, m.r, len(c.program.Steps), len(c.program.States)
	return m.r, nil
}

// rule picks the operator's rule.
func (c *compiler) rule(n node, want demand) (*relation, error) {
	switch n := n.(type) {
	case *scan:
		return c.scan(n, want), nil
	case *project:
		return c.project(n, want)
	case *filter:
		return c.filter(n, want)
	case *unnest:
		return c.unnest(n, want)
	case *unionAll:
		return c.unionAll(n, want)
	case *aggregate:
		if want.seq {
			return nil, notYet("an order-sensitive aggregate over an aggregate")
		}
		return c.aggregate(n)
	case *join:
		return c.join(n, want)
	case *window:
		return c.windowRule(n, want)
	case *sessions:
		if want.seq {
			return nil, notYet("an order-sensitive aggregate over an aggregate")
		}
		return c.sessionsRule(n)
	case *setOp:
		return c.setOp(n, want)
	case *arrival:
		return c.arrival(n)
	}
	panic(fmt.Sprintf("planner: node %T has no rule", n))
}

// appendOnly says whether a node's output is never retracted.
func appendOnly(n node) bool {
	switch n := n.(type) {
	case *scan:
		return n.source.Changes == AppendOnly
	case *project:
		return appendOnly(n.child)
	case *filter:
		return appendOnly(n.child)
	case *unnest:
		return appendOnly(n.child)
	case *arrival:
		return appendOnly(n.child)
	case *unionAll:
		for _, ch := range n.children {
			if !appendOnly(ch) {
				return false
			}
		}
		return true
	case *join:
		switch n.streamSide() {
		case 1:
			return appendOnly(n.left)
		case 2:
			return appendOnly(n.right)
		}
		return n.kind == innerJoin && appendOnly(n.left) && appendOnly(n.right)
	}
	return false
}

// ofSources says that a node's rows are rows of sources, put together without a state: what is append-only
// if its sources are.
func ofSources(n node) bool {
	switch n := n.(type) {
	case *scan:
		return true
	case *project:
		return ofSources(n.child)
	case *filter:
		return ofSources(n.child)
	case *unnest:
		return ofSources(n.child)
	case *unionAll:
		return !slices.ContainsFunc(n.children, func(ch node) bool { return !ofSources(ch) })
	case *join:
		return n.kind == innerJoin && ofSources(n.left) && ofSources(n.right)
	}
	return false
}

func inputFunction(source string) string { return quoteIdent("in_" + source) }

// name returns a new name for a temp table or a state of this view.
func (c *compiler) name(kind string) string {
	*c.counter++
	return fmt.Sprintf("%s_%s%d", c.view, kind, *c.counter)
}

// materialize adds a step that keeps a query's rows for later steps of the batch. Running it right away
// on the planner's empty stand-ins checks every name and type in it.
func (c *compiler) materialize(table, sql string) error {
	c.program.Steps = append(c.program.Steps, Step{Kind: Materialize, Target: table, SQL: sql})
	return c.exec("CREATE OR REPLACE TEMP TABLE "+table+" AS "+sql, sql)
}

func (c *compiler) apply(state, sql string) error {
	c.program.Steps = append(c.program.Steps, Step{Kind: Apply, Target: state, SQL: sql})
	_, err := c.describe(sql)
	return err
}

func (c *compiler) exec(statement, sql string) error {
	if err := c.binder.Exec(c.ctx, c.withoutTimes(statement)); err != nil {
		return notYet("the generated SQL does not run: %v\n%s", err, sql)
	}
	return nil
}

func (c *compiler) describe(sql string) ([]vector.Field, error) {
	fields, err := c.binder.Describe(c.ctx, c.withoutTimes(sql))
	if err != nil {
		return nil, notYet("the generated SQL does not bind: %v\n%s", err, sql)
	}
	return fields, nil
}

// withoutTimes makes SQL with placeholders fit to be bound.
func (c *compiler) withoutTimes(sql string) string {
	if !HasPlaceholder(sql) {
		return sql
	}
	var sources []SourceInput
	for _, s := range c.sources {
		sources = append(sources, *s)
	}
	return Placeholders(sources, Times{}).Replace(sql)
}

// addState declares a state and creates its stand-ins in the planner's scratch instance.
func (c *compiler) addState(s State) error {
	c.program.States = append(c.program.States, s)
	return declareState(c.ctx, c.binder, s)
}

// declareState makes STATE_get, STATE_rows, STATE_scan and STATE_due of an empty state, so that statements which
// use them can be bound.
func declareState(ctx context.Context, b Binder, s State) error {
	var fields []string
	for _, f := range s.Cols {
		fields = append(fields, f.Name+" "+f.Type.String())
	}
	row := "STRUCT(" + strings.Join(fields, ", ") + ")"
	params := func(n int) string { return trimComma(renamedParams("a", n)) }
	statements := []string{
		"CREATE OR REPLACE TEMP TABLE " + s.Name + "_empty (" + strings.Join(fields, ", ") + ")",
		"CREATE OR REPLACE TEMP MACRO " + s.Name + "_scan() AS TABLE SELECT * FROM " + s.Name + "_empty",
		"CREATE OR REPLACE TEMP MACRO " + s.Name + "_due() AS TABLE SELECT * FROM " + s.Name + "_empty",
		"CREATE OR REPLACE TEMP MACRO " + s.Name + "_get(" + params(s.NKey) + ") AS NULL::" + row,
	}
	if s.NPrefix > 0 {
		statements = append(statements, "CREATE OR REPLACE TEMP MACRO "+s.Name+"_rows("+params(s.NPrefix)+") AS NULL::"+row+"[]")
	}
	for _, sql := range statements {
		if err := b.Exec(ctx, sql); err != nil {
			return notYet("state %s cannot be declared: %v", s.Name, err)
		}
	}
	return nil
}

// renamedParams is "prefix0, prefix1, …, ".
func renamedParams(prefix string, n int) string {
	var b strings.Builder
	for i := 0; i < n; i++ {
		b.WriteString(prefix + itoa(i) + ", ")
	}
	return b.String()
}

// emit adds the step that nets a view's delta for its sinks, and describes the output.
func (c *compiler) emit(name string, cols []vector.Field, r *relation) error {
	out := Output{Name: name, Columns: cols}
	var sql string
	n := len(r.types)
	switch {
	case c.zset != noZSet && (r.pairs || !r.append):
		out.Mode = Multiset
		if c.zset == keyedZSet && r.keyed {
			out.Key, out.Keyed = r.key, true
		}
		sql = consolidate(r.rows(), n)
	case r.pairs && r.keyed:
		out.Mode, out.Key = Upsert, r.key
		var b strings.Builder
		for i := 0; i < n; i++ {
			b.WriteString("if(_nl, n" + itoa(i) + ", o" + itoa(i) + ") AS c" + itoa(i) + ", ")
		}
		sql = "SELECT " + b.String() + "if(_nl, 1, -1)::BIGINT AS _w FROM (" + r.sql + ") WHERE (_nl OR _ol)" + r.changed()
	case !r.pairs && r.append:
		out.Mode = Append
		sql = "SELECT " + renamed("c", "c", n) + "1::BIGINT AS _w FROM (" + r.sql + ")"
	case r.keyed:
		out.Mode, out.Key = Upsert, r.key
		table := c.name("net")
		if err := c.materialize(table, consolidate(r.rows(), n)); err != nil {
			return err
		}
		sql = netPerKey(table, r.key, n)
	default:
		out.Mode = Multiset
		sql = consolidate(r.rows(), n)
	}
	c.program.Outputs = append(c.program.Outputs, out)
	c.program.Steps = append(c.program.Steps, Step{Kind: Emit, Target: name, SQL: sql})
	got, err := c.describe(sql)
	if err != nil {
		return err
	}
	for i, col := range cols {
		if !got[i].Type.Equal(col.Type) {
			return notYet("column %q became %s instead of %s", col.Name, got[i].Type, col.Type)
		}
	}
	return nil
}

// netPerKey turns a consolidated delta of a keyed relation into one row a key: the inserted one if there
// is one, else the deleted one.
func netPerKey(table string, key []int, n int) string {
	cols := renamed("d.c", "c", n)
	on := "i._w > 0"
	for _, k := range key {
		on += " AND i.c" + itoa(k) + " IS NOT DISTINCT FROM d.c" + itoa(k)
	}
	return "SELECT " + cols + "1::BIGINT AS _w FROM " + table + " d WHERE d._w > 0 UNION ALL SELECT " + cols +
		"-1::BIGINT AS _w FROM (SELECT * FROM " + table + " WHERE _w < 0) d ANTI JOIN " + table + " i ON " + on
}

// consolidate nets a delta to one row a distinct tuple, none with weight 0.
func consolidate(r *relation, n int) string {
	cols := trimComma(renamed("c", "c", n))
	return "SELECT " + cols + ", sum(" + r.weight() + ")::BIGINT AS _w FROM (" + r.sql + ") GROUP BY ALL HAVING sum(" + r.weight() + ") <> 0"
}

package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// Sources whose rows change. What every view needs of them is done once a batch, before any view:
//
//	Keyed     the batch's last row of each key meets the one kept in a state; old and new go on as pairs,
//	          the form that aggregates give, so that an update reaches the sink as one upsert
//	Weighted  a state with the count of every tuple proves that no row is deleted which is not there; the
//	          rows themselves go on with their weights
//
// Invariant: behind the prelude no tuple of a source ever has a negative count, so that no operator has to
// think about one.
//
// −0.0 is read as 0.0 in such sources. Why: it equals 0.0, so a delete of the one would leave the other in
// a state and a text of it in a sink.

// sourceChanges says what the rows of a declared source do.
func sourceChanges(st *ddl.Source) SourceChanges {
	if len(st.PrimaryKey) > 0 {
		return Keyed
	}
	if connector, _ := st.With.Get("connector"); connector == lookupConnector || connector == captureConnector {
		return Weighted
	}
	format, _ := st.With.Get("format")
	switch strings.ToLower(format) {
	case "changelog", "debezium":
		return Weighted
	}
	return AppendOnly
}

// primaryKey lists the columns of PRIMARY KEY, which parsing has checked.
func primaryKey(st *ddl.Source, columns []vector.Field) (key []int) {
	for _, name := range st.PrimaryKey {
		key = append(key, slices.IndexFunc(columns, func(c vector.Field) bool { return strings.EqualFold(c.Name, name.Name) }))
	}
	return key
}

// settled is a column of a changing source as everything behind the prelude sees it.
func settled(c vector.Field) string {
	name := quoteIdent(c.Name)
	if isFloat(c.Type) {
		return "CASE WHEN " + name + " = 0 THEN 0::" + c.Type.String() + " ELSE " + name + " END"
	}
	return name
}

// settledTuple is the row of a weighted source as one value. It orders rows where the query does not: such
// a source has no arrival order that outlives a batch.
func (s *SourceInput) settledTuple() string {
	var parts []string
	for i, c := range s.Columns {
		parts = append(parts, "'v"+itoa(i)+"': "+settled(c))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// orderType is the type of _seq where a query gives no order.
func (s *SourceInput) orderType() vector.Type {
	if s.Changes != Weighted {
		return vector.Of(vector.Int64)
	}
	t := vector.Type{Kind: vector.Struct}
	for i, c := range s.Columns {
		t.Fields = append(t.Fields, vector.Field{Name: "v" + itoa(i), Type: c.Type})
	}
	return t
}

// RelationSQL selects the relation that a source stands for, its declared columns in order, from a table of
// all its rows: the columns of Fields. Rows come in the order in which aggregates without ORDER BY see them.
func (s *SourceInput) RelationSQL(table string) string {
	var plain, renamed, keys []string
	for i, c := range s.Columns {
		plain = append(plain, quoteIdent(c.Name))
		renamed = append(renamed, settled(c)+" AS "+quoteIdent(c.Name))
		if slices.Contains(s.Key, i) {
			keys = append(keys, settled(c))
		}
	}
	list, from := strings.Join(plain, ", "), " FROM "+table
	switch s.Changes {
	case Keyed:
		return "SELECT " + list + " FROM (SELECT " + strings.Join(renamed, ", ") + ", _seq" + from + " QUALIFY row_number() OVER (PARTITION BY " +
			strings.Join(keys, ", ") + " ORDER BY _seq DESC, _w DESC) = 1 AND _w > 0) ORDER BY _seq"
	case Weighted:
		net := "SELECT " + strings.Join(renamed, ", ") + ", sum(_w) AS _w" + from + " GROUP BY ALL HAVING sum(_w) > 0"
		return "SELECT " + list + " FROM (SELECT " + list + ", unnest(range(_w::BIGINT)) AS _i FROM (" + net + ")) ORDER BY " + s.settledTuple()
	}
	return "SELECT " + list + from + " ORDER BY _seq"
}

// A prelude is what a batch does with a changing source before the views.
type prelude struct {
	table string         // of this batch's rows
	names map[int]string // of the table's columns, by the source's
	state string
	first int // of its steps
	steps int
}

// preludes adds the preludes of all changing sources. Views read columns of them; no view, no column.
func (p *planning) preludes() error {
	needed := p.columnsRead()
	for i, src := range p.out.Sources {
		in := p.inputs[src.Name]
		c := &compiler{ctx: p.ctx, binder: p.binder, program: p.out.Program, view: "_src" + itoa(i) + "_" + plainName(src.Name), counter: &p.names}
		pre := &prelude{first: len(p.out.Program.Steps), names: map[int]string{}}
		var err error
		switch in.Changes {
		case Keyed:
			err = c.latest(in, pre, needed[in.Name])
		case Weighted:
			err = c.guard(in, pre)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("plan source %q: %w", in.Name, err)
		}
		pre.steps = len(p.out.Program.Steps) - pre.first
		in.prelude = pre
	}
	return nil
}

// columnsRead lists, by source, the columns that the plans of the views read; nil for all of them.
func (p *planning) columnsRead() map[string]map[int]bool {
	read := map[string]map[int]bool{}
	for _, v := range p.views {
		doc, err := p.binder.SerializePlan(p.ctx, "SELECT * FROM "+v.Name.SQL())
		if err != nil {
			return nil
		}
		plan, err := decodePlan(doc)
		if err != nil {
			return nil
		}
		var visit func(n *planNode)
		visit = func(n *planNode) {
			if in := p.inputs[n.table()]; in != nil {
				if read[in.Name] == nil {
					read[in.Name] = map[int]bool{}
				}
				for _, c := range n.ColumnIndexes {
					if c.Index >= virtualColumn {
						c.Index = 0
					}
					read[in.Name][int(c.Index)] = true
				}
			}
			for _, ch := range n.Children {
				visit(ch)
			}
		}
		visit(plan)
	}
	for name := range p.inputs {
		if read[name] == nil {
			read[name] = map[int]bool{}
		}
	}
	return read
}

// latest keeps the last row of every key of a keyed source. Its table has a row for each key that the batch
// names: the key, the columns, _seq, _there (false: deleted), and what was kept before as _o.
//
// Why deleted keys stay: a row of a partition that is read later may have an earlier _seq than the delete,
// and must not bring the key back.
func (c *compiler) latest(in *SourceInput, pre *prelude, needed map[int]bool) error {
	pre.table, pre.state = c.name("latest"), c.name("kept")
	state := State{Name: pre.state, NKey: len(in.Key), EvictColumn: -1, Bound: "one row a key, deleted keys too; never evicted"}
	var keys, list, texts, apply []string
	for i, at := range in.Key {
		name := "k" + itoa(i)
		pre.names[at] = name
		state.Cols = append(state.Cols, vector.Field{Name: name, Type: in.Columns[at].Type})
		keys, texts = append(keys, name), append(texts, settled(in.Columns[at]))
		list, apply = append(list, settled(in.Columns[at])+" AS "+name), append(apply, name)
	}
	for at, col := range in.Columns {
		if slices.Contains(in.Key, at) {
			continue
		}
		name := "v" + itoa(at)
		pre.names[at] = name
		list = append(list, settled(col)+" AS "+name)
		if needed == nil || needed[at] {
			state.Cols = append(state.Cols, vector.Field{Name: name, Type: col.Type})
			apply = append(apply, "CASE WHEN _there THEN "+name+" END AS "+name)
		}
	}
	state.Cols = append(state.Cols, vector.Field{Name: "_seq", Type: vector.Of(vector.Int64)}, vector.Field{Name: "_there", Type: vector.Of(vector.Bool)})
	if err := c.addState(state); err != nil {
		return err
	}
	last := "SELECT " + strings.Join(list, ", ") + ", _seq, _w > 0 AS _there FROM " + inputFunction(in.Name) + "() QUALIFY row_number() OVER (PARTITION BY " +
		strings.Join(texts, ", ") + " ORDER BY _seq DESC, _w DESC) = 1"
	met := "SELECT *, " + state.Name + "_get(" + strings.Join(keys, ", ") + ") AS _o FROM (" + last + ")"
	if err := c.materialize(pre.table, "SELECT * FROM ("+met+") WHERE _o IS NULL OR _o._seq < _seq"); err != nil {
		return err
	}
	return c.apply(state.Name, "SELECT "+strings.Join(apply, ", ")+", _seq, _there, true AS _live FROM "+pre.table)
}

// guard counts every tuple of a weighted source by a hash, and refuses the batch that would make a count
// negative. Two tuples of one hash share a count, so that the guard can miss a wrong delete with a chance of
// 2^-64 a pair, and never refuses a right one.
func (c *compiler) guard(in *SourceInput, pre *prelude) error {
	pre.table, pre.state = c.name("net"), c.name("count")
	state := State{Name: pre.state, NKey: 1, Weighted: true, EvictColumn: -1, Bound: "grows with the source's distinct rows",
		Cols: []vector.Field{{Name: "k0", Type: vector.Of(vector.UInt64)}}}
	var texts []string
	for _, col := range in.Columns {
		texts = append(texts, settled(col))
	}
	keys, list := "k0", "hash("+strings.Join(texts, ", ")+") AS k0"
	if in.EventTime >= 0 {
		state.Cols = append(state.Cols, vector.Field{Name: "k1", Type: in.Columns[in.EventTime].Type})
		state.NKey, state.EvictColumn, state.EvictSQL, state.Bound = 2, 1, watermarkPlaceholder(in.Name), "evicted by the watermark"
		keys += ", k1"
		list += ", " + texts[in.EventTime] + " AS k1"
	}
	state.Cols = append(state.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	if err := c.addState(state); err != nil {
		return err
	}
	net := "SELECT " + list + ", sum(_w)::BIGINT AS _w, max(_seq) FILTER (_w < 0) AS _seq FROM " + inputFunction(in.Name) + "() GROUP BY " + ordinals(state.NKey) + " HAVING sum(_w) <> 0"
	if err := c.materialize(pre.table, net); err != nil {
		return err
	}
	check := "SELECT _seq FROM " + pre.table + " WHERE _w < 0 AND coalesce(" + state.Name + "_get(" + keys + ")._w, 0) + _w < 0 ORDER BY _seq"
	c.program.Steps = append(c.program.Steps, Step{Kind: Check, Target: in.Name, SQL: check})
	if _, err := c.describe(check); err != nil {
		return err
	}
	return c.apply(state.Name, "SELECT "+keys+", _w FROM "+pre.table)
}

// changingScan reads a source whose rows change.
func (c *compiler) changingScan(n *scan, want demand) *relation {
	in := n.source
	r := &relation{types: n.types(), seq: want.seq, floor: make([]string, len(n.cols))}
	if in.Changes == Keyed {
		return c.keyedScan(n, r)
	}
	var b strings.Builder
	for i, col := range n.cols {
		b.WriteString(settled(in.Columns[col]) + " AS c" + itoa(i) + ", ")
		if col == in.EventTime {
			r.floor[i] = watermarkPlaceholder(in.Name)
		}
	}
	b.WriteString("_w")
	if want.seq {
		b.WriteString(", " + in.settledTuple() + " AS _seq")
	}
	r.sql = "SELECT " + b.String() + " FROM " + inputFunction(in.Name) + "()"
	return r
}

// keyedScan pairs new and old rows. It has no floor: a new row may take back an old row of any age.
func (c *compiler) keyedScan(n *scan, r *relation) *relation {
	pre := n.source.prelude
	r.pairs, r.keyed = true, true
	for _, k := range n.source.Key {
		at := slices.Index(n.cols, k)
		r.key = append(r.key, at)
		r.keyed = r.keyed && at >= 0
	}
	if !r.keyed {
		r.key = nil
	}
	list := ""
	for _, side := range []struct{ prefix, from string }{{"n", ""}, {"o", "_o."}} {
		for i, col := range n.cols {
			list += side.from + pre.names[col] + " AS " + side.prefix + itoa(i) + ", "
		}
	}
	list += "_there AS _nl, coalesce(_o._there, false) AS _ol"
	if r.seq {
		list += ", _seq AS n_seq, _o._seq AS o_seq"
	}
	r.sql = "SELECT " + list + " FROM " + pre.table + " WHERE _there OR _o._there"
	return r
}

// explain says what a changing source's rows do, and what is kept of them.
func (s *SourceInput) explain() string {
	if s.Changes == Weighted {
		return "; weighted rows, counted in " + s.prelude.state
	}
	var names []string
	for _, k := range s.Key {
		names = append(names, s.Columns[k].Name)
	}
	out := "; the last row of each " + strings.Join(names, ", ") + ", kept in " + s.prelude.state
	if s.EventTime >= 0 {
		out += "; a row of any age may change, so no state above is evicted"
	}
	return out
}

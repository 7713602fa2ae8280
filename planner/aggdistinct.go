package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// count(DISTINCT v) keeps a row a group and value. Calls over the same value with different FILTERs share
// it: the row then says, per call, how many of the value's input rows pass (f0, f1, …), and a call's result
// changes by the values whose number becomes positive less those whose number becomes 0.
//
// Over append-only input it is enough that one passes: f0, f1, … are booleans, and only values that are new
// to a call are written, so that a batch of known values changes no state.

// distinctCalls are calls of count(DISTINCT v) over one value.
type distinctCalls struct {
	value   *expr
	calls   []int
	filters []string // "" without FILTER
}

// distinctGroups puts the calls over the same value together.
func (a *aggCompiler) distinctGroups() ([]*distinctCalls, error) {
	var out []*distinctCalls
	for call, plan := range a.plans {
		if plan.rule != ruleDistinct {
			continue
		}
		e := a.n.calls[call]
		filter := ""
		if e.Filter != nil {
			var err error
			if filter, err = columns("c").expr(e.Filter); err != nil {
				return nil, err
			}
		}
		var group *distinctCalls
		for _, g := range out {
			if sameExpr(g.value, e.Children[0]) {
				group = g
			}
		}
		if group == nil {
			group = &distinctCalls{value: e.Children[0]}
			out = append(out, group)
		}
		group.calls, group.filters = append(group.calls, call), append(group.filters, filter)
	}
	return out, nil
}

// countValues maintains the calls over one value. It returns the table (keys, x0, x1, …) of the differences
// of their results, per touched group.
func (a *aggCompiler) countValues(g *distinctCalls) (string, error) {
	value, err := columns("c").expr(g.value)
	if err != nil {
		return "", err
	}
	types, err := typesOf([]*expr{g.value})
	if err != nil {
		return "", err
	}
	s := State{Name: a.name("distinct"), NKey: len(a.keys) + 1, EvictColumn: -1}
	s.Cols = append(a.keyFields(), vector.Field{Name: "v0", Type: types[0]})
	flag := vector.Of(vector.Int64)
	if a.child.append {
		flag = vector.Of(vector.Bool)
	}
	for i := range g.calls {
		s.Cols = append(s.Cols, vector.Field{Name: "f" + itoa(i), Type: flag})
	}
	a.bound(&s)
	if err := a.addState(s); err != nil {
		return "", err
	}
	dTable, xTable := a.name("d"), a.name("x")
	rows := "SELECT *, " + s.Name + "_get(" + a.keyNames() + "v0) AS _o FROM (" + a.valuesSQL(g, value) + ")"
	changed, apply, result := a.changedValues(g, rows)
	if err := a.materialize(dTable, changed); err != nil {
		return "", err
	}
	if err := a.apply(s.Name, "SELECT "+a.keyNames()+"v0, "+apply+" AS _live FROM "+dTable); err != nil {
		return "", err
	}
	return xTable, a.materialize(xTable, "SELECT "+a.keyNames()+result+" FROM "+dTable+" GROUP BY "+ordinals(len(a.keys)))
}

// valuesSQL is a row a group and value of the delta, with what it does to each call as w0, w1, ….
func (a *aggCompiler) valuesSQL(g *distinctCalls, value string) string {
	where, list := " WHERE "+value+" IS NOT NULL", ""
	var any []string
	for i, f := range g.filters {
		per := ""
		if f != "" {
			per = " FILTER (WHERE " + f + ")"
			any = append(any, f)
		}
		change := "coalesce(sum(" + a.child.weight() + ")" + per + ", 0)::BIGINT"
		if a.child.append {
			change = "count(*)" + per + " > 0"
		}
		list += ", " + change + " AS w" + itoa(i)
	}
	if len(any) == len(g.filters) {
		where += " AND (" + strings.Join(any, " OR ") + ")"
	}
	return "SELECT " + a.keyList() + value + " AS v0" + list + " FROM (" + a.child.sql + ")" + where + " GROUP BY " + ordinals(len(a.keys)+1)
}

// changedValues are the rows that a batch changes, with the new f0, f1, … and the changes n0, n1, … of the
// results; what is applied of them and how they sum up.
func (a *aggCompiler) changedValues(g *distinctCalls, rows string) (sql, apply, result string) {
	list, sums := "", ""
	var changes, live []string
	for i := range g.calls {
		f, w, n := "f"+itoa(i), "w"+itoa(i), "n"+itoa(i)
		live = append(live, f+" > 0")
		if a.child.append {
			old := "coalesce(_o." + f + ", false)"
			list += "(" + old + " OR " + w + ") AS " + f + ", (" + w + " AND NOT " + old + ") AS " + n + ", "
			changes = append(changes, n)
			sums += "count(*) FILTER (WHERE " + n + ") AS x" + itoa(i) + ", "
		} else {
			old := "coalesce(_o." + f + ", 0)"
			list += old + " + " + w + " AS " + f + ", (" + old + " + " + w + " > 0)::INTEGER - (" + old + " > 0)::INTEGER AS " + n + ", "
			changes = append(changes, w+" <> 0")
			sums += "sum(" + n + ")::BIGINT AS x" + itoa(i) + ", "
		}
		apply += f + ", "
	}
	alive := strings.Join(live, " OR ")
	if a.child.append {
		alive = "true"
	}
	sql = "SELECT " + a.keyNames() + "v0, " + trimComma(list) + " FROM (" + rows + ")"
	if a.child.append {
		sql = "SELECT * FROM (" + sql + ")"
	}
	return sql + " WHERE " + strings.Join(changes, " OR "), apply + alive, trimComma(sums)
}

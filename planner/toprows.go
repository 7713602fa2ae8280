package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Top-N by row number over append-only input: the first rows of a partition are an aggregate, arg_min by the
// order's sort key, which DuckDB computes far cheaper than a window function, and what is kept is all that
// later batches need. With one row a partition (deduplication, the latest row of a key) the result is one
// pair a touched partition, and only those whose first row changed.

// maxTopRows is up to how many rows a partition keeps as an aggregate; above, lists get long.
const maxTopRows = 1000

// firstRows says that only the first rows of a partition by row_number can pass.
func (n *window) firstRows() bool {
	return n.most > 0 && n.most <= maxTopRows && len(n.calls) == 1 &&
		(n.calls[0].e == nil || n.calls[0].e.Type == "WINDOW_ROW_NUMBER" && len(n.calls[0].e.ArgOrders) == 0)
}

// A topRows is one Top-N operator on its way to SQL.
type topRows struct {
	*compiler
	n      *window
	in     *keyedInput
	delta  string // SQL: k…, the state's other columns, _s, of the batch's rows
	orders []order
}

func (c *compiler) topRows(n *window, child *relation, keys []*expr) (*relation, error) {
	in, list, err := c.keyLayout(child.types, keys, "at most "+itoa(int(n.most))+" rows a partition")
	if err != nil {
		return nil, err
	}
	t := &topRows{compiler: c, n: n, in: in, orders: n.calls[0].orders}
	if e := n.calls[0].e; e != nil {
		t.orders = e.Orders
	}
	sortKey, err := t.sortKey(columns("c"))
	if err != nil {
		return nil, err
	}
	t.delta = "SELECT " + list + sortKey + " AS _s FROM (" + child.sql + ")"
	in.state.NKey, in.state.NPrefix = len(keys), 0
	if n.most > 1 {
		in.state.Weighted, in.state.NPrefix, in.state.NKey = true, len(keys), len(in.state.Cols)
		in.state.Cols = append(in.state.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	}
	var floors []string
	for _, k := range keys {
		floors = append(floors, c.floorOf(k, child.floor))
	}
	if err := in.declare(floors); err != nil {
		return nil, err
	}
	r := &relation{types: n.types(), floor: make([]string, len(n.types()))}
	for i, k := range n.partition {
		if k.Class == "BOUND_REF" {
			r.floor[k.Index] = floors[i]
		}
	}
	r.key, r.keyed = n.key(child)
	if n.most == 1 {
		return t.one(r)
	}
	return t.several(r)
}

// sortKey is a BLOB that orders rows as the operator does.
//
// Why the hash: rows that are equal in the order are numbered by their contents, so that the result does
// not depend on how batches were cut; a hash of the row is cheaper to compare than the row.
func (t *topRows) sortKey(p *printer) (string, error) {
	var b strings.Builder
	b.WriteString("create_sort_key(")
	for _, o := range t.orders {
		text, err := p.expr(o.Expr)
		if err != nil {
			return "", notYet("cannot print %v", err)
		}
		direction := "ASC "
		if o.Type == "DESCENDING" {
			direction = "DESC "
		}
		b.WriteString(text + ", '" + direction + o.NullOrder + "', ")
	}
	var all []string
	for i := range t.in.types {
		all = append(all, p.column(i))
	}
	b.WriteString("hash(" + strings.Join(all, ", ") + "), 'ASC NULLS LAST')")
	return b.String(), nil
}

// kept names the state's columns behind the key, without a weight.
func (t *topRows) kept() []string {
	var out []string
	for _, f := range t.in.state.Cols[t.in.keys:] {
		if f.Name != "_w" {
			out = append(out, f.Name)
		}
	}
	return out
}

// row is a struct of the columns that the state keeps behind the key.
func (t *topRows) row() string {
	if len(t.kept()) == 0 {
		return "{'_': 0}"
	}
	var parts []string
	for _, name := range t.kept() {
		parts = append(parts, "'"+name+"': "+name)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// fields lists the kept columns of a struct, each under its own name.
func (t *topRows) fields(from string) string {
	var b strings.Builder
	for _, name := range t.kept() {
		b.WriteString(from + "." + name + " AS " + name + ", ")
	}
	return b.String()
}

// one keeps the first row of each partition.
func (t *topRows) one(r *relation) (*relation, error) {
	old, err := t.sortKey(&printer{column: func(i int) string { return "_o." + t.in.column[i] }})
	if err != nil {
		return nil, err
	}
	keys, names := t.in.keyNames(), renamedKeys(t.in.keys)
	best := "SELECT " + names + "arg_min(" + t.row() + ", _s) AS _r, min(_s) AS _s FROM (" + t.delta + ") GROUP BY " + ordinals(t.in.keys)
	var list strings.Builder
	for i, name := range t.in.column {
		from := "_r."
		if slices.Contains(strings.Split(keys, ", "), name) {
			from = ""
		}
		list.WriteString(from + name + " AS n" + itoa(i) + ", _o." + name + " AS o" + itoa(i) + ", ")
	}
	nc := len(t.in.column)
	list.WriteString("1::BIGINT AS n" + itoa(nc) + ", 1::BIGINT AS o" + itoa(nc) + ", true AS _nl, _o IS NOT NULL AS _ol")
	table := t.name("top")
	sql := "SELECT " + names + list.String() + " FROM (SELECT *, " + t.in.state.Name + "_get(" + keys + ") AS _o FROM (" + best + ")) WHERE _o IS NULL OR _s < " + old
	if err := t.materialize(table, sql); err != nil {
		return nil, err
	}
	var row strings.Builder
	for i, name := range t.in.column {
		if slices.Contains(t.kept(), name) {
			row.WriteString("n" + itoa(i) + " AS " + name + ", ")
		}
	}
	if err := t.apply(t.in.state.Name, "SELECT "+names+row.String()+"true AS _live FROM "+table); err != nil {
		return nil, err
	}
	r.pairs, r.sql = true, "SELECT * FROM "+table
	return t.passing(r)
}

// passing applies the rest of the operator's conditions to a relation that has the row number last.
func (t *topRows) passing(r *relation) (*relation, error) {
	if len(t.n.keep) > 0 {
		var err error
		if r, err = r.filtered(t.n.keep); err != nil {
			return nil, notYet("cannot print %v", err)
		}
	}
	var list strings.Builder
	for _, prefix := range r.prefixes() {
		list.WriteString(renamed(prefix, prefix, len(t.n.types())))
	}
	r.sql = "SELECT " + trimComma(list.String()) + r.hidden() + " FROM (" + r.sql + ")"
	return r, nil
}

// several keeps the first rows of each partition as lists: those before the batch and those after it.
func (t *topRows) several(r *relation) (*relation, error) {
	names, most := renamedKeys(t.in.keys), itoa(int(t.n.most))
	best, lists, change := t.name("best"), t.name("lists"), t.name("change")
	sql := "SELECT " + names + t.fields("_r") + "_s FROM (SELECT " + names + "unnest(arg_min({'_r': " + t.row() + ", '_s': _s}, _s, " + most + "), max_depth := 2) FROM (" + t.delta +
		") GROUP BY " + ordinals(t.in.keys) + ")"
	if err := t.materialize(best, sql); err != nil {
		return nil, err
	}
	sortKey, err := t.sortKey(columns("c"))
	if err != nil {
		return nil, err
	}
	touched := "(SELECT DISTINCT " + t.in.keyNames() + " FROM " + best + ")"
	old := "SELECT " + names + t.ownFields() + sortKey + " AS _s FROM (SELECT *, unnest(range(_w)) FROM (" + t.in.lookup(touched, "c") + "))"
	sql = "SELECT " + names + "arg_min(_r, _s, " + most + ") FILTER (_old) AS _lo, arg_min(_r, _s, " + most + ") AS _ln FROM (" +
		"SELECT " + names + t.row() + " AS _r, _s, false AS _old FROM " + best + " UNION ALL SELECT " + names + t.row() + " AS _r, _s, true AS _old FROM (" + old + ")) " +
		"GROUP BY " + ordinals(t.in.keys)
	if err := t.materialize(lists, "SELECT * FROM ("+sql+") WHERE _ln IS DISTINCT FROM _lo"); err != nil {
		return nil, err
	}
	half := func(list, weight string) string {
		return "SELECT " + names + "unnest(" + list + ") AS _r, unnest(range(1, len(" + list + ") + 1)) AS _i, " + weight + "::BIGINT AS _w FROM " + lists
	}
	sql = "SELECT " + names + t.fields("_r") + "_i, _w FROM (" + half("_ln", "1") + " UNION ALL " + half("_lo", "-1") + ")"
	if err := t.materialize(change, sql); err != nil {
		return nil, err
	}
	state := names + strings.Join(append(t.kept(), ""), ", ")
	if err := t.apply(t.in.state.Name, "SELECT "+state+"sum(_w)::BIGINT AS _w FROM "+change+" GROUP BY "+ordinals(t.in.state.NKey)+" HAVING sum(_w) <> 0"); err != nil {
		return nil, err
	}
	if !t.n.drop && r.keyed {
		return t.numbered(r, lists)
	}
	nc := len(t.in.column)
	r.sql = "SELECT " + t.in.list("", "c", 0) + "_i AS c" + itoa(nc) + ", _w FROM " + change
	if r, err = t.passing(r); err != nil {
		return nil, err
	}
	table := t.name("top")
	if err := t.materialize(table, consolidate(r, len(r.types))); err != nil {
		return nil, err
	}
	r.sql = "SELECT * FROM " + table
	return r, nil
}

// numbered pairs the rows that had a number with those that have it now: the number is part of the key.
func (t *topRows) numbered(r *relation, lists string) (*relation, error) {
	var list strings.Builder
	for i, name := range t.in.column {
		if slices.Contains(t.kept(), name) {
			list.WriteString("_n." + name + " AS n" + itoa(i) + ", _o." + name + " AS o" + itoa(i) + ", ")
		} else {
			list.WriteString(name + " AS n" + itoa(i) + ", " + name + " AS o" + itoa(i) + ", ")
		}
	}
	nc := itoa(len(t.in.column))
	list.WriteString("_i AS n" + nc + ", _i AS o" + nc + ", _i <= _new AS _nl, _i <= _old AS _ol")
	table := t.name("top")
	sql := "SELECT " + list.String() + " FROM (SELECT " + renamedKeys(t.in.keys) + "unnest(_ln) AS _n, unnest(_lo) AS _o, " +
		"unnest(range(1, greatest(len(_ln), len(_lo)) + 1)) AS _i, len(_ln) AS _new, coalesce(len(_lo), 0) AS _old FROM " + lists + ")"
	if err := t.materialize(table, sql+" WHERE _n IS DISTINCT FROM _o"); err != nil {
		return nil, err
	}
	r.pairs, r.sql = true, "SELECT * FROM "+table
	return t.passing(r)
}

// ownFields lists the kept columns of a looked-up row c0….
func (t *topRows) ownFields() string {
	var b strings.Builder
	for i, name := range t.in.column {
		if slices.Contains(t.kept(), name) {
			b.WriteString("c" + itoa(i) + " AS " + name + ", ")
		}
	}
	return b.String()
}

package planner

import (
	"slices"
	"strings"
)

// The linear operators: apply to the delta, carry the weight. They cost no state and no statement of
// their own: each wraps its child's text, and DuckDB's optimizer flattens the nest.

func (c *compiler) scan(n *scan, want demand) *relation {
	if n.source.HasWeight() {
		return c.changingScan(n, want)
	}
	r := &relation{append: true, types: n.types(), seq: want.seq, floor: make([]string, len(n.cols))}
	var b strings.Builder
	b.WriteString("SELECT ")
	for i, col := range n.cols {
		b.WriteString(quoteIdent(n.source.Columns[col].Name) + " AS c" + itoa(i) + ", ")
		if col == n.source.EventTime {
			r.floor[i] = watermarkPlaceholder(n.source.Name)
		}
	}
	if want.seq {
		b.WriteString("_seq")
	}
	r.sql = trimComma(b.String()) + " FROM " + inputFunction(n.source.Name) + "()"
	return r
}

// project computes the expressions over both halves of a pair.
func (c *compiler) project(n *project, want demand) (*relation, error) {
	child, err := c.compile(n.child, want)
	if err != nil {
		return nil, err
	}
	r := *child
	r.types, r.floor = n.out, make([]string, len(n.out))
	var b strings.Builder
	b.WriteString("SELECT ")
	for _, prefix := range child.prefixes() {
		texts, err := columns(prefix).list(n.exprs)
		if err != nil {
			return nil, err
		}
		for i, t := range texts {
			b.WriteString(child.guarded(prefix, n.exprs[i], t) + " AS " + prefix + itoa(i) + ", ")
		}
	}
	for i, e := range n.exprs {
		r.floor[i] = c.floorOf(e, child.floor)
	}
	r.key, r.keyed = child.keyAmong(n.exprs)
	r.twin = c.twinsOf(child, n.exprs, n.out)
	r.sql = trimComma(b.String()) + child.hidden() + " FROM (" + child.sql + ")"
	return &r, nil
}

// guarded computes an expression only for the halves of a pair that exist.
//
// Why: the other half holds no row of the query's: a group that has emptied, or one that HAVING has
// dropped. ln(count(*)) would raise there what the query never raises.
func (r *relation) guarded(prefix string, e *expr, text string) string {
	if !r.pairs || e.Class == "BOUND_REF" || e.Class == "BOUND_CONSTANT" {
		return text
	}
	return "CASE WHEN _" + prefix + "l THEN " + text + " END"
}

// prefixes are the column prefixes of the relation's form.
func (r *relation) prefixes() []string {
	if r.pairs {
		return []string{"n", "o"}
	}
	return []string{"c"}
}

// filter drops rows; of a pair it drops the halves that do not pass.
func (c *compiler) filter(n *filter, want demand) (*relation, error) {
	child, err := c.compile(n.child, want)
	if err != nil {
		return nil, err
	}
	return child.filtered(n.preds)
}

func (child *relation) filtered(preds []*expr) (*relation, error) {
	r := *child
	if !child.pairs {
		pred, err := columns("c").join(preds, " AND ")
		r.sql = "SELECT * FROM (" + child.sql + ") WHERE " + pred
		return &r, err
	}
	newPred, err := columns("n").join(preds, " AND ")
	if err != nil {
		return nil, err
	}
	oldPred, err := columns("o").join(preds, " AND ")
	// CASE, not AND, for the same reason as in guarded.
	half := func(live, pred string) string {
		return "CASE WHEN " + live + " THEN coalesce(" + pred + ", false) ELSE false END AS " + live
	}
	r.sql = "SELECT * REPLACE (" + half("_nl", newPred) + ", " + half("_ol", oldPred) + ") FROM (" + child.sql + ")"
	return &r, err
}

func (c *compiler) unnest(n *unnest, want demand) (*relation, error) {
	child, err := c.compile(n.child, want)
	if err != nil {
		return nil, err
	}
	child = child.rows()
	lists, err := columns("c").list(n.lists)
	if err != nil {
		return nil, err
	}
	r := *child
	r.types, r.key, r.keyed = n.types(), nil, false
	r.floor = append([]string{}, child.floor...)
	var b strings.Builder
	b.WriteString("SELECT " + renamed("c", "c", len(child.types)))
	for i, l := range lists {
		b.WriteString("unnest(" + l + ") AS c" + itoa(len(child.types)+i) + ", ")
		r.floor = append(r.floor, c.floorOfElements(n.lists[i], child.floor))
	}
	r.sql = trimComma(b.String()) + child.hidden() + " FROM (" + child.sql + ")"
	return &r, nil
}

// ordersRows says that _seq orders the rows of n within a group totally, so that an order-sensitive
// aggregate over them has one answer: each source row is at most once in a group. That holds without
// unnest, and where the group's key holds every unnested column of a list without repetitions (hop windows
// and the like). kept are the columns of n that the key holds as they are.
func ordersRows(n node, kept map[int]bool) bool {
	switch n := n.(type) {
	case *filter:
		return ordersRows(n.child, kept)
	case *project:
		below := map[int]bool{}
		for i := range kept {
			if e := n.exprs[i]; e.Class == "BOUND_REF" {
				below[int(e.Index)] = true
			}
		}
		return ordersRows(n.child, below)
	case *unnest:
		before := len(n.child.types())
		for i, l := range n.lists {
			ranged := l.Class == "BOUND_FUNCTION" && (l.Name == "range" || l.Name == "generate_series")
			if !kept[before+i] || !ranged && !n.distinct {
				return false
			}
		}
		below := map[int]bool{}
		for i := range kept {
			if i < before {
				below[i] = true
			}
		}
		return ordersRows(n.child, below)
	}
	return true
}

func (c *compiler) unionAll(n *unionAll, want demand) (*relation, error) {
	if want.seq {
		return nil, notYet("an order-sensitive aggregate over UNION ALL")
	}
	var out *relation
	var parts []string
	var all []*relation
	for _, ch := range n.children {
		r, err := c.compile(ch, want)
		if err != nil {
			return nil, err
		}
		all = append(all, r.rows())
	}
	appendOnly := true
	for _, r := range all {
		appendOnly = appendOnly && r.append
	}
	for _, r := range all {
		cols := trimComma(renamed("c", "c", len(r.types)))
		switch {
		case appendOnly:
		case r.append:
			cols += ", 1::BIGINT AS _w"
		default:
			cols += ", _w"
		}
		parts = append(parts, "SELECT "+cols+" FROM ("+r.sql+")")
		if out == nil {
			first := *r
			out = &first
			continue
		}
		out.floor = lowerFloors(out.floor, r.floor)
	}
	out.append, out.key, out.keyed, out.twin = appendOnly, nil, false, nil
	out.sql = strings.Join(parts, " UNION ALL ")
	return out, nil
}

// lowerFloors takes, per column, the lower of two floors; unknown if either is.
func lowerFloors(a, b []string) []string {
	out := make([]string, len(a))
	for i := range a {
		out[i] = lowest(a[i], b[i])
	}
	return out
}

const lowestOf, endOfLowest = "list_sort([", "], 'ASC', 'NULLS FIRST')[1]"

// lowest is the lowest of some floors, unknown if one is.
func lowest(floors ...string) string {
	var parts []string
	for _, f := range floors {
		if f == "" {
			return ""
		}
		if !slices.Contains(parts, f) {
			parts = append(parts, f)
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	// Why not least(): it skips NULL, but a source without a watermark yet may still send anything.
	return lowestOf + strings.Join(parts, ", ") + endOfLowest
}

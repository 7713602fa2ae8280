package planner

import (
	"strings"
)

// The linear operators: apply to the delta, carry the weight. They cost no state and no statement of
// their own: each wraps its child's text, and DuckDB's optimizer flattens the nest.

func (c *compiler) scan(n *scan, want demand) *relation {
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
			b.WriteString(t + " AS " + prefix + itoa(i) + ", ")
		}
	}
	for i, e := range n.exprs {
		r.floor[i] = floorOf(e, child.floor)
	}
	r.key, r.keyed = projectKey(child, n.exprs)
	r.sql = trimComma(b.String()) + child.hidden() + " FROM (" + child.sql + ")"
	return &r, nil
}

// prefixes are the column prefixes of the relation's form.
func (r *relation) prefixes() []string {
	if r.pairs {
		return []string{"n", "o"}
	}
	return []string{"c"}
}

// projectKey keeps the key if every one of its columns survives as it is.
func projectKey(child *relation, exprs []*expr) ([]int, bool) {
	if !child.keyed {
		return nil, false
	}
	var key []int
	for _, k := range child.key {
		at := -1
		for i, e := range exprs {
			if e.Class == "BOUND_REF" && int(e.Index) == k {
				at = i
				break
			}
		}
		if at < 0 {
			return nil, false
		}
		key = append(key, at)
	}
	return key, true
}

// filter drops rows; of a pair it drops the halves that do not pass.
func (c *compiler) filter(n *filter, want demand) (*relation, error) {
	child, err := c.compile(n.child, want)
	if err != nil {
		return nil, err
	}
	r := *child
	if !child.pairs {
		pred, err := columns("c").join(n.preds, " AND ")
		r.sql = "SELECT * FROM (" + child.sql + ") WHERE " + pred
		return &r, err
	}
	newPred, err := columns("n").join(n.preds, " AND ")
	if err != nil {
		return nil, err
	}
	oldPred, err := columns("o").join(n.preds, " AND ")
	r.sql = "SELECT * REPLACE (_nl AND coalesce(" + newPred + ", false) AS _nl, _ol AND coalesce(" + oldPred + ", false) AS _ol) FROM (" + child.sql + ")"
	return &r, err
}

func (c *compiler) unnest(n *unnest, want demand) (*relation, error) {
	if want.seq && !distinctElements(n) {
		return nil, notYet("an order-sensitive aggregate over an unnest that may repeat a row within a group")
	}
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
		r.floor = append(r.floor, floorOfElements(n.lists[i], child.floor))
	}
	r.sql = trimComma(b.String()) + child.hidden() + " FROM (" + child.sql + ")"
	return &r, nil
}

// distinctElements says that each list holds a value at most once (hop windows and the like), so that
// grouping by the element leaves a source row at most once in a group and _seq stays a total order.
func distinctElements(n *unnest) bool {
	for _, l := range n.lists {
		if l.Class != "BOUND_FUNCTION" || (l.Name != "range" && l.Name != "generate_series") {
			return false
		}
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
	out.append, out.key, out.keyed = appendOnly, nil, false
	out.sql = strings.Join(parts, " UNION ALL ")
	return out, nil
}

// lowerFloors takes, per column, the lower of two floors; unknown if either is.
func lowerFloors(a, b []string) []string {
	out := make([]string, len(a))
	for i := range a {
		switch {
		case a[i] == "" || b[i] == "":
		case a[i] == b[i]:
			out[i] = a[i]
		default:
			out[i] = "least(" + a[i] + ", " + b[i] + ")"
		}
	}
	return out
}

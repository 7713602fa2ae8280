package oracle_test

// mark asks of each row whether it is in another relation, as a value or as a filter.
func (g *queryGen) mark(depth int) *query {
	q := &query{kind: "subquery", child: g.relation(depth - 1), other: g.relation(depth - 1)}
	a, b := qualified("a", q.child), qualified("b", q.other)
	left, right, both := &exprGen{g.Rand, a}, &exprGen{g.Rand, b}, &exprGen{g.Rand, append(append([]column{}, a...), b...)}
	class := g.pick("int", "int", "str", "ts", "date")
	x, y := left.of(class, 1), right.of(class, 1)
	from := " FROM " + otherRelation + " b"
	switch g.Intn(4) {
	case 0:
		from += " WHERE " + right.of("bool", 1)
	case 1:
		from += " WHERE " + left.of("int", 1) + " = " + right.of("int", 1)
	}
	mark := g.pick(
		x+" IN (SELECT "+y+from+")",
		x+" NOT IN (SELECT "+y+from+")",
		"EXISTS (SELECT 1 FROM "+otherRelation+" b WHERE "+x+" = "+y+" AND "+both.of("bool", 1)+")",
		"NOT EXISTS (SELECT 1 FROM "+otherRelation+" b WHERE "+x+" = "+y+")",
		x+g.pick(" > ", " <= ", " <> ")+g.pick("ALL", "ANY")+" (SELECT "+y+from+")",
		"("+x+", "+left.leaf("int")+") IN (SELECT "+y+", "+right.leaf("int")+from+")")
	for _, class := range []string{"int", "ts", g.pick(someClasses...)} {
		q.add(item{expr: left.leaf(class), class: class})
	}
	switch g.Intn(3) {
	case 0:
		q.where = mark
	case 1:
		q.where = "(" + mark + ") OR " + left.of("bool", 1)
	default:
		q.add(item{expr: "(" + mark + ")", class: "bool"})
	}
	return q
}

// nearest joins each row with the nearest of another relation, or the first two, of which nothing is shown
// that equals do not share.
func (g *queryGen) nearest(depth int) *query {
	q := &query{kind: "subquery", child: g.relation(depth - 1), other: g.relation(depth - 1)}
	a, b := qualified("a", q.child), qualified("b", q.other)
	class := g.pick("int", "ts")
	x, y, ak, bk := columnOf(a, class), columnOf(b, class), columnOf(a, "int"), columnOf(b, "int")
	if x == "" || y == "" || ak == "" || bk == "" {
		return q.child
	}
	left := &exprGen{g.Rand, a}
	q.add(item{expr: left.leaf("int"), class: "int"})
	q.add(item{expr: left.leaf("ts"), class: "ts"})
	q.add(item{expr: left.leaf(class), class: class})
	if g.Intn(2) == 0 {
		q.on = ", LATERAL (SELECT " + y + " AS y FROM " + otherRelation + " b WHERE " + ak + " = " + bk + " ORDER BY " + y + g.pick("", " DESC") + " LIMIT 2) z"
		q.add(item{expr: "z.y", class: class})
		return q
	}
	// Why not NULL: DuckDB has no one answer for it.
	q.on = g.pick(" ASOF JOIN ", " ASOF LEFT JOIN ") + "(SELECT * FROM " + otherRelation + " b WHERE " + y + " IS NOT NULL) b ON " + ak + " = " + bk + " AND " + x + g.pick(" >= ", " > ", " <= ", " < ") + y
	q.where = x + " IS NOT NULL"
	q.add(item{expr: y, class: class})
	return q
}

// columnOf is the first column of a class, "" without one.
func columnOf(scope []column, class string) string {
	for _, c := range scope {
		if c.class == class {
			return c.name
		}
	}
	return ""
}

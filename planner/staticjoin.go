package planner

import "strings"

// A join of a stream with a static table keeps nothing of the stream.
//
// Let A be the stream's side and B the table's. In general the change of A ⋈ B is ΔA ⋈ B' + A ⋈ ΔB, where B'
// is B after the batch. The loop reads static tables to their end before it plans the first row of a stream
// (microbatch/tables.go), so ΔB is empty in every batch after one that had a stream's row; and if A is empty
// while no stream has given a row, A before the batch is empty in every batch in which ΔB is not. Either
// way A ⋈ ΔB is nothing, and A need not be kept. B' is complete in the batch of the first stream row,
// because B's state is applied before it is looked up.
//
// The same holds for every join that gives a row of A depending only on that row and B: LEFT, SEMI and ANTI
// with the table on the right.

// streamSide says which side of a join is the stream's if the other is a static table's and the stream's
// rows need not be kept; 0 if the general rule is needed.
func (n *join) streamSide() (side int) {
	const left, right = 1, 2
	switch {
	case isStatic(n.right) && !isStatic(n.left) && startsEmpty(n.left):
		switch n.kind {
		case innerJoin, leftJoin, semiJoin, antiJoin:
			return left
		}
	case isStatic(n.left) && !isStatic(n.right) && startsEmpty(n.right):
		if n.kind == innerJoin || n.kind == rightJoin {
			return right
		}
	}
	return 0
}

// isStatic says that a node reads static tables only.
func isStatic(n node) bool {
	if s, ok := n.(*scan); ok {
		return s.source.Static
	}
	inputs := inputsOf(n)
	for _, in := range inputs {
		if !isStatic(in) {
			return false
		}
	}
	return len(inputs) > 0
}

// startsEmpty says that a node has no rows as long as no stream has given one.
//
// Why not every node over a stream: count(*) without groups has a row from the start, and a union with a
// table has the table's.
func startsEmpty(n node) bool {
	switch n := n.(type) {
	case *scan:
		return !n.source.Static && !n.source.Table
	case *project, *filter, *unnest, *window, *unionAll, *sessions:
		for _, in := range inputsOf(n) {
			if !startsEmpty(in) {
				return false
			}
		}
		return true
	case *aggregate:
		return len(n.groups) > 0 && startsEmpty(n.child)
	case *setOp:
		return startsEmpty(n.left)
	case *join:
		switch n.kind {
		case innerJoin:
			return startsEmpty(n.left) || startsEmpty(n.right)
		case rightJoin:
			return startsEmpty(n.right)
		case fullJoin:
			return startsEmpty(n.left) && startsEmpty(n.right)
		}
		return startsEmpty(n.left)
	}
	return false
}

// inputsOf lists what a node reads; nothing for a node that it does not know.
func inputsOf(n node) []node {
	switch n := n.(type) {
	case *project:
		return []node{n.child}
	case *filter:
		return []node{n.child}
	case *unnest:
		return []node{n.child}
	case *unionAll:
		return n.children
	case *aggregate:
		return []node{n.child}
	case *sessions:
		return []node{n.child}
	case *window:
		return []node{n.child}
	case *arrival:
		return []node{n.child}
	case *setOp:
		return []node{n.left, n.right}
	case *join:
		return []node{n.left, n.right}
	}
	return nil
}

// staticJoin is a join with a static table on its way to SQL. Its a… and b… are the join's left and right
// columns, whichever of them is the table's.
type staticJoin struct {
	*joinPlan
	stream *relation
	table  *keyedInput
	keys   []*expr // of the stream's side
	s, t   string  // column prefixes of the stream's and the table's side: a and b, or b and a
	kind   joinKind
}

// staticJoin compiles a join with a static table. Without further conditions it is a linear operator, which
// looks every row's key up; with them, or without a key, the batch's rows are joined with what their keys
// have.
func (c *compiler) staticJoin(n *join) (*relation, error) {
	j := &staticJoin{joinPlan: &joinPlan{compiler: c, n: n, out: len(n.types())}, s: "a", t: "b", kind: n.kind}
	if err := j.prepare(); err != nil {
		return nil, err
	}
	if keyless := j.joinPlan.keys[0].left.Class == "BOUND_CONSTANT"; keyless || j.residual != "" && j.kind != innerJoin {
		return j.joined()
	}
	return j.lookedUp(), nil
}

// prepare compiles both sides and applies the table's changes to its state.
func (j *staticJoin) prepare() (err error) {
	n := j.n
	if j.joinPlan.keys, _ = n.split(); len(j.joinPlan.keys) == 0 {
		j.joinPlan.keys = []joinCond{{zeroKey(), zeroKey(), "COMPARE_NOT_DISTINCT_FROM"}}
	}
	pred, err := n.predicate()
	if err != nil {
		return err
	}
	if pred != "" {
		j.residual = " AND " + pred
	}
	if j.ra, err = j.compile(n.left, demand{}); err != nil {
		return err
	}
	if j.rb, err = j.compile(n.right, demand{}); err != nil {
		return err
	}
	var left, right []*expr
	for _, k := range j.joinPlan.keys {
		left, right = append(left, k.left), append(right, k.right)
	}
	table, tableKeys := j.rb, right
	j.stream, j.keys = j.ra.rows(), left
	if n.streamSide() == 2 {
		table, tableKeys, j.s, j.t = j.ra, left, "b", "a"
		j.stream, j.keys = j.rb.rows(), right
		if j.kind == rightJoin {
			j.kind = leftJoin // of the stream with the table
		}
	}
	if j.table, err = j.keyInput(table, tableKeys, "the table's rows, which do not change"); err != nil {
		return err
	}
	if err := j.table.declare(nil); err != nil {
		return err
	}
	return j.applyMatching(j.table, j.notNull())
}

// lookedUp is the linear form: the row's text with the list of the table's rows that have its key.
//
// Why its text may be embedded more than once: the state that it reads is complete for the batch.
func (j *staticJoin) lookedUp() *relation {
	texts, err := columns("c").list(j.keys)
	if err != nil {
		panic("planner: a key was printed before and cannot be now: " + err.Error())
	}
	var args string
	for _, t := range texts {
		args += t + ", "
	}
	found := j.table.state.Name + "_rows(" + trimComma(args) + ")"
	stream := renamed("c", j.s, len(j.stream.types))
	weight := ""
	if !j.stream.append {
		weight = "_w, "
	}
	var sql string
	switch j.kind {
	case semiJoin, antiJoin:
		sql = "SELECT " + renamed("c", "c", len(j.stream.types)) + weight
		test := " > 0"
		if j.kind == antiJoin {
			test = " = 0"
		}
		return j.streamResult(trimComma(sql) + " FROM (" + j.stream.sql + ") WHERE len(" + found + ")" + test)
	}
	inner := "SELECT " + stream + weight + found + " AS _r FROM (" + j.stream.sql + ")"
	list := "_r"
	if j.kind == leftJoin {
		list = "CASE WHEN len(_r) = 0 THEN [NULL] ELSE _r END" // a row without a match goes on with one NULL
	}
	inner = "SELECT * REPLACE (unnest(" + list + ") AS _r) FROM (" + inner + ")"
	both := "SELECT " + renamed(j.s, j.s, len(j.stream.types)) + j.table.list("_r.", j.t, 0) + j.product(weight != "", "_r._w") + " FROM (" + inner + ")"
	return j.streamResult(j.output("SELECT * FROM (" + both + ")" + where(j.residual)))
}

// product is the weight of a pair, as a column _w.
func (j *staticJoin) product(weighted bool, right string) string {
	if !weighted {
		return "coalesce(" + right + ", 1) AS _w"
	}
	return "_w * coalesce(" + right + ", 1) AS _w"
}

// joined is the form for conditions beyond equal keys: the batch's rows as a temp table, joined by DuckDB.
func (j *staticJoin) joined() (*relation, error) {
	texts, err := columns("c").list(j.keys)
	if err != nil {
		return nil, notYet("cannot print %v", err)
	}
	var keys string
	for i, t := range texts {
		keys += t + " AS k" + itoa(i) + ", "
	}
	delta, distinct := j.name("delta"), j.name("keys")
	if err := j.materialize(delta, "SELECT "+keys+renamed("c", j.s, len(j.stream.types))+j.stream.weight()+" AS _w FROM ("+j.stream.sql+")"); err != nil {
		return nil, err
	}
	if err := j.materialize(distinct, "SELECT DISTINCT "+j.table.keyNames()+" FROM "+delta); err != nil {
		return nil, err
	}
	var on []string
	for i := range j.keys {
		on = append(on, "s.k"+itoa(i)+" IS NOT DISTINCT FROM t.k"+itoa(i))
	}
	from := " FROM " + delta + " s " + string(j.kind) + " JOIN (" + j.table.lookup(distinct, j.t) + ") t ON " + strings.Join(on, " AND ") + j.residual
	if j.kind == semiJoin || j.kind == antiJoin {
		weight := ""
		if !j.stream.append {
			weight = "_w"
		}
		return j.streamResult(trimComma("SELECT "+renamed("s."+j.s, "c", len(j.stream.types))+weight) + from), nil
	}
	both := "SELECT " + renamed("s."+j.s, j.s, len(j.stream.types)) + renamed("t."+j.t, j.t, len(j.table.column)) + "s._w * coalesce(t._w, 1) AS _w" + from
	return j.streamResult(j.output(both)), nil
}

// output renames a… and b… to the output's columns; over an append-only stream it repeats rows by weight.
func (j *staticJoin) output(sql string) string {
	nl := len(j.n.left.types())
	cols := renamed("a", "c", nl)
	for i := range j.n.right.types() {
		cols += "b" + itoa(i) + " AS c" + itoa(nl+i) + ", "
	}
	if j.stream.append {
		return "SELECT " + trimComma(renamed("c", "c", j.out)) + " FROM (SELECT " + cols + "unnest(range(_w)) FROM (" + sql + "))"
	}
	return "SELECT " + cols + "_w FROM (" + sql + ")"
}

// streamResult describes the output: its rows change only with the stream's, so the stream's columns keep
// their floors.
func (j *staticJoin) streamResult(sql string) *relation {
	r := &relation{sql: sql, types: j.n.types(), append: j.stream.append, floor: make([]string, j.out)}
	first := 0
	if j.s == "b" {
		first = len(j.n.left.types())
	}
	copy(r.floor[first:], j.stream.floor)
	if j.kind == innerJoin {
		other := 0 // where the table's columns begin
		if j.s == "a" {
			other = len(j.n.left.types())
		}
		for i, k := range j.joinPlan.keys {
			column := k.right
			if j.s == "b" {
				column = k.left
			}
			if column.Class == "BOUND_REF" && k.comparison == "COMPARE_EQUAL" {
				r.floor[other+int(column.Index)] = j.floorOf(j.keys[i], j.stream.floor)
			}
		}
	}
	r.key, r.keyed = j.streamKey(first)
	return r
}

// streamKey is the stream's key, if each of its rows meets at most one row of the table.
func (j *staticJoin) streamKey(first int) ([]int, bool) {
	one := j.kind == semiJoin || j.kind == antiJoin
	if j.s == "a" {
		one = one || j.rb.keyed && j.n.meetsAtMostOne(j.rb.key)
	}
	if !j.stream.keyed || !one {
		return nil, false
	}
	var key []int
	for _, k := range j.stream.key {
		key = append(key, first+k)
	}
	return key, true
}

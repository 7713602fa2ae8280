package planner

import (
	"strings"
)

// joinPlan is a join on its way to SQL.
type joinPlan struct {
	*compiler
	n        *join
	a, b     *keyedInput
	ra, rb   *relation
	keys     []joinCond
	floors   []string // per key, what no later row of either side goes below
	residual string   // " AND …" over a… and b…
	// matchA and matchB are what a row of a delta must satisfy to match anything; "" if nothing.
	matchA, matchB string
	out            int // columns
}

// join compiles a join by the rule of its kind:
//
//	inner   ΔA ⋈ B' + A ⋈ ΔB, where B' is B after the batch (the terms meet every pair once)
//	others  per touched key, the join of what is stored under it after the batch less before
//
// Where only the left side is touched, LEFT, SEMI, ANTI and ASOF joins are linear in it: the new left rows
// meet what is stored on the right, and old left rows are not read.
//
// Rows with a NULL in an `=` key match nothing. They never enter the state: the side that an outer join
// preserves passes them on, padded.
func (c *compiler) join(n *join, want demand) (*relation, error) {
	if want.seq {
		return nil, notYet("an order-sensitive aggregate over a join")
	}
	if n.kind == singleJoin {
		if err := c.oneRow(n); err != nil {
			return nil, err
		}
	}
	if n.streamSide() != 0 {
		return c.staticJoin(n)
	}
	j := &joinPlan{compiler: c, n: n, out: len(n.types())}
	j.keys, _ = n.split()
	if len(j.keys) == 0 {
		j.keys = []joinCond{{zeroKey(), zeroKey(), "COMPARE_NOT_DISTINCT_FROM"}}
	}
	pred, err := n.predicate()
	if err != nil {
		return nil, err
	}
	if pred != "" {
		j.residual = " AND " + pred
	}
	if err := j.inputs(); err != nil {
		return nil, err
	}
	if n.kind == innerJoin {
		return j.inner()
	}
	return j.byTouchedKey()
}

// inputs compiles both sides and their states.
func (j *joinPlan) inputs() (err error) {
	if j.ra, err = j.compile(j.n.left, demand{}); err != nil {
		return err
	}
	if j.rb, err = j.compile(j.n.right, demand{}); err != nil {
		return err
	}
	var ka, kb []*expr
	for _, k := range j.keys {
		ka, kb = append(ka, k.left), append(kb, k.right)
	}
	var fa, fb []string
	byKey := false
	for i := range j.keys {
		fa = append(fa, j.floorOf(ka[i], j.ra.floor))
		fb = append(fb, j.floorOf(kb[i], j.rb.floor))
	}
	j.floors = lowerFloors(fa, fb)
	keyTypes, err := j.keyTypes(ka, j.ra.types)
	if err != nil {
		return err
	}
	for i, t := range keyTypes {
		byKey = byKey || j.floors[i] != "" && evictable(t)
	}
	var left, right *eviction
	if !byKey {
		left, right = j.evictions()
	}
	if j.a, err = j.keyInputUntil(j.ra, ka, left, j.ra.bound("left")); err != nil {
		return err
	}
	if j.b, err = j.keyInputUntil(j.rb, kb, right, j.rb.bound("right")); err != nil {
		return err
	}
	if err := j.matchable(); err != nil {
		return err
	}
	expires := j.ttl > 0 && j.n.kind == innerJoin && appendOnly(j.n)
	for _, in := range []*keyedInput{j.a, j.b} {
		in.expires = expires
		if err := in.declare(j.floors); err != nil {
			return err
		}
	}
	return nil
}

// bound says what limits the state that keeps a side of a join.
func (r *relation) bound(side string) string {
	if r.keyed && len(r.key) == 0 {
		return oneRow
	}
	return "grows with the " + side + " side's rows"
}

// notNull is the condition that a row's `=` keys can match; "" if all keys are NULL-safe.
func (j *joinPlan) notNull() string {
	var parts []string
	for i, k := range j.keys {
		if k.comparison == "COMPARE_EQUAL" {
			parts = append(parts, "k"+itoa(i)+" IS NOT NULL")
		}
	}
	return strings.Join(parts, " AND ")
}

// matchable fills in matchA and matchB: no NULL in an `=` key, nor where an ASOF join looks for the nearest.
func (j *joinPlan) matchable() error {
	j.matchA, j.matchB = j.notNull(), j.notNull()
	if j.a.bounded != "" {
		j.matchA = and(j.matchA, j.a.bounded+" IS NOT NULL")
	}
	if j.b.bounded != "" {
		j.matchB = and(j.matchB, j.b.bounded+" IS NOT NULL")
	}
	if !j.n.kind.isAsof() {
		return nil
	}
	_, others := j.n.split()
	left, err := j.a.print(others[0].left)
	if err != nil {
		return err
	}
	right, err := j.b.print(others[0].right)
	j.matchA, j.matchB = and(j.matchA, left+" IS NOT NULL"), and(j.matchB, right+" IS NOT NULL")
	return err
}

func and(conds ...string) string { return strings.TrimPrefix(where(conds...), " WHERE ") }

// applyMatching adds a side's delta to its state, less the rows that cannot match.
func (j *joinPlan) applyMatching(in *keyedInput, matches string) error {
	return j.apply(in.state.Name, "SELECT *"+in.touched+" FROM "+in.delta+where(matches))
}

// where is a WHERE clause of the non-empty conditions.
func where(conds ...string) string {
	var parts []string
	for _, c := range conds {
		if c = strings.TrimPrefix(c, " AND "); c != "" {
			parts = append(parts, c)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(parts, " AND ")
}

// inner is the inner join. A's state is read before it is applied and B's after, so that a pair of rows
// that both come in this batch is counted once, by the first term.
func (j *joinPlan) inner() (*relation, error) {
	if err := j.applyMatching(j.b, j.matchB); err != nil {
		return nil, err
	}
	newA := "SELECT " + j.sides("", "_r.") + "_w * _r._w AS _w FROM (SELECT " + j.a.list("", "a", 0) + renamedKeys(j.a.keys) + "_w, unnest(" +
		j.b.state.Name + "_rows(" + j.b.keyNames() + ")) AS _r FROM " + j.a.delta + where(j.matchA) + ")"
	newB := "SELECT " + j.sides("_r.", "") + "_w * _r._w AS _w FROM (SELECT " + j.b.list("", "b", 0) + renamedKeys(j.b.keys) + "_w, unnest(" +
		j.a.state.Name + "_rows(" + j.a.keyNames() + ")) AS _r FROM " + j.b.delta + where(j.matchB) + ")"
	both := "SELECT * FROM (" + newA + " UNION ALL " + newB + ")" + where(j.residual)
	table := j.name("join")
	if err := j.materialize(table, j.plain(both)); err != nil {
		return nil, err
	}
	if err := j.applyMatching(j.a, j.matchA); err != nil {
		return nil, err
	}
	return j.result(table), nil
}

// sides lists a0… and b0…, taking the side whose prefix is "_r." from the looked-up row.
func (j *joinPlan) sides(left, right string) string {
	pick := func(in *keyedInput, prefix, to string) string {
		if prefix == "_r." {
			return in.list(prefix, to, 0)
		}
		return renamed(to, to, len(in.column))
	}
	return pick(j.a, left, "a") + pick(j.b, right, "b")
}

// plain renames a… and b… to the output's columns; over append-only inputs it repeats rows by weight, so
// that the result has no weight column.
func (j *joinPlan) plain(sql string) string {
	cols := renamed("a", "c", len(j.a.column))
	for i := range j.b.column {
		cols += "b" + itoa(i) + " AS c" + itoa(len(j.a.column)+i) + ", "
	}
	if appendOnly(j.n) {
		return "SELECT " + trimComma(renamed("c", "c", j.out)) + " FROM (SELECT " + cols + "unnest(range(_w)) FROM (" + sql + "))"
	}
	return "SELECT " + cols + "_w FROM (" + sql + ")"
}

func (j *joinPlan) result(table string) *relation {
	r := &relation{types: j.n.types(), append: appendOnly(j.n), floor: make([]string, j.out)}
	r.sql = "SELECT * FROM " + table
	nl := len(j.a.column)
	for i, k := range j.keys {
		// Why only keys, and times that a condition bounds: another column of an old row can meet a new row at any
		// time.
		if k.left.Class == "BOUND_REF" {
			r.floor[k.left.Index] = j.floors[i]
		}
		if k.right.Class == "BOUND_REF" && nl+int(k.right.Index) < j.out {
			r.floor[nl+int(k.right.Index)] = j.floors[i]
		}
	}
	j.boundFloors(r.floor, nl)
	r.key, r.keyed = j.key(nl)
	j.pairs(r, nl)
	if j.a.touched+j.b.touched != "" {
		r.loses = "rows more than " + durationText(j.ttl) + " apart may not meet"
	}
	return r
}

// byTouchedKey computes what the join gives for the touched keys before and after the batch.
func (j *joinPlan) byTouchedKey() (*relation, error) {
	linear := j.n.kind != rightJoin && j.n.kind != fullJoin
	inputs := []*keyedInput{j.a, j.b}
	if linear {
		inputs = inputs[1:]
	}
	keys, err := j.touched(inputs...)
	if err != nil {
		return nil, err
	}
	if cond := j.notNull(); cond != "" {
		if keys, err = j.filterKeys(keys, cond); err != nil {
			return nil, err
		}
	}
	before, after, table := j.name("before"), j.name("after"), j.name("join")
	stored := j.matches(j.a.lookup(keys, "a"), j.b.lookup(keys, "b"))
	if err := j.materialize(before, stored); err != nil {
		return nil, err
	}
	if err := j.applyMatching(j.a, j.matchA); err != nil {
		return nil, err
	}
	if err := j.applyMatching(j.b, j.matchB); err != nil {
		return nil, err
	}
	if err := j.materialize(after, stored); err != nil {
		return nil, err
	}
	names := renamed("c", "c", j.out)
	parts := []string{"SELECT " + names + "_w FROM " + after, "SELECT " + names + "-_w AS _w FROM " + before}
	if linear {
		fresh, err := j.leftOnly(keys)
		if err != nil {
			return nil, err
		}
		parts = append(parts, fresh)
	}
	parts = append(parts, j.unmatchable()...)
	diff := &relation{sql: strings.Join(parts, " UNION ALL ")}
	if err := j.materialize(table, consolidate(diff, j.out)); err != nil {
		return nil, err
	}
	return j.result(table), nil
}

// leftOnly joins the left delta's rows whose keys the right side has not touched.
func (j *joinPlan) leftOnly(touched string) (string, error) {
	on := func(with string) string {
		var parts []string
		for i := range j.keys {
			parts = append(parts, "d.k"+itoa(i)+" IS NOT DISTINCT FROM "+with+".k"+itoa(i))
		}
		return strings.Join(parts, " AND ")
	}
	fresh, keys := j.name("fresh"), j.name("keys")
	sql := "SELECT * FROM (" + j.a.fromDelta("a") + where(j.matchA) + ") d ANTI JOIN " + touched + " t ON " + on("t")
	if err := j.materialize(fresh, sql); err != nil {
		return "", err
	}
	if err := j.materialize(keys, "SELECT DISTINCT "+j.a.keyNames()+" FROM "+fresh); err != nil {
		return "", err
	}
	return j.matches("SELECT * FROM "+fresh, j.b.lookup(keys, "b")), nil
}

func (j *joinPlan) filterKeys(keys, cond string) (string, error) {
	table := j.name("keys")
	return table, j.materialize(table, "SELECT * FROM "+keys+" WHERE "+cond)
}

// matches is the join of weighted rows k0…, a0…, _w with rows k0…, b0…, _w.
func (j *joinPlan) matches(left, right string) string {
	if j.n.kind.isAsof() {
		right = j.oneOfEquals(right)
	}
	a, b := "("+left+") a", "("+right+") b"
	var on []string
	for i := range j.keys {
		on = append(on, "a.k"+itoa(i)+" IS NOT DISTINCT FROM b.k"+itoa(i))
	}
	cond := strings.Join(on, " AND ") + j.residual
	nl, nr := len(j.a.column), len(j.b.column)
	list := "SELECT " + renamed("a", "c", nl)
	join := " AS _w FROM " + a + " " + string(j.n.kind) + " JOIN " + b + " ON " + cond
	if j.n.kind == semiJoin || j.n.kind == antiJoin {
		return list + "a._w" + join
	}
	for i := 0; i < nr; i++ {
		list += "b" + itoa(i) + " AS c" + itoa(nl+i) + ", "
	}
	if j.n.kind.isAsof() {
		return list + "a._w" + join // a right row that is there twice is met once
	}
	return list + "coalesce(a._w, 1) * coalesce(b._w, 1)" + join
}

// oneOfEquals keeps one of the right rows that an ASOF join could take as well as each other, the first by
// all their columns: DuckDB takes any.
func (j *joinPlan) oneOfEquals(right string) string {
	_, others := j.n.split()
	at, err := columns("b").expr(others[0].right)
	if err != nil {
		panic("planner: a condition that predicate() printed: " + err.Error())
	}
	return "SELECT * FROM (" + right + ") QUALIFY row_number() OVER (PARTITION BY " + j.b.keyNames() + ", " + at + " ORDER BY " +
		trimComma(renamedParams("b", len(j.b.column))) + ") = 1"
}

// unmatchable are the delta's rows that match nothing, padded, of the sides that the join preserves.
func (j *joinPlan) unmatchable() []string {
	nl, nr := len(j.a.column), len(j.b.column)
	nulls := func(in *keyedInput, first int) string {
		var b strings.Builder
		for i, t := range in.types {
			b.WriteString("NULL::" + t.String() + " AS c" + itoa(first+i) + ", ")
		}
		return b.String()
	}
	var parts []string
	if rest := " WHERE NOT (" + j.matchA + ")"; j.matchA != "" {
		switch {
		case j.n.kind == antiJoin:
			parts = append(parts, "SELECT "+j.a.list("", "c", 0)+"_w FROM "+j.a.delta+rest)
		case j.n.kind.preservesLeft():
			parts = append(parts, "SELECT "+j.a.list("", "c", 0)+nulls(j.b, nl)+"_w FROM "+j.a.delta+rest)
		}
	}
	if rest := " WHERE NOT (" + j.matchB + ")"; j.matchB != "" && nr > 0 && (j.n.kind == rightJoin || j.n.kind == fullJoin) {
		parts = append(parts, "SELECT "+nulls(j.a, 0)+j.b.list("", "c", nl)+"_w FROM "+j.b.delta+rest)
	}
	return parts
}

package planner

import (
	"regexp"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// The aggregate operator. One state row a group holds the partials of every call; the batch's delta is
// reduced to partials a touched group, met with the old row through STATE_get, and the pair (new row,
// old row) goes on:
//
//	p: partials of the delta          SELECT keys, partials FROM delta GROUP BY keys
//	m: old and new side by side       SELECT keys, old.*, merge(old, p) FROM p, STATE_get(keys)
//	state ← new partials of m
//	output: pairs of final(new), final(old)
//
// Calls without partials keep the group's values in a second state, a multiset with the group's key as
// prefix, and are computed again for the touched groups; the result is then stored like a partial.
//
// Invariant: the hidden count _n of a group's rows, not a sum, says whether the group exists; it is kept
// only where rows can leave.

type aggCompiler struct {
	*compiler
	n          *aggregate
	child      *relation
	appendOnly bool
	grouped    bool
	keys       []string      // key expressions over the child's columns
	keyTypes   []vector.Type // their types
	plans      []callPlan
	slots      [][]int // per call, the positions of its partials in all
	all        []slot
	recompute  []int // calls with ruleRecompute
	floors     []string
}

// slot is a stored partial with its names resolved: p3 in state and in the delta.
type slot struct {
	partial
	call, local int
}

func (c *compiler) aggregate(n *aggregate) (*relation, error) {
	a := &aggCompiler{compiler: c, n: n, appendOnly: appendOnly(n.child), grouped: len(n.groups) > 0}
	var want demand
	for _, call := range n.calls {
		plan, err := planCall(call, a.appendOnly)
		if err != nil {
			return nil, err
		}
		// Why also over rows that change: a keyed source's rows have their arrival order, a weighted source's are
		// ordered by their values. What has no such rule refuses, and the full recompute knows both orders.
		want.seq = want.seq || plan.needsSeq || !a.appendOnly && plan.rule == ruleRecompute && orderSensitive(call) && ofSources(n.child)
		a.plans = append(a.plans, plan)
	}
	if want.seq && !ordersRows(n.child, keptColumns(n.groups)) {
		return nil, notYet("an order-sensitive aggregate over an unnest that may repeat a row within a group")
	}
	child, err := c.compile(n.child, want)
	if err != nil {
		return nil, err
	}
	a.child = child.rows()
	if a.keys, err = columns("c").list(n.groups); err != nil {
		return nil, err
	}
	a.keyTypes = n.out[:len(n.groups)]
	for _, g := range n.groups {
		a.floors = append(a.floors, c.floorOf(g, a.child.floor))
	}
	if !a.grouped {
		// Why a constant key: a state has at least one key column; the single row has key 0.
		a.keys, a.keyTypes, a.floors = []string{"0::TINYINT"}, []vector.Type{vector.Of(vector.Int8)}, []string{""}
	}
	a.assignSlots()
	return a.build()
}

// keptColumns are the columns that are group keys as they are.
func keptColumns(groups []*expr) map[int]bool {
	kept := map[int]bool{}
	for _, g := range groups {
		if g.Class == "BOUND_REF" {
			kept[int(g.Index)] = true
		}
	}
	return kept
}

// assignSlots gives every partial a place in the state row, one for those that are the same.
func (a *aggCompiler) assignSlots() {
	place := map[partial]int{}
	for call, plan := range a.plans {
		if plan.rule == ruleDistinct {
			plan.partials = []partial{{merge: addCounts}}
		}
		var at []int
		for local, p := range plan.partials {
			if i, ok := place[p]; ok && p.delta != "" && !strings.ContainsAny(p.merge, "0123456789") {
				at = append(at, i)
				continue
			}
			place[p] = len(a.all)
			at = append(at, len(a.all))
			a.all = append(a.all, slot{p, call, local})
		}
		if plan.rule == ruleRecompute {
			a.recompute = append(a.recompute, call)
		}
		a.slots = append(a.slots, at)
	}
}

func (a *aggCompiler) build() (*relation, error) {
	pTable, mTable := a.name("p"), a.name("m")
	if !a.keepsValues() {
		return a.merge(a.partialsSQL(), mTable)
	}
	if err := a.materialize(pTable, a.partialsSQL()); err != nil {
		return nil, err
	}
	joins := ""
	cols := "p.*"
	distinct, err := a.distinctGroups()
	if err != nil {
		return nil, err
	}
	for _, g := range distinct {
		table, err := a.countValues(g)
		if err != nil {
			return nil, err
		}
		for i, call := range g.calls {
			cols += ", coalesce(" + table + ".x" + itoa(i) + ", 0) AS p" + itoa(a.slots[call][0])
		}
		joins += a.joinOn(table)
	}
	if len(a.recompute) > 0 {
		table, err := a.recomputeGroups(pTable)
		if err != nil {
			return nil, err
		}
		for _, call := range a.recompute {
			s := itoa(a.slots[call][0])
			cols += ", " + table + ".t" + s + " AS p" + s
		}
		joins += a.joinOn(table)
	}
	return a.merge("SELECT "+cols+" FROM "+pTable+" p"+joins, mTable)
}

// keepsValues says whether any call needs more than partials.
func (a *aggCompiler) keepsValues() bool {
	for _, plan := range a.plans {
		if plan.rule != ruleMerge {
			return true
		}
	}
	return false
}

func (a *aggCompiler) joinOn(table string) string {
	var on []string
	for i := range a.keys {
		on = append(on, "p.k"+itoa(i)+" IS NOT DISTINCT FROM "+table+".k"+itoa(i))
	}
	return " LEFT JOIN " + table + " ON " + strings.Join(on, " AND ")
}

// keyList is "expr AS k0, …, " over the child's columns.
func (a *aggCompiler) keyList() string {
	var b strings.Builder
	for i, k := range a.keys {
		b.WriteString(k + " AS k" + itoa(i) + ", ")
	}
	return b.String()
}

// groupBy is the clause that groups by the first columns of the select list; positions, because GROUP BY
// would take a column of that name before an alias.
func (a *aggCompiler) groupBy() string {
	if !a.grouped {
		return ""
	}
	return " GROUP BY " + ordinals(len(a.keys))
}

func ordinals(n int) string {
	var parts []string
	for i := 1; i <= n; i++ {
		parts = append(parts, itoa(i))
	}
	return strings.Join(parts, ", ")
}

// countsRows says whether the hidden row count is needed: where groups can empty. An ungrouped aggregate
// always has its row.
func (a *aggCompiler) countsRows() bool { return !a.appendOnly && a.grouped }

func (a *aggCompiler) partialsSQL() string {
	var b strings.Builder
	b.WriteString("SELECT " + a.keyList())
	if a.countsRows() {
		b.WriteString("sum(_w)::BIGINT AS _n, ")
	}
	for i, s := range a.all {
		if s.delta != "" {
			b.WriteString(s.delta + " AS p" + itoa(i) + ", ")
		}
	}
	if !a.grouped && !a.hasDelta() {
		// Why: without an aggregate function in it, the select would give a row an input row.
		b.WriteString("count(*) AS _any, ")
	}
	return trimComma(b.String()) + " FROM (" + a.child.sql + ")" + a.groupBy()
}

func (a *aggCompiler) hasDelta() bool {
	for _, s := range a.all {
		if s.delta != "" {
			return true
		}
	}
	return false
}

var placeholder = regexp.MustCompile(`\{([op]?)(\d*)\}`)

// resolve replaces {o}, {p}, {o1}, {1}… in a template; self is the slot that {o} and {p} mean, at maps
// the call's partials to slots.
func resolve(template string, self int, at []int, column func(side string, slot int) string) string {
	return placeholder.ReplaceAllStringFunc(template, func(m string) string {
		g := placeholder.FindStringSubmatch(m)
		slot := self
		if g[2] != "" {
			slot = at[atoi(g[2])]
		}
		return column(g[1], slot)
	})
}

// merge meets the delta's partials with the stored ones, writes the state and returns the pairs.
func (a *aggCompiler) merge(source, mTable string) (*relation, error) {
	partialCols, err := a.describe(source)
	if err != nil {
		return nil, err
	}
	typeOf := map[string]vector.Type{}
	for _, f := range partialCols {
		typeOf[f.Name] = f.Type
	}
	state := a.stateSpec(a.name("agg"), typeOf)
	touched := ""
	if a.n.ttl && !a.keepsValues() {
		if touched = a.expire(&state); touched != "" {
			touched += ", "
		}
	}
	if err := a.addState(state); err != nil {
		return nil, err
	}
	if err := a.materialize(mTable, a.mergeSQL(source, state, typeOf)); err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("SELECT " + renamed("k", "k", len(a.keys)))
	live := "true"
	if a.countsRows() {
		b.WriteString("n_n AS _n, ")
		live = "n_n > 0"
	}
	b.WriteString(renamed("n", "p", len(a.all)) + touched + live + " AS _live FROM " + mTable)
	if err := a.apply(state.Name, b.String()); err != nil {
		return nil, err
	}
	r := a.output(mTable, live)
	if touched != "" {
		r.loses = "a group that comes back after " + durationText(a.ttl) + " begins anew"
	}
	return r, nil
}

func (a *aggCompiler) stateSpec(name string, typeOf map[string]vector.Type) State {
	s := State{Name: name, NKey: len(a.keys), EvictColumn: -1}
	for i, t := range a.keyTypes {
		s.Cols = append(s.Cols, vector.Field{Name: "k" + itoa(i), Type: t})
	}
	if a.countsRows() {
		s.Cols = append(s.Cols, vector.Field{Name: "_n", Type: vector.Of(vector.Int64)})
	}
	for i := range a.all {
		s.Cols = append(s.Cols, vector.Field{Name: "p" + itoa(i), Type: typeOf["p"+itoa(i)]})
	}
	a.bound(&s)
	return s
}

// bound says what limits a state keyed by the group, and has it evicted where a key has a floor.
func (a *aggCompiler) bound(s *State) {
	s.Bound = "grows with the number of groups"
	if !a.grouped {
		s.Bound = oneRow
	}
	if s.NPrefix > 0 || s.NKey > len(a.keys) {
		s.OneKey = !a.grouped && s.NPrefix > 0
		s.Bound = "grows with the distinct values of all groups"
	}
	if a.child.keyed && len(a.child.key) == 0 {
		s.Bound = oneRow // as the input has
	}
	for i, f := range a.floors {
		if f != "" && evictable(a.keyTypes[i]) {
			s.EvictColumn, s.EvictSQL = i, f
			s.Bound = "evicted by the watermark"
			return
		}
	}
}

func evictable(t vector.Type) bool {
	switch t.Kind {
	case vector.Timestamp, vector.TimestampTZ, vector.TimestampS, vector.TimestampMS, vector.TimestampNS, vector.Date:
		return true
	}
	return false
}

func (a *aggCompiler) mergeSQL(source string, state State, typeOf map[string]vector.Type) string {
	var b strings.Builder
	b.WriteString("SELECT " + renamed("k", "k", len(a.keys)) + "_o IS NOT NULL AS _ol, ")
	if a.countsRows() {
		b.WriteString("coalesce(_o._n, 0) + _n AS n_n, ")
	}
	for i, s := range a.all {
		p := "p" + itoa(i)
		text := resolve(s.merge, i, a.slots[s.call], func(side string, slot int) string {
			if side == "o" {
				return "_o.p" + itoa(slot)
			}
			return "p" + itoa(slot)
		})
		b.WriteString("_o." + p + " AS o" + itoa(i) + ", " + castNumeric(text, typeOf[p]) + " AS n" + itoa(i) + ", ")
	}
	var keys []string
	for i := range a.keys {
		keys = append(keys, "k"+itoa(i))
	}
	return trimComma(b.String()) + " FROM (SELECT *, " + state.Name + "_get(" + strings.Join(keys, ", ") + ") AS _o FROM (" + source + "))"
}

// castNumeric keeps a merged value in its partial's type (adding DECIMALs would widen them).
func castNumeric(text string, t vector.Type) string {
	if t.Kind >= vector.Bool && t.Kind <= vector.Decimal {
		return "CAST(" + text + " AS " + t.String() + ")"
	}
	return text
}

// output is the pair relation: groups, then calls, new and old.
func (a *aggCompiler) output(mTable, live string) *relation {
	r := &relation{pairs: true, types: a.n.out, keyed: true, floor: make([]string, len(a.n.out))}
	var b strings.Builder
	b.WriteString("SELECT ")
	for _, side := range []string{"n", "o"} {
		for i := range a.n.groups {
			b.WriteString("k" + itoa(i) + " AS " + side + itoa(i) + ", ")
		}
		for call, plan := range a.plans {
			at := a.slots[call]
			final := resolve(plan.final, at[0], at, func(_ string, slot int) string { return side + itoa(slot) })
			i := len(a.n.groups) + call
			b.WriteString(a.castFinal(final, a.n.out[i]) + " AS " + side + itoa(i) + ", ")
		}
	}
	r.sql = b.String() + live + " AS _nl, _ol FROM " + mTable
	for i := range a.n.groups {
		r.key = append(r.key, i)
		r.floor[i] = a.floors[i]
	}
	r.twin = a.twinsOf(a.child, a.n.groups, a.n.out)
	return r
}

func (a *aggCompiler) castFinal(final string, t vector.Type) string {
	if t.Kind >= vector.Bool && t.Kind <= vector.Decimal {
		return "(" + final + ")::" + t.String()
	}
	return final
}

package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Aggregates over session windows, GROUP BY key, window_start, window_end over append-only input: the state
// is one row a session, and a new row makes a session, extends one, or joins two.
//
// The session macro is window functions over all of a key's rows. While planning, a marked twin of it stands
// in its place, so that a call can be told from other window functions; a query whose sessions are not
// grouped like this is planned again with the macro itself.

// sessionMark is what the marked macro partitions by beside the key.
const sessionMark = "sluice.session"

const markedSession = `CREATE OR REPLACE MACRO session(t, ts, gap, key) AS TABLE SELECT *, min(ts) FILTER (gap IS NOT NULL) OVER (PARTITION BY key, '` + sessionMark +
	`') AS window_start, max(ts) OVER (PARTITION BY key, '` + sessionMark + `') + gap AS window_end FROM query_table(t) WHERE ts IS NOT NULL`

// plainSession is the macro as it runs.
func plainSession() string {
	for _, m := range WindowMacros {
		if strings.HasPrefix(m, "CREATE MACRO session(") {
			return strings.Replace(m, "CREATE MACRO", "CREATE OR REPLACE MACRO", 1)
		}
	}
	panic("planner: there is no session macro")
}

// sessions groups rows by key and session. Its groups are expressions over the key, the first and the last
// time of the session: columns 0, 1 and 2.
type sessions struct {
	child        node
	key, ts, gap *expr   // over the child; the gap is constant
	groups       []*expr // over key, first, last
	calls        []*expr // over the child
	out          []vector.Type
}

func (n *sessions) types() []vector.Type { return n.out }

// keptCalls are the calls that are read.
func (n *sessions) keptCalls(need []bool) []*expr { return pick(n.calls, need[len(n.groups):]) }

// asMarked returns the parts of a marked session call.
func (n *window) asMarked() (key, ts, gap *expr, ok bool) {
	if len(n.calls) != 2 || len(n.keep) > 0 || n.drop {
		return nil, nil, nil, false
	}
	e := n.calls[0].e
	if !n.marked() || e.Name != "min" || n.calls[1].e.Name != "max" || len(e.Children) != 1 || e.Filters == nil || len(e.Filters.Children) != 1 {
		return nil, nil, nil, false
	}
	gap = e.Filters.Children[0]
	return e.Partitions[0], e.Children[0], gap, len(gap.refs()) == 0
}

// marked says that a window operator stands for the session macro.
func (n *window) marked() bool {
	for _, c := range n.calls {
		if c.e == nil || len(c.e.Partitions) != 2 {
			continue
		}
		if p := c.e.Partitions[1]; p.Class == "BOUND_CONSTANT" && string(p.Value.Value) == `"`+sessionMark+`"` {
			return true
		}
	}
	return false
}

// hasMarked says that a marked session call is left in a tree.
func hasMarked(n node) bool {
	if w, ok := n.(*window); ok && w.marked() {
		return true
	}
	for _, ch := range inputsOf(n) {
		if hasMarked(ch) {
			return true
		}
	}
	return false
}

// overSessions turns an aggregate by session into a node of its own; nil if it is not one.
func (n *aggregate) overSessions() *sessions {
	below := n.child
	picked, projected := below.(*project)
	if projected {
		below = picked.child
	}
	w, ok := below.(*window)
	if !ok {
		return nil
	}
	key, ts, gap, ok := w.asMarked()
	if !ok || !appendOnly(w.child) {
		return nil
	}
	nc := len(w.child.types())
	out := &sessions{child: w.child, key: key, ts: ts, gap: gap, out: n.out}
	if w.calls[0].out.Kind != vector.Timestamp {
		return nil
	}
	over := func(e *expr) *expr {
		if projected {
			return substitute(e, picked.exprs)
		}
		return e
	}
	for _, g := range n.groups {
		if g = out.group(over(g), nc); g == nil {
			return nil
		}
		out.groups = append(out.groups, g)
	}
	if !out.identified() {
		return nil
	}
	for _, call := range n.calls {
		call = over(call)
		plan, err := planCall(call, true)
		if err != nil || plan.rule != ruleMerge || plan.needsSeq || call.refs()[nc] || call.refs()[nc+1] {
			return nil
		}
		for _, p := range plan.partials {
			if _, ok := folds[p.merge]; !ok {
				return nil
			}
		}
		out.calls = append(out.calls, call)
	}
	return out
}

// group rewrites a group over the session's columns to one over key, first and last; nil if it cannot.
func (n *sessions) group(g *expr, nc int) *expr {
	if sameExpr(g, n.key) {
		return ref(0)
	}
	to := make([]*expr, nc+2)
	to[nc], to[nc+1] = ref(1), ref(2)
	for i := range g.refs() {
		if i < nc {
			return nil
		}
	}
	return substitute(g, to)
}

// identified says that the groups tell sessions apart: the key, unless it is constant, and a bound.
func (n *sessions) identified() bool {
	key, bound := len(n.key.refs()) == 0, false
	for _, g := range n.groups {
		switch {
		case g.Class == "BOUND_REF":
			key, bound = key || g.Index == 0, bound || g.Index > 0
		case g.Class == "BOUND_FUNCTION" && g.Name == "+" && g.Children[0].Class == "BOUND_REF" && g.Children[0].Index == 2:
			bound = true
		}
	}
	return key && bound
}

// folds are the aggregates that merge many partials where a merge template meets two.
var folds = map[string]string{
	addCounts: "sum({p})", addSums: "sum({p})",
	"CASE WHEN {o} IS NULL OR {p} < {o} THEN {p} ELSE {o} END": "min({p})",
	"CASE WHEN {o} IS NULL OR {p} > {o} THEN {p} ELSE {o} END": "max({p})",
	"coalesce({o} & {p}, {o}, {p})":                            "bit_and({p})",
	"coalesce({o} | {p}, {o}, {p})":                            "bit_or({p})",
	"coalesce(xor({o}, {p}), {o}, {p})":                        "bit_xor({p})",
}

// sessionsRule maintains an aggregate by session:
//
//	new      the batch's rows by key and gap-wide bucket: rows of one bucket are in one session
//	all      new, and the stored sessions of the same keys that may touch them
//	islands  all, cut where a session begins more than the gap after everything before it has ended
//	output   the islands that have something new, paired with the stored session of the same start
//
// Invariant: stored sessions of a key are more than the gap apart, so that they only join through new rows.
func (c *compiler) sessionsRule(n *sessions) (*relation, error) {
	if !c.constantIs(n.gap, "% > INTERVAL '0 seconds' AND datepart('month', %) = 0 AND datepart('year', %) = 0") {
		return nil, notYet("sessions with a gap of months, or of no length")
	}
	child, err := c.compile(n.child, demand{})
	if err != nil {
		return nil, err
	}
	a := &aggCompiler{compiler: c, n: &aggregate{child: n.child, groups: n.groups, calls: n.calls, out: n.out}, child: child, appendOnly: true, grouped: true}
	for _, call := range n.calls {
		plan, err := planCall(call, true)
		if err != nil {
			return nil, err
		}
		a.plans = append(a.plans, plan)
	}
	a.assignSlots()
	s := &sessionCompiler{aggCompiler: a, s: n}
	return s.build()
}

type sessionCompiler struct {
	*aggCompiler
	s     *sessions
	gap   string
	state State
}

func (s *sessionCompiler) build() (*relation, error) {
	texts, err := columns("c").list([]*expr{s.s.key, s.s.ts, s.s.gap})
	if err != nil {
		return nil, notYet("cannot print %v", err)
	}
	key, ts := texts[0], texts[1]
	s.gap = texts[2]
	var partials strings.Builder
	for i, p := range s.all {
		partials.WriteString(", " + p.delta + " AS p" + itoa(i))
	}
	fresh := s.name("new")
	sql := "SELECT " + key + " AS k0, min(" + ts + ") AS s, max(" + ts + ") AS l" + partials.String() + " FROM (" + s.child.sql + ") WHERE " + ts +
		" IS NOT NULL GROUP BY 1, time_bucket(" + s.gap + ", " + ts + ")"
	if err := s.materialize(fresh, sql); err != nil {
		return nil, err
	}
	fields, err := s.describe("SELECT * FROM " + fresh)
	if err != nil {
		return nil, err
	}
	if err := s.declare(fields); err != nil {
		return nil, err
	}
	islands, pairs := s.name("islands"), s.name("sessions")
	if err := s.materialize(islands, s.islands(fresh)); err != nil {
		return nil, err
	}
	if err := s.materialize(pairs, s.pairs(islands, fields)); err != nil {
		return nil, err
	}
	if err := s.apply(s.state.Name, "SELECT k0, s, nl AS l, "+renamed("n", "p", len(s.all))+"_nl AS _live FROM "+pairs); err != nil {
		return nil, err
	}
	return s.output(pairs)
}

// declare keeps a row a session, evicted when no later row can touch it.
func (s *sessionCompiler) declare(fields []vector.Field) error {
	s.state = State{Name: s.name("sessions"), Cols: fields, NKey: 2, NPrefix: 1, EvictColumn: -1, Bound: "grows with the number of sessions"}
	if f := s.last(); f != "" {
		s.state.EvictColumn, s.state.EvictSQL, s.state.Bound = 2, f, "evicted by the watermark"
	}
	return s.addState(s.state)
}

// last is the floor of a touched session's last time: a row that is not late comes at most the gap after it.
func (s *sessionCompiler) last() string {
	f := s.floorOf(s.s.ts, s.child.floor)
	if f == "" {
		return ""
	}
	return "(" + f + ") - " + s.gap
}

// islands numbers the islands of new and stored sessions.
func (s *sessionCompiler) islands(fresh string) string {
	cols := "k0, s, l, " + renamed("p", "p", len(s.all))
	var stored strings.Builder
	for _, f := range s.state.Cols[1:] {
		stored.WriteString("_r." + f.Name + " AS " + f.Name + ", ")
	}
	old := "SELECT k0, " + stored.String() + "true AS _old FROM (SELECT k0, lo, hi, unnest(" + s.state.Name + "_rows(k0)) AS _r FROM " +
		"(SELECT k0, min(s) AS lo, max(l) AS hi FROM " + fresh + " GROUP BY k0)) WHERE _r.l + " + s.gap + " >= lo AND _r.s - " + s.gap + " <= hi"
	all := "SELECT " + cols + "false AS _old FROM " + fresh + " UNION ALL " + old
	first := "coalesce(s - max(l) OVER (PARTITION BY k0 ORDER BY s, l ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > " + s.gap + ", true)"
	// Why the default frame of the sum: rows with equal times share it, in whatever order the first window took them.
	return "SELECT *, sum(_first) OVER (PARTITION BY k0 ORDER BY s, l) AS _i FROM (SELECT *, " + first + "::INTEGER AS _first FROM (" + all + "))"
}

// pairs meets the islands with something new, folded, with the stored sessions in them.
func (s *sessionCompiler) pairs(islands string, fields []vector.Field) string {
	var folded, old, both strings.Builder
	for i, p := range s.all {
		name := "p" + itoa(i)
		folded.WriteString(", " + castNumeric(strings.ReplaceAll(folds[p.merge], "{p}", name), fields[3+i].Type) + " AS " + name)
		both.WriteString("n." + name + " AS n" + itoa(i) + ", o." + name + " AS o" + itoa(i) + ", ")
	}
	now := "SELECT k0, _i, min(s) AS s, max(l) AS l" + folded.String() + ", true AS live FROM " + islands + " GROUP BY k0, _i HAVING NOT bool_and(_old)"
	old.WriteString("SELECT *, true AS live FROM " + islands + " i WHERE _old AND EXISTS (FROM " + islands + " j WHERE NOT j._old AND j.k0 IS NOT DISTINCT FROM i.k0 AND j._i = i._i)")
	return "SELECT CASE WHEN n.live THEN n.k0 ELSE o.k0 END AS k0, coalesce(n.s, o.s) AS s, n.l AS nl, o.l AS ol, " + both.String() +
		"coalesce(n.live, false) AS _nl, coalesce(o.live, false) AS _ol FROM (" + now + ") n FULL JOIN (" + old.String() +
		") o ON n.k0 IS NOT DISTINCT FROM o.k0 AND n.s = o.s"
}

// output is the pair relation: groups, then calls, new and old.
func (s *sessionCompiler) output(pairs string) (*relation, error) {
	r := &relation{pairs: true, types: s.s.out, floor: make([]string, len(s.s.out))}
	var b strings.Builder
	for _, side := range []string{"n", "o"} {
		p := &printer{column: func(i int) string { return [...]string{"k0", "s", side + "l"}[i] }}
		groups, err := p.list(s.s.groups)
		if err != nil {
			return nil, notYet("cannot print %v", err)
		}
		for i, g := range groups {
			b.WriteString(g + " AS " + side + itoa(i) + ", ")
		}
		for call, plan := range s.plans {
			at := s.slots[call]
			final := resolve(plan.final, at[0], at, func(_ string, slot int) string { return side + itoa(slot) })
			i := len(groups) + call
			b.WriteString(s.castFinal(final, s.s.out[i]) + " AS " + side + itoa(i) + ", ")
		}
	}
	r.sql = "SELECT " + b.String() + "_nl, _ol FROM " + pairs
	// Why the start: a session that grows keeps it. The end changes within a pair, and can only be a key of rows.
	var byStart, byEnd []int
	floors := []string{"", "", s.last()}
	for i, g := range s.s.groups {
		r.floor[i] = s.floorOf(g, floors)
		switch {
		case g.Class == "BOUND_REF" && g.Index == 0:
			byStart, byEnd = append(byStart, i), append(byEnd, i)
		case g.Class == "BOUND_REF" && g.Index == 1:
			byStart = append(byStart, i)
			r.keyed = true
		case len(g.refs()) > 0:
			byEnd = append(byEnd, i)
		}
	}
	if r.keyed {
		r.key = byStart
		return r, nil
	}
	r = r.rows()
	r.key, r.keyed = byEnd, true
	return r, nil
}

// explainSessions says what makes a session and what is computed of it.
func explainSessions(n *sessions) string {
	p := over(n.child)
	out := "by " + p.text(n.key) + "; a new session after " + p.text(n.gap) + " without " + p.text(n.ts)
	if len(n.calls) > 0 {
		out += "; " + p.texts(n.calls) + " [merge partials]"
	}
	return out
}

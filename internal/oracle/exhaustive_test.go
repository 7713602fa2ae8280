package oracle_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/planner"
)

// operators has a view for each operator and rule, over t(w, a, b) and u(w, a, b). Worlds never meet in them: w
// is part of every key. So all sequences of changes can be tried beside each other, a world each.
var operators = map[string]string{
	"filter_project":  `SELECT w, a + 1 AS x, b FROM t WHERE b > 1`,
	"unnest":          `SELECT w, b, unnest([a, b]) AS x FROM t`,
	"union_all":       `SELECT w, a FROM t UNION ALL SELECT w, b FROM u`,
	"union_distinct":  `SELECT w, a FROM t UNION SELECT w, a FROM u`,
	"distinct_rows":   `SELECT DISTINCT w, a FROM t`,
	"sums":            `SELECT w, a, count(*) AS c, count(b) AS cb, sum(b) AS s, avg(b) AS m FROM t GROUP BY w, a`,
	"extremes":        `SELECT w, a, min(b) AS mn, max(b) AS mx, median(b) AS md FROM t GROUP BY w, a`,
	"floats":          `SELECT w, a, sum(b::DOUBLE) AS s, stddev_pop(b) AS d, bool_or(b > 1) AS o FROM t GROUP BY w, a`,
	"lists":           `SELECT w, list(b) AS l, first(b) AS f, last(a) AS la, arg_max(a, b) AS m FROM t GROUP BY w`,
	"distinct_counts": `SELECT w, a, count(DISTINCT b) AS c, count(*) FILTER (b > 1) AS n FROM t GROUP BY w, a HAVING count(*) < 3`,
	"nested":          `SELECT w, c, count(*) AS n FROM (SELECT w, a, count(*) AS c FROM t GROUP BY w, a) GROUP BY w, c`,
	"inner_join":      `SELECT t.w, t.a, t.b, u.b AS ub FROM t JOIN u ON t.a = u.a AND t.w = u.w`,
	"self_join":       `SELECT x.w, x.a, y.b FROM t x JOIN t y ON x.w = y.w AND x.a IS NOT DISTINCT FROM y.a AND x.b <= y.b`,
	"left_join":       `SELECT t.w, t.a, t.b, u.b AS ub FROM t LEFT JOIN u ON t.w = u.w AND t.a = u.a AND t.b < u.b`,
	"right_join":      `SELECT u.w, t.b, u.a, u.b AS ub FROM t RIGHT JOIN u ON t.w = u.w AND t.a = u.a`,
	"full_join":       `SELECT t.w, u.w AS uw, t.a, t.b, u.a AS ua, u.b AS ub FROM t FULL JOIN u ON t.w = u.w AND t.a = u.a`,
	"semi_join":       `SELECT w, a, b FROM t WHERE (w, b) IN (SELECT w, b FROM u)`,
	"anti_join":       `SELECT w, a, b FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.w = t.w AND u.a = t.a)`,
	"scalar_corr":     `SELECT w, a, (SELECT sum(b) FROM u WHERE u.w = t.w) AS s FROM t`,
	"left_sum":        `SELECT t.w, t.a, count(u.b) AS c, sum(u.b) AS s FROM t LEFT JOIN u ON t.w = u.w AND t.b = u.b GROUP BY t.w, t.a`,
	"except_set":      `SELECT w, a, b FROM t EXCEPT SELECT w, a, b FROM u`,
	"except_all":      `SELECT w, b FROM t EXCEPT ALL SELECT w, b FROM u`,
	"intersect_set":   `SELECT w, a FROM t INTERSECT SELECT w, a FROM u`,
	"intersect_all":   `SELECT w, b FROM t INTERSECT ALL SELECT w, b FROM u`,
	"top_each":        `SELECT w, a, b FROM t QUALIFY row_number() OVER (PARTITION BY w ORDER BY b, a) = 1`,
	"ranked":          `SELECT w, a, b, rank() OVER (PARTITION BY w ORDER BY b) AS r FROM t QUALIFY r <= 2`,
	"windows":         `SELECT w, a, b, sum(b) OVER (PARTITION BY w ORDER BY b) AS s, lag(b) OVER (PARTITION BY w ORDER BY b, a) AS l FROM t`,
	"rolled_up":       `SELECT w, a, b, count(*) AS c FROM t GROUP BY GROUPING SETS ((w, a, b), (w, b), (w))`,
	"first_each":      `SELECT DISTINCT ON (w) w, a, b FROM t ORDER BY w, b DESC, a`,
	"first_arrived":   `SELECT DISTINCT ON (w) w, a, b FROM t`,
	"not_in":          `SELECT w, a, b FROM t WHERE b NOT IN (SELECT u.b FROM u WHERE u.w = t.w)`,
	"cte_twice":       `WITH g AS (SELECT w, a, count(*) AS c FROM t GROUP BY w, a) SELECT x.w, x.a, y.a AS ya FROM g x JOIN g y ON x.c = y.c AND x.w = y.w`,
	"three_joins":     `SELECT x.w, x.b, u.b AS ub, y.b AS yb FROM t x LEFT JOIN u ON x.w = u.w AND x.b = u.b LEFT JOIN t y ON y.w = u.w AND y.b = u.b`,
	"agg_of_join":     `SELECT g.w, g.c, h.c AS d FROM (SELECT w, count(*) AS c FROM t GROUP BY w) g FULL JOIN (SELECT w, count(*) AS c FROM u GROUP BY w) h ON g.w = h.w`,
}

// totals are the operators that put everything into one: here the worlds do meet.
var totals = map[string]string{
	"total":      `SELECT count(*) AS c, sum(b) AS s, max(a) AS m, median(b) AS md FROM t`,
	"list_total": `SELECT list(b) AS l, string_agg(b, ',' ORDER BY b DESC) AS s FROM t`,
	"top":        `SELECT a, b FROM t ORDER BY b DESC, a LIMIT 2`,
	"cross_join": `SELECT t.b, u.b AS ub FROM t, u`,
	"scalar":     `SELECT a, b FROM t WHERE b >= (SELECT max(b) FROM u)`,
	"first_rows": `SELECT a, b FROM t LIMIT 2`,
	"numbered":   `SELECT a, b, count(*) OVER () AS n FROM t`,
}

func operatorsSQL(kind string, views map[string]string) string {
	key, format := ", PRIMARY KEY (w, a) NOT ENFORCED", ""
	if kind == "weighted" {
		key, format = "", ", format = 'changelog'"
	}
	text := ""
	for _, source := range []string{"t", "u"} {
		text += "CREATE SOURCE " + source + " (w BIGINT, a BIGINT, b BIGINT" + key + ") WITH (connector = 'test'" + format + ");\n"
	}
	for _, name := range slices.Sorted(maps.Keys(views)) {
		text += fmt.Sprintf("CREATE MATERIALIZED VIEW %s AS %s;\n", name, views[name])
	}
	return text
}

// An event is one row of a change.
type event struct{ source, a, b, w string }

// A world is what the sources' relations hold, so that only changes are tried that can happen, and so that
// each can be taken back: for weighted sources the count of "source a b", for keyed ones b of "source a".
type world struct {
	kind  string
	few   bool // a smaller domain
	count map[string]int
	value map[string]string
}

func newWorld(kind string) *world {
	return &world{kind: kind, count: map[string]int{}, value: map[string]string{}}
}

// possible lists the changes that can come next. A key may be deleted that is not there.
func (w *world) possible() []event {
	var out []event
	if w.kind == "keyed" {
		for _, e := range []event{{"t", "1", "", ""}, {"t", "NULL", "", ""}, {"u", "1", "", ""}} {
			out = append(out, event{e.source, e.a, "1", "1"}, event{e.source, e.a, "NULL", "-1"})
			if !w.few {
				out = append(out, event{e.source, e.a, "2", "1"})
			}
		}
		return out
	}
	for _, e := range []event{{"t", "1", "1", "1"}, {"t", "1", "2", "1"}, {"t", "NULL", "1", "1"}, {"u", "1", "2", "1"}, {"u", "1", "1", "1"}} {
		out = append(out, e)
		if w.count[e.source+" "+e.a+" "+e.b] > 0 {
			e.w = "-1"
			out = append(out, e)
		}
	}
	return out
}

// do records an event and returns the one that takes it back.
func (w *world) do(e event) event {
	if w.kind == "weighted" {
		key, back := e.source+" "+e.a+" "+e.b, e
		if e.w == "1" {
			w.count[key]++
			back.w = "-1"
		} else {
			w.count[key]--
			back.w = "1"
		}
		return back
	}
	key := e.source + " " + e.a
	back := event{e.source, e.a, "NULL", "-1"}
	if b, ok := w.value[key]; ok {
		back = event{e.source, e.a, b, "1"}
	}
	delete(w.value, key)
	if e.w == "1" {
		w.value[key] = e.b
	}
	return back
}

// sequences visits every sequence of up to depth changes, with the ones that take it back.
func (w *world) sequences(depth int, done, undo []event, visit func(done, undo []event)) {
	for _, e := range w.possible() {
		back := w.do(e)
		es, backs := append(slices.Clone(done), e), append([]event{back}, undo...)
		visit(es, backs)
		if depth > 1 {
			w.sequences(depth-1, es, backs, visit)
		}
		w.do(back)
	}
}

// batches collects rows by batch and source.
type batches struct {
	rows []map[string][]string
	seq  int
}

func (b *batches) add(batch, world int, e event) {
	for len(b.rows) <= batch {
		b.rows = append(b.rows, map[string][]string{})
	}
	b.seq++
	b.rows[batch][e.source] = append(b.rows[batch][e.source], fmt.Sprintf("(%d, %s, %s, %s, %d)", world, e.a, e.b, e.w, b.seq))
}

// TestExhaustiveChanges tries all sequences of up to three changes over a tiny domain, cut into batches in
// every way, each in a world of its own, and takes them all back in the end.
func TestExhaustiveChanges(t *testing.T) {
	for _, kind := range []string{"weighted", "keyed"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStepper(t, incrementalPlan(t, operatorsSQL(kind, operators)))
			worlds := 0
			b := &batches{}
			var takeBack [][]event
			newWorld(kind).sequences(3, nil, nil, func(done, undo []event) {
				for cuts := range 1 << (len(done) - 1) {
					worlds++
					batch := 0
					for i, e := range done {
						if i > 0 && cuts&(1<<(i-1)) != 0 {
							batch++
						}
						b.add(batch, worlds, e)
					}
					takeBack = append(takeBack, undo)
				}
			})
			last := len(b.rows)
			for i, undo := range takeBack {
				for _, e := range undo {
					b.add(last, i+1, e)
				}
			}
			for i, rows := range b.rows {
				s.batch(rows, fmt.Sprintf("batch %d", i+1))
			}
			t.Logf("%d worlds", worlds)
			s.empty(kind == "keyed", 0)
		})
	}
}

// TestExhaustiveTotals is the same where worlds meet: one sequence after the other.
func TestExhaustiveTotals(t *testing.T) {
	for _, kind := range []string{"weighted", "keyed"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStepper(t, incrementalPlan(t, operatorsSQL(kind, totals)))
			b := &batches{}
			n := 0
			w := newWorld(kind)
			w.few = true
			w.sequences(2, nil, nil, func(done, undo []event) {
				n++
				for _, e := range done {
					b.add(len(b.rows), 0, e)
				}
				last := len(b.rows)
				for _, e := range undo {
					b.add(last, 0, e)
				}
			})
			for i, rows := range b.rows {
				s.batch(rows, fmt.Sprintf("batch %d, %v", i+1, rows))
			}
			t.Logf("%d sequences", n)
			s.empty(kind == "keyed", 1) // where a subquery's total is joined
		})
	}
}

// incrementalPlan is plan for views that all have rules.
func incrementalPlan(t *testing.T, text string) *planner.Pipeline {
	t.Helper()
	p := plan(t, "operators.sql", text)
	for _, v := range p.Views {
		if v.Fallback != "" {
			t.Errorf("view %s: %s", v.Name, v.Fallback)
		}
	}
	if problem := readsWholeStates(p); problem != "" {
		t.Error(problem)
	}
	return p
}

// readsWholeStates names a step that computes over everything; "" if there is none.
func readsWholeStates(p *planner.Pipeline) string {
	for _, step := range p.Program.Steps {
		if strings.Contains(step.SQL, "_scan()") {
			return fmt.Sprintf("step %s reads a whole state: %s", step.Target, step.SQL)
		}
	}
	return ""
}

package oracle_test

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A query is a random SELECT as a tree, so that a failing one can shrink.
type query struct {
	kind   string // table, window, select, group, distinct, union, lateral, lateral left, join, top, subquery
	table  string // of table and window; the word of union and join; the list of lateral
	child  *query
	other  *query // union, join, subquery
	on     string // join; of subquery, what follows the child in FROM
	top    string // top: QUALIFY
	items  []item
	where  string
	having string
	totals bool // group without keys
	with   bool // the child is a CTE

	cols []column
	// ordered says that rows come in arrival order, so that list() and its like have one answer.
	ordered bool
}

type item struct {
	expr, alias, class string
	key                bool
}

func (q *query) sql() string {
	switch q.kind {
	case "table":
		return "SELECT * FROM " + q.table
	case "window":
		return "SELECT * FROM " + q.table
	case "union":
		return q.child.sql() + " " + q.table + " " + q.other.sql()
	}
	var list []string
	var keys []string
	for i, it := range q.items {
		list = append(list, it.expr+" AS "+it.alias)
		if it.key {
			keys = append(keys, strconv.Itoa(i+1))
		}
	}
	from := "(" + q.child.sql() + ") q"
	prefix := ""
	if q.with {
		prefix, from = "WITH q AS ("+q.child.sql()+") ", "q"
	}
	distinct := ""
	switch q.kind {
	case "join":
		from = "(" + q.child.sql() + ") a " + q.table + " (" + q.other.sql() + ") b ON " + q.on
	case "distinct":
		distinct = "DISTINCT "
	case "lateral":
		from += ", unnest(q." + q.table + ") w(x)"
	case "lateral left":
		from += " LEFT JOIN unnest(q." + q.table + ") w(x) ON true"
	case "subquery":
		from = "(" + q.child.sql() + ") a" + q.on
	}
	s := prefix + "SELECT " + distinct + strings.Join(list, ", ") + " FROM " + from
	if q.where != "" {
		s += " WHERE " + q.where
	}
	if q.top != "" {
		s += " QUALIFY " + q.top
	}
	if len(keys) > 0 {
		s += " GROUP BY " + strings.Join(keys, ", ")
	}
	if q.having != "" {
		s += " HAVING " + q.having
	}
	if q.kind == "subquery" {
		s = strings.ReplaceAll(s, otherRelation, "("+q.other.sql()+")")
	}
	return s
}

// otherRelation stands for the other relation in the texts of a subquery.
const otherRelation = "«other»"

type queryGen struct{ *exprGen }

func (g *queryGen) in(q *query) *exprGen { return &exprGen{g.Rand, q.cols} }

// relation returns a random query of some depth.
func (g *queryGen) relation(depth int) *query {
	if depth <= 0 {
		return g.source()
	}
	switch n := g.Intn(24); {
	case n < 5:
		return g.selectFrom(g.relation(depth - 1))
	case n < 13:
		return g.group(g.relation(depth - 1))
	case n < 15:
		return g.distinct(g.relation(depth - 1))
	case n < 16:
		return g.union(depth)
	case n < 18:
		return g.join(depth)
	case n < 19:
		return g.top(g.relation(depth - 1))
	case n < 22:
		return g.mark(depth)
	case n < 23:
		return g.nearest(depth)
	default:
		return g.unnest(g.relation(depth - 1))
	}
}

func (g *queryGen) source() *query {
	q := &query{kind: "table", table: g.pick("t", "t", "u"), ordered: true, cols: append([]column{}, wideColumns...)}
	for i := range q.cols {
		q.cols[i].values = ""
	}
	if g.Intn(4) == 0 {
		q.kind = "window"
		q.ordered = strings.HasPrefix(q.table, "tumble")
		q.table = g.pick("tumble(%s, ts, INTERVAL '10 seconds')", "hop(%s, ts, INTERVAL '4 seconds', INTERVAL '10 seconds')", "cumulate(%s, ts, INTERVAL '5 seconds', INTERVAL '20 seconds')")
		q.ordered = strings.HasPrefix(q.table, "tumble")
		q.table = fmt.Sprintf(q.table, g.pick("t", "u"))
		q.cols = append(q.cols, column{name: "window_start", class: "ts"}, column{name: "window_end", class: "ts"})
	}
	return q
}

var someClasses = []string{"int", "int", "int", "dec", "dbl", "str", "str", "ts", "date", "bool", "ints", "strs", "struct", "iv", "tz", "time", "wild", "huge", "map", "blob", "uuid", "enum", "wildts", "dec38", "uint"}

func (g *queryGen) selectFrom(child *query) *query {
	e := g.in(child)
	q := &query{kind: "select", child: child, ordered: child.ordered, with: g.Intn(20) == 0}
	for i, n := 0, 2+g.Intn(4); i < n; i++ {
		class := g.pick(someClasses...)
		q.add(item{expr: e.of(class, 2), class: class})
	}
	// The event time and a key go up, so that windows and groups stay possible.
	q.add(item{expr: e.leaf("ts"), class: "ts"})
	q.add(item{expr: e.leaf("int"), class: "int"})
	if g.Intn(2) == 0 {
		q.where = e.of("bool", 2)
	}
	return q
}

func (q *query) add(it item) {
	it.alias = "c" + strconv.Itoa(len(q.items))
	if q.child != nil && q.child.kind != "table" && q.child.kind != "window" {
		it.alias = string('d'+byte(q.height())) + strconv.Itoa(len(q.items))
	}
	q.items = append(q.items, it)
	q.cols = append(q.cols, column{name: it.alias, class: it.class})
}

func (q *query) height() int {
	if q == nil {
		return -1
	}
	return 1 + max(q.child.height(), q.other.height())
}

func (g *queryGen) group(child *query) *query {
	e := g.in(child)
	q := &query{kind: "group", child: child, totals: g.Intn(6) == 0, with: g.Intn(20) == 0}
	if !q.totals {
		for i, n := 0, 1+g.Intn(2); i < n; i++ {
			class := g.pick(someClasses...)
			expr := e.leaf(class)
			if g.Intn(2) == 0 {
				expr = e.of(class, 1)
			}
			if isLiteral(expr) {
				expr, class = e.of("int", 2)+" % 3", "int"
			}
			q.add(item{expr: "(" + expr + ")", class: class, key: true})
		}
		if g.Intn(2) == 0 {
			q.add(item{expr: "date_trunc('minute', " + e.leaf("ts") + ")", class: "ts", key: true})
		}
	}
	for i, n := 0, 1+g.Intn(4); i < n; i++ {
		q.add(g.aggregate(e, child.ordered))
	}
	if g.Intn(3) == 0 {
		q.having = g.pick("count(*) > 1", "count(*) < 9", "sum("+e.of("int", 1)+") > 3", "max("+e.of("str", 1)+") > 'a'", "count(DISTINCT "+e.of("int", 1)+") > 1", "bool_or("+e.of("bool", 1)+")")
	}
	if g.Intn(3) == 0 {
		q.where = e.of("bool", 2)
	}
	return q
}

func isLiteral(s string) bool {
	for _, ls := range literals {
		for _, l := range ls {
			if s == l {
				return true
			}
		}
	}
	return false
}

// aggregate returns a call; where the input has no order, only calls whose answer does not depend on it.
func (g *queryGen) aggregate(e *exprGen, ordered bool) item {
	all := append([]item{}, freeAggregates...)
	if ordered {
		all = append(all, orderedAggregates...)
	}
	it := all[g.Intn(len(all))]
	it.expr = e.fill(it.expr, 1)
	if strings.Contains(it.expr, "DISTINCT") || g.Intn(4) > 0 {
		if g.Intn(4) > 0 {
			return it
		}
	}
	it.expr += " FILTER (" + e.of("bool", 1) + ")"
	return it
}

var freeAggregates = []item{
	{expr: "count(*)", class: "int"}, {expr: "count(‹str›)", class: "int"}, {expr: "count(‹struct›)", class: "int"}, {expr: "sum(‹int›)", class: "huge"}, {expr: "sum(‹dec›)", class: "dec38x"},
	{expr: "sum(‹dbl›)", class: "sum"}, {expr: "avg(‹int›)", class: "sum"}, {expr: "avg(‹dec›)", class: "sum"}, {expr: "avg(‹dbl›)", class: "sum"}, {expr: "sum(‹dec38›)", class: "dec38x"}, {expr: "avg(‹huge›)", class: "sum"},
	{expr: "sum(‹huge›)", class: "huge"}, {expr: "sum(‹bool›::INTEGER)", class: "huge"}, {expr: "sum(‹uint›)", class: "huge"}, {expr: "sum(‹iv›)", class: "iv"}, {expr: "avg(‹ts›)", class: "ts"}, {expr: "avg(‹uint›)", class: "sum"},
	{expr: "min(‹int›)", class: "int"}, {expr: "max(‹str›)", class: "str"}, {expr: "min(‹str›)", class: "str"}, {expr: "max(‹wild›)", class: "wild"}, {expr: "min(‹wild›)", class: "wild"}, {expr: "max(‹ts›)", class: "ts"},
	{expr: "min(‹wildts›)", class: "wildts"}, {expr: "max(‹struct›)", class: "struct"}, {expr: "min(‹struct›)", class: "struct"}, {expr: "max(‹ints›)", class: "ints"}, {expr: "min(‹ints›)", class: "ints"}, {expr: "min(‹blob›)", class: "blob"},
	{expr: "max(‹uuid›)", class: "uuid"}, {expr: "max(‹enum›)", class: "enum"}, {expr: "min(‹iv›)", class: "iv"}, {expr: "max(‹dec›)", class: "dec"}, {expr: "min(‹bool›)", class: "bool"}, {expr: "max(‹tz›)", class: "tz"}, {expr: "min(‹date›)", class: "date"},
	{expr: "bool_and(‹bool›)", class: "bool"}, {expr: "bool_or(‹bool›)", class: "bool"}, {expr: "bit_and(‹int›)", class: "int"}, {expr: "bit_or(‹int›)", class: "int"}, {expr: "bit_xor(‹int›)", class: "int"},
	{expr: "count_if(‹bool›)", class: "huge"}, {expr: "count(DISTINCT ‹str›)", class: "int"}, {expr: "count(DISTINCT ‹wild›)", class: "int"}, {expr: "count(DISTINCT ‹ints›)", class: "int"}, {expr: "count(DISTINCT ‹iv›)", class: "int"},
	{expr: "count(DISTINCT ‹struct›)", class: "int"}, {expr: "sum(DISTINCT ‹int›)", class: "huge"}, {expr: "stddev(‹int›)", class: "sum"}, {expr: "var_pop(‹dbl›)", class: "sum"}, {expr: "stddev_pop(‹dec›)", class: "sum"}, {expr: "var_samp(‹dbl›)", class: "sum"},
	{expr: "median(‹int›)", class: "sum"}, {expr: "quantile_disc(‹str›, 0.5)", class: "str"}, {expr: "quantile_cont(‹dbl›, [0.1, 0.5])", class: "dbls"}, {expr: "histogram(‹str›)", class: "hist"}, {expr: "mad(‹int›)", class: "sum"},
	{expr: "approx_count_distinct(‹str›)", class: "int"}, {expr: "string_agg(‹str›, ',' ORDER BY ‹str›)", class: "none"}, {expr: "list(DISTINCT ‹int›)", class: "unordered"}, {expr: "corr(‹dbl›, ‹int›)", class: "sum"},
	{expr: "regr_slope(‹int›, ‹int›)", class: "sum"}, {expr: "covar_pop(‹int›, ‹dbl›)", class: "sum"}, {expr: "entropy(‹str›)", class: "sum"}, {expr: "max(‹int›, 2)", class: "none"},
	{expr: "product(‹int› % 3 + 2)", class: "none"}, {expr: "fsum(‹dbl›)", class: "sum"}, {expr: "favg(‹int›)", class: "sum"},
}

var orderedAggregates = []item{
	{expr: "first(‹str›)", class: "str"}, {expr: "last(‹int›)", class: "int"}, {expr: "any_value(‹struct›)", class: "struct"}, {expr: "first(‹ints›)", class: "ints"}, {expr: "last(‹map›)", class: "map"},
	{expr: "arg_max(‹str›, ‹int›)", class: "str"}, {expr: "arg_min(‹int›, ‹wild›)", class: "int"}, {expr: "arg_max(‹struct›, ‹str›)", class: "struct"}, {expr: "min_by(‹iv›, ‹ts›)", class: "iv"}, {expr: "arg_max(‹int›, ‹struct›)", class: "int"},
	{expr: "list(‹str›)", class: "strs"}, {expr: "array_agg(‹int›)", class: "none"}, {expr: "string_agg(‹str›, ';')", class: "str"}, {expr: "mode(‹str›)", class: "str"}, {expr: "mode(‹int›)", class: "int"}, {expr: "arg_max(‹int›, ‹int›, 2)", class: "none"},
	{expr: "list(‹str› ORDER BY ‹str› DESC NULLS LAST)", class: "none"}, {expr: "arg_max_null(‹str›, ‹int›)", class: "str"}, {expr: "approx_quantile(‹int›, 0.5)", class: "none"},
}

func (g *queryGen) distinct(child *query) *query {
	q := &query{kind: "distinct", child: child}
	e := g.in(child)
	for i, n := 0, 1+g.Intn(2); i < n; i++ {
		class := g.pick(someClasses...)
		q.add(item{expr: e.of(class, 1), class: class})
	}
	q.add(item{expr: e.leaf("ts"), class: "ts"})
	return q
}

// union concatenates two selections of the same classes.
func (g *queryGen) union(depth int) *query {
	classes := []string{"int", "ts", g.pick(someClasses...), g.pick(someClasses...)}
	side := func() *query {
		child := g.relation(depth - 1)
		q := &query{kind: "select", child: child}
		e := g.in(child)
		for _, class := range classes {
			expr := e.of(class, 1)
			if t := classType[class]; t != "" {
				expr = "CAST(" + expr + " AS " + t + ")"
			}
			q.add(item{expr: expr, class: class})
		}
		return q
	}
	q := &query{kind: "union", table: g.pick("UNION ALL", "UNION ALL", "UNION ALL", "UNION", "EXCEPT", "INTERSECT", "EXCEPT ALL", "INTERSECT ALL"), child: side(), other: side()}
	q.cols = q.child.cols
	return q
}

// join joins two relations on an integer, perhaps with more conditions.
func (g *queryGen) join(depth int) *query {
	q := &query{kind: "join", table: g.pick("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"), child: g.relation(depth - 1), other: g.relation(depth - 1)}
	a, b := qualified("a", q.child), qualified("b", q.other)
	both := &exprGen{g.Rand, append(append([]column{}, a...), b...)}
	class := g.pick("int", "int", "str", "ts")
	q.on = (&exprGen{g.Rand, a}).of(class, 1) + " = " + (&exprGen{g.Rand, b}).of(class, 1)
	if g.Intn(2) == 0 {
		q.on += " AND " + both.of("bool", 1)
	}
	if at, bt := columnOf(a, "ts"), columnOf(b, "ts"); at != "" && bt != "" && g.Intn(3) == 0 {
		q.on += g.pick(" AND "+bt+" BETWEEN "+at+" - INTERVAL '3 seconds' AND "+at+" + INTERVAL '2 seconds'", " AND "+at+" >= "+bt, " AND "+bt+" - "+at+" < INTERVAL '4 seconds'")
	}
	if strings.HasPrefix(q.table, "SEMI") || strings.HasPrefix(q.table, "ANTI") {
		both.scope = a
	}
	for _, class := range []string{"int", "ts", g.pick(someClasses...), g.pick(someClasses...), g.pick(someClasses...)} {
		q.add(item{expr: both.of(class, 1), class: class})
	}
	if g.Intn(3) == 0 {
		q.where = both.of("bool", 1)
	}
	return q
}

func qualified(alias string, q *query) []column {
	out := append([]column{}, q.cols...)
	for i := range out {
		out[i].name = alias + "." + out[i].name
	}
	return out
}

// top keeps the first rows of each partition in a total order; equal rows may stand for one another.
func (g *queryGen) top(child *query) *query {
	q := &query{kind: "top", child: child}
	e := g.in(child)
	for _, class := range []string{"int", "ts", g.pick(someClasses...)} {
		q.add(item{expr: e.leaf(class), class: class})
	}
	var order []string
	for _, it := range q.items {
		order = append(order, it.expr+g.pick("", " DESC", " NULLS FIRST"))
	}
	g.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	q.top = g.pick("row_number", "rank", "dense_rank") + "() OVER (PARTITION BY " + e.leaf(g.pick("int", "str", "bool")) + " ORDER BY " + strings.Join(order, ", ") + ") <= " + g.pick("1", "3")
	return q
}

// classType is the type that both sides of a union cast to.
var classType = map[string]string{"int": "BIGINT", "dec": "DECIMAL(12,2)", "dbl": "DOUBLE", "wild": "DOUBLE", "huge": "HUGEINT", "uint": "UBIGINT", "ts": "TIMESTAMP", "wildts": "TIMESTAMP", "ints": "INTEGER[]"}

func (g *queryGen) unnest(child *query) *query {
	e := g.in(child)
	q := &query{kind: "select", child: child}
	class := g.pick("ints", "strs")
	elem := map[string]string{"ints": "int", "strs": "str"}[class]
	var lists []string
	for _, c := range child.cols {
		if c.class == class {
			lists = append(lists, c.name)
		}
	}
	if len(lists) > 0 && g.Intn(2) == 0 {
		q.kind, q.table = g.pick("lateral", "lateral left"), lists[g.Intn(len(lists))]
		q.add(item{expr: "x", class: elem})
		if g.Intn(3) == 0 {
			q.where = g.pick("x IS NOT NULL", "x IS NULL OR "+e.of("bool", 1))
		}
	} else {
		q.add(item{expr: "unnest(" + e.of(class, 1) + ")", class: elem})
		if g.Intn(3) == 0 {
			q.add(item{expr: "unnest(" + e.of("ints", 1) + ")", class: "int"})
		}
	}
	q.add(item{expr: e.leaf("int"), class: "int"})
	q.add(item{expr: e.leaf("ts"), class: "ts"})
	q.add(item{expr: e.leaf("str"), class: "str"})
	return q
}

// randomQuery returns the query of a seed.
func randomQuery(seed int64) *query {
	g := &queryGen{&exprGen{Rand: rand.New(rand.NewSource(seed))}}
	return g.relation(1 + g.Intn(3))
}

// seeds is how many random queries to try: few in every test run, SLUICE_SOAK_QUERIES in a soak.
func seeds(t *testing.T, few int) int {
	if s := os.Getenv("SLUICE_SOAK_QUERIES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SLUICE_SOAK_QUERIES: %v", err)
		}
		return n
	}
	return few
}

// soakRange is the first seed and how many.
func soakRange(t *testing.T, few int) (first int64, n int) {
	first = 1
	if s := os.Getenv("SLUICE_SOAK_FIRST"); s != "" {
		first, _ = strconv.ParseInt(s, 10, 64)
	}
	return first, seeds(t, few)
}

// TestRandomQueries plans random queries, runs each that plain DuckDB can answer and compares it with
// plain DuckDB after every batch. A failure prints the shrunk query; keep it in testdata/regressions.
func TestRandomQueries(t *testing.T) {
	const pack = 16
	first, n := soakRange(t, 80)
	sc := newScreen(t)
	var incremental, full, skipped int
	reasons := map[string]int{}
	for start := first; start < first+int64(n); start += pack {
		tr := trial{seed: start, rows: 100, cut: 50, fail: start/pack%2 == 1}
		if start/pack%4 >= 2 {
			tr.watermark = "ts - INTERVAL '4 seconds'"
		}
		trees := map[string]*query{}
		for seed := start; seed < min(start+pack, first+int64(n)); seed++ {
			q := randomQuery(seed)
			if err := sc.answers(q.sql()); err != nil {
				skipped++
				if testing.Verbose() && os.Getenv("SLUICE_SKIPPED") != "" {
					t.Logf("seed %d skipped: %v\n%s", seed, err, q.sql())
				}
				continue
			}
			name := fmt.Sprintf("q%d", seed)
			trees[name] = q
			tr.queries = append(tr.queries, namedQuery{name, q.sql()})
		}
		if len(tr.queries) == 0 {
			continue
		}
		p, err := tr.run(t)
		if p != nil {
			for _, v := range p.Views {
				if v.Fallback == "" {
					incremental++
				} else {
					full++
					line, _, _ := strings.Cut(v.Fallback, "\n")
					reasons[line]++
				}
			}
		}
		if err == nil {
			continue
		}
		for name, err := range tr.failing(t) {
			small, why := shrink(t, tr, trees[name], err)
			t.Errorf("seed %s (watermark %q, restarted %v, trial seed %d): %v\n%s", name, tr.watermark, tr.fail, tr.seed, why, small.sql())
		}
	}
	t.Logf("%d incremental, %d in full, %d that plain DuckDB does not answer", incremental, full, skipped)
	if testing.Verbose() {
		for r, n := range reasons {
			t.Logf("%4d %s", n, r)
		}
	}
	if incremental < n/4 {
		t.Errorf("only %d of %d queries were maintained incrementally", incremental, n)
	}
}

// regressions are the queries that a random test once caught.
func regressions(t *testing.T) (out []namedQuery) {
	files, err := filepath.Glob("testdata/regressions/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no regressions: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".sql")
		out = append(out, namedQuery{name, strings.TrimSuffix(strings.TrimSpace(string(text)), ";")})
	}
	return out
}

// TestRegressions runs every query that a random test once caught.
func TestRegressions(t *testing.T) {
	for _, watermark := range []string{"", "ts - INTERVAL '4 seconds'"} {
		tr := trial{watermark: watermark, seed: 3, rows: 120, cut: 40, fail: watermark != ""}
		tr.queries = regressions(t)
		p, err := tr.run(t)
		if err != nil {
			for name, err := range tr.failing(t) {
				t.Errorf("%s (watermark %q): %v", name, watermark, err)
			}
			continue
		}
		for i, v := range p.Views {
			if v.Fallback != "" && strings.Contains(tr.queries[i].sql, "-- incremental") {
				t.Errorf("%s is recomputed in full: %s", v.Name, v.Fallback)
			}
		}
	}
}

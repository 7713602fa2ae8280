package oracle_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/planner"
)

// skippedAggregates have no one answer, or none that a view can hold.
var skippedAggregates = map[string]string{
	"reservoir_quantile": "samples at random", "__internal_bm25": "", "list_zip": "",
}

// orderedOnly aggregates have one answer only over rows in arrival order; everything that is not listed
// is tried over a retracting input, too.
var orderedOnly = map[string]bool{
	"first": true, "last": true, "any_value": true, "arbitrary": true, "list": true, "array_agg": true, "string_agg": true, "group_concat": true, "listagg": true,
	"mode": true, "arg_max": true, "arg_min": true, "max_by": true, "min_by": true, "argmax": true, "argmin": true, "arg_max_null": true, "arg_min_null": true,
	"arg_max_nulls_last": true, "arg_min_nulls_last": true,
	"approx_quantile": true, "approx_top_k": true, "histogram": true, "histogram_exact": true, // the last two of NaN
}

// argumentsOf are columns, or expressions over them, that fit a parameter type.
var argumentsOf = map[string][]string{
	"BOOLEAN": {"b"}, "TINYINT": {"ti"}, "SMALLINT": {"ti::SMALLINT"}, "INTEGER": {"v::INTEGER"}, "BIGINT": {"v"}, "HUGEINT": {"big"},
	"UTINYINT": {"(v % 9)::UTINYINT"}, "USMALLINT": {"(v % 9)::USMALLINT"}, "UINTEGER": {"v::UINTEGER"}, "UBIGINT": {"ub"}, "UHUGEINT": {"v::UHUGEINT"},
	"FLOAT": {"f::FLOAT"}, "DOUBLE": {"f"}, "DECIMAL": {"d", "dd"}, "VARCHAR": {"s"}, "BLOB": {"bl"}, "BIT": {"ti::BIT"}, "BIGNUM": {"v::BIGNUM"},
	"DATE": {"dt"}, "TIME": {"tm"}, "TIMESTAMP": {"ts", "tx"}, "TIMESTAMP WITH TIME ZONE": {"tz"}, "INTERVAL": {"iv"}, "TIME WITH TIME ZONE": {"tm::TIMETZ"},
	"ANY": {"s", "fx", "st", "l", "iv", "uu", "en", "m"}, "T": {"s", "st"}, "STRUCT": {"st"}, "JSON": {"to_json(k)"},
}

// aggregateCalls lists a call for every aggregate and overload that DuckDB has.
func aggregateCalls(t *testing.T, sc *screen) []item {
	chunks, _, err := sc.conn.Collect(context.Background(), "SELECT DISTINCT function_name, array_to_string(parameter_types, ';') FROM duckdb_functions() "+
		"WHERE function_type = 'aggregate' AND function_name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY ALL")
	if err != nil {
		t.Fatal(err)
	}
	most := 2 // overloads of one name; arg_min alone has hundreds
	if os.Getenv("SLUICE_SOAK_QUERIES") != "" {
		most = 1000
	}
	seen, count := map[string]bool{}, map[string]int{}
	var out []item
	add := func(name, call string) {
		if !seen[call] && count[name] < most && sc.answers("SELECT "+call+" AS a FROM t") == nil && sc.answers("SELECT k, "+call+" AS a FROM t GROUP BY k") == nil {
			seen[call] = true
			out = append(out, item{expr: call, alias: name})
			count[name]++
		}
	}
	for _, c := range chunks {
		for i := 0; i < c.N; i++ {
			name, params := string(c.Cols[0].Str(i)), strings.Split(string(c.Cols[1].Str(i)), ";")
			if _, skip := skippedAggregates[name]; skip || name == "approx_top_k" { // its number is a constant: below
				continue
			}
			if params[0] == "" {
				add(name, name+"()")
				continue
			}
			for _, first := range fitting(params[0]) {
				args := []string{first}
				for _, p := range params[1:] {
					if len(args) == 1 && (strings.Contains(name, "quantile")) {
						args = append(args, "0.3")
						continue
					}
					args = append(args, fitting(p)[0])
				}
				add(name, name+"("+strings.Join(args, ", ")+")")
			}
		}
	}
	most = 1000
	for _, call := range []string{"quantile_cont(f, 0.25)", "quantile_disc(s, 0.5)", "quantile_cont(f, [0.1, 0.9])", "approx_quantile(f, 0.5)", "string_agg(s, '|')", "max(v, 3)", "min(s, 2)",
		"arg_max(s, v, 2)", "arg_min(v, s, 2)", "histogram(v, [1, 10, 20])", "approx_top_k(v % 2, 3)", "bitstring_agg(v % 40, 0, 40)", "bitstring_agg(v)", "count(st)", "first(l)", "mode(v)", "count()"} {
		name, _, _ := strings.Cut(call, "(")
		add(name, call)
	}
	return out
}

func fitting(param string) []string {
	param, _, _ = strings.Cut(param, "(")
	if args, ok := argumentsOf[param]; ok {
		return args
	}
	if elem, ok := strings.CutSuffix(param, "[]"); ok {
		return []string{"[" + fitting(elem)[0] + "]"}
	}
	return []string{"v"}
}

// TestEveryAggregate tries every aggregate that DuckDB has, grouped and not, with FILTER, with DISTINCT,
// and over an input that retracts.
func TestEveryAggregate(t *testing.T) {
	t.Parallel()
	sc := newScreen(t)
	calls := aggregateCalls(t, sc)
	if len(calls) < 120 {
		t.Errorf("only %d calls of aggregates are tried", len(calls))
	}
	var queries []namedQuery
	for i, c := range calls {
		add := func(kind, sql string) {
			if sc.answers(sql) == nil {
				queries = append(queries, namedQuery{fmt.Sprintf("%s_%d_%s", c.alias, i, kind), sql})
			}
		}
		switch i % 2 {
		case 0:
			add("grouped", "SELECT k, "+c.expr+" AS a, "+c.expr+" FILTER (v % 3 = 0) AS af FROM t GROUP BY k")
		default:
			add("total", "SELECT "+c.expr+" AS a, "+c.expr+" FILTER (k > 100) AS none FROM t WHERE b")
		}
		if orderedOnly[c.alias] {
			continue
		}
		// Columns of the same names, retracted and inserted again as groups grow.
		retracting := "(SELECT k, v, s, max(ti) AS ti, max(ub) AS ub, max(big) AS big, max(d) AS d, max(dd) AS dd, max(f) AS f, max(fx) AS fx, max(ts) AS ts, max(tx) AS tx, " +
			"max(dt) AS dt, max(tz) AS tz, max(tm) AS tm, max(iv) AS iv, bool_or(b) AS b, max(l) AS l, max(st) AS st, max(m) AS m, max(bl) AS bl, max(uu) AS uu, max(en) AS en FROM t GROUP BY k, v, s)"
		add("retracting", "SELECT k, "+c.expr+" AS a FROM "+retracting+" GROUP BY k")
		if i%3 == 0 && strings.Count(c.expr, "(") > 0 {
			distinct := strings.Replace(c.expr, "(", "(DISTINCT ", 1)
			add("distinct", "SELECT b, "+distinct+" AS a FROM t GROUP BY b")
		}
	}
	incremental := map[string]bool{}
	const pack = 40
	for at := 0; at < len(queries); at += pack {
		tr := trial{queries: queries[at:min(at+pack, len(queries))], seed: int64(at + 1), rows: 60, cut: 60}
		p, err := tr.run(t)
		if err != nil {
			for name, err := range tr.failing(t) {
				t.Errorf("%s: %v\n%s", name, err, sqlOf(queries, name))
			}
		}
		note(t, p, incremental)
	}
	var slow []string
	for _, c := range calls {
		if !incremental[c.alias] && !slices.Contains(slow, c.alias) {
			slow = append(slow, c.alias)
		}
	}
	sort.Strings(slow)
	t.Logf("%d views of %d calls; never incremental: %s", len(queries), len(calls), strings.Join(slow, " "))
}

func note(t *testing.T, p *planner.Pipeline, incremental map[string]bool) {
	if p == nil {
		return
	}
	for _, v := range p.Views {
		name := v.Name[:strings.LastIndex(v.Name, "_")]
		name = name[:strings.LastIndex(name, "_")]
		if v.Fallback == "" {
			incremental[name] = true
			continue
		}
		line, _, _ := strings.Cut(v.Fallback, "\n")
		t.Logf("%s: %s", v.Name, line)
	}
}

func sqlOf(queries []namedQuery, name string) string {
	for _, q := range queries {
		if q.name == name {
			return q.sql
		}
	}
	return ""
}

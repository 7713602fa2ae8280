package oracle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// kept says what a view may keep of its streams.
type kept int

const (
	nothing kept = iota // joins with tables only: no state but the tables'
	some                // state of its own, or the general rule for a join (a correlated subquery has one)
)

// tableJoins are views over the streams t and u and the static tables x and y, of the same columns.
var tableJoins = map[string]struct {
	kept kept
	sql  string
}{
	"inner":          {nothing, `SELECT t.k, t.v, x.s FROM t JOIN x ON t.k = x.k`},
	"inner_residual": {nothing, `SELECT t.k, t.v, x.v AS xv FROM t JOIN x ON t.k = x.k AND t.v < x.v`},
	"inner_flipped":  {nothing, `SELECT t.k, t.v, x.s FROM x JOIN t ON t.k = x.k`},
	"inner_two":      {nothing, `SELECT t.k, x.s, y.v FROM t JOIN x ON t.k = x.k JOIN y ON x.v = y.v`},
	"inner_null":     {nothing, `SELECT t.k, t.v, x.v AS xv FROM t JOIN x ON t.k IS NOT DISTINCT FROM x.k`},
	"inner_keyless":  {nothing, `SELECT t.k, x.v FROM t JOIN x ON t.v < x.v`},
	"cross":          {nothing, `SELECT t.k, g.m FROM t, (SELECT max(v) AS m FROM x) g`},
	"left":           {nothing, `SELECT t.k, t.v, x.s, x.v AS xv FROM t LEFT JOIN x ON t.k = x.k`},
	"left_residual":  {nothing, `SELECT t.k, t.v, x.v AS xv FROM t LEFT JOIN x ON t.k = x.k AND t.v > x.v`},
	"left_keyless":   {nothing, `SELECT t.k, x.v FROM t LEFT JOIN x ON t.v > x.v + 30`},
	"right_flipped":  {nothing, `SELECT t.k, t.v, x.s FROM x RIGHT JOIN t ON t.k = x.k`},
	"semi":           {nothing, `SELECT k, v FROM t SEMI JOIN x ON t.k = x.k AND t.v = x.v`},
	"anti":           {nothing, `SELECT k, v FROM t ANTI JOIN x ON t.k = x.k`},
	"semi_residual":  {some, `SELECT k, v FROM t WHERE EXISTS (SELECT 1 FROM x WHERE x.k = t.k AND x.v > t.v)`},
	"anti_residual":  {nothing, `SELECT k, v FROM t ANTI JOIN x ON t.k = x.k AND t.v > x.v`},
	"in_table":       {nothing, `SELECT k, v FROM t WHERE v IN (SELECT v FROM x)`},
	"derived_table":  {nothing, `SELECT t.k, g.n FROM t JOIN (SELECT k, count(*) AS n FROM x GROUP BY k) g ON t.k = g.k`},
	"above":          {nothing, `SELECT k, v FROM t WHERE v > (SELECT avg(v) FROM x)`},
	"union":          {nothing, `SELECT a.k, x.s FROM (SELECT k FROM t UNION ALL SELECT v FROM u) a JOIN x ON a.k = x.k`},
	"expression":     {nothing, `SELECT t.k, x.v FROM t JOIN x ON t.k % 3 = x.v % 3`},

	"then_group":    {some, `SELECT x.s, count(*) AS c, sum(t.v) AS sv FROM t JOIN x ON t.k = x.k GROUP BY x.s`},
	"left_group":    {some, `SELECT x.s, count(*) AS c, max(t.v) AS m FROM t LEFT JOIN x ON t.k = x.k GROUP BY x.s`},
	"after_group":   {some, `SELECT x.s, a.k, a.c FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a JOIN x ON a.k = x.k`},
	"left_after":    {some, `SELECT a.k, a.c, x.v FROM (SELECT k, count(*) AS c FROM t GROUP BY k HAVING count(*) % 2 = 0) a LEFT JOIN x ON a.k = x.k AND a.c > x.v`},
	"anti_after":    {some, `SELECT a.k, a.c FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a ANTI JOIN x ON a.c = x.v`},
	"keyed":         {some, `SELECT a.k, a.c, g.n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a JOIN (SELECT k, count(*) AS n FROM x GROUP BY k) g ON a.k = g.k`},
	"streams":       {some, `SELECT t.k, u.v, x.s FROM t JOIN u ON t.k = u.k AND t.v = u.v JOIN x ON u.k = x.k`},
	"windows":       {some, `SELECT w.window_start, x.s, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') w JOIN x ON w.k = x.k GROUP BY ALL`},
	"full":          {some, `SELECT t.k, x.k AS xk, t.v FROM t FULL JOIN x ON t.k = x.k AND t.v = x.v`},
	"table_left":    {some, `SELECT x.k, x.v, t.v AS tv FROM x LEFT JOIN t ON t.k = x.k AND t.v = x.v`},
	"table_semi":    {some, `SELECT k, v FROM x SEMI JOIN t ON t.k = x.k`},
	"table_only":    {some, `SELECT x.k, y.v FROM x JOIN y ON x.k = y.k AND x.v = y.v`},
	"from_start":    {some, `SELECT a.c, x.v FROM (SELECT count(*) AS c FROM t) a JOIN x ON a.c % 4 = x.k`},
	"from_table":    {some, `SELECT a.k, x.s FROM (SELECT k FROM t UNION ALL SELECT k FROM y) a JOIN x ON a.k = x.k`},
	"table_counted": {some, `SELECT a.n, t.k FROM (SELECT count(*) AS n FROM x) a LEFT JOIN t ON t.k = a.n`},
	"scalar_corr":   {some, `SELECT k, v, (SELECT max(v) FROM x WHERE x.k = t.k) AS m FROM t`},
	"outer_start":   {some, `SELECT x.s, a.c FROM (SELECT count(*) AS c FROM t) a LEFT JOIN x ON a.c > x.v`},
	"recomputed":    {some, `SELECT t.k, t.v FROM t WHERE t.v NOT IN (SELECT v FROM x WHERE v IS NOT NULL)`},
}

// TestTableJoinsEqualOneShot runs joins with static tables, which are empty, or small and read in several
// batches, with NULL and repeated keys, or keyed; and wants nothing kept of the streams where nothing need be.
func TestTableJoinsEqualOneShot(t *testing.T) {
	for seed, tc := range []struct {
		stream, table string
		rows          int // of a table
		connector     string
	}{{"", "", 25, "file"}, {"", "", 0, "file"}, {"weighted", "keyed", 40, "file"}, {"keyed", "", 12, "file"}, {"", "weighted", 30, "postgres_lookup"}} {
		t.Run(fmt.Sprintf("%s %s %s %d", tc.stream, tc.connector, tc.table, tc.rows), func(t *testing.T) {
			text := declared("SOURCE t ", tc.stream) + declared("SOURCE u ", "") + strings.Replace(declared("TABLE x ", tc.table), "'file'", "'"+tc.connector+"'", 1) + declared("TABLE y ", "")
			for _, name := range slices.Sorted(maps.Keys(tableJoins)) {
				text += fmt.Sprintf("CREATE MATERIALIZED VIEW %q AS %s;\n", name, tableJoins[name].sql)
			}
			p := plan(t, "tables.sql", text)
			for _, v := range p.Views {
				if tc.connector == "file" && tableJoins[v.Name].kept == nothing && len(keptOf(v.Explain)) > 0 {
					t.Errorf("view %s keeps state %v: %s", v.Name, keptOf(v.Explain), v.Fallback)
				}
			}
			rng := rand.New(rand.NewSource(int64(seed)))
			sources := map[string]*rowsSource{}
			for i, name := range []string{"t", "u", "x", "y"} {
				n, kind := 70, []string{tc.stream, "", tc.table, ""}[i]
				if i > 1 {
					n = tc.rows
				}
				src := &rowsSource{cut: func() int64 { return int64(rng.Intn(30)) }}
				if kind == "" {
					src.rows = generate(t, rowsQuery(max(n, 1), int64(seed*7+i)))
				} else {
					src.rows = changes(t, kind, n, int64(seed*7+i))
				}
				if n == 0 {
					src.rows.N = 0
				}
				sources[name] = src
			}
			sink := newSink(t, p, sources)
			oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: seed > 0, Replay: seed > 0})
		})
	}
}

// declared declares a stream or a static table of a kind.
func declared(what, kind string) string {
	text := fmt.Sprintf(sourceSQL, "")
	if kind != "" {
		text = changingSQL("t", kind, "")
	}
	text = strings.Replace(text, "SOURCE t ", what, 1)
	if strings.HasPrefix(what, "TABLE") {
		text = strings.Replace(text, "'test'", "'file'", 1)
	}
	return text
}

// keptOf lists the states of a plan's operators but those of joins with a static table.
func keptOf(ex *planner.Explain) []string {
	var out []string
	if ex.Class != "linear" && !onlyTables(ex) {
		out = append(out, ex.States...)
	}
	for _, ch := range ex.Children {
		out = append(out, keptOf(ch)...)
	}
	return out
}

func onlyTables(ex *planner.Explain) bool {
	if len(ex.Children) == 0 {
		return strings.HasPrefix(ex.Op, "table ")
	}
	for _, ch := range ex.Children {
		if !onlyTables(ch) {
			return false
		}
	}
	return true
}

// latest begins where it is when it is first asked, and has nothing there.
type latest struct {
	*rowsSource
	now  int
	from []string // what Poll was asked for
}

func (s *latest) Poll(_ context.Context, from json.RawMessage, _ microbatch.Limits) (*microbatch.Rows, error) {
	if s.from = append(s.from, string(from)); from == nil {
		from = json.RawMessage(fmt.Sprint(s.now))
	}
	return &microbatch.Rows{To: from, Done: true}, nil
}

// exactly is a table whose last rows fill a batch: whether there are more, only the next Poll says.
type exactly struct{ *rowsSource }

func (s exactly) Poll(ctx context.Context, from json.RawMessage, max microbatch.Limits) (*microbatch.Rows, error) {
	r, err := s.rowsSource.Poll(ctx, from, max)
	if r.Count > 0 {
		r.More, r.Done = true, false
	}
	return r, err
}

// TestBeginningIsLogged: where a stream begins is in the log before it has a row, be it that it is first read after the
// first batch. Else rows that came while the engine was down would be left out by startup = 'latest'.
func TestBeginningIsLogged(t *testing.T) {
	p := plan(t, "begin.sql", declared("SOURCE t ", "")+declared("TABLE x ", "")+"CREATE MATERIALIZED VIEW v AS SELECT t.k, x.s FROM t JOIN x ON t.k = x.k WHERE t.k < 0;\n")
	rows := map[string]*rowsSource{}
	for _, name := range []string{"t", "x"} {
		rows[name] = &rowsSource{rows: generate(t, rowsQuery(10, 1)), cut: func() int64 { return 10 }}
	}
	cfg := config(t, p, rows, newSink(t, p, rows))
	cfg.UntilEnd = true
	for start, now := range []int{7, 9} {
		s := &latest{rowsSource: rows["t"], now: now}
		cfg.Sources = map[string]microbatch.Source{"t": s, "x": exactly{rows["x"]}}
		pl, err := microbatch.Open(t.Context(), cfg)
		if err == nil {
			err = errors.Join(pl.Run(t.Context()), pl.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"", "7"}[start]; s.from[0] != want {
			t.Errorf("start %d: read from %q, want %q", start+1, s.from[0], want)
		}
	}
}

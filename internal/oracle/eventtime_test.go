package oracle_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
)

// closing are views with EMIT ON WINDOW CLOSE over the sources t and u.
var closing = map[string]string{
	"tumbling":    `SELECT window_start, window_end, k, count(*) AS c, sum(v) AS sv FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL`,
	"hopping":     `SELECT window_start, count(*) AS c, count(DISTINCT k) AS ck, median(v) AS m FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_start`,
	"cumulating":  `SELECT window_end, k, max(v) AS mx FROM cumulate(t, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY ALL`,
	"minutes":     `SELECT date_trunc('minute', ts) AS minute, s, count(*) AS c FROM t GROUP BY 1, 2`,
	"renamed":     `SELECT c, e AS until FROM (SELECT window_end AS e, count(*) AS c FROM tumble(t, ts, INTERVAL '7 seconds') GROUP BY ALL)`,
	"duplicates":  `SELECT window_start, c % 3 AS r FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL)`,
	"rows":        `SELECT ts, k, v FROM t WHERE v > 10`,
	"plain":       `SELECT window_end, k, v FROM tumble(t, ts, INTERVAL '10 seconds')`,
	"days":        `SELECT ts::DATE AS day, count(*) AS c FROM t GROUP BY 1`,
	"filtered":    `SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL HAVING count(*) > 1`,
	"top":         `SELECT window_start, k, c FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) QUALIFY row_number() OVER (PARTITION BY window_start ORDER BY c DESC, k) <= 2`,
	"joined":      `SELECT a.window_end, a.k, a.c, b.c AS d FROM (SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) a JOIN (SELECT window_end, k, count(*) AS c FROM tumble(u, ts, INTERVAL '10 seconds') GROUP BY ALL) b ON a.window_end = b.window_end AND a.k = b.k`,
	"left_joined": `SELECT a.window_end, a.k, a.c, b.c AS d FROM (SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) a LEFT JOIN (SELECT window_end, k, count(*) AS c FROM tumble(u, ts, INTERVAL '10 seconds') GROUP BY ALL) b ON a.window_end = b.window_end AND a.k = b.k`,
	"unioned":     `SELECT window_end, count(*) AS c FROM (SELECT window_end FROM tumble(t, ts, INTERVAL '5 seconds') UNION ALL SELECT window_end FROM tumble(u, ts, INTERVAL '5 seconds')) GROUP BY ALL`,
	"distinct":    `SELECT DISTINCT window_end, s FROM tumble(t, ts, INTERVAL '10 seconds')`,
	"rolled_up":   `SELECT window_end, k, s, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY window_end, ROLLUP (k, s)`,
	"counted":     `SELECT window_start, max(c) AS mx FROM (SELECT window_start, k, count(*) AS c FROM tumble(t, ts, INTERVAL '10 seconds') GROUP BY ALL) GROUP BY window_start`,
	"excepted":    `SELECT window_end, k, v FROM tumble(t, ts, INTERVAL '10 seconds') EXCEPT SELECT window_end, k, v FROM tumble(u, ts, INTERVAL '10 seconds')`,
}

// closingText declares the sources, with what stands in their columns and options, and the views.
func closingText(watermark, options string) string {
	var b strings.Builder
	source := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS "+watermark), "'test'", "'test'"+options, 1)
	b.WriteString(source + strings.Replace(source, "SOURCE t ", "SOURCE u ", 1))
	var names []string
	for name := range closing {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s EMIT ON WINDOW CLOSE;\n", name, closing[name])
	}
	return b.String()
}

// TestEmitOnWindowClose compares, after every batch, what is emitted with what the query answers for closed
// windows in one shot: with rows out of order and late, and with an allowed lateness, where later rows correct
// what was shown; straight, and with the engine failing and starting again.
func TestEmitOnWindowClose(t *testing.T) {
	for i, tc := range []struct {
		name, watermark, options, mode string
		fail                           bool
	}{
		{"straight", "ts - INTERVAL '4 seconds'", "", "append", false},
		{"restarted", "ts - INTERVAL '4 seconds'", "", "append", true},
		{"lateness", "ts - INTERVAL '1 second'", ", allowed_lateness = '5 seconds'", "", false},
		{"lateness_restarted", "ts", ", allowed_lateness = '3 seconds'", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := plan(t, "closing.sql", closingText(tc.watermark, tc.options))
			for _, o := range p.Program.Outputs {
				if got := o.Mode.String(); (got == "append") != (tc.mode == "append") {
					t.Errorf("output %s is %s", o.Name, got)
				}
			}
			seed := int64(i + 1)
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewSource(seed))
			sources := map[string]*rowsSource{}
			rows := 200
			if tc.fail {
				rows = 120 // restarts cost most
			}
			for i, name := range []string{"t", "u"} {
				sources[name] = &rowsSource{rows: generate(t, rowsQuery(rows, seed*5+int64(i))), cut: func() int64 { return int64(rng.Intn(30)) }}
			}
			sink := newSink(t, p, sources)
			oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: tc.fail, Replay: true})
			if sink.Commits < 5 {
				t.Errorf("only %d batches were compared", sink.Commits)
			}
			for name := range closing {
				if name != "days" && name != "minutes" && sink.Rows(name) == 0 {
					t.Errorf("view %s never showed a row", name)
				}
			}
			if late := sink.Late(); late == 0 {
				t.Error("no row was late")
			}
		})
	}
}

package oracle_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// Random sequences of inserts, deletes and updates for the wide sources. kinds are append, weighted and keyed;
// the key is (k, ti): 36 values, NULL among them, so that keys come back.

// changingValues replace the values of wideColumns where rows change. Why: '1 month' and '30 days' are one
// value, so that a row may be taken back in another spelling than it came, which a cast to text would show.
var changingValues = map[string]string{
	"iv": "['31 days', '29 days', '-1 day', '0 seconds', NULL]",
	"fx": "['nan', 'inf', '-inf', '1e300', '-1e300', '1e-300', '0', '-0', '-1.5', NULL]",
	"f4": "['nan', '1.5', '-0', '-2.25', '3e38', '0', NULL]",
}

// wideSource declares a source of a kind.
func wideSource(name, kind, watermark string) string {
	var defs []string
	for _, c := range wideColumns {
		defs = append(defs, c.name+" "+c.sqlType)
	}
	if watermark != "" {
		defs = append(defs, "WATERMARK FOR ts AS "+watermark)
	}
	option := ""
	switch kind {
	case "keyed":
		defs = append(defs, "PRIMARY KEY (k, ti) NOT ENFORCED")
	case "weighted":
		option = ", format = 'changelog'"
	}
	return fmt.Sprintf("CREATE SOURCE %s (%s) WITH (connector = 'test'%s);\n", name, strings.Join(defs, ", "), option)
}

// pick is one row of a change: row and time are the numbers of the generated rows that it takes its values
// and its event time from.
type pick struct{ row, time, weight, record int }

// randomPicks makes n changes.
func randomPicks(kind string, n int, rng *rand.Rand) []pick {
	var out []pick
	var there []pick // for weighted sources, what is there; for keyed ones, what was once written
	for i := range n {
		fresh := pick{i, i, 1, i}
		at := 0
		if len(there) > 0 {
			at = rng.Intn(len(there))
		}
		gone := func(p pick) pick { return pick{p.row, p.time, -1, i} }
		c := rng.Intn(20)
		if c >= 15 && c <= 16 && rng.Intn(4) > 0 {
			c = 0 // everything goes less often, so that something is there to go
		}
		switch {
		case len(there) == 0 || c < 8: // insert; for a key that is there, an update
			out, there = append(out, fresh), append(there, fresh)
		case kind == "keyed" && c < 12: // delete a key, there or not
			out = append(out, gone(there[at]))
		case kind == "keyed" && c < 15: // move a key
			out, there = append(out, gone(there[at]), fresh), append(there, fresh)
		case kind == "keyed" && c < 16: // empty everything
			for _, p := range there {
				out = append(out, gone(p))
			}
			there = nil
		case kind == "keyed": // the same row again
			again := there[at]
			out = append(out, pick{again.row, again.time, 1, i})
		case c < 12: // delete
			out = append(out, gone(there[at]))
			there = slices.Delete(there, at, at+1)
		case c < 16: // update, the event time stays
			fresh.time = there[at].time
			out = append(out, gone(there[at]), fresh)
			there[at] = fresh
		case c < 17: // empty everything
			for _, p := range there {
				out = append(out, gone(p))
			}
			there = nil
		default: // a duplicate, perhaps several at once
			copies := 1 + rng.Intn(2)
			out = append(out, pick{there[at].row, there[at].time, copies, i})
			for range copies {
				there = append(there, there[at])
			}
		}
	}
	return out
}

// wideChanges makes the rows of n changes of a wide source.
func wideChanges(t testing.TB, kind string, n int, seed int64) *vector.Chunk {
	return wideChunkOf(t, wideChangesSQL(kind, n, seed))
}

func wideChangesSQL(kind string, n int, seed int64) string {
	var values []string
	for i, p := range randomPicks(kind, n, rand.New(rand.NewSource(seed))) {
		values = append(values, fmt.Sprintf("(%d, %d, %d, %d, %d)", p.row, p.time, p.weight, p.record, i))
	}
	cols := slices.Clone(wideColumns)
	for i := range cols {
		if v, ok := changingValues[cols[i].name]; ok {
			cols[i].values = v
		}
	}
	rows := wideRowsOf(cols, n, seed)
	list := ""
	for _, c := range cols {
		switch {
		case c.name == "ts":
			list += "e.ts AS ts, "
		case kind == "keyed" && c.name != "k" && c.name != "ti":
			list += "CASE WHEN p.w > 0 THEN r." + c.name + " END AS " + c.name + ", " // a delete names the key only
		default:
			list += "r." + c.name + ", "
		}
	}
	return "SELECT " + list + "p.w::BIGINT AS _w, p.record::BIGINT AS _seq FROM (VALUES " + strings.Join(values, ", ") + ") p(row, time, w, record, n) JOIN (" +
		rows + ") r ON r._seq = p.row JOIN (" + rows + ") e ON e._seq = p.time ORDER BY p.n"
}

// TestRandomChanges is TestRandomQueries over sources whose rows change.
func TestRandomChanges(t *testing.T) {
	first, n := soakRange(t, 48)
	sc := newScreen(t)
	var incremental, full int
	const pack = 16
	for start := first; start < first+int64(n); start += pack {
		nth := int(start / pack)
		tr := trial{seed: start, rows: 60, cut: 40, fail: nth%2 == 1, kinds: [2]string{[]string{"weighted", "keyed"}[nth%2], []string{"keyed", "append", "weighted", "keyed"}[nth/2%4]}}
		if nth%4 >= 2 {
			tr.watermark = "ts - INTERVAL '4 seconds'"
		}
		trees := map[string]*query{}
		for seed := start; seed < min(start+pack, first+int64(n)); seed++ {
			q := randomQuery(seed + 1_000_000)
			if !unsettled(q.sql()) && sc.answers(q.sql()) == nil {
				name := fmt.Sprintf("q%d", seed)
				trees[name] = q
				tr.queries = append(tr.queries, namedQuery{name, q.sql()})
			}
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
				}
			}
			if problem := readsWholeStates(p); problem != "" && !slices.ContainsFunc(p.Views, func(v planner.View) bool { return v.Fallback != "" }) {
				t.Error(problem)
			}
		}
		if err == nil {
			continue
		}
		for name, err := range tr.failing(t) {
			small, why := shrink(t, tr, trees[name], err)
			t.Errorf("seed %s (kinds %v, watermark %q, restarted %v, trial seed %d): %v\n%s", name, tr.kinds, tr.watermark, tr.fail, tr.seed, why, small.sql())
		}
	}
	t.Logf("%d incremental, %d in full", incremental, full)
	if incremental < n/4 {
		t.Errorf("only %d of %d queries were maintained incrementally", incremental, n)
	}
}

// unsettled says that a result depends on the order in which rows come, where rows that change come in none: a
// list without repetitions above an operator that has no order, or a difference of nearly equal sums, which over
// constant values is 0 or a rounding error.
func unsettled(sql string) bool {
	return strings.Contains(sql, "list(DISTINCT") || strings.Contains(sql, "corr(") || strings.Contains(sql, "regr_slope(") || strings.Contains(sql, "covar_pop(")
}

// TestRegressionsOverChanges runs every query that a random test once caught over sources that change.
func TestRegressionsOverChanges(t *testing.T) {
	for i, kinds := range [][2]string{{"weighted", "keyed"}, {"keyed", "weighted"}} {
		tr := trial{seed: int64(5 + i), rows: 50, cut: 50, fail: i == 1, kinds: kinds, watermark: []string{"", "ts - INTERVAL '4 seconds'"}[i], queries: regressions(t)}
		if _, err := tr.run(t); err != nil {
			for name, err := range tr.failing(t) {
				t.Errorf("%s (kinds %v): %v", name, kinds, err)
			}
		}
	}
}

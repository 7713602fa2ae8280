package oracle_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/internal/vector"
)

// changingSQL declares a changing source with the columns of sourceSQL and a key. Its rows are those of
// changesQuery.
func changingSQL(name, kind, watermark string) string {
	option := ""
	if kind == "weighted" {
		option = ", format = 'changelog'"
	}
	if kind == "keyed" {
		watermark += ", PRIMARY KEY (id, part) NOT ENFORCED"
	}
	return fmt.Sprintf("CREATE SOURCE %s (id BIGINT, part VARCHAR, k BIGINT, s VARCHAR, v BIGINT, d DECIMAL(10,2), f DOUBLE, ts TIMESTAMP, l INTEGER[]%s) WITH (connector = 'test'%s);\n",
		name, watermark, option)
}

// changes makes a valid sequence of n inserts, deletes and updates over a small domain, as a changing source
// gives it: keys move, groups empty and fill again, NULL is a key, rows repeat in a weighted source.
func changes(t testing.TB, kind string, n int, seed int64) *vector.Chunk {
	t.Helper()
	return generate(t, changesSQL(kind, rowsQuery(n, seed), n, seed))
}

// changesSQL turns n generated rows into changes. Row i is what record i writes.
func changesSQL(kind, rows string, n int, seed int64) string {
	rng := rand.New(rand.NewSource(seed))
	var picks []string
	type live struct {
		row, time int // an update leaves the event time as it was
		id        string
	}
	add := func(l live, weight, record int) {
		picks = append(picks, fmt.Sprintf("(%d, %d, %s, %d, %d, %d)", l.row, l.time, l.id, weight, record, len(picks)))
	}
	ids := []string{"NULL", "1", "2", "3", "4", "5", "6", "7"}
	var there []live
	for i := range n {
		id := ids[rng.Intn(len(ids))]
		if kind == "keyed" {
			if rng.Intn(4) == 0 {
				add(live{i, i, id}, -1, i)
				continue
			}
			add(live{i, i, id}, 1, i)
			continue
		}
		switch c := rng.Intn(50); {
		case c < 9 && len(there) > 0: // delete
			at := rng.Intn(len(there))
			add(there[at], -1, i)
			there = slices.Delete(there, at, at+1)
		case c < 23 && len(there) > 0: // update
			at := rng.Intn(len(there))
			add(there[at], -1, i)
			there[at] = live{i, there[at].time, id}
			add(there[at], 1, i)
		case c < 28 && len(there) > 0: // insert a copy
			at := rng.Intn(len(there))
			there = append(there, there[at])
			add(there[at], 1, i)
		case c < 29 && len(there) > 3: // empty everything
			for _, l := range there {
				add(l, -1, i)
			}
			there = nil
		default:
			there = append(there, live{i, i, id})
			add(there[len(there)-1], 1, i)
		}
	}
	// What a delete of a key says beside the key means nothing.
	col := func(name string) string {
		if name == "ts" {
			return "e.ts"
		}
		if kind == "keyed" {
			return "CASE WHEN p.w > 0 THEN r." + name + " END AS " + name
		}
		return "r." + name
	}
	var cols []string
	for _, c := range []string{"k", "s", "v", "d", "f", "ts", "l"} {
		cols = append(cols, col(c))
	}
	return "SELECT p.id::BIGINT AS id, CASE WHEN p.id % 2 = 0 THEN 'even' WHEN p.id = 7 THEN NULL ELSE 'odd' END AS part, " + strings.Join(cols, ", ") +
		", p.w::BIGINT AS _w, p.record::BIGINT AS _seq FROM (VALUES " + strings.Join(picks, ", ") + ") p(row, time, id, w, record, n) JOIN (" + rows + ") r ON r._seq = p.row JOIN (" + rows + ") e ON e._seq = p.time ORDER BY p.n"
}

// TestChangingSourcesEqualOneShot runs all views and joins over sources whose rows change.
func TestChangingSourcesEqualOneShot(t *testing.T) {
	for i, kinds := range [][2]string{{"weighted", "keyed"}, {"keyed", "weighted"}} {
		// The second run has a watermark, fails and starts again.
		watermark := []string{"", ", WATERMARK FOR ts AS ts - INTERVAL '20 seconds'"}[i]
		t.Run(kinds[0], func(t *testing.T) {
			text := changingSQL("t", kinds[0], watermark) + changingSQL("u", kinds[1], watermark)
			for _, from := range []map[string]string{views, joins, marks, asofs, laterals} {
				var names []string
				for name := range from {
					names = append(names, name)
				}
				slices.Sort(names)
				for _, name := range names {
					if !strings.Contains(text, `"`+name+`"`) {
						text += fmt.Sprintf("CREATE MATERIALIZED VIEW %q AS %s;\n", name, from[name])
					}
				}
			}
			p := plan(t, "changes.sql", text)
			for _, v := range p.Views {
				if (v.Fallback != "") != recomputedInFull[v.Name] {
					t.Errorf("view %s: fallback %q", v.Name, v.Fallback)
				}
			}
			seed := int64(1 + i)
			rng := rand.New(rand.NewSource(seed))
			sources := map[string]*rowsSource{}
			for n, name := range []string{"t", "u"} {
				sources[name] = &rowsSource{rows: changes(t, kinds[n], 70, seed*5+int64(n)), cut: func() int64 { return 8 + int64(rng.Intn(30)) }}
			}
			sink := newSink(t, p, sources)
			oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: i == 1, Replay: i == 1})
		})
	}
}

package oracle_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

// TestTakenBack feeds every view everything, then nothing, then the exact negation of everything: what is left
// is the answer over nothing, and no state.
func TestTakenBack(t *testing.T) {
	for _, kind := range []string{"weighted", "keyed"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			text := changingSQL("t", kind, "") + changingSQL("u", kind, "")
			all := map[string]string{}
			for _, some := range []map[string]string{views, joins, marks, asofs, laterals} {
				maps.Copy(all, some)
			}
			for _, name := range slices.Sorted(maps.Keys(all)) {
				text += fmt.Sprintf("CREATE MATERIALIZED VIEW %q AS %s;\n", name, all[name])
			}
			s := newStepper(t, plan(t, "taken_back.sql", text))
			there, gone := map[string][]*vector.Chunk{}, map[string][]*vector.Chunk{}
			for i, name := range []string{"t", "u"} {
				rows := changesSQL(kind, rowsQuery(80, int64(i+3)), 80, int64(i+3))
				there[name] = []*vector.Chunk{generate(t, rows)}
				weight := "-_w"
				if kind == "keyed" {
					weight = "-1"
				}
				gone[name] = []*vector.Chunk{generate(t, "SELECT * REPLACE ("+weight+"::BIGINT AS _w, _seq + 1000 AS _seq) FROM ("+rows+")")}
			}
			for i, in := range []map[string][]*vector.Chunk{there, {}, gone} {
				if err := s.step(in); err != nil {
					t.Fatal(err)
				}
				s.compare(in, fmt.Sprintf("batch %d", i+1))
			}
			s.empty(kind == "keyed", 1)
		})
	}
}

// valuesSource gives rows of SQL values, some a batch.
func valuesSource(t *testing.T, types string, batch int64, tuples ...string) *rowsSource {
	t.Helper()
	var names []string
	for i := range strings.Split(types, ", ") {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	var casts []string
	for i, typ := range strings.Split(types, ", ") {
		casts = append(casts, fmt.Sprintf("c%d::%s", i, typ))
	}
	rows := generate(t, "SELECT "+strings.Join(casts, ", ")+" FROM (VALUES "+strings.Join(tuples, ", ")+") v("+strings.Join(names, ", ")+")")
	return &rowsSource{rows: rows, cut: func() int64 { return batch }}
}

// TestMissingRowStops: the delete of a row that is not there stops the pipeline with one error that names the
// source and the record, whatever the view; what was committed before stays.
func TestMissingRowStops(t *testing.T) {
	p := plan(t, "missing.sql", `CREATE SOURCE t (a BIGINT, b BIGINT) WITH (connector = 'test', format = 'changelog');
CREATE MATERIALIZED VIEW rows AS SELECT a, b FROM t WHERE b < 5;
CREATE MATERIALIZED VIEW sums AS SELECT a, sum(b) AS s FROM t GROUP BY a;`)
	sources := map[string]*rowsSource{"t": valuesSource(t, "BIGINT, BIGINT, BIGINT, BIGINT", 2, "(1, 7, 1, 0)", "(1, 5, 1, 1)", "(1, 7, 1, 2)", "(1, 6, -1, 3)")}
	sink := newSink(t, p, sources)
	err := oracletest.Drive(config(t, p, sources, sink), sink, oracletest.Options{Rand: rand.New(rand.NewSource(1))})
	var missing *microbatch.MissingRowError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a missing row", err)
	}
	for _, part := range []string{`source "t" deletes a row that is not there`, "not there: 0, offset 3", "PRIMARY KEY"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	if sink.Commits != 1 {
		t.Errorf("%d batches were committed, want the one before", sink.Commits)
	}
}

// TestHalvesAreLateTogether: an update whose old row is behind the watermark is late with its new row, and a
// key is deleted however old its row is.
func TestHalvesAreLateTogether(t *testing.T) {
	p := plan(t, "late.sql", `CREATE SOURCE t (id BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '10 seconds') WITH (connector = 'test', format = 'changelog');
CREATE SOURCE u (id BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '10 seconds', PRIMARY KEY (id) NOT ENFORCED) WITH (connector = 'test');
CREATE MATERIALIZED VIEW rows AS SELECT id, ts FROM t;
CREATE MATERIALIZED VIEW keys AS SELECT id, ts FROM u;`)
	at := func(sec int) string { return fmt.Sprintf("TIMESTAMP '2020-01-01' + INTERVAL '%d seconds'", sec) }
	types := "BIGINT, TIMESTAMP, BIGINT, BIGINT"
	sources := map[string]*rowsSource{
		"t": valuesSource(t, types, 2, "(1, "+at(0)+", 1, 0)", "(2, "+at(100)+", 1, 1)", "(1, "+at(0)+", -1, 2)", "(1, "+at(200)+", 1, 2)"),
		"u": valuesSource(t, types, 2, "(1, "+at(0)+", 1, 0)", "(2, "+at(100)+", 1, 1)", "(1, "+at(0)+", -1, 2)", "(2, "+at(50)+", 1, 3)"),
	}
	sink := newSink(t, p, sources)
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rand.New(rand.NewSource(1)), Replay: true})
	for view, want := range map[string][]string{
		"rows": {"1|2020-01-01 00:00:00|", "2|2020-01-01 00:01:40|"},
		"keys": {"2|2020-01-01 00:01:40|"},
	} {
		if got := texts(sink.Table(view)); !slices.Equal(got, want) {
			t.Errorf("view %s: got %v, want %v", view, got, want)
		}
	}
}

// TestBank moves money between ten accounts. Credits and debits come from two sources, out of order, with
// transfers taken back in one and keys written again in the other; whatever half of a transfer is not there
// yet counts as under way. No batch may ever show money made or lost.
func TestBank(t *testing.T) {
	const transfers = 150
	p := plan(t, "bank.sql", `CREATE SOURCE credit (transfer BIGINT, account BIGINT, amount BIGINT) WITH (connector = 'test', format = 'changelog');
CREATE SOURCE debit (transfer BIGINT, account BIGINT, amount BIGINT, PRIMARY KEY (transfer) NOT ENFORCED) WITH (connector = 'test');
CREATE VIEW whole AS SELECT c.account AS into_account, d.account AS from_account, c.amount FROM credit c LEFT JOIN debit d ON c.transfer = d.transfer;
CREATE VIEW moved AS SELECT into_account AS account, amount FROM whole UNION ALL
  SELECT coalesce(from_account, -1), -amount FROM whole;
CREATE MATERIALIZED VIEW balance AS SELECT account, sum(amount) AS balance, count(*) AS n FROM moved GROUP BY account;
CREATE MATERIALIZED VIEW total AS SELECT coalesce(sum(balance), 0) AS total FROM balance;
CREATE MATERIALIZED VIEW joined AS SELECT c.account, c.s AS credits, d.s AS debits FROM (SELECT account, sum(amount) AS s FROM credit GROUP BY account) c
  LEFT JOIN (SELECT account, sum(amount) AS s FROM debit GROUP BY account) d USING (account);`)
	rng := rand.New(rand.NewSource(7))
	var credits, debits []string
	seq := 0
	for i := range transfers {
		row := fmt.Sprintf("%d, %d, %d", i, rng.Intn(10), 1+rng.Intn(100))
		credits = append(credits, row)
		debits = append(debits, row)
	}
	var out [2][]string
	add := func(source int, row string, w int) {
		out[source] = append(out[source], fmt.Sprintf("(%s, %d, %d)", row, w, seq))
		seq++
	}
	var there []string
	for _, i := range rng.Perm(transfers) {
		add(0, credits[i], 1)
		there = append(there, credits[i])
		if at := rng.Intn(len(there)); rng.Intn(3) == 0 { // taken back
			add(0, there[at], -1)
			there = slices.Delete(there, at, at+1)
		}
	}
	for _, i := range rng.Perm(transfers) {
		add(1, debits[i], 1)
		if again := rng.Intn(transfers); rng.Intn(3) == 0 { // written again: from another account, or not at all
			add(1, fmt.Sprintf("%d, %d, %d", again, rng.Intn(10), 5), 1-2*rng.Intn(2))
		}
	}
	sources := map[string]*rowsSource{}
	for i, name := range []string{"credit", "debit"} {
		sources[name] = valuesSource(t, "BIGINT, BIGINT, BIGINT, BIGINT, BIGINT", 0, out[i]...)
		sources[name].cut = func() int64 { return int64(rng.Intn(14)) }
	}
	sink := newSink(t, p, sources)
	sink.AfterCommit = func() error {
		if got := texts(sink.Table("total")); !slices.Equal(got, []string{"0|"}) {
			return fmt.Errorf("the total is %v after batch %d", got, sink.Commits)
		}
		return nil
	}
	oracletest.Run(t, config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: true, Replay: true})
	if sink.Commits < 15 {
		t.Errorf("only %d batches were committed", sink.Commits)
	}
}

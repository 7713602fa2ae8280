package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/planner"
)

// step is a statement of phase 2 and how many rows it must affect, -1 for any number.
type step struct {
	from string // what it is about, for errors
	sql  string
	args []any
	want int64
	// fromTarget: a wrong count means that the target was changed, not that staged rows are missing.
	fromTarget bool
}

// applySteps are the statements that bring one output's target up to date: deletes before upserts, in
// key order, so that two writers to neighbouring rows cannot deadlock and the index is walked once.
func (t *target) applySteps(ctx context.Context, tx pgx.Tx, m *manifest, o stagedOutput) (steps []step, lost bool, err error) {
	if o.Staged == 0 {
		return nil, false, nil
	}
	a := applier{target: t, m: m, o: o, plus: o.Staged - o.Minus,
		from: fmt.Sprintf("%s s WHERE s.%s = $1 AND s.%s = $2", t.stagingTable(), colBatch, colEpoch)}
	switch t.output.Mode {
	case planner.Append:
		a.add(a.plus, false, "INSERT INTO %s (%s) SELECT %s FROM %s", t.qualified(), a.cols(""), a.cols("s."), a.from)
	case planner.Multiset:
		a.multiset()
	default:
		lost, err = a.upsert(ctx, tx)
	}
	return a.steps, lost, err
}

// applier collects the steps of one output.
type applier struct {
	*target
	m     *manifest
	o     stagedOutput
	plus  int64  // staged rows that do not delete
	from  string // the staging table as s, and the condition that picks the batch
	steps []step
}

func (a *applier) cols(prefix string) string { return strings.Join(a.names(prefix), ", ") }

func (a *applier) add(want int64, fromTarget bool, format string, args ...any) {
	a.steps = append(a.steps, step{from: "table " + a.qualified(), sql: fmt.Sprintf(format, args...),
		args: []any{a.m.batch, a.m.epoch}, want: want, fromTarget: fromTarget})
}

func (a *applier) multiset() {
	if a.o.Minus > 0 {
		// One statement, so that one count tells whether every row that must shrink was there.
		a.add(a.o.Minus, true, `WITH d AS (SELECT s.%[2]s, -s.%[3]s AS n FROM %[4]s AND s.%[3]s < 0),
gone AS (DELETE FROM %[1]s t USING d WHERE t.%[2]s = d.%[2]s AND t.%[5]s = d.n RETURNING 1),
less AS (UPDATE %[1]s t SET %[5]s = t.%[5]s - d.n FROM d WHERE t.%[2]s = d.%[2]s AND t.%[5]s > d.n RETURNING 1)
SELECT 1 FROM gone UNION ALL SELECT 1 FROM less`, a.qualified(), colHash, colW, a.from, colCount)
	}
	if a.plus > 0 {
		a.add(a.plus, false, `INSERT INTO %[1]s AS t (%[2]s, %[3]s, %[4]s) SELECT %[5]s, s.%[3]s, s.%[6]s FROM %[7]s AND s.%[6]s > 0
ORDER BY s.%[3]s ON CONFLICT (%[3]s) DO UPDATE SET %[4]s = t.%[4]s + excluded.%[4]s`,
			a.qualified(), a.cols(""), colHash, colCount, a.cols("s."), colW, a.from)
	}
}

func (a *applier) upsert(ctx context.Context, tx pgx.Tx) (lost bool, err error) {
	if a.o.Minus > 0 {
		deletes, err := a.deletes(ctx, tx)
		if err != nil {
			return false, err
		}
		var rows int64
		for _, d := range deletes {
			rows += d.rows
			a.add(d.rows, true, "DELETE FROM %s t USING %s AND s.%s < 0%s", a.qualified(), a.from, colW, d.match)
		}
		if rows != a.o.Minus {
			return true, nil
		}
	}
	if a.plus == 0 {
		return false, nil
	}
	arbiter, order := "(true)", "" // the unique index that keeps an ungrouped aggregate to one row
	if len(a.output.Key) > 0 {
		arbiter = strings.Join(a.namesOf("", a.output.Key), ", ")
		order = " ORDER BY " + strings.Join(a.namesOf("s.", a.output.Key), ", ")
	}
	action, want := "DO NOTHING", int64(-1)
	if values := a.values(); len(values) > 0 {
		var sets []string
		for _, name := range a.namesOf("", values) {
			sets = append(sets, name+" = excluded."+name)
		}
		action, want = "DO UPDATE SET "+strings.Join(sets, ", "), a.plus
	} else {
		// All columns are key: a row that is there needs nothing, and is not counted. Count the staged rows instead.
		var n int64
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM %s AND s.%s > 0", a.from, colW), a.m.batch, a.m.epoch).Scan(&n)
		if err != nil || n != a.plus {
			return err == nil, err
		}
	}
	a.add(want, false, "INSERT INTO %s (%s) SELECT %s FROM %s AND s.%s > 0%s ON CONFLICT (%s) %s",
		a.qualified(), a.cols(""), a.cols("s."), a.from, colW, order, arbiter, action)
	return false, nil
}

// deletion matches the staged deletes of one pattern of NULLs in the key.
type deletion struct {
	match string
	rows  int64
}

// deletes finds which patterns of NULLs the keys of the staged deletes have. Why: IS NOT DISTINCT FROM
// cannot use an index, "a = x AND b IS NULL" can; nearly always there is one pattern, no NULL at all.
func (a *applier) deletes(ctx context.Context, tx pgx.Tx) ([]deletion, error) {
	key := a.output.Key
	patterns := []string{"0::bigint"}
	if a.nullKeys {
		for bit, name := range a.namesOf("s.", key) {
			patterns = append(patterns, fmt.Sprintf("CASE WHEN %s IS NULL THEN %d ELSE 0 END", name, int64(1)<<bit))
		}
	}
	rows, err := tx.Query(ctx, fmt.Sprintf("SELECT %s AS p, count(*) FROM %s AND s.%s < 0 GROUP BY 1",
		strings.Join(patterns, " + "), a.from, colW), a.m.batch, a.m.epoch)
	if err != nil {
		return nil, err
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (d deletion, err error) {
		var nulls int64
		err = r.Scan(&nulls, &d.rows)
		for bit, name := range a.namesOf("", key) {
			if nulls&(1<<bit) != 0 {
				d.match += " AND t." + name + " IS NULL AND s." + name + " IS NULL"
			} else {
				d.match += " AND t." + name + " = s." + name
			}
		}
		return d, err
	})
	slices.SortFunc(out, func(a, b deletion) int { return strings.Compare(a.match, b.match) })
	return out, err
}

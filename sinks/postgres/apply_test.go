package postgres

import (
	"fmt"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// model is what the tables should hold: rows by key text, with their multiplicity.
type model map[string]int

func (m model) lines() []string {
	out := []string{}
	for text, n := range m {
		if n > 0 {
			out = append(out, fmt.Sprintf("%dx%s", n, text))
		}
	}
	sort.Strings(out)
	return out
}

func line(cells ...any) string {
	s := ""
	for _, c := range cells {
		if c == nil {
			c = "∅"
		}
		s += fmt.Sprintf("|%v", c)
	}
	return s
}

var cellInt = rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.IntRange(0, 3), func(i int) any { return i }))
var cellText = rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.SampledFrom([]string{"", "x", "␀", "a longer text than twelve"}), func(s string) any { return s }))

// TestApply compares random deltas in all modes with a model, after every batch.
func TestApply(t *testing.T) {
	outs := []planner.Output{
		{Name: "up", Columns: fields("v", vector.Varchar, "a", vector.Int32, "b", vector.Varchar), Mode: planner.Upsert, Key: []int{2, 1}},
		{Name: "all key", Columns: fields("a", vector.Int32, "b", vector.Varchar), Mode: planner.Upsert, Key: []int{0, 1}},
		{Name: "single", Columns: fields("a", vector.Int32), Mode: planner.Upsert},
		{Name: "multi", Columns: fields("a", vector.Int32, "b", vector.Varchar), Mode: planner.Multiset},
	}
	url := pgtest.URL(t)
	rapid.Check(t, func(rt *rapid.T) {
		pgtest.Exec(t, url, `DROP SCHEMA IF EXISTS sluice CASCADE; DROP TABLE IF EXISTS up, "all key", single, multi`)
		e := newEngine(t, url, outs...)
		defer e.sink.Close()
		up, all, single, multi := map[string]string{}, model{}, model{}, model{}
		for n := int64(1); n <= 6; n++ {
			rows := [][]row{nil, nil, nil, nil}
			seen := map[string]bool{}
			for range rapid.IntRange(0, 6).Draw(rt, "changes") {
				a, b, v := cellInt.Draw(rt, "a"), cellText.Draw(rt, "b"), cellText.Draw(rt, "v")
				k := line(a, b)
				if seen[k] {
					continue // deltas are netted
				}
				seen[k] = true
				if _, there := up[k]; there && rapid.Bool().Draw(rt, "delete") {
					delete(up, k)
					rows[0] = append(rows[0], r(-1, v, a, b))
				} else {
					up[k] = line(v, a, b)
					rows[0] = append(rows[0], r(1, v, a, b))
				}
				if all[k] == 1 && rapid.Bool().Draw(rt, "delete") {
					all[k] = 0
					rows[1] = append(rows[1], r(-1, a, b))
				} else {
					all[k] = 1
					rows[1] = append(rows[1], r(1, a, b))
				}
				if w := rapid.IntRange(-multi[k], 3).Draw(rt, "w"); w != 0 {
					multi[k] += w
					rows[3] = append(rows[3], r(int64(w), a, b))
				}
			}
			switch a := cellInt.Draw(rt, "single"); {
			case len(single.lines()) == 1 && rapid.Bool().Draw(rt, "delete"):
				single = model{}
				rows[2] = []row{r(-1, nil)}
			case rapid.Bool().Draw(rt, "change"):
				single = model{line(a): 1}
				rows[2] = []row{r(1, a)}
			}
			e.run(batchOf(t, n, outs, rows...))
			upLines := model{}
			for _, text := range up {
				upLines[text] = 1
			}
			got := e.snapshots()
			for i, want := range []model{upLines, all, single, multi} {
				if diff := cmp.Diff(want.lines(), append([]string{}, got[i]...)); diff != "" {
					rt.Fatalf("batch %d, %s (-model +table):\n%s", n, outs[i].Name, diff)
				}
			}
		}
	})
}

// TestMultisetInterval deletes a row by an equal interval that is written differently.
func TestMultisetInterval(t *testing.T) {
	outs := []planner.Output{{Name: "x", Columns: fields("i", vector.Interval, "s", vector.Varchar, "ns", vector.TimestampNS), Mode: planner.Multiset}}
	e := newEngine(t, pgtest.URL(t), outs...)
	e.run(batchOf(t, 1, outs, []row{r(2, "1 month", "a", nil), r(1, "-1 days", nil, "2000-01-01 00:00:00.000000001"), r(1, "-1 days", nil, "2000-01-01 00:00:00.000000002")}))
	e.run(batchOf(t, 2, outs, []row{r(-1, "30 days", "a", nil), r(-1, "-24:00:00", nil, "2000-01-01 00:00:00.000000002")}))
	want := []string{"1x|-1 day|∅|2000-01-01 00:00:00", "1x|1 month|a|∅"}
	if diff := cmp.Diff(want, e.snapshot(0)); diff != "" {
		t.Error(diff)
	}
}

// TestNormalInterval has what DuckDB 1.5 answers for a = b.
func TestNormalInterval(t *testing.T) {
	type iv struct {
		months, days int32
		micros       int64
	}
	const hour = 3600 * 1_000_000
	for _, tt := range []struct {
		a, b  iv
		equal bool
	}{
		{iv{0, 1, -1}, iv{0, 0, 24*hour - 1}, false},
		{iv{0, 29, 24 * hour}, iv{1, 0, 0}, true},
		{iv{0, 29, 25 * hour}, iv{1, 0, hour}, true},
		{iv{0, 30, -24 * hour}, iv{0, 29, 0}, true},
		{iv{1, -30, 0}, iv{}, true},
		{iv{1, -1, 0}, iv{0, 29, 0}, false},
		{iv{0, 1, -48 * hour}, iv{0, -1, 0}, true},
		{iv{0, 31, -48 * hour}, iv{0, 29, 0}, true},
		{iv{1, 0, -24 * hour}, iv{0, 29, 0}, false},
	} {
		am, ad, aus := normalInterval(tt.a.months, tt.a.days, tt.a.micros)
		bm, bd, bus := normalInterval(tt.b.months, tt.b.days, tt.b.micros)
		if got := am == bm && ad == bd && aus == bus; got != tt.equal {
			t.Errorf("%v = %v is %v, want %v", tt.a, tt.b, got, tt.equal)
		}
	}
}

// TestTamperedTarget finds rows that somebody else deleted, instead of going on from a wrong table.
func TestTamperedTarget(t *testing.T) {
	for _, tt := range []struct {
		out    planner.Output
		insert []row
		remove []row
	}{
		{upsertOut, []row{r(1, "a", 1, 1)}, []row{r(-1, "a", nil, nil)}},
		{multiOut, []row{r(2, 1, "x")}, []row{r(-1, 1, "x")}},
	} {
		t.Run(tt.out.Name, func(t *testing.T) {
			url := pgtest.URL(t)
			outs := []planner.Output{tt.out}
			e := newEngine(t, url, outs...)
			e.run(batchOf(t, 1, outs, tt.insert))
			pgtest.Exec(t, url, "DELETE FROM "+tt.out.Name)
			b := batchOf(t, 2, outs, tt.remove)
			if err := e.sink.Stage(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			wantErr(t, e.sink.Commit(t.Context(), e.Prepare(b), info(b)), errDisagree, "sluice verify")
		})
	}
}

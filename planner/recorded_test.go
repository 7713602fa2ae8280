package planner

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
)

// recorded returns the bound plan of a query of testdata/bound, which internal/oracle's
// TestRecordedPlans -record writes: these tests need no DuckDB.
func recorded(t *testing.T, prefix string) *planNode {
	t.Helper()
	raw, err := os.ReadFile("testdata/bound/plans.json")
	if err != nil {
		t.Fatal(err)
	}
	plans := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &plans); err != nil {
		t.Fatal(err)
	}
	for q, doc := range plans {
		if strings.HasPrefix(q, prefix) {
			n, err := decodePlan(doc)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no recorded query starts with %q", prefix)
	return nil
}

var recordedSource = &SourceInput{Name: "t", EventTime: 6, Columns: []vector.Field{
	{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.Of(vector.Int64)}, {Name: "s", Type: vector.Of(vector.Varchar)}, {Name: "b", Type: vector.Of(vector.Bool)},
	{Name: "d", Type: vector.Type{Kind: vector.Decimal, Width: 10, Scale: 2}}, {Name: "f", Type: vector.Of(vector.Float64)}, {Name: "ts", Type: vector.Of(vector.Timestamp)},
	{Name: "l", Type: vector.ListOf(vector.Of(vector.Int32))}}}

func builtTree(t *testing.T, prefix string) node {
	t.Helper()
	b := &treeBuilder{sources: map[string]*SourceInput{"t": recordedSource}, check: func([]vector.Type, []*expr, bool) error { return nil }}
	n, err := b.build(recorded(t, prefix))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPrinter(t *testing.T) {
	for _, tc := range []struct {
		query string
		want  []string
	}{
		{"SELECT k, v + 1", []string{`c0`, `(c1 + CAST(1 AS BIGINT))`, `(- c1)`, `(NOT c2)`, `(c3 || 'it''s')`, `(c1 IN (CAST(1 AS BIGINT), CAST(2 AS BIGINT)))`, `(c3 IS NULL)`,
			`coalesce(c3, CAST('x' AS VARCHAR))`, `CASE WHEN (c1 > CAST(1 AS BIGINT)) THEN c3 ELSE CAST('n' AS VARCHAR) END`}},
		{"SELECT 1, -7", []string{`1`, `-7`, `9223372036854775807`, `1.50`, `-0.01`, `2.5e0`, `1e300`, `'a'`, `CAST(NULL AS INTEGER)`, `CAST('t' AS BOOLEAN)`,
			`CAST(CAST('170141183460469231731687303715884105727' AS HUGEINT) AS HUGEINT)`}},
		{"SELECT TRY_CAST", []string{`TRY_CAST(c0 AS INTEGER)`, `CAST(c1 AS DECIMAL(10,2))`, `"struct_pack"("a" := c1, "b c" := c0)`, `"array_extract"(c2, CAST(1 AS BIGINT))`, `"len"(c0)`,
			`(c3 % CAST(2.5 AS DECIMAL(10,2)))`}},
		{"SELECT list_transform", []string{`"list_transform"(c0, lambda _x0: (CAST(_x0 AS BIGINT) + c1))`,
			`"list_transform"(c0, lambda _x0: "len"("list_filter"(c0, lambda _x1: (_x1 > _x0))))`}},
	} {
		var got []string
		for _, e := range recorded(t, tc.query).Expressions {
			text, err := columns("c").expr(e)
			if err != nil {
				text = err.Error()
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.query, diff)
		}
	}
}

func TestPrintAggregates(t *testing.T) {
	agg := recorded(t, "SELECT count(*), sum").Children[0]
	var got []string
	for _, e := range agg.Expressions {
		text, err := columns("c").aggregate(e, "_seq")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, text)
	}
	want := []string{`count(* ORDER BY _seq)`, `"sum"(c1 ORDER BY _seq) FILTER (WHERE c0)`, `"count"(DISTINCT c2 ORDER BY _seq)`, `"string_agg"(c2, ';' ORDER BY c1 DESC NULLS LAST, c2 ASC NULLS LAST, _seq)`,
		`"quantile_cont"(c3, 0.25)`, `"quantile_disc"(c1, [0.1, 0.9])`}
	for i := 4; i < len(want); i++ {
		want[i] = strings.TrimSuffix(want[i], ")") + " ORDER BY _seq)"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// cannedBinder answers the planner's questions about constants: an interval with months is one that says so.
type cannedBinder struct{ Binder }

func (cannedBinder) QueryValue(_ context.Context, sql string) (string, bool, error) {
	return fmt.Sprint(!strings.Contains(sql, "1 month")), true, nil
}

// TestFloors is the table of what keeps the order of times, and so lets a watermark bound state.
func TestFloors(t *testing.T) {
	c := &compiler{ctx: context.Background(), binder: cannedBinder{}}
	want := map[string]string{
		"ts":                                   "W",
		"time_bucket 10s":                      `"time_bucket"(CAST('10 seconds' AS INTERVAL), (W))`,
		"date_trunc":                           `"date_trunc"('hour', (W))`,
		"+ 1 day":                              `((W) + CAST('1 day' AS INTERVAL))`,
		"- 1 month":                            "",
		"1 day +":                              `(CAST('1 day' AS INTERVAL) + (W))`,
		"::DATE":                               `CAST((W) AS DATE)`,
		"TRY_CAST":                             "",
		"greatest":                             "",
		"date_trunc by a column":               "",
		"time_bucket with an offset of months": "",
		"time_bucket with an origin":           `"time_bucket"(CAST('1 day' AS INTERVAL), (W), CAST('2000-01-01' AS TIMESTAMP))`,
		"strftime":                             "",
		"another column":                       "",
		"coalesce":                             "",
	}
	names := []string{"ts", "time_bucket 10s", "date_trunc", "+ 1 day", "- 1 month", "1 day +", "::DATE", "TRY_CAST", "greatest", "date_trunc by a column",
		"time_bucket with an offset of months", "time_bucket with an origin", "strftime", "another column", "coalesce"}
	plan := recorded(t, "SELECT ts, time_bucket")
	floors := make([]string, len(plan.Children[0].ColumnIndexes))
	for i, col := range plan.Children[0].ColumnIndexes {
		if col.Index == 6 {
			floors[i] = "W"
		}
	}
	for i, e := range plan.Expressions {
		if got := c.floorOf(e, floors); got != want[names[i]] {
			t.Errorf("%s: floor %q, want %q", names[i], got, want[names[i]])
		}
	}
}

func TestFloorsOfUnion(t *testing.T) {
	got := lowerFloors([]string{"a", "a", "", "a"}, []string{"a", "", "b", "b"})
	want := []string{"a", "", "", "list_sort([a, b], 'ASC', 'NULLS FIRST')[1]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// shape prints a tree as nested operators.
func shape(n node) string {
	switch n := n.(type) {
	case *scan:
		return "scan"
	case *project:
		return "project[" + printAll(n.exprs) + "](" + shape(n.child) + ")"
	case *filter:
		return "filter(" + shape(n.child) + ")"
	case *aggregate:
		return "aggregate[" + printAll(n.groups) + "; " + printAll(n.calls) + "](" + shape(n.child) + ")"
	}
	return fmt.Sprintf("%T", n)
}

func TestSimplify(t *testing.T) {
	for _, tc := range []struct{ name, query, want string }{
		{"not computed twice within one expression", "SELECT b.x + b.x", "project[(c0 + c0)](project[(c0 * CAST(2 AS BIGINT))](scan))"},
		{"not computed twice", "SELECT b.x + 1, b.x", "project[(c0 + CAST(1 AS BIGINT)), c0](project[(c0 * CAST(2 AS BIGINT))](scan))"},
		{"no column below count(*)", "SELECT count(*) FROM (SELECT", "aggregate[; count(*)](scan)"},
		{"unread columns below an aggregate", "SELECT k, sum(x)", `aggregate[c0; "sum"(c1)](project[c0, (c1 + CAST(1 AS BIGINT))](scan))`},
	} {
		if got := shape(prune([]node{new(simplifier).simplify(builtTree(t, tc.query))})[0]); got != tc.want {
			t.Errorf("%s: %s\n  got  %s\n  want %s", tc.name, tc.query, got, tc.want)
		}
	}
}

func TestProjectKey(t *testing.T) {
	read := func(i uint64) *expr { return &expr{Class: "BOUND_REF", Index: i} }
	other := &expr{Class: "BOUND_FUNCTION", Name: "f", Children: []*expr{read(0)}}
	for _, tc := range []struct {
		name  string
		child relation
		exprs []*expr
		key   []int
		keyed bool
	}{
		{"kept", relation{keyed: true, key: []int{0, 1}}, []*expr{read(2), read(1), read(0)}, []int{2, 1}, true},
		{"one lost", relation{keyed: true, key: []int{0, 1}}, []*expr{read(1), read(2)}, nil, false},
		{"computed from", relation{keyed: true, key: []int{0}}, []*expr{other}, nil, false},
		{"twice", relation{keyed: true, key: []int{0}}, []*expr{read(0), read(0)}, []int{0}, true},
		{"a single row", relation{keyed: true}, []*expr{other}, nil, true},
		{"no key", relation{}, []*expr{read(0)}, nil, false},
	} {
		key, keyed := tc.child.keyAmong(tc.exprs)
		if diff := cmp.Diff(tc.key, key); diff != "" || keyed != tc.keyed {
			t.Errorf("%s: key %v, keyed %v; want %v, %v", tc.name, key, keyed, tc.key, tc.keyed)
		}
	}
}

func TestResolvePlaceholders(t *testing.T) {
	column := func(side string, slot int) string { return side + "#" + itoa(slot) }
	for template, want := range map[string]string{
		"{o} + {p}":                      "o#7 + p#7",
		"{o1} < {p1}":                    "o#9 < p#9",
		"CASE WHEN {0} > 0 THEN {1} END": "CASE WHEN #7 > 0 THEN #9 END",
		"{x} {} stay as they are, {12a}": "{x} #7 stay as they are, {12a}",
	} {
		if got := resolve(template, 7, []int{7, 9}, column); got != want {
			t.Errorf("resolve(%q) = %q, want %q", template, got, want)
		}
	}
}

func TestPlainName(t *testing.T) {
	for name, want := range map[string]string{"bids": "bids", "Hot Items-2": "hotitems2", "события": "", strings.Repeat("x", 60): strings.Repeat("x", 40)} {
		if got := plainName(name); got != want {
			t.Errorf("plainName(%q) = %q, want %q", name, got, want)
		}
	}
}

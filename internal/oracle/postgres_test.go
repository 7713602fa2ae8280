package oracle_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// common are queries that DuckDB and PostgreSQL both understand, with columns that both print alike.
var common = map[string]string{
	"filtered":     `SELECT k, v, s FROM t WHERE v > 5 AND s <> 'a'`,
	"sums":         `SELECT k, count(*) AS c, count(v) AS cv, sum(v) AS sv, min(v) AS mn, max(s) AS mx FROM t GROUP BY k`,
	"having":       `SELECT k, s, count(*) AS c FROM t GROUP BY k, s HAVING count(*) > 1`,
	"total":        `SELECT count(*) AS c, sum(v) AS s, count(*) FILTER (WHERE v > 30) AS b FROM t`,
	"distincts":    `SELECT DISTINCT k, s FROM t`,
	"counted":      `SELECT s, count(DISTINCT v) AS c, sum(DISTINCT k) AS d FROM t GROUP BY s`,
	"filters":      `SELECT k, count(*) FILTER (WHERE v > 10) AS c, sum(v) FILTER (WHERE s = 'a') AS sv FROM t GROUP BY k`,
	"ordered_list": `SELECT k, string_agg(s, ',' ORDER BY s) AS l FROM t WHERE s IN ('a', 'ab') GROUP BY k`,
	"nested":       `SELECT c, count(*) AS n FROM (SELECT k, s, count(*) AS c FROM t GROUP BY k, s) g GROUP BY c`,
	"joined":       `SELECT t.k, t.v, u.v AS uv FROM t JOIN u ON t.k = u.k AND t.v < u.v`,
	"left_joined":  `SELECT t.k, t.v, u.s FROM t LEFT JOIN u ON t.v = u.v`,
	"full_joined":  `SELECT t.v, u.v AS uv FROM t FULL JOIN u ON t.v = u.v`,
	"left_sums":    `SELECT t.s, count(u.v) AS c, sum(u.v) AS sv FROM t LEFT JOIN u ON t.k = u.k GROUP BY t.s`,
	"in_filter":    `SELECT k, v FROM t WHERE v IN (SELECT v FROM u)`,
	"not_in":       `SELECT k, v FROM t WHERE v NOT IN (SELECT v FROM u WHERE k = 2 AND v IS NOT NULL)`,
	"not_exists":   `SELECT k, v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.v > t.v)`,
	"scalar":       `SELECT k, v, (SELECT max(v) FROM u WHERE u.k = t.k) AS m FROM t`,
	"above":        `SELECT k, v FROM t WHERE v > (SELECT avg(v) FROM u)`,
	"unions":       `SELECT k, s FROM t UNION SELECT k, s FROM u`,
	"union_all":    `SELECT k FROM t UNION ALL SELECT v FROM u`,
	"except_all":   `SELECT k FROM t EXCEPT ALL SELECT k FROM u`,
	"intersected":  `SELECT k, s FROM t INTERSECT SELECT k, s FROM u`,
	"rolled_up":    `SELECT k, s, count(*) AS c, grouping(k, s) AS g FROM t GROUP BY ROLLUP (k, s)`,
	"ranks":        `SELECT k, v, rank() OVER (PARTITION BY k ORDER BY v) AS r, sum(v) OVER (PARTITION BY k ORDER BY v) AS sv FROM t`,
	"lagged":       `SELECT k, v, lag(v) OVER (PARTITION BY k ORDER BY v) AS p FROM t WHERE v IS NOT NULL`,
	"top":          `SELECT v FROM t WHERE v IS NOT NULL ORDER BY v DESC LIMIT 5`,
	"twice":        `WITH g AS (SELECT k, count(*) AS c FROM t GROUP BY k) SELECT x.k, y.k AS yk FROM g x JOIN g y ON x.c = y.c AND x.k < y.k`,
}

// TestFinalStatesEqualPostgres runs changes to their end and asks PostgreSQL, over the rows that are then there,
// the same queries.
func TestFinalStatesEqualPostgres(t *testing.T) {
	for i, kinds := range [][2]string{{"weighted", "keyed"}, {"keyed", "weighted"}} {
		t.Run(kinds[0], func(t *testing.T) {
			text := changingSQL("t", kinds[0], "") + changingSQL("u", kinds[1], "")
			for _, name := range slices.Sorted(maps.Keys(common)) {
				text += fmt.Sprintf("CREATE MATERIALIZED VIEW %q AS %s;\n", name, common[name])
			}
			s := newStepper(t, incrementalPlan(t, text))
			all := map[string]*vector.Chunk{"t": changes(t, kinds[0], 150, int64(i*8+11)), "u": changes(t, kinds[1], 150, int64(i*9+12))}
			for at, step := 0, 17; at < all["t"].N || at < all["u"].N; at += step {
				in := map[string][]*vector.Chunk{}
				for name, rows := range all {
					keep := make([]bool, rows.N)
					for j := at; j < min(at+step, rows.N); j++ {
						keep[j] = true
					}
					in[name] = []*vector.Chunk{vector.Filter(rows, keep)}
				}
				if err := s.step(in); err != nil {
					t.Fatal(err)
				}
				for name, chunks := range in {
					if err := s.one.Load(t.Context(), name, chunks); err != nil {
						t.Fatal(err)
					}
				}
			}
			want := s.askPostgres(t)
			for _, name := range slices.Sorted(maps.Keys(common)) {
				if diff := cmp.Diff(want[name], texts(s.tables[name].Rows())); diff != "" {
					t.Errorf("view %s (-PostgreSQL +pipeline):\n%s\n%s", name, diff, common[name])
				}
			}
		})
	}
}

// askPostgres copies the sources' relations as they are now and answers the queries, each row as texts.
func (s *stepper) askPostgres(t *testing.T) map[string][]string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	for _, name := range []string{"t", "u"} {
		exec("CREATE TABLE " + name + " (k bigint, s text COLLATE \"C\", v bigint)")
		chunks, _, err := s.one.Query(ctx, "SELECT format('({}, {}, {})', coalesce(k::VARCHAR, 'NULL'), coalesce('''' || s || '''', 'NULL'), coalesce(v::VARCHAR, 'NULL')) FROM "+name)
		if err != nil {
			t.Fatal(err)
		}
		var rows []string
		for _, row := range texts(chunks) {
			rows = append(rows, strings.TrimSuffix(row, "|"))
		}
		if len(rows) < 4 {
			t.Fatalf("only %d rows of %s are left", len(rows), name)
		}
		exec("INSERT INTO " + name + " VALUES " + strings.Join(rows, ", "))
	}
	out := map[string][]string{}
	for name, query := range common {
		out[name] = postgresTexts(t, conn, query)
	}
	return out
}

// postgresTexts answers a query with every column as text.
func postgresTexts(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(context.Background(), query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		line := ""
		for _, v := range rows.RawValues() {
			text := "NULL"
			if v != nil {
				text = string(v)
			}
			line += text + "|"
		}
		out = append(out, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	slices.Sort(out)
	return out
}

package oracle_test

import "testing"

// changing is a subquery like t whose rows change as more of them come.
const changing = `(SELECT k, s, max(v) AS v, max(ts) AS ts FROM t GROUP BY k, s)`

// marks are subqueries as filters and as values: IN and NOT IN with NULLs on either side, over sets that are
// empty at first, correlated or not.
var marks = map[string]string{
	"in_value":         `SELECT k, v, v IN (SELECT v FROM u) AS m FROM t`,
	"in_no_nulls":      `SELECT k, v, v IN (SELECT v FROM u WHERE v > 20) AS m FROM t`,
	"in_empty":         `SELECT k, v, v IN (SELECT v FROM u WHERE v > 1000) AS m, v NOT IN (SELECT v FROM u WHERE v > 1000) AS n FROM t`,
	"in_late":          `SELECT k, v, v IN (SELECT v FROM u WHERE ts > TIMESTAMP '2020-01-01 00:00:15') AS m FROM t`,
	"in_correlated":    `SELECT k, v, v IN (SELECT v FROM u WHERE u.k = t.k) AS m FROM t`,
	"in_row":           `SELECT k, s, (k, s) IN (SELECT k, s FROM u) AS m, (k, s) IN (SELECT k, s FROM u WHERE k > 1 AND s > 'a') AS n FROM t`,
	"in_case":          `SELECT k, CASE WHEN v IN (SELECT v FROM u WHERE k = 3) THEN 'in' WHEN NOT (k IN (SELECT k FROM u WHERE v < 9)) THEN 'not' ELSE '?' END AS c FROM t`,
	"in_or":            `SELECT k, v FROM t WHERE v IN (SELECT v FROM u WHERE k = 3) OR k > 4`,
	"in_changing":      `SELECT k, s, v IN (SELECT max(v) FROM u GROUP BY k, s) AS m FROM ` + changing,
	"in_twice":         `SELECT k, v FROM t WHERE v IN (SELECT v FROM u WHERE k = 3) AND k IN (SELECT k FROM u WHERE v > 30) AND v > 3`,
	"in_and_not_in":    `SELECT k, v FROM t WHERE k IN (SELECT k FROM u WHERE v > 30) AND v NOT IN (SELECT v FROM u WHERE v < 20) AND s <> 'é'`,
	"not_in":           `SELECT k, v FROM t WHERE v NOT IN (SELECT v FROM u WHERE k = 3)`,
	"not_in_null":      `SELECT k, v FROM t WHERE v NOT IN (SELECT v FROM u)`,
	"not_in_correl":    `SELECT k, v FROM t WHERE v NOT IN (SELECT v FROM u WHERE u.k = t.k)`,
	"not_in_correl_or": `SELECT k, v FROM t WHERE v NOT IN (SELECT v FROM u WHERE u.k = t.k AND u.v > 10) OR s = 'a'`,
	"not_in_row":       `SELECT k, s FROM t WHERE (k, s) NOT IN (SELECT k, s FROM u WHERE v > 10 AND s IS NOT NULL)`,
	"not_in_changing":  `SELECT k, s, v FROM ` + changing + ` WHERE v NOT IN (SELECT max(v) FROM u WHERE v IS NOT NULL GROUP BY k)`,
	"not_in_keyed":     `SELECT k, c FROM (SELECT k, count(*) AS c FROM t GROUP BY k) WHERE c NOT IN (SELECT count(*) FROM u GROUP BY k)`,
	"exists_value":     `SELECT k, v, EXISTS (SELECT 1 FROM u WHERE u.v = t.v AND u.k > t.k) AS e FROM t`,
	"exists_not_value": `SELECT k, v, NOT EXISTS (SELECT 1 FROM u WHERE u.v IS NOT DISTINCT FROM t.v) AS e FROM t`,
	"exists_or":        `SELECT k, v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.v = t.v AND u.k = t.k) OR v < 10`,
	"exists_plain":     `SELECT k, v, EXISTS (SELECT 1 FROM u WHERE v = 39) AS e FROM t`,
	"exists_filter":    `SELECT count(*) AS c FROM t WHERE EXISTS (SELECT 1 FROM u WHERE v = 39)`,
	"exists_changing":  `SELECT k, s, EXISTS (SELECT 1 FROM (SELECT k, max(v) AS v FROM u GROUP BY k) b WHERE b.v > a.v) AS e FROM ` + changing + ` a`,
	"above_all":        `SELECT k, v FROM t WHERE v > ALL (SELECT v FROM u WHERE u.s = t.s)`,
	"above_any":        `SELECT k, v, v >= ANY (SELECT v FROM u) AS a, v < ALL (SELECT v FROM u WHERE v > 5) AS b FROM t`,
	"differs":          `SELECT k, v, v <> ALL (SELECT v FROM u WHERE v > 36) AS a, v <> ANY (SELECT v FROM u WHERE v < 3) AS b FROM t`,
	"all_changing":     `SELECT k, s, v >= ALL (SELECT max(v) FROM u GROUP BY s) AS a FROM ` + changing,
	"one_row":          `SELECT k, v, (SELECT s FROM u WHERE u.k = t.k AND u.v = t.v AND u.d > 99 AND u.l = [0]) AS x FROM t`,
	"one_row_grouped":  `SELECT k, (SELECT max(v) FROM u WHERE u.k = t.k GROUP BY s HAVING s = 'a') AS x FROM t`,
	"one_row_plain":    `SELECT k, (SELECT v FROM u WHERE v = 7 AND k = 2 AND s = 'a' AND d < 20) AS x FROM t`,
	"one_row_changing": `SELECT k, v, (SELECT v FROM (SELECT k, s, max(v) AS v FROM u GROUP BY k, s) b WHERE b.k = a.k AND b.s = a.s AND b.v > 20) AS x FROM ` + changing + ` a`,
	"array":            `SELECT k, v, ARRAY(SELECT u.v FROM u WHERE u.k = t.k ORDER BY u.v) AS a FROM t`,
}

// asofs have no NULL where the nearest row is looked for, since DuckDB has no one answer for them, and take
// from the right side nothing that equals do not share.
var asofs = map[string]string{
	"asof":          `SELECT t.k, t.v, t.ts, u.ts AS uts FROM t ASOF JOIN (SELECT k, ts FROM u WHERE ts IS NOT NULL) u ON t.k = u.k AND t.ts >= u.ts WHERE t.ts IS NOT NULL`,
	"asof_left":     `SELECT a.k, a.v, b.uv, b.ts FROM (FROM t WHERE ts IS NOT NULL) a ASOF LEFT JOIN (SELECT k, ts, max(v) AS uv FROM u WHERE ts IS NOT NULL GROUP BY k, ts) b ON a.k = b.k AND a.ts > b.ts`,
	"asof_next":     `SELECT a.k, a.v, b.ts FROM (FROM t WHERE ts IS NOT NULL) a ASOF LEFT JOIN (FROM u WHERE ts IS NOT NULL) b ON a.k IS NOT DISTINCT FROM b.k AND a.ts < b.ts`,
	"asof_keyless":  `SELECT a.v, b.v AS bv FROM (FROM t WHERE v IS NOT NULL) a ASOF JOIN (FROM u WHERE v IS NOT NULL) b ON a.v <= b.v`,
	"asof_using":    `SELECT k, a.v, ts FROM (FROM t WHERE ts IS NOT NULL) a ASOF LEFT JOIN (SELECT k, ts FROM u WHERE ts IS NOT NULL) b USING (k, ts)`,
	"asof_changing": `SELECT a.k, a.s, a.v, b.v AS bv FROM (FROM ` + changing + ` WHERE v IS NOT NULL) a ASOF LEFT JOIN (SELECT k, v, count(*) AS c FROM u WHERE v IS NOT NULL GROUP BY k, v HAVING count(*) < 3) b ON a.k = b.k AND a.v >= b.v`,
	"asof_semi":     `SELECT a.k, a.v FROM (FROM t WHERE ts IS NOT NULL) a ASOF SEMI JOIN (FROM u WHERE ts IS NOT NULL) b ON a.k = b.k AND a.ts < b.ts`,
	"asof_agg":      `SELECT b.k, count(*) AS c, sum(a.v) AS sv FROM (FROM t WHERE ts IS NOT NULL) a ASOF JOIN (SELECT DISTINCT k, ts FROM u WHERE ts IS NOT NULL) b ON a.k = b.k AND a.ts >= b.ts GROUP BY b.k`,
}

// laterals are joins with a subquery of each row, and joins of several tables.
var laterals = map[string]string{
	"first_two":      `SELECT t.k, t.v, x.v AS xv FROM t, LATERAL (SELECT v FROM u WHERE u.k = t.k ORDER BY v DESC NULLS LAST LIMIT 2) x`,
	"first_below":    `SELECT t.k, t.v, x.v AS xv FROM t LEFT JOIN LATERAL (SELECT v FROM u WHERE u.v < t.v ORDER BY v DESC LIMIT 1) x ON true`,
	"skipping":       `SELECT t.k, x.v FROM t, LATERAL (SELECT v FROM u WHERE u.k = t.k ORDER BY v LIMIT 2 OFFSET 1) x`,
	"several":        `SELECT t.k, t.v, x.m, x.c FROM t LEFT JOIN LATERAL (SELECT max(v) AS m, count(*) AS c FROM u WHERE u.k = t.k AND u.v < t.v) x ON true`,
	"expressions":    `SELECT k, x.w, y.z FROM t, LATERAL (SELECT t.v + 1 AS w) x, LATERAL (SELECT x.w * 2 AS z) y`,
	"lateral_nested": `SELECT a.k, x.c FROM ` + changing + ` a, LATERAL (SELECT count(*) AS c FROM u WHERE u.k = a.k AND u.v > a.v) x`,
	"natural":        `SELECT * FROM (SELECT k, s, v FROM t) NATURAL JOIN (SELECT k, s, v AS w FROM u)`,
	"using_three":    `SELECT * FROM (SELECT k, v FROM t) a JOIN (SELECT k, v, s FROM u) b USING (k, v) LEFT JOIN (SELECT k, s, max(v) AS w FROM t GROUP BY ALL) c USING (k, s)`,
	"full_chain":     `SELECT k, a.c, b.c AS d, e.c AS f FROM (SELECT k, count(*) AS c FROM t GROUP BY k) a FULL JOIN (SELECT v AS k, count(*) AS c FROM u GROUP BY v) b USING (k) FULL JOIN (SELECT k + v AS k, count(*) AS c FROM u GROUP BY 1) e USING (k)`,
	"self_any":       `SELECT a.v, b.v AS w FROM (SELECT DISTINCT v FROM t) a JOIN (SELECT DISTINCT v FROM t) b ON a.v * b.v > 1000 OR a.v = b.v + 1`,
	"non_equi_left":  `SELECT a.k, b.k AS bk FROM (SELECT DISTINCT k FROM t) a LEFT JOIN (SELECT DISTINCT k FROM u WHERE v > 20) b ON a.k < b.k`,
	"non_equi_full":  `SELECT a.k, b.v AS bv FROM (SELECT DISTINCT k FROM t) a FULL JOIN (SELECT DISTINCT v FROM u WHERE v < 10) b ON a.k * 2 = b.v + a.k OR a.k > b.v + 3`,
	"left_of_left":   `SELECT t.k, t.v, x.v AS xv, y.c FROM t LEFT JOIN (SELECT k, s, v FROM u WHERE v > 10) x ON t.k = x.k AND t.s = x.s LEFT JOIN (SELECT v, count(*) AS c FROM u GROUP BY v) y ON x.v = y.v`,
	"first_arrived":  `SELECT k, v FROM t WHERE v > 3 LIMIT 5`,
	"skip_arrived":   `SELECT k, v, s FROM t LIMIT 4 OFFSET 7`,
	"all_but_first":  `SELECT k, v, s FROM t OFFSET 100`,
	"distinct_on":    `SELECT DISTINCT ON (k, s) k, s, v FROM t`,
	"first_of_equal": `SELECT k, v, first_value(v) OVER (PARTITION BY k ORDER BY s, v) AS f, list(v) OVER (PARTITION BY k ORDER BY v) AS l FROM t`,
	"ordered_list":   `SELECT t.k, list(u.v ORDER BY u.v) AS l, string_agg(u.s, ',' ORDER BY u.s) AS sa FROM t JOIN u ON t.k = u.k AND t.s = u.s AND t.v < 9 GROUP BY t.k`,
}

func TestMarksEqualOneShot(t *testing.T)    { equalOneShot(t, marks) }
func TestAsofEqualsOneShot(t *testing.T)    { equalOneShot(t, asofs) }
func TestLateralsEqualOneShot(t *testing.T) { equalOneShot(t, laterals) }

package oracle_test

import "testing"

// distincts count values: under several filters, over rows that change, without a group, and values that
// some filters let through only later.
var distincts = map[string]string{
	"filters":          `SELECT s, count(DISTINCT v) AS a, count(DISTINCT v) FILTER (k > 2) AS b, count(DISTINCT v) FILTER (v > 5 AND f > 0) AS c, count(DISTINCT k) AS d, count(*) AS n FROM t GROUP BY s`,
	"only_filters":     `SELECT s, count(DISTINCT v) FILTER (k > 2) AS b, count(DISTINCT v) FILTER (k < 2) AS c FROM t GROUP BY s`,
	"no_group":         `SELECT count(DISTINCT v) FILTER (k > 2) AS b, count(DISTINCT v) AS a, count(DISTINCT s) AS s, median(v) FILTER (k > 2) AS m FROM t`,
	"changing":         `SELECT s, count(DISTINCT c) AS a, count(DISTINCT c) FILTER (k > 2) AS b, count(DISTINCT c) FILTER (k < 2) AS d FROM (SELECT k, s, count(*) AS c FROM t GROUP BY k, s) GROUP BY s`,
	"changing_filters": `SELECT count(DISTINCT c) FILTER (sv > 50) AS b, count(DISTINCT c) FILTER (sv <= 50) AS d FROM (SELECT k, s, count(*) AS c, sum(v) AS sv FROM t GROUP BY k, s)`,
	"of_expressions":   `SELECT k, count(DISTINCT v % 3) AS a, count(DISTINCT v % 3) FILTER (s = 'a') AS b, count(DISTINCT upper(s)) AS u FROM t GROUP BY k`,
}

func TestDistinctCountsEqualOneShot(t *testing.T) { equalOneShot(t, distincts) }

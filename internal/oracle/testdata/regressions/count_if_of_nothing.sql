-- incremental
SELECT k, count_if(v IN (1, 2, NULL)) AS c, count_if(b) FILTER (v > 100) AS n FROM t GROUP BY k

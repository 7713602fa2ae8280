-- incremental
SELECT count(DISTINCT c) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k)

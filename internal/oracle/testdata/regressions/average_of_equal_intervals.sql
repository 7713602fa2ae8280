-- incremental
SELECT k, avg(iv) AS a, mean(iv) FILTER (b) AS m FROM t GROUP BY k

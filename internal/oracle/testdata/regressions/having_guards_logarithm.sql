-- incremental
SELECT k, ln(sum(v) - 60) AS x FROM t GROUP BY k HAVING sum(v) > 60

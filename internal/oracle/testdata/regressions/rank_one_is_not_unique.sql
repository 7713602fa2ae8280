-- incremental
SELECT c FROM (SELECT k, v, count(*) % 2 AS c FROM t GROUP BY k, v) QUALIFY rank() OVER (PARTITION BY c ORDER BY c) <= 1

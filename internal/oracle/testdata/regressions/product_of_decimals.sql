-- incremental
SELECT 0.908 * v AS a, d * 1.5 AS b, d * d AS c FROM t WHERE d < 100

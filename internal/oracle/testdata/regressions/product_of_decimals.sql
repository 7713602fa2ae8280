-- incremental
SELECT 0.908 * v AS a, d * 1.5 AS b, d * d AS c, CAST(d AS DECIMAL(18, 2)) * 2 AS e FROM t

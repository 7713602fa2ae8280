-- incremental
SELECT CAST(d AS DECIMAL(18, 2)) * 2 AS e, CAST(v AS DECIMAL(18, 2)) * d AS f, CAST(ti AS DECIMAL(4, 1)) * 1.5 AS g, v * CAST(ti AS DECIMAL(4, 1)) AS h FROM t WHERE d < 100

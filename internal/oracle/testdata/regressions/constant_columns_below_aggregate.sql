-- incremental
SELECT f, sum(n) AS n FROM (SELECT DISTINCT 'x' AS f, v, 7 AS n FROM t) GROUP BY f

-- incremental
SELECT DISTINCT -3 AS f, typeof(m) AS ty, 'x' AS s FROM (SELECT max(k) AS m FROM t)

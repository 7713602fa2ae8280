-- incremental
SELECT k, var_pop(c) AS v, stddev(c) AS s FROM (SELECT k, k / 3 + 0.1 AS c FROM t) GROUP BY k

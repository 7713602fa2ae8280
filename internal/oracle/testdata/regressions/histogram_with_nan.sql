-- incremental
SELECT k, histogram(fx) AS h FROM t GROUP BY k

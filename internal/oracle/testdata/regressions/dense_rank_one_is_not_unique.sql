-- incremental
SELECT k, v FROM t QUALIFY dense_rank() OVER (PARTITION BY k ORDER BY v DESC) = 1

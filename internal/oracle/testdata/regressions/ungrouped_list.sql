-- incremental
SELECT list(v) AS l FROM t

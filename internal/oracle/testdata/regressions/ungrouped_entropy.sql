-- incremental
SELECT entropy(en) AS e FROM t

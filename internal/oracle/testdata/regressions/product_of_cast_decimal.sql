-- Recomputed in full: what is printed binds to a narrower product.
SELECT CAST(d AS DECIMAL(18, 2)) * 2 AS e FROM t

-- incremental
SELECT k, approx_quantile(f, 0.5) AS q, quantile_disc(l, 0.3) AS ql, quantile_disc(v, [0.3]) AS qv FROM t GROUP BY k

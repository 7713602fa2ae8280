SELECT k, v - (SELECT min(v) FROM t) AS d FROM t

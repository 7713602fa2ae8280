SELECT avg(m) AS a FROM (SELECT k, max(iv) AS m FROM t GROUP BY k)

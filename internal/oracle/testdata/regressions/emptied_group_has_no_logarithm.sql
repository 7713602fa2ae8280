-- incremental
SELECT c, ln(n) AS v FROM (SELECT c, count(*) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) GROUP BY c)

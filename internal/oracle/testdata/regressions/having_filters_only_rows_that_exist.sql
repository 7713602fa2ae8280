-- incremental
SELECT c, n FROM (SELECT c, count(*) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) GROUP BY c) WHERE ln(n) >= 0

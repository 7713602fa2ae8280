-- incremental
SELECT iv, count(*) AS c, count(DISTINCT iv) AS d FROM t GROUP BY iv

-- incremental
SELECT iv > INTERVAL '29 days' AS p, count(*) AS c FROM t GROUP BY 1

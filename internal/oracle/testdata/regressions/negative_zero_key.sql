-- incremental
SELECT fx * -1 AS z, count(*) AS c FROM t GROUP BY 1

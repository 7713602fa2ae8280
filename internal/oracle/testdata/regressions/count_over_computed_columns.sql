-- incremental
SELECT count(*) AS c FROM (SELECT k + 1 AS x FROM t)

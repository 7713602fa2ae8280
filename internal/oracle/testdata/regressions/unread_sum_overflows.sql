-- incremental
SELECT k, c FROM (SELECT k, count(*) AS c, sum(v * 9223372036854775807) AS unread FROM t GROUP BY k)

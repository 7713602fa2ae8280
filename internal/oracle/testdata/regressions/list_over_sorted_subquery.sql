SELECT list(x) AS l FROM (SELECT v AS x FROM t ORDER BY v, k)

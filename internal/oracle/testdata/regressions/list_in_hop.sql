-- incremental
SELECT k, window_start, list(s) AS l FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY k, window_start

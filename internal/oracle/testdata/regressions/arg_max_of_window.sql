SELECT k, arg_max(window_start, v) AS a FROM hop(t, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY k

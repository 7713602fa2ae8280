package planner

// WindowMacros define tumble, hop, cumulate and session as table macros, so that the same text runs in
// one shot in plain DuckDB. The planner needs no rule for the first three: bound, they are projections
// and unnests. Windows are half open, [window_start, window_end).
//
// Invariant: the running sum of session() uses the default RANGE frame, so that rows with equal times
// share its value; with ROWS, two window operators may order ties differently and split a session.
var WindowMacros = []string{
	`CREATE MACRO tumble(t, ts, size) AS TABLE SELECT *, time_bucket(size, ts) AS window_start, time_bucket(size, ts) + size AS window_end FROM query_table(t)`,
	`CREATE MACRO hop(t, ts, slide, size) AS TABLE SELECT *, window_start + size AS window_end FROM (SELECT *, unnest(range(time_bucket(slide, ts), ts - size, -slide)) AS window_start FROM query_table(t))`,
	`CREATE MACRO cumulate(t, ts, step, size) AS TABLE SELECT *, time_bucket(size, ts) AS window_start, unnest(range(time_bucket(size, ts) + size, ts, -step)) AS window_end FROM query_table(t)`,
	`CREATE MACRO session(t, ts, gap, key) AS TABLE SELECT * EXCLUDE (_nw, _sid), min(ts) OVER (PARTITION BY key, _sid) AS window_start, max(ts) OVER (PARTITION BY key, _sid) + gap AS window_end FROM (SELECT *, sum(_nw) OVER (PARTITION BY key ORDER BY ts) AS _sid FROM (SELECT *, coalesce((ts - lag(ts) OVER (PARTITION BY key ORDER BY ts) > gap)::INT, 1) AS _nw FROM query_table(t) WHERE ts IS NOT NULL))`,
}

// Package postgres reads a PostgreSQL table, or a query, as a table to look up.
//
// A goroutine reads all of it at each refresh, in one REPEATABLE READ snapshot, and compares it with the version
// that the ingest log holds: by PRIMARY KEY if one is declared, else as a multiset. The differences are appended to the
// log, all of them or none. The engine reads the log like any replayable source, so that a batch, a replay and a verify
// all see the version that an offset names, whatever became of the table since.
//
// The rows of the log are the declared columns and a weight. With a key, +1 is the row that its key has now and −1 says that the
// key is gone; without one, weights count rows.
//
// A server that cannot be reached at the very first start is refused. Later the last version stays, the failure is
// logged, and the refresh is tried again.
//
// The table is held in memory, as hashes by key, or whole rows without a key.
package postgres

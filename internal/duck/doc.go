// Package duck embeds DuckDB: it runs SQL, hands chunks in as table functions, hands keyed state in as
// lookup functions, and hands results out as chunks. It is the only package that uses cgo.
//
// Cold calls go through duckdb-go's mapping of DuckDB's C API. The hot ones, moving a chunk in or out,
// go through bridge.c: one call into C a chunk finds every vector of every column, and the cells are
// then copied (in) or viewed (out) by column. No Go value is ever made for a cell.
//
// # Who may call what
//
// A DB may be shared. A Conn, with its statements, rows, inputs and states, belongs to one goroutine at
// a time, and has at most one open Rows: starting another statement ends it.
//
// # Failed statements
//
// A statement that fails while it runs inside BEGIN … COMMIT aborts the transaction, and the COMMIT that
// follows answers success although it has rolled back. Use Conn.Tx, which rolls back on every error.
//
// # Whose memory
//
// Chunks that enter (Input, KeyedState) are not copied string by string: DuckDB reads their strings
// where they lie, for as long as the statement runs. Tables and result sets get copies of their own.
package duck

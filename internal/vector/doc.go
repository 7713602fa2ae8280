// Package vector holds columnar data in DuckDB's flat in-memory layout, in pure Go.
//
// It is the one currency between the parts of a batch: sources decode into chunks, DuckDB scans and
// returns them, the state store gathers them, the checkpoint log encodes them and the Postgres sink
// turns them into COPY BINARY. Because the layout is DuckDB's own, crossing into cgo is a memory copy
// per column of 2048 rows, never a Go value per cell.
//
// Layout of a Vector of n rows:
//
//	fixed width    Data: n × Width bytes, native (little) endian
//	VARCHAR, BLOB, BIT, BIGNUM  Data: n × 16 bytes, each a StringRef (see string.go)
//	LIST, MAP      Data: n × 16 bytes, each {offset uint64, length uint64} into Children[0]
//	ARRAY          Data: nil; row i is Children[0][i*Size : (i+1)*Size]
//	STRUCT         Data: nil; one child of n rows a field
//	UNION          Data: nil; a STRUCT whose first child is the UTINYINT tag
//
// Valid has bit i set when row i is not NULL; nil means that no row is NULL.
//
// Invariant: memory that Data, Valid or a StringRef points at stays alive and unmoved while the chunk
// is in use. A borrowed chunk (from a query result or from the state store) says until when; an owned
// chunk keeps its memory by the references in Keep.
package vector

// Size is the most rows a chunk may have: DuckDB's standard vector size.
const Size = 2048

// Package decode turns blocks of text rows (NDJSON, CSV, change events) into columnar chunks.
//
// A decoder is driven by the declared columns: it scans the bytes once and writes each value straight
// into vector memory, with no Go value per cell and no allocation per row. Long strings are not copied;
// they point into the block, which the chunk then keeps alive.
//
// Decoding a block is a function of the block, its offset and the Builder's limits alone, so blocks can
// be decoded by several goroutines with a Builder each.
//
// Conversions follow DuckDB 1.5's read_json(columns = …) and read_csv(columns = …): what they accept is
// accepted with the same result, what they refuse is a bad row. The differences, all on purpose:
//
//   - -0.0 becomes 0.0, in DOUBLE and FLOAT.
//   - A NUL character in a text value is refused: Postgres cannot store it.
//   - A key that comes twice in a MAP is refused: DuckDB reads such maps and fails on them later.
//   - 127.5 as TINYINT (the largest value of an integer type plus a half) is refused; DuckDB wraps round.
//   - CSV: a quoted empty field is an empty string, as with allow_quoted_nulls = false.
//   - CSV: TIMESTAMPTZ takes offsets and UTC but no zone names, and nested types are refused by Check.
package decode

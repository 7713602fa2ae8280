// Package valuetext writes the values of vectors as text and JSON, and reads them back.
//
// Text is what DuckDB's cast to VARCHAR writes, so that it reads the same in psql, in a terminal and in a
// DuckDB shell. JSON of a value:
//
//	BOOLEAN, integers, DECIMAL, FLOAT, DOUBLE   a JSON number (or true, false); "NaN", "Infinity", "-Infinity" as strings
//	LIST, ARRAY, STRUCT without field names     an array
//	STRUCT                                      an object
//	MAP                                         an object whose keys are the keys as text
//	UNION                                       an object with one member, the tag
//	everything else                             its text, as a string
//
// Minus zero is written as zero. Reading gives back the same values, with two exceptions: a MAP's entries
// come back ordered by key text, because Postgres's jsonb does not keep their order, and minus zero is zero.
package valuetext

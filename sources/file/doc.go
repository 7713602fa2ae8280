// Package file reads NDJSON, CSV and Parquet files as a replayable source: of rows to insert, of a changelog
// whose rows have weights, or of Debezium's change events (changes.go).
//
// # Partitions and offsets
//
// A partition is a file, numbered in the order of discovery. The offset of an NDJSON or CSV file is the
// byte after the last row read, that of a Parquet file the number of rows read. The offsets document
// names every file that rows were read from, with enough identity to notice that it changed since:
//
//	{"v":1,"files":[["part-0001.ndjson",1048576,"Wk3x9TqLm2"],[7,"2.ndjson",4711,"Wk3ya0bCdE"]]}
//
// Each entry is path, offset, identity; a leading number says how many bytes of its path the entry
// shares with the one before. The identity is 24 bits of the inode number's hash and 36 bits of the hash
// of the first and the last 4 KiB before the offset. The device number is left out: it may change when
// the machine restarts.
//
// # Modes
//
// In tail mode new files are picked up and growing ones followed; only complete lines are read. In
// bounded mode the files and sizes found at the first Poll are read to their end and no further, and a
// last line without a line end counts as a row; when a file has grown in the middle of that line, it is
// read to the line's end. Offsets of one mode are good in the other.
//
// # Tables
//
// A static source is a table (static.go): bounded, and its last offsets document is sealed with a hash of
// every byte. A file that differs, grows, goes or is added after that is an error that wraps
// microbatch.ErrRangeChanged.
//
// A file that is renamed is another file: a glob that matches rotated names too would read them again.
// A file that vanishes after it was read to its end is forgotten, so that directories can be cleaned.
// A file that was truncated, replaced or rewritten where it was already read is an error that wraps
// microbatch.ErrRangeChanged, as is a missing file that a replay needs.
package file

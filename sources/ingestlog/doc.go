// Package ingestlog makes rows durable that come from where they cannot be asked for again: versions of a
// Postgres table, bodies of HTTP requests. What is in the log can be read again, the same rows at the same
// positions, so that a source over it is replayable.
//
// # What it promises
//
//   - When Append returns, its entries are durable, all of them or, after a crash before it returned, maybe
//     none; never some. Appends of several goroutines share one fsync.
//   - A position is the number of rows before it. A range of positions holds the same rows for ever, or is an
//     error: ErrReleased if the user of the log allowed it to be forgotten, CorruptError if bytes were damaged.
//   - Nothing is seen before it is durable: End never goes back.
//   - A torn tail, which only an unsynced write leaves, is cut off and kept as a copy. Damage to bytes that
//     were durable is refused, not repaired.
//   - After a failed write or sync the log takes nothing more. Why: the kernel may have dropped the pages, and a
//     second fsync would report success. Opening it again tells what is there.
//
// What an entry's body means is the business of who appends it: the log counts rows and keeps bytes. Tables keep
// chunks in the codec of internal/vector; text is best kept as it came.
//
// # Format
//
// A log is a directory of segments, named by the position of their first row: 00000000000000000000.ing.
// Integers are little endian. A segment is a header and frames:
//
//	 0        8         12      16       24      32       36
//	 +--------+---------+-------+--------+-------+--------+
//	 | magic  | version | zeros | first  | salt  | CRC    |   header
//	 +--------+---------+-------+--------+-------+--------+
//
//	 0     4        8      12     13      16      24       32
//	 +-----+--------+------+------+-------+-------+--------+----------+
//	 | CRC | length | rows | more | zeros | first | synced | body     |   frame
//	 +-----+--------+------+------+-------+-------+--------+----------+
//
//	CRC     CRC-32C; of a frame it is seeded with the header's and covers all after it
//	length  of the body
//	rows    in the body; 0 for the mark that Close leaves
//	more    1 if the next frame belongs to the same Append
//	first   position of the first row
//	synced  how many bytes of this file were known to be durable when the frame was written
//
// Why synced: a power cut can leave later unsynced pages without earlier ones, so a valid frame after a bad
// one does not prove damage; one that says the bad one was durable does.
package ingestlog

// Package postgrescdc reads the changes of PostgreSQL tables, by logical replication with the server's own output
// plugin pgoutput.
//
// # Why an ingest log
//
// A source promises that the same range of offsets gives the same rows, always. A replication slot cannot: it
// gives again only what was committed after the LSN that was last confirmed, from there on and in order. Straight from the slot,
// verify, replay, rebuild and savepoints, which read ranges of any age, would have no rows; and confirming late enough for them
// would make the server keep all its log.
//
// So every change is durable in an ingest log (sources/ingestlog) before any engine sees it, and the log is the source.
// An offset is a position of the log and the LSN that it stands for, {"v":1,"at":4711,"lsn":"0/16B3748"}: what is before
// it are all transactions that were committed up to that LSN, whole. At every such position the rows read so far make the
// very table that the server had as of the LSN. While the initial snapshot is read in several batches, the offsets
// say so: {"v":1,"at":100,"lsn":"0/16B36D0","snapshot":true}.
//
// What it costs: each change is written and synced once more, a few milliseconds, shared by all transactions that
// came meanwhile; and disk for as long as the option retention says, by default for good, since verify reads from
// the beginning. With a retention, segments go that are older than it and acknowledged; then verify and rebuild say
// which range is missing, and the pipeline itself goes on.
//
// # What is confirmed
//
// The slot's LSN moves on when every source has acknowledged, that is when batches are committed, although the log is durable
// before. Why not earlier: a savepoint or a copy of the log in a bucket may be behind, and what the slot still has can
// be captured again. Nobody's unread changes are ever confirmed: Resume compares, and refuses a slot that begins behind
// the end of the log. When nothing of ours happens, a beat is written to the log every 10 s with the
// LSN up to which the server had nothing for us, which is confirmed with the next beat, so that an idle table in a busy server
// does not keep the server's log.
//
// # How it begins
//
//  1. The log's first entry names the slot and the publication that are about to be made.
//  2. The publication is made, if none is named, and then the slot, which exports a snapshot.
//  3. Every table is copied in that snapshot, as texts of the types' own output functions, which is also what the
//     stream has: a row that is copied and later deleted is the same to the byte.
//  4. An entry says that the snapshot is complete, as of the LSN where the slot begins. Only now can a row be read.
//  5. The stream goes on from that LSN: no gap, no overlap.
//
// A crash before 4 leaves a log without that entry: the next start drops the slot that the first entry names, deletes the
// log and begins again. Nobody has seen a row of it.
//
// # What is in the log
//
// Inserts, updates and deletes of whole rows, and where transactions begin and end; record.go has the layout. Rows have
// all columns that are published, so that a changed file may read other ones. Two messages of the server say less,
// and are completed before they are written (live.go): a TRUNCATE becomes deletes of the rows that were there, and an
// update that leaves out a value which is stored out of line gets it from the row's last record. Both are
// looked up in the log. What cannot be known stops the capture with what to run (REPLICA IDENTITY FULL); no value is guessed.
//
// A transaction that is larger than 256 KiB is written in pieces. If the connection is lost in its middle, the server
// sends it again, and its second begin makes void what is in the log of the first.
//
// # Columns
//
// Descriptions of the tables are in the log where they change, and say of each column since when it is what it is, and what
// rows from before have in it (history.go): what the server noted when the column was added, or that nobody knows.
// Rows are read and told apart by what they have in the columns of the newest description.
//
// # Several tables
//
// Sources of one slot share the log, and read it in step: the first that is polled in a batch chooses where it ends,
// between two transactions, and the others take the same (cut.go). So one batch has all of a transaction in all tables or nothing of it,
// and foreign keys hold in what the engine sees. A transaction that has more rows than a batch may have is a
// batch of its own, and in memory at once; max_batch_rows does not divide it. The initial snapshot is divided.
//
// # What stops it
//
// A slot that is dropped or invalidated, another server, an older state of the server, a publication without
// the table; a declared column that was dropped, renamed or given another type, since its old rows have changed and no message
// says how; a replica identity that no longer says which row. All of them wrap microbatch.ErrRangeChanged, and are
// reported when what was captured before is read. A lost connection is not among them: it is tried again.
//
// Not noticed, because the server does not say it: ALTER COLUMN … TYPE same_type USING …, which rewrites values in
// place.
package postgrescdc

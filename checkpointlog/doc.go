// Package checkpointlog is the write-ahead log of a pipeline: it decides which batches have happened.
//
// A batch goes through three records (docs/checkpoint-log.md has the bytes):
//
//	Planned    what the batch will read                  appended, not synced
//	Prepared   its state change and output digests       appended and synced: the decision point
//	Committed  the sinks have it                         appended, durable with the next sync
//
// A batch whose Prepared is durable is only ever rolled forward; any other never happened. After a
// crash Open gives what the directory says (Recovered), and Resolve turns that and what the sink's
// ledger says into one decision. Sinks commit only with a CommitPermit, which comes from Log.Prepare or
// from Resolve and from nowhere else, so the compiler forbids committing early.
//
// Assumptions: one engine per directory (held by a lock); the file system keeps what was synced and
// renames atomically. What it does not assume: that unsynced bytes reach the disk in order, or that a
// failed fsync can be tried again. Any failed write or sync poisons the log: all later calls fail with
// ErrPoisoned, and the engine has to open it anew.
//
// Files, from the outside in: log.go (Open, Close), append.go (Plan, Prepare, Commit, Sync), rotate.go,
// snapshot_writer.go, chain.go, retention.go; recovery.go, sweep.go, scan.go and torn.go (what Open does), recovered.go (what it
// returns), resolve.go; frame.go, body.go, header.go, manifest.go (bytes); read.go, verify.go (readers
// without an engine).
package checkpointlog

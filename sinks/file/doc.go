// Package file is a sink that writes a view's rows into files: NDJSON, CSV or Parquet, in Hive partitions if
// asked for. Every batch appears by one rename, exactly once.
//
// # What is in the directory
//
//	out/batch-000000000042/dt=2026-01-01/part-0.parquet   rows
//	out/batch-000000000042/.manifest                      which batch this is, and what is in it
//	out/batch-000000000042/.dead_letter                   rows that were refused, if this sink keeps them
//	out/.sluice/ledger                                    epoch, newest batch, offsets
//	out/.sluice/batch_time                                each batch's time, if the pipeline has such a column
//	out/.sluice/lock                                      held while the ledger is looked at or changed
//	out/.sluice/staging/e00000003-b000000000043/          a batch between the two phases
//
// A batch without rows has no directory. What readers see with batch-*/… is always a prefix of the batches.
//
// # Decisions
//
// One directory a batch, because a rename is the only thing that a file system does at once: a batch with a
// hundred partitions could not appear whole in a tree that all batches share. The price is small files;
// merging them is the business of whoever reads them.
//
// The manifest travels with the rename and so says atomically what became of the batch. The ledger file is
// replaced right after it. If the engine dies in between, the next Open finds the directory that is one
// ahead and writes the ledger. The ledger file is there for batches without rows, and so that directories
// that it has passed can be moved away or deleted: the sink never looks at them again.
//
// Every sink has one directory, its own ledger, and one view. Views that go to several directories are as
// many sinks, and recovery brings all of them to the same batch.
//
// Every file has all columns, those of the partition as well, so that each can be read alone and with the
// types that the view has. Readers that take partitions from the path find the same values there.
//
// Why Parquet files are written by a DuckDB of their own: the pipeline's instance must not reach the file
// system. It writes into a scratch directory, and the bytes are copied, so that every operation on the
// user's directory goes through internal/vfs, where tests can make each of them the last one.
//
// A savepoint has the batches' directories themselves (export.go), and putting one back (restore.go) removes those that
// came later. While that goes on the ledger says so, and no engine opens the directory.
//
// # Exactly once
//
// Phase 1, Stage: rows are written below staging and synced, files before directories, and then the
// manifest, which thereby vouches for them.
//
// Phase 2, Commit, under the lock: read the ledger and compare epoch and batch; write offsets and content
// hash into the manifest; rename; sync both parents; replace the ledger. A batch that is already there, with
// the same content, is a success.
//
// Invariant: batch-N exists only if batch N's Prepared is in the log, and a batch is renamed only by the
// engine whose epoch is in the ledger at that moment. The lock is flock(2), which holds between processes of one
// machine, and on network file systems that implement it (NFS does). Where it does not hold, an engine that
// was fenced could still pass the check in the instant before; but no batch can appear twice even then,
// because a directory is not renamed onto one that has files.
//
// Open syncs the directory before it believes what it sees: an engine that was killed after its rename and
// before its sync has left a directory that a power cut would take back.
package file

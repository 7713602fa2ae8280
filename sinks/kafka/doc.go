// Package kafka is a sink that writes a view's changes into a topic, exactly once: who reads with
// isolation.level = read_committed sees every batch whole, and once.
//
// # What is in the cluster
//
//	TOPIC                 the view's records
//	sluice.ledger         compacted; key pipeline/sink, value: epoch, newest batch, offsets, and where TOPIC ends
//	sluice.dead_letter    rows that were refused, if this sink keeps them
//
// # Exactly once
//
// Phase 1, Stage: the batch's rows are encoded, and every record is measured against what the topic takes. What
// cannot be written is found here, where the batch can still be given up.
//
// Phase 2, Commit, after Prepared: one Kafka transaction has the records and, after they were acknowledged, the
// ledger's record of the batch. Either both are committed or neither.
//
// The transactional id is sluice.PIPELINE.SINK. An engine that opens the sink begins with InitProducerId, which ends
// whatever transaction its predecessor left open and bumps the producer's epoch: the predecessor, be it paused,
// cut off or merely slow, cannot add to a transaction or commit one any more.
//
// Invariant: a transaction is begun only by a producer that, after its own InitProducerId, read the ledger and
// found there the engine's own epoch and the batch before. Any other InitProducerId makes that transaction fail;
// so between this reading and the commit nobody else has written the ledger, and checking it then is as good as
// checking it inside the transaction, which Kafka cannot do.
//
// The ledger is read from partition 0, always, with read_committed, to the end that it had when the reading began.
// Other pipelines' open transactions hold a reader back, for as long as their timeout at most; therefore the
// ledger's record is the last of a transaction, and all of a pipeline's sinks begin with InitProducerId (Fence) before
// one of them reads.
//
// # What can happen to a commit
//
//	connection cut before EndTxn arrived   the broker aborts when the sink takes its id again; not in the ledger
//	cut after it arrived                   the coordinator completes it before the id is given again; in the ledger
//	the transaction timed out              aborted; the ledger still has this engine's epoch, so the batch is sent again
//	a newer engine took over               the ledger has a higher epoch: ErrFenced
//
// So all are told apart in the same way: take the id, read the ledger. A paused engine that goes on looks into the
// ledger before it takes the id, so that it leaves its successor alone; if it should take it in the instant before the
// successor has written its epoch, the successor takes it again, and whose epoch is higher goes on.
//
// # Decisions
//
// Nothing is staged on disk. A broker cannot hold records of a transaction that another producer may commit, and a
// file beside the log would be one more sync a batch, and not where a standby could read it. Between Prepared and
// the commit the records are in memory; after a crash the batch is executed again from its logged ranges, and must
// give the logged digests (checkpointlog.ResolveSinks). Sources keep what is not acknowledged, and they are told
// only after the commit. That path had to be there for PostgreSQL's unlogged staging tables as well.
//
// Records are not sent before Prepared either, although an open transaction would hide them: a commit may have to
// wait for a copy of the log, longer than the transaction's timeout.
//
// One transaction a sink: a pipeline's sinks have ledgers of their own, and recovery brings them to one batch.
//
// The ledger's record says up to which offset the topic's partitions answer for the batch. Readers that want a batch's
// exact state (verify) read up to there, however far the engine has got meanwhile.
//
// A topic's replication makes its records durable: the sink waits for all in-sync replicas (acks = all).
// min.insync.replicas is the topic's business.
package kafka

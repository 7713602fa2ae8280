// Package kafka reads a Kafka topic as a replayable source.
//
// # What a range is
//
// The offsets document names the topic, its id, and per partition where reading began, the next offset, how many
// records were read from the beginning to there, and the leader epoch of the last batch read:
//
//	{"v":1,"topic":"clicks","id":"…","partitions":[[0,0,1200,1190,4],[1,0,950,950,4]]}
//
// A partition's index in that list is its ordinal, the high part of _seq, and never changes; partitions that are
// added to the topic are appended. Where reading began is resolved once, when there are no offsets yet, and is in
// the document from then on, so that (nil, to] begins at the same record in every replay, whatever the option
// startup says by then.
//
// Where a schema registry did not have a schema, "unknown_schemas" says so: [id, partition, first offset, end], an end
// of -1 being the position. A message there is the bad row that it was, whatever is registered by then.
//
// The rows of a range are those of the records of committed transactions, and of none, whose offsets are in it, by
// ordinal and then by offset. Nothing is read beyond the last stable offset, so that every transaction in a
// range was decided when the range was made and is decided the same when it is read again. Offsets without such a
// record (transaction markers, aborted records, what compaction removed before it was read) are passed over.
//
// # The same range, or an error
//
// Compaction removes records from ranges that were read. A gap proves nothing: most are markers. The number of
// records does, and so Read counts: a record that is gone is ErrRangeChanged, and so is a range that has expired
// or lies beyond the end of the log, a topic of the same name with another id, and a log that a new leader cut
// off behind what was read (an unclean election; the epochs tell). Going forward needs none of the records
// that are gone, so a compacted topic can be followed for ever; executing a batch again and `sluice verify` need
// them, and say so.
//
// # How it reads
//
// Poll takes records from a buffer and never waits for one that is not in the log yet. A goroutine a broker fills
// the buffer, up to a bound for each partition, by fetch requests of our own making (not the client library's
// consumer): Read makes the same requests, so that both see the same by construction. No consumer group takes part.
// With a group id, offsets are committed for the eyes of lag tools, after the batch is.
package kafka

// Package intake makes a source out of rows that are pushed: what arrives is made durable in an ingest log before it
// is acknowledged, and from there it is as replayable as a file. HTTP requests come in this way; messages of brokers
// that forget what they have delivered (NATS, MQTT) can, too.
//
// # How to use it
//
// Whoever receives rows opens an Inbox, one a source and directory, for as long as it receives, and calls Put with
// what arrived together. When Put returns, the rows are durable and have positions; then, and not before, they may
// be acknowledged to whoever sent them. An engine reads them with a Source over the same Inbox, which it may open and
// close while the Inbox lives on: rows are taken while no engine runs. Verify and replay read the directory without
// an Inbox, beside one that is open (NewReader).
//
// # What it promises
//
//   - A delivery is there whole or not at all. After an error of Put it may be there or not; only a retry with its
//     key tells.
//   - A delivery with a key is there once, however often it is put: Put of the same rows gives the same positions
//     again, and of other rows is refused (ErrKeyReused). That holds across crashes, for as many keys and as long as
//     Options say.
//   - What lags is refused (LagError) before it is written, so that the log cannot fill the disk because an engine is
//     slow or gone.
//   - Rows stay for verify, replay and rebuilds, unless a retention is set: then segments that are old and
//     acknowledged are deleted, and who needs them hears why they are gone.
//
// # Format
//
// An entry of the log holds up to 2,048 rows of one delivery. Integers are little endian, "uvarint" is that of
// encoding/binary:
//
//	version    1 byte, 1
//	received   8 bytes, microseconds since 1970 in UTC
//	part       uvarint: 0 for the delivery's first entry
//	total      uvarint: rows of the delivery
//	digest     16 bytes, XXH3-128 of the delivery's rows
//	key        uvarint length and bytes; without one, length 0
//	rows       each a uvarint length and bytes
//
// The file "keys" beside the segments is what a start would otherwise have to read the whole log for: the keys up to a
// position. It is written now and then and always before segments are deleted; the log after its position has the
// rest.
package intake

// Package checkpointstore keeps a copy of a pipeline's checkpoint log in a bucket (S3 and what speaks like
// it), and makes the log's directory from it where the disk was lost. docs/checkpoint-log.md has the layout.
//
// A Mirror copies what the log makes durable, behind the engine: ranges of the growing segment as small
// objects, sealed segments and snapshots whole. A manifest, written last, says which objects are which
// files. Restore reads the manifest and makes the files, each byte checked.
//
// What it promises:
//
//   - The copy is at every instant a log that can be opened: what a manifest names was uploaded before.
//   - An engine writes and deletes only objects with its own epoch in their names, and those of older ones
//     once its own manifest stands. So one that was taken over, however late it wakes up, harms nothing.
//   - Whether a batch happened is decided by the log and the ledger, never by the bucket. A copy that is
//     behind the ledger is refused, like any old log.
//   - The queue of what is to be uploaded is the log's directory itself: an outage costs disk, not memory,
//     and no copy is forgotten.
//
// Files: location.go, credentials.go (where); bucket.go (requests, each tried once), retry.go; manifest.go;
// mirror.go, pass.go, parts.go, bulk.go, sweep.go (upload); restore.go, stage.go; remove.go; records.go, what daemons
// tell each other beside the copies.
package checkpointstore

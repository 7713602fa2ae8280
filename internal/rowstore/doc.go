// Package rowstore keeps keyed state: rows looked up, changed and logged by the batch at a cost that
// follows the batch, never the number of rows kept.
//
// A Table is single-threaded: one pipeline worker owns it. A batch is any number of Get, Rows, Scan,
// Upsert, Add and Evict calls, then Delta (what the log needs to repeat the change) and Commit, or
// Rollback, which leaves the table exactly as it was, order included.
//
// # Layout
//
// Rows live off the Go heap, where the garbage collector does not look, in blocks of a power of two of
// fixed-width slots (layout.go). A slot is handed out once and never again until its block is empty,
// and blocks form a list, so the order of slots is the order of insertion: Scan, snapshots, deltas and the
// rows of a prefix need no sequence numbers to be in it. Blocks that deletes have thinned are merged with a
// neighbour at Commit (compact.go).
//
// Texts of more than 12 bytes, and nested values in vector's canonical encoding, lie in an arena with a
// free list for each size class (arena.go); the slot has a vector StringRef, so reading a row out is a
// copy of its slot.
//
// The index maps a key's hash to its row: 64 shards of linear probing (index.go), each growing alone and
// without touching rows. With a prefix, a second index maps the prefix's hash to the first row of a doubly
// linked list through the slots (links.go). With an eviction column, a heap orders rows by time (evict.go).
//
// # Snapshots
//
// A snapshot is an image of the table as it was at a commit boundary, taken in slices while batches go on
// (snapshot.go). A delta snapshot holds what changed since the one before: two flags in the slot tell rows
// that were inserted or changed since, a list has the keys of those that are gone (since.go), and its blocks
// are deltas as a batch's are.
//
// # Order
//
// A row keeps its place when it is updated; a row that is deleted and inserted again goes to the end.
// Snapshots, Load and ApplyDelta preserve the order, so a recovered table answers Rows and Scan as the
// original would.
//
// # Keys
//
// Keys are compared as SQL's IS NOT DISTINCT FROM does: NULL is an ordinary value, NaNs are one
// value, 0.0 and -0.0 are one value, 30 days are a month. The first spelling of a key is kept.
package rowstore

package checkpointlog

import "slices"

// CommitPermit allows one batch to be committed. Only Log.Prepare and Resolve issue one: whoever holds
// it knows that the batch's Prepared record is durable.
type CommitPermit struct{ of *Prepared }

func permitFor(p *Prepared) CommitPermit {
	return CommitPermit{&Prepared{Batch: p.Batch, Epoch: p.Epoch, Outputs: slices.Clone(p.Outputs), States: slices.Clone(p.States)}}
}

// Valid is false for the zero value, which permits nothing; the other methods panic on it.
func (c CommitPermit) Valid() bool { return c.of != nil }

func (c CommitPermit) prepared() *Prepared {
	if c.of == nil {
		panic("commit permit was not issued by the checkpoint log")
	}
	return c.of
}

// Batch is the batch that may be committed.
func (c CommitPermit) Batch() int64 { return c.prepared().Batch }

// Epoch is the epoch that prepared the batch. After a restart the committing engine's own epoch, and
// that of rows staged again, is a later one.
func (c CommitPermit) Epoch() int64 { return c.prepared().Epoch }

// Outputs are the digests that the staged rows must have.
func (c CommitPermit) Outputs() []OutputDigest { return slices.Clone(c.prepared().Outputs) }

// ContentHash is what the ledger stores with the batch.
func (c CommitPermit) ContentHash() string { return ContentHash(c.prepared()) }

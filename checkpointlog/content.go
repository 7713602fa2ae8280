package checkpointlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// ContentHash identifies what a batch did: hex SHA-256 over its number and the digests of its outputs
// and of its state changes. The ledger stores it beside the batch, and Resolve compares it, so that two
// histories that parted cannot be mistaken for one. It does not depend on the epoch: executing the same
// ranges again gives the same hash.
//
// Take it from the logged record (or CommitPermit.ContentHash), not from a re-executed one.
func ContentHash(p *Prepared) string {
	content := struct {
		Batch   int64
		Outputs []OutputDigest
		States  []StateDigest
	}{p.Batch, slices.Clone(p.Outputs), slices.Clone(p.States)}
	slices.SortFunc(content.Outputs, func(a, b OutputDigest) int { return strings.Compare(a.Output, b.Output) })
	slices.SortFunc(content.States, func(a, b StateDigest) int { return strings.Compare(a.State, b.State) })
	b, err := json.Marshal(content)
	if err != nil {
		panic(err) // strings and integers always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// sameOutputs compares digests whatever their order.
func sameOutputs(a, b []OutputDigest) bool {
	return ContentHash(&Prepared{Outputs: a}) == ContentHash(&Prepared{Outputs: b})
}

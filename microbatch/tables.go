package microbatch

import (
	"context"
	"encoding/json"
)

// readTables polls the tables, each for all that is left of the batch, and says whether they are complete:
// nothing more of them could be read now.
//
// Invariant: a batch that has a row of a stream begins with complete tables, in it or before it. So a
// static table, which never changes once it is complete, has no change in any batch after one with a
// stream's row; joins with it keep nothing of the stream (planner/staticjoin.go).
func (p *Pipeline) readTables(ctx context.Context, b *batch, from []json.RawMessage, left *Limits) (complete bool, err error) {
	complete = true
	for i, in := range p.inputs {
		if !in.decl.Table {
			continue
		}
		if err := p.readInput(ctx, b, in, from[i], left, 1); err != nil {
			return false, err
		}
		rows := b.rows[in.decl.Name]
		complete = complete && !rows.More && (rows.Done || !in.decl.Static)
	}
	// Why more: the next batch should begin at once, and its rows be read ahead.
	b.more = b.more || !complete
	return complete, nil
}

// notRead is what a stream gives to a batch while it waits for the tables.
func notRead(at json.RawMessage) *Rows { return &Rows{To: at, RemainingBytes: -1, RemainingRows: -1} }

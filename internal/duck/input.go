package duck

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/sluice-sql/sluice/internal/vector"
)

var errNoMemory = errors.New("duckdb is out of memory")

// Input is a table function without arguments that emits chunks of the caller's.
type Input struct {
	chunks atomic.Pointer[[]*vector.Chunk]
}

// RegisterInput creates the table function name(), on all connections of the instance: a name can be
// used once. Any number of scans may run over an input, one after the other or in one statement; each
// emits, in order, the chunks that were set when it started.
func (c *Conn) RegisterInput(name string, cols []vector.Field) (*Input, error) {
	in := &Input{}
	in.Set(nil)
	err := c.registerTable(&tableFunction{
		name: name, cols: slices.Clone(cols), open: in.open,
		rows: func() int {
			n := 0
			for _, ch := range *in.chunks.Load() {
				n += ch.N
			}
			return n
		},
	})
	return in, err
}

// Set replaces what the input emits. The chunks must not be changed, nor the memory that their strings
// point at reused, until they are replaced and no statement reads them any more. Nil empties the input.
//
// Strings must be valid UTF-8: DuckDB does not check what it is handed.
func (in *Input) Set(chunks []*vector.Chunk) { in.chunks.Store(&chunks) }

func (in *Input) open() func() *vector.Chunk {
	// The closure keeps the chunks alive until DuckDB has dropped the scan.
	chunks, at := *in.chunks.Load(), 0
	return func() *vector.Chunk {
		if at == len(chunks) {
			return nil
		}
		at++
		return chunks[at-1]
	}
}

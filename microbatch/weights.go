package microbatch

import (
	"context"
	"encoding/json"

	"github.com/sluice-sql/sluice/internal/vector"
)

// WithWeights gives every row of a source that only inserts the weight +1, before _seq: so any source can
// have a PRIMARY KEY, and each of its rows then replaces the one of its key.
func WithWeights(s Source) Source {
	if of, ok := s.(Partitioned); ok {
		return weightedPartitions{weightedSource{s}, of}
	}
	return weightedSource{s}
}

type weightedSource struct{ Source }

func (s weightedSource) Poll(ctx context.Context, from json.RawMessage, max Limits) (*Rows, error) {
	return addWeights(s.Source.Poll(ctx, from, max))
}

func (s weightedSource) Read(ctx context.Context, from, to json.RawMessage) (*Rows, error) {
	return addWeights(s.Source.Read(ctx, from, to))
}

// PartitionName implements PartitionNamer where the source does.
func (s weightedSource) PartitionName(ordinal int) string {
	if n, ok := s.Source.(PartitionNamer); ok {
		return n.PartitionName(ordinal)
	}
	return ""
}

// weightedPartitions is a weightedSource over a Partitioned one.
type weightedPartitions struct {
	weightedSource
	Partitioned
}

func addWeights(rows *Rows, err error) (*Rows, error) {
	if err != nil {
		return nil, err
	}
	for i, c := range rows.Chunks {
		w := vector.New(vector.Of(vector.Int64), c.N)
		for j := range c.N {
			w.PutI64(j, 1)
		}
		last := len(c.Cols) - 1
		cols := append(append([]vector.Vector{}, c.Cols[:last]...), w, c.Cols[last])
		rows.Chunks[i] = &vector.Chunk{N: c.N, Cols: cols, Keep: c.Keep}
	}
	return rows, nil
}

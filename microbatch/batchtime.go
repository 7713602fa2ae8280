package microbatch

import (
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// FillBatchTime adds the columns METADATA FROM 'batch_time' to chunks as a source gives them. Without such
// columns it returns them as they are.
func FillBatchTime(in *planner.SourceInput, chunks []*vector.Chunk, at time.Time) []*vector.Chunk {
	if len(in.BatchTime) == 0 {
		return chunks
	}
	out := make([]*vector.Chunk, len(chunks))
	for i, c := range chunks {
		cols := make([]vector.Vector, 0, len(c.Cols)+len(in.BatchTime))
		next := 0
		for _, place := range in.BatchTime {
			for len(cols) < place {
				cols = append(cols, c.Cols[next])
				next++
			}
			cols = append(cols, constantTime(in.Columns[place].Type, c.N, at))
		}
		out[i] = &vector.Chunk{N: c.N, Cols: append(cols, c.Cols[next:]...), Keep: c.Keep}
	}
	return out
}

func constantTime(t vector.Type, n int, at time.Time) vector.Vector {
	v := vector.New(t, n)
	instant := planner.InstantOf(t, at)
	for i := range n {
		v.PutI64(i, instant)
	}
	return v
}

func (p *Pipeline) hasBatchTime() bool {
	return slices.ContainsFunc(p.inputs, func(in *input) bool { return len(in.decl.BatchTime) > 0 })
}

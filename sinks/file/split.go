package file

import (
	"fmt"
	"slices"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// A part is a batch's rows of one partition.
type part struct {
	path   string // below the batch's directory
	chunks []*vector.Chunk
	rows   int64

	picked []int32 // rows of the chunk that is being split
}

// split divides a delta by partition, in the order of their paths. The chunks have the columns of the file:
// those of the output, and the weight in a changelog.
func (s *Sink) split(d *microbatch.OutputDelta) ([]*part, error) {
	parts := map[string]*part{}
	var path []byte
	for _, c := range d.Chunks {
		var touched []*part
		for r := range c.N {
			times, err := s.times(c, r)
			if err != nil {
				return nil, err
			}
			path = s.partitionPath(c, r, path[:0])
			p := parts[string(path)]
			if p == nil {
				p = &part{path: string(path)}
				parts[p.path] = p
			}
			if len(p.picked) == 0 {
				touched = append(touched, p)
			}
			for range times {
				p.picked = append(p.picked, int32(r))
			}
		}
		for _, p := range touched {
			p.take(s.visible(c))
		}
	}
	out := make([]*part, 0, len(parts))
	for _, p := range parts {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *part) int {
		if a.path < b.path {
			return -1
		}
		return 1
	})
	return out, nil
}

// times is how many lines a row gets.
func (s *Sink) times(c *vector.Chunk, r int) (int64, error) {
	if s.o.Layout.Mode == ModeChangelog {
		return 1, nil
	}
	w := c.Cols[len(c.Cols)-1].I64(r)
	if w <= 0 {
		return 0, fmt.Errorf("view %s took a row back, and its files are append-only: %w", s.output.Name, ErrDisagree)
	}
	return w, nil
}

// visible are the columns of the file.
func (s *Sink) visible(c *vector.Chunk) *vector.Chunk {
	if s.o.Layout.Mode == ModeChangelog {
		return c
	}
	return &vector.Chunk{N: c.N, Cols: c.Cols[:len(c.Cols)-1], Keep: c.Keep}
}

// take adds the picked rows of a chunk.
func (p *part) take(c *vector.Chunk) {
	p.rows += int64(len(p.picked))
	for picked := range slices.Chunk(p.picked, vector.Size) {
		if p.all(c, picked) {
			p.chunks = append(p.chunks, c)
			continue
		}
		p.chunks = append(p.chunks, vector.Gather(c, picked))
	}
	p.picked = p.picked[:0]
}

// all says that every row was picked, once, which spares a copy.
func (p *part) all(c *vector.Chunk, picked []int32) bool {
	if len(picked) != c.N {
		return false
	}
	for i, r := range picked {
		if int(r) != i {
			return false
		}
	}
	return true
}

// Fields are the columns of the files of an output.
func (l Layout) Fields(out planner.Output) []vector.Field {
	fields := slices.Clone(out.Columns)
	if l.WithDefaults().Mode == ModeChangelog {
		fields = append(fields, vector.Field{Name: WeightColumn, Type: vector.Of(vector.Int64)})
	}
	return fields
}

package oracle

import (
	"context"
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

// CompareNormalized is Compare for rows that come from a system which does not keep every value as DuckDB
// has it: normalize turns a chunk of the one-shot answer, its columns and then a weight of 1, into what that
// system would give back.
func (s *OneShot) CompareNormalized(ctx context.Context, view string, got []*vector.Chunk,
	normalize func(*vector.Chunk) (*vector.Chunk, error)) (*Difference, error) {
	v, err := s.view(view)
	if err != nil {
		return nil, err
	}
	answer, err := s.answer(view)
	if err != nil {
		return nil, err
	}
	chunks, _, err := s.Query(ctx, "SELECT *, 1::BIGINT FROM "+answer)
	if err != nil {
		return nil, fmt.Errorf("answer view %q: %w", view, err)
	}
	for i, c := range chunks {
		if c, err = normalize(c); err != nil {
			return nil, fmt.Errorf("normalize the answer of view %q: %w", view, err)
		}
		chunks[i] = &vector.Chunk{N: c.N, Cols: c.Cols[:len(v.Columns)], Keep: c.Keep}
	}
	in := s.want[view]
	if in == nil {
		if in, err = s.conn.RegisterInput("want_"+view, v.Columns); err != nil {
			return nil, fmt.Errorf("register view %q: %w", view, err)
		}
		s.want[view] = in
	}
	in.Set(chunks)
	defer in.Set(nil)
	return s.compare(ctx, view, vector.QuoteIdent("want_"+view)+"()", got)
}

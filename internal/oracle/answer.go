package oracle

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// Answer is what a view's table must hold, as the delta that fills an empty one: the output's columns, then
// how many times the row is there.
func (s *OneShot) Answer(ctx context.Context, out planner.Output) ([]*vector.Chunk, error) {
	answer, err := s.answer(out.Name)
	if err != nil {
		return nil, err
	}
	var cols []string
	for _, c := range out.Columns {
		cols = append(cols, vector.QuoteIdent(c.Name))
	}
	sql := "SELECT " + strings.Join(cols, ", ") + ", 1::BIGINT AS _w FROM " + answer
	if out.Mode == planner.Multiset { // rows of one content are one row with a count
		sql = "SELECT " + strings.Join(cols, ", ") + ", count(*)::BIGINT AS _w FROM " + answer + " GROUP BY ALL"
	}
	chunks, _, err := s.conn.Collect(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("answer view %q: %w", out.Name, err)
	}
	return chunks, nil
}

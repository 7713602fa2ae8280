package oracle

import (
	"context"
	"fmt"
	"regexp"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
)

// maxMatched is up to how many rows are counted in Go.
const maxMatched = 10_000

var asof = regexp.MustCompile(`(?i)\basof\b`)

// planned is a view's answer as a statement that was planned once.
//
// Why: to plan a view takes DuckDB longer than to answer it over a few hundred rows, and tests ask after
// every batch.
type planned struct {
	sql  string
	stmt *duck.Stmt
}

// matches answers the common case of a small table, no difference at all: every row is there as often as in
// the answer, bit for bit. What is not equal here, a sum that was rounded otherwise or '1 month' for
// '30 days', is for DuckDB to decide.
func (s *OneShot) matches(ctx context.Context, d *Difference, sql string, got []*vector.Chunk) (bool, error) {
	there := map[string]int64{}
	n := 0
	for _, c := range got {
		if n += c.N; n > maxMatched {
			return false, nil
		}
		for i := range c.N {
			there[rowBytes(c, i)]++
		}
	}
	rows, err := s.answerRows(ctx, d.View, sql)
	if err != nil {
		return false, fmt.Errorf("answer view %q: %w", d.View, err)
	}
	defer rows.Close()
	for rows.Next() {
		c := rows.Chunk()
		for i := range c.N {
			row := rowBytes(c, i)
			if there[row] == 0 {
				return false, nil
			}
			there[row]--
			n--
		}
		d.Rows += int64(c.N)
	}
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("answer view %q: %w", d.View, err)
	}
	return n == 0, nil
}

// answerRows runs a view's statement.
func (s *OneShot) answerRows(ctx context.Context, view, sql string) (*duck.Rows, error) {
	v, err := s.view(view)
	if err != nil {
		return nil, err
	}
	p := s.answers[view]
	// Why not ASOF: DuckDB 1.5.5 breaks down when it runs the plan of some ASOF joins once more.
	if p.sql != sql || asof.MatchString(v.Query) { // the first, or the watermark in it is another
		if p.stmt != nil {
			p.stmt.Close()
			delete(s.answers, view)
		}
		stmt, err := s.conn.Prepare(ctx, sql)
		if err != nil {
			return nil, err
		}
		p = planned{sql, stmt}
		s.answers[view] = p
	}
	return p.stmt.Query(ctx)
}

// rowBytes are a row's values; equal bytes are equal rows, not the other way round.
func rowBytes(c *vector.Chunk, i int) string {
	var b []byte
	for j := range c.Cols {
		b = vector.AppendValue(b, &c.Cols[j], i)
	}
	return string(b)
}

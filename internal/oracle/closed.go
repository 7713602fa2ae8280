package oracle

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// A view with EMIT ON WINDOW CLOSE shows, of the answer of its query, the rows that the watermarks have
// closed. The answer in one shot is that query with one more condition.

// SetWatermarks says how far the sources' watermarks are, each in its event-time column's own unit. Without
// it, no window is closed.
func (s *OneShot) SetWatermarks(watermarks map[string]int64) { s.watermarks = watermarks }

// WatchWatermarks computes the watermarks from what was loaded, as of a time: for input of which no pipeline
// has dropped late rows.
func (s *OneShot) WatchWatermarks(ctx context.Context, at time.Time) error {
	now := planner.Placeholders(s.plan.Program.Sources, planner.Times{At: at})
	s.watermarks = map[string]int64{}
	for _, in := range s.plan.Program.Sources {
		if in.WatermarkSQL == "" {
			continue
		}
		sql := strings.Replace(now.Replace(in.WatermarkSQL), vector.QuoteIdent("in_"+in.Name)+"()", vector.QuoteIdent("_all_"+in.Name), 1)
		chunks, _, err := s.conn.Collect(ctx, sql)
		if err != nil {
			return fmt.Errorf("watermark of source %q: %w", in.Name, err)
		}
		switch w := &chunks[0].Cols[0]; {
		case w.IsNull(0):
		case w.Type.Bytes() == 4:
			s.watermarks[in.Name] = int64(w.I32(0))
		default:
			s.watermarks[in.Name] = w.I64(0)
		}
	}
	return nil
}

// Closed is the condition that a row of the view is shown; empty if all are.
func (s *OneShot) Closed(view string) (string, error) {
	v, err := s.view(view)
	if err != nil || v.Closed == "" {
		return "", err
	}
	return planner.Placeholders(s.plan.Program.Sources, planner.Times{After: s.watermarks}).Replace(v.Closed), nil
}

// answer is the relation that a view's table must equal.
func (s *OneShot) answer(view string) (string, error) {
	closed, err := s.Closed(view)
	if err != nil || closed == "" {
		return vector.QuoteIdent(view), err
	}
	return "(SELECT * FROM " + vector.QuoteIdent(view) + " WHERE " + closed + ")", nil
}

package oracle

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// RelativeTolerance is how far floating-point results may lie apart: the order of additions depends on
// where batches are cut. Everything else is compared bit for bit.
const RelativeTolerance = 1e-9

// Difference is what a view's rows and the one-shot answer do not share.
type Difference struct {
	View string `json:"view"`
	// Rows counts the one-shot answer; Missing those of its rows that the view lacks, Extra the view's
	// rows that the answer lacks.
	Rows, Missing, Extra int64
	// Examples holds a few of them, each with its columns as text.
	Examples []string `json:"examples,omitempty"`
}

// Equal says that there is none.
func (d *Difference) Equal() bool { return d.Missing == 0 && d.Extra == 0 }

// Compare matches the rows got for a view, as a multiset, with the answer of the view's own query over
// what was loaded.
func (s *OneShot) Compare(ctx context.Context, view string, got []*vector.Chunk) (*Difference, error) {
	answer, err := s.answer(view)
	if err != nil {
		return nil, err
	}
	return s.compare(ctx, view, answer, got)
}

// compare is Compare with the relation that gives the answer.
func (s *OneShot) compare(ctx context.Context, view, answer string, got []*vector.Chunk) (*Difference, error) {
	v, err := s.view(view)
	if err != nil {
		return nil, err
	}
	var all, exact, float []string
	for i, c := range v.Columns {
		name := vector.QuoteIdent(c.Name)
		alias := fmt.Sprintf("c%d", i)
		all = append(all, name+" AS "+alias)
		if c.Type.Kind == vector.Float32 || c.Type.Kind == vector.Float64 {
			float = append(float, alias)
		} else {
			exact = append(exact, alias)
		}
	}
	cols := strings.Join(all, ", ")
	d := &Difference{View: view}
	if same, err := s.matches(ctx, d, "SELECT "+cols+" FROM "+answer, got); err != nil || same {
		return d, err
	}
	s.got[view].Set(got)
	defer s.got[view].Set(nil)
	if same, err := s.same(ctx, cols, answer, d); err != nil || same {
		return d, err
	}
	statements := []string{
		"CREATE OR REPLACE TEMP TABLE _want AS SELECT " + cols + " FROM " + answer,
		"CREATE OR REPLACE TEMP TABLE _got AS SELECT " + cols + " FROM " + vector.QuoteIdent("got_"+view) + "()",
		"CREATE OR REPLACE TEMP TABLE _missing AS FROM _want EXCEPT ALL FROM _got",
		"CREATE OR REPLACE TEMP TABLE _extra AS FROM _got EXCEPT ALL FROM _want",
	}
	if len(float) > 0 {
		statements = append(statements, pairFloats(exact, float)...)
	}
	for _, sql := range statements {
		if err := s.conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("compare view %q: %w", view, err)
		}
	}
	return d, s.difference(ctx, d)
}

// same answers the common case of a large table, no difference at all, in one statement.
func (s *OneShot) same(ctx context.Context, cols, answer string, d *Difference) (bool, error) {
	text, _, err := s.conn.QueryValue(ctx, "WITH w AS MATERIALIZED (SELECT "+cols+" FROM "+answer+"), "+
		"g AS MATERIALIZED (SELECT "+cols+" FROM "+vector.QuoteIdent("got_"+d.View)+"()) "+
		"SELECT (SELECT count(*) FROM w) || ' ' || (SELECT count(*) FROM (FROM w EXCEPT ALL FROM g)) || ' ' || (SELECT count(*) FROM (FROM g EXCEPT ALL FROM w))")
	if err != nil {
		return false, fmt.Errorf("compare view %q: %w", d.View, err)
	}
	if _, err := fmt.Sscan(text, &d.Rows, &d.Missing, &d.Extra); err != nil {
		return false, fmt.Errorf("compare view %q: %w", d.View, err)
	}
	return d.Equal(), nil
}

// pairFloats takes out of _missing and _extra the rows that differ only by rounding: within equal exact
// columns, rows are paired in the order of their floats.
func pairFloats(exact, float []string) []string {
	partition := ""
	if len(exact) > 0 {
		partition = "PARTITION BY " + strings.Join(exact, ", ") + " "
	}
	number := "row_number() OVER (" + partition + "ORDER BY " + strings.Join(float, ", ") + ") AS _i"
	on := []string{"m._i = e._i"}
	for _, c := range exact {
		on = append(on, "m."+c+" IS NOT DISTINCT FROM e."+c)
	}
	for _, c := range float {
		on = append(on, fmt.Sprintf("(m.%[1]s IS NOT DISTINCT FROM e.%[1]s OR abs(m.%[1]s - e.%[1]s) <= %[2]g * greatest(abs(m.%[1]s), abs(e.%[1]s)))", c, RelativeTolerance))
	}
	cond := strings.Join(on, " AND ")
	return []string{
		"CREATE OR REPLACE TEMP TABLE _m AS SELECT *, " + number + " FROM _missing",
		"CREATE OR REPLACE TEMP TABLE _e AS SELECT *, " + number + " FROM _extra",
		"CREATE OR REPLACE TEMP TABLE _missing AS SELECT * EXCLUDE (_i) FROM _m m ANTI JOIN _e e ON " + cond,
		"CREATE OR REPLACE TEMP TABLE _extra AS SELECT * EXCLUDE (_i) FROM _e e ANTI JOIN _m m ON " + cond,
	}
}

func (s *OneShot) view(name string) (*planner.View, error) {
	for i := range s.plan.Views {
		if s.plan.Views[i].Name == name {
			return &s.plan.Views[i], nil
		}
	}
	return nil, fmt.Errorf("the pipeline has no view %q", name)
}

// difference counts and samples what the comparison left over.
func (s *OneShot) difference(ctx context.Context, d *Difference) error {
	for table, n := range map[string]*int64{"_want": &d.Rows, "_missing": &d.Missing, "_extra": &d.Extra} {
		text, _, err := s.conn.QueryValue(ctx, "SELECT count(*)::VARCHAR FROM "+table)
		if err != nil {
			return fmt.Errorf("count differences: %w", err)
		}
		if _, err := fmt.Sscan(text, n); err != nil {
			return fmt.Errorf("count differences: %w", err)
		}
	}
	for _, side := range []struct{ table, label string }{{"_missing", "one-shot only"}, {"_extra", "pipeline only"}} {
		chunks, _, err := s.conn.Collect(ctx, "SELECT t::VARCHAR FROM "+side.table+" t ORDER BY 1 LIMIT 5")
		if err != nil {
			return fmt.Errorf("list differences: %w", err)
		}
		for _, c := range chunks {
			for i := 0; i < c.N; i++ {
				d.Examples = append(d.Examples, side.label+": "+string(c.Cols[0].Str(i)))
			}
		}
	}
	return nil
}

package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// EMIT ON WINDOW CLOSE shows a row once it is final. It works over any query that has an output column with
// a floor: rows whose value is below the floor are those that no later row can add to, change or delete.
// Rows wait in a state for the watermark, and those that it is about to evict are the ones to emit:
//
//	pending ← pending + Δ         Z-set, evicted below the floor after the batch
//	output    STATE_due()         append-only
//
// With an allowed lateness the floor of eviction stays behind the one of closing. Rows are shown when the
// watermark closes their window, and what comes for them afterwards corrects them:
//
//	pending ← pending + Δ (rows that were not closed before the batch)
//	output    STATE_due() + Δ (rows that were)
//
// This needs no further state: what was shown is A restricted to closed windows, so its change is the change
// of A where windows were closed before, and all of A where they have closed now.
//
// Invariant: without lateness no Δ has a row below the floor before the batch: late rows were dropped. The
// step raises an error if one does; a retraction of a row that is gone the state itself refuses.
//
// Why rows without a value in the column are left out: no watermark ever closes them, and the one-shot
// answer, WHERE column < floor, leaves them out, too.

// closing is how a view's rows wait for their window to close.
type closing struct {
	column int
	// floor is in terms of {{closed SOURCE}}, before in terms of {{closed before SOURCE}}.
	floor, before string
	corrected     bool // a source allows lateness
}

// closeWindows puts the operator on top of a view.
func (p *planning) closeWindows(c *compiler, st *ddl.View, cols []vector.Field, r *relation, ex *Explain) (*relation, *Explain, error) {
	w, ok := c.closingColumn(cols, r)
	if !ok {
		return nil, nil, p.neverCloses(st, "no column says when a row is final")
	}
	mark := p.mark()
	out, err := c.windowClose(w, r)
	if err != nil {
		return nil, nil, err
	}
	p.closed[st.Name.Name] = quoteIdent(cols[w.column].Name) + " < " + w.floor
	mode := "append"
	if w.corrected {
		mode = "retract"
	}
	return out, c.explainClose(ex, cols, w, mark, mode), nil
}

// closingColumn picks the column that says when a row is final: window_end, window_start, or the first with
// a floor.
func (c *compiler) closingColumn(cols []vector.Field, r *relation) (closing, bool) {
	best, rank := -1, 0
	for i, f := range cols {
		if r.floor[i] == "" || !evictable(f.Type) {
			continue
		}
		score := 1
		switch strings.ToLower(f.Name) {
		case "window_end":
			score = 3
		case "window_start":
			score = 2
		}
		if score > rank {
			best, rank = i, score
		}
	}
	if best < 0 {
		return closing{}, false
	}
	w := closing{column: best, floor: strings.ReplaceAll(r.floor[best], "{{watermark ", "{{closed ")}
	w.before = strings.ReplaceAll(w.floor, "{{closed ", "{{closed before ")
	for _, s := range c.sources {
		w.corrected = w.corrected || s.Lateness > 0 && strings.Contains(w.floor, closedPlaceholder(s.Name))
	}
	return w, true
}

// windowClose compiles the operator over a view's relation.
func (c *compiler) windowClose(w closing, r *relation) (*relation, error) {
	delta := c.name("delta")
	if err := c.materialize(delta, consolidate(r.rows(), len(r.types))); err != nil {
		return nil, err
	}
	state := State{Name: c.name("pending"), Weighted: true, NKey: len(r.types), EvictColumn: w.column, EvictSQL: w.floor,
		Waiting: true, Bound: "rows of windows that are open, evicted when they close"}
	for i, t := range r.types {
		state.Cols = append(state.Cols, vector.Field{Name: "c" + itoa(i), Type: t})
	}
	state.Cols = append(state.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	if err := c.addState(state); err != nil {
		return nil, err
	}
	col := "c" + itoa(w.column)
	closed := "coalesce(" + col + " < " + w.before + ", false)"
	open := "NOT " + closed
	if !w.corrected {
		open = "CASE WHEN " + closed + " THEN error('a row changed that the watermark had closed') ELSE true END"
	}
	names := renamed("c", "c", len(r.types))
	if err := c.apply(state.Name, "SELECT "+names+"_w FROM "+delta+" WHERE "+col+" IS NOT NULL AND "+open); err != nil {
		return nil, err
	}
	out := &relation{types: r.types, floor: make([]string, len(r.types))}
	if !w.corrected {
		out.append = true
		out.sql = "SELECT " + trimComma(names) + " FROM (SELECT " + names + "unnest(range(_w)) AS _i FROM " + state.Name + "_due())"
		return out, nil
	}
	out.key, out.keyed = r.key, r.keyed
	out.sql = "SELECT " + names + "_w FROM " + state.Name + "_due() UNION ALL SELECT " + names + "_w FROM " + delta + " WHERE " + closed
	return out, nil
}

// explainClose puts the operator on top of the view's tree.
func (c *compiler) explainClose(child *Explain, cols []vector.Field, w closing, mark programMark, mode string) *Explain {
	ex := &Explain{Op: "emit on window close", Class: "stateful", Mode: mode, Children: []*Explain{child},
		Detail: "rows wait until " + cols[w.column].Name + " < " + readable(w.floor)}
	if w.corrected {
		ex.Detail += "; late rows within the allowed lateness correct them"
	}
	for _, s := range c.program.States[mark.states:] {
		ex.States, ex.Bound = append(ex.States, s.Name), s.Bound
	}
	for i := mark.steps; i < len(c.program.Steps); i++ {
		ex.Steps = append(ex.Steps, i)
	}
	return ex
}

// neverCloses is the error for a view without a column that has a floor.
func (p *planning) neverCloses(st *ddl.View, why string) error {
	e := p.file.Errorf(st.Name.Span, "view %q cannot be emitted on window close: %s", st.Name.Name, why)
	for _, in := range p.inputs {
		if in.EventTime >= 0 {
			return e.WithHint("select window_start or window_end of tumble(), hop() or cumulate(), and group by it; all sources that the window depends on need a WATERMARK")
		}
	}
	return e.WithHint("declare when rows are late, WATERMARK FOR column AS column - INTERVAL '5 seconds', in the source, and select window_end of tumble(), hop() or cumulate()")
}

// readsClosing refuses a view over one with EMIT ON WINDOW CLOSE.
//
// Why: a view is inlined where it is used, so that the reader would see rows of open windows, too.
func (p *planning) readsClosing(st *ddl.View) error {
	for _, other := range p.views {
		if !other.EmitOnWindowClose {
			continue
		}
		// A query that does not bind while the other view has another name reads it.
		const hidden = "_sluice_hidden"
		if err := p.binder.Exec(p.ctx, "ALTER VIEW "+other.Name.SQL()+" RENAME TO "+hidden); err != nil {
			return p.sqlError(st.Query, err)
		}
		_, unbound := p.binder.Describe(p.ctx, st.Query.SQL)
		if err := p.binder.Exec(p.ctx, "ALTER VIEW "+hidden+" RENAME TO "+other.Name.SQL()); err != nil {
			return p.sqlError(st.Query, err)
		}
		if unbound != nil {
			return p.file.Errorf(st.Name.Span, "view %q reads view %q, which is emitted on window close", st.Name.Name, other.Name.Name).
				WithHint("make %s a plain CREATE VIEW, and write EMIT ON WINDOW CLOSE behind what reads it", other.Name.Name)
		}
	}
	return nil
}

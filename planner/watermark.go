package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Watermarks bound state. A source accepts a row in a later batch only if its event time is at or above
// the watermark W. The planner derives, per column of a node, a floor: an expression over W that no
// later row's value goes below. It holds for the event-time column (W itself) and survives every
// non-decreasing function. State keyed by such a column may be evicted below the floor: no later row can
// touch that key, neither to insert nor to change it.
//
// Invariant: floor(W) is evaluated with the watermark after the batch, less the allowed lateness, which is the one that decides
// lateness in the next; it is NULL while a source that it depends on has no watermark.

// floorOf returns the floor of an expression over columns with these floors, "" if unknown.
func (c *compiler) floorOf(e *expr, floors []string) string {
	var inner *expr // the one argument that carries columns
	switch e.Class {
	case "BOUND_REF":
		return floors[e.Index]
	case "BOUND_CAST":
		if e.TryCast || e.ReturnType == nil || !timeTypes[e.ReturnType.ID] {
			return ""
		}
		inner = e.Child
	case "BOUND_FUNCTION":
		inner = c.monotoneIn(e)
	}
	if inner == nil || c.floorOf(inner, floors) == "" {
		return ""
	}
	text, err := (&printer{column: func(i int) string { return "(" + floors[i] + ")" }}).expr(e)
	if err != nil {
		return ""
	}
	return text
}

var timeTypes = map[string]bool{"DATE": true, "TIMESTAMP": true, "TIMESTAMP_S": true, "TIMESTAMP_MS": true, "TIMESTAMP_NS": true}

// monotoneIn returns the argument in which a call never decreases, if it is the only one with columns.
func (c *compiler) monotoneIn(e *expr) *expr {
	var arg *expr
	at := -1
	for i, a := range e.Children {
		if len(a.refs()) == 0 {
			continue
		}
		if arg != nil {
			return nil
		}
		arg, at = a, i
	}
	ok := false
	switch {
	case len(e.Children) < 2 || arg == nil:
	case e.Name == "+" || e.Name == "-" && at == 0:
		ok = c.fixedLength(e.Children[1-at])
	case e.Name == "date_trunc":
		ok = at == 1
	case e.Name == "time_bucket":
		// Why not every origin: an INTERVAL there may count months, a VARCHAR is a time zone with its DST.
		ok = at == 1 && (len(e.Children) == 2 || isTime(e.Children[2]))
	}
	if !ok {
		return nil
	}
	return arg
}

func isTime(e *expr) bool {
	t, err := typeOf(e)
	return err == nil && evictable(t)
}

// fixedLength says that adding a constant keeps the order of times. An INTERVAL with months does not:
// January 30, 23:00 and January 31, 01:00 become February 28, 23:00 and February 28, 01:00.
func (c *compiler) fixedLength(e *expr) bool {
	if t, err := typeOf(e); err != nil || t.Kind != vector.Interval {
		return err == nil
	}
	return c.constantIs(e, "datepart('year', %) = 0 AND datepart('month', %) = 0")
}

// constantIs evaluates a condition on a constant expression, % in it; false if it cannot.
func (c *compiler) constantIs(e *expr, condition string) bool {
	text, err := columns("c").expr(e)
	if err != nil || len(e.refs()) > 0 {
		return false
	}
	value, ok, err := c.binder.QueryValue(c.ctx, "SELECT ("+strings.ReplaceAll(condition, "%", "("+text+")")+")::VARCHAR")
	return err == nil && ok && value == "true"
}

// floorOfElements returns the floor of the elements of range(a, b, step) with a constant step: of a, or,
// where the step is negative, as in hop's window starts, of b.
func (c *compiler) floorOfElements(list *expr, floors []string) string {
	if list.Class != "BOUND_FUNCTION" || (list.Name != "range" && list.Name != "generate_series") || len(list.Children) != 3 {
		return ""
	}
	switch step := list.Children[2]; {
	case c.constantIs(step, "% < INTERVAL '0 seconds'"):
		floor := c.floorOf(list.Children[1], floors)
		if floor != "" && list.Name == "range" {
			// Why: range leaves its end out, so that a window that ends at the watermark is closed.
			floor = "(" + floor + " + INTERVAL '1 microsecond')"
		}
		return floor
	case c.constantIs(step, "% > INTERVAL '0 seconds'"):
		return c.floorOf(list.Children[0], floors)
	}
	return ""
}

package planner

// Watermarks bound state. A source accepts a row in a later batch only if its event time is at or above
// the watermark W. The planner derives, per column of a node, a floor: an expression over W that no
// later row's value goes below. It holds for the event-time column (W itself) and survives every
// non-decreasing function. State keyed by such a column may be evicted below the floor: no later row can
// touch that key, neither to insert nor to change it.
//
// Invariant: floor(W) is evaluated with the watermark after the batch, which is the one that decides
// lateness in the next.

// watermarkPlaceholder stands for the source's watermark in State.EvictSQL; the loop replaces it by a
// literal of the event-time column's type, or by NULL while there is none.
func watermarkPlaceholder(source string) string { return "{{watermark " + source + "}}" }

// floorOf returns the floor of an expression over columns with these floors.
func floorOf(e *expr, floors []string) string {
	switch e.Class {
	case "BOUND_REF":
		return floors[e.Index]
	case "BOUND_CAST":
		if e.TryCast || e.ReturnType == nil || !timeTypes[e.ReturnType.ID] {
			return ""
		}
	case "BOUND_FUNCTION":
		arg, ok := monotone[e.Name]
		if !ok || !onlyArgument(e, arg) {
			return ""
		}
	default:
		return ""
	}
	var unknown bool
	p := &printer{column: func(i int) string {
		if floors[i] == "" {
			unknown = true
		}
		return "(" + floors[i] + ")"
	}}
	text, err := p.expr(e)
	if err != nil || unknown || len(e.refs()) == 0 {
		return ""
	}
	if inner := innerArgument(e); inner != nil && floorOf(inner, floors) == "" {
		return ""
	}
	return text
}

var timeTypes = map[string]bool{"DATE": true, "TIMESTAMP": true, "TIMESTAMP_S": true, "TIMESTAMP_MS": true, "TIMESTAMP_NS": true}

// monotone functions never decrease as the argument at that position grows, the others being constant.
var monotone = map[string]int{"time_bucket": 1, "date_trunc": 1, "+": 0, "-": 0}

// onlyArgument says that e depends on columns through that argument alone.
func onlyArgument(e *expr, at int) bool {
	if len(e.Children) < 2 || at >= len(e.Children) {
		return false
	}
	for i, c := range e.Children {
		if i != at && len(c.refs()) > 0 {
			return false
		}
	}
	return true
}

// innerArgument is the argument of a monotone expression that carries the column.
func innerArgument(e *expr) *expr {
	if e.Class == "BOUND_CAST" {
		return e.Child
	}
	return e.Children[monotone[e.Name]]
}

// floorOfElements returns the floor of the elements of a list: of range(a, b, step) with a constant
// negative step, every element is above b, which is how a hop's window starts are written.
func floorOfElements(list *expr, floors []string) string {
	if list.Class != "BOUND_FUNCTION" || list.Name != "range" || len(list.Children) != 3 {
		return ""
	}
	step := list.Children[2]
	if len(step.refs()) > 0 {
		return ""
	}
	if step.Class == "BOUND_FUNCTION" && step.Name == "-" && len(step.Children) == 1 {
		return floorOf(list.Children[1], floors)
	}
	return ""
}

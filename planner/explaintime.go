package planner

import (
	"regexp"
	"strings"
)

// What explain says of event time: how far every stateful operator's rows are bounded by the watermark, and of
// each state that is never evicted, why.

// timePlaceholder matches the placeholders of instants, for people.
var timePlaceholder = regexp.MustCompile(`\{\{([a-z ]+) ([^{}]+)\}\}`)

// Evicted is the condition under which a batch ends a row's life, for people; empty if none does.
func (s *State) Evicted() string {
	if s.EvictColumn < 0 {
		return ""
	}
	return s.Cols[s.EvictColumn].Name + " < " + readable(s.EvictSQL)
}

// floorsText lists the columns that no later row goes below.
func (r *relation) floorsText(names []string) string {
	var parts []string
	for i, f := range r.floor {
		if f != "" && !strings.Contains(names[i], "#") { // k#2 is k again
			parts = append(parts, names[i]+" >= "+readable(f))
		}
	}
	return strings.Join(parts, ", ")
}

// scansBelow lists the sources that a node reads, each once, in the order of the tree.
func scansBelow(n node) []*SourceInput {
	var out []*SourceInput
	seen := map[*SourceInput]bool{}
	var walk func(n node)
	walk = func(n node) {
		if s, ok := n.(*scan); ok && !seen[s.source] {
			seen[s.source] = true
			out = append(out, s.source)
		}
		for _, ch := range inputsOf(n) {
			walk(ch)
		}
	}
	walk(n)
	return out
}

// neverEvicted says why the watermark proves none of a node's state dead.
func neverEvicted(n node) string {
	var without []string
	for _, s := range scansBelow(n) {
		switch {
		case s.Changes == Keyed:
			return "a row of " + s.Name + " may change whatever its age"
		case s.Static: // bounds nothing and holds nothing back
		case s.EventTime < 0:
			without = append(without, s.Name)
		}
	}
	switch {
	case len(without) == 1:
		return without[0] + " has no watermark"
	case len(without) > 1:
		return strings.Join(without, " and ") + " have no watermark"
	}
	switch n.(type) {
	case *aggregate:
		return "no group key follows the event time"
	case *sessions:
		return "the rows have no watermark"
	case *window:
		return "no PARTITION BY follows the event time"
	case *join:
		return "no equal key follows the event time of both sides, and no condition bounds it"
	case *setOp:
		return "no column follows the event time of both sides"
	}
	return "nothing in its key follows the event time"
}

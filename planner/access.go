package planner

import "strings"

// The ways to read a state.
const (
	uniqueLookup = "unique lookup"
	prefixLookup = "prefix lookup"
	fullScan     = "full scan every batch"
	dueRows      = "the rows that close"
)

// Access says how a batch reads a state: through STATE_get, STATE_rows, STATE_scan or STATE_due; empty for a
// state that is only written to.
func (p *Program) Access(s State) string {
	var ways []string
	for _, w := range []struct{ suffix, name string }{
		{"_get(", uniqueLookup}, {"_rows(", prefixLookup}, {"_scan()", fullScan}, {"_due()", dueRows}} {
		if p.calls(s.Name + w.suffix) {
			ways = append(ways, w.name)
		}
	}
	return strings.Join(ways, ", ")
}

// calls says whether a step, or a view that steps may read, has the text.
func (p *Program) calls(text string) bool {
	for _, s := range p.Steps {
		if strings.Contains(s.SQL, text) {
			return true
		}
	}
	for _, sql := range p.Setup {
		if strings.Contains(sql, text) {
			return true
		}
	}
	return false
}

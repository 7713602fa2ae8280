package planner

import "strings"

// Access says how a batch reads a state: through STATE_get, STATE_rows or STATE_scan. A state that is only
// written to has none.
func (p *Program) Access(s State) string {
	var ways []string
	for _, w := range []struct{ suffix, name string }{
		{"_get(", "unique lookup"}, {"_rows(", "prefix lookup"}, {"_scan()", "full scan every batch"}} {
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

package planner

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// SET state_ttl drops state rows that nothing has written to for so long, although a later row might need
// them: for those who would rather lose a match than keep everything. It acts on
//
//   - both sides of an inner join of rows that are only inserted: a row meets what the other side has sent
//     within the time
//   - the groups of an aggregate of such rows that no other operator reads: a group that comes back after the
//     time begins anew, in place of the old row where the table has the group's key
//
// and on no state that a watermark bounds. Everywhere else it would be worse than a loss: an operator that is
// told to take a row back must still know it.
//
// Time is the batch's time, which is in the log, so that a replay drops the same rows. It is kept in a column
// of the state, _at, by which rows are evicted like any others.
//
// What depends on dropped rows no one-shot query can answer; verify says so instead of comparing.

const batchTimePlaceholder = "{{batch time}}"

// stateTTL reads the option; a value that is no duration the check of all options reports.
func (p *planning) stateTTL() time.Duration {
	text, _ := p.file.Settings().Get(ddl.StateTTL)
	d, err := ddl.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

// withTTL marks the aggregate that only projections and filters part from a view's output. It copies what it
// marks: another view may have the same node below another operator.
func (c *compiler) withTTL(n node) node {
	if c.ttl == 0 {
		return n
	}
	switch n := n.(type) {
	case *project:
		out := *n
		out.child = c.withTTL(n.child)
		return &out
	case *filter:
		out := *n
		out.child = c.withTTL(n.child)
		return &out
	case *aggregate:
		if len(n.groups) > 0 && appendOnly(n.child) {
			out := *n
			out.ttl = true
			return &out
		}
	}
	return n
}

// expire has a state evicted by when its rows were last written to, unless a watermark bounds it. It returns
// the text to add to the columns that are applied to it.
func (c *compiler) expire(s *State) string {
	if s.EvictColumn >= 0 {
		return ""
	}
	s.EvictColumn = len(s.Cols)
	s.Cols = append(s.Cols, vector.Field{Name: "_at", Type: vector.Of(vector.Timestamp)})
	s.EvictSQL = batchTimePlaceholder + " - to_microseconds(" + fmt.Sprint(c.ttl.Microseconds()) + ")"
	s.Bound = "LOSSY, by state_ttl: rows that were not written to for " + durationText(c.ttl) + " are dropped, though a later row may need them"
	return batchTimePlaceholder + " AS _at"
}

// lossyBelow says what the loss means for a view, empty if it has none.
func (c *compiler) lossyBelow(n node) string {
	var said []string
	var walk func(n node)
	walk = func(n node) {
		// Why not from the notes: below what another view has compiled this one has none.
		if loses := c.shared.loses[c.shared.ids.id(n)]; loses != "" && !strings.Contains(strings.Join(said, ""), loses) {
			said = append(said, loses)
		}
		for _, in := range inputsOf(n) {
			walk(in)
		}
	}
	walk(n)
	return strings.Join(said, "; ")
}

// durationText writes 1h30m and not 1h30m0s.
func durationText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

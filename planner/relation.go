package planner

import (
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

func itoa(i int) string { return strconv.Itoa(i) }

// atoi reads digits that a regular expression has already checked.
func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

// A relation is the delta of a node within one batch, as SQL text that the next operator embeds.
//
// In row form the columns are c0…cn, then _w unless every weight is +1 (append), then _seq if asked for: what
// orders the rows where the query does not, a BIGINT or, of a weighted source, its whole row.
// In pair form, which aggregates and keyed sources give, there is one row a touched group: the new row n0…nn,
// the old row o0…on, whether each exists (_nl, _ol), and n_seq and o_seq if asked for. Linear operators keep the form, so that an aggregate's
// update reaches the sink as one upsert, never as a delete and an insert to be netted again.
type relation struct {
	sql    string
	types  []vector.Type
	pairs  bool
	append bool
	seq    bool
	// key holds the columns that identify a row of the accumulated relation; keyed says that they do
	// (an ungrouped aggregate is keyed by no column at all).
	key   []int
	keyed bool
	// twin is, per column, the first one that determines it and is determined by it; see twins.go. A column
	// that is not in it has none.
	twin []int
	// floor is, per column, a SQL expression over the watermark placeholders that no row of a later
	// batch goes below; "" if unknown.
	floor []string
	// loses says what state_ttl may take from it; empty if nothing.
	loses string
}

// rows returns the relation in row form with a weight column unless append.
func (r *relation) rows() *relation {
	if !r.pairs {
		return r
	}
	changed := r.changed()
	half := func(prefix, live, weight string) string {
		if r.seq {
			weight += " AS _w, " + prefix + "_seq AS _seq"
		} else {
			weight += " AS _w"
		}
		return "SELECT " + renamed(prefix, "c", len(r.types)) + weight + " FROM (" + r.sql + ") WHERE " + live + changed
	}
	out := *r
	out.pairs = false
	out.sql = half("n", "_nl", "1::BIGINT") + " UNION ALL " + half("o", "_ol", "-1::BIGINT")
	return &out
}

// changed is the condition, starting with AND, that the new row differs from the old.
func (r *relation) changed() string {
	isKey := map[int]bool{}
	for _, k := range r.key {
		isKey[k] = r.keyed
	}
	var same []string
	for i := range r.types {
		if !isKey[i] {
			same = append(same, "n"+itoa(i)+" IS NOT DISTINCT FROM o"+itoa(i))
		}
	}
	if r.seq {
		same = append(same, "n_seq = o_seq") // another place in the order is a change, too
	}
	if len(same) == 0 {
		return " AND NOT (_nl AND _ol)"
	}
	return " AND NOT (_nl AND _ol AND " + strings.Join(same, " AND ") + ")"
}

// renamed lists from0 AS to0, from1 AS to1, … with a trailing comma and space, for n columns.
func renamed(from, to string, n int) string {
	var b strings.Builder
	for i := 0; i < n; i++ {
		b.WriteString(from + itoa(i) + " AS " + to + itoa(i) + ", ")
	}
	return b.String()
}

// hidden lists the columns after the visible ones that a linear operator carries along.
func (r *relation) hidden() string {
	switch {
	case r.pairs && r.seq:
		return ", _nl, _ol, n_seq, o_seq"
	case r.pairs:
		return ", _nl, _ol"
	case r.append && r.seq:
		return ", _seq"
	case r.append:
		return ""
	case r.seq:
		return ", _w, _seq"
	}
	return ", _w"
}

// weight is the SQL of a row's weight.
func (r *relation) weight() string {
	if r.append {
		return "1"
	}
	return "_w"
}

// trimComma removes the trailing ", " of a column list.
func trimComma(s string) string { return strings.TrimSuffix(s, ", ") }

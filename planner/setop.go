package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// setOp is EXCEPT or INTERSECT, with or without ALL.
type setOp struct {
	op          string
	left, right node
}

func (n *setOp) types() []vector.Type { return n.left.types() }

// setWeights gives how often a tuple is in the result, from how often it is on the left (l) and right (r).
var setWeights = map[string]string{
	"EXCEPT":        "(l > 0 AND r = 0)::INTEGER",
	"INTERSECT":     "(l > 0 AND r > 0)::INTEGER",
	"EXCEPT ALL":    "greatest(l - r, 0)",
	"INTERSECT ALL": "least(l, r)",
}

// setOp keeps the count of every tuple on both sides and emits the difference that the touched tuples'
// counts make.
func (c *compiler) setOp(n *setOp, want demand) (*relation, error) {
	if want.seq {
		return nil, notYet("an order-sensitive aggregate over %s", n.op)
	}
	var keys []*expr
	for i := range n.types() {
		keys = append(keys, ref(i))
	}
	var sides []*keyedInput
	var floors []string
	for _, child := range []node{n.left, n.right} {
		r, err := c.compile(child, demand{})
		if err != nil {
			return nil, err
		}
		in, err := c.keyInput(r, keys, "grows with the distinct rows")
		if err != nil {
			return nil, err
		}
		sides = append(sides, in)
		if floors == nil {
			floors = r.floor
		} else {
			floors = lowerFloors(floors, r.floor)
		}
	}
	for _, in := range sides {
		if err := in.declare(floors); err != nil {
			return nil, err
		}
	}
	touched, err := c.touched(sides...)
	if err != nil {
		return nil, err
	}
	before, after, table := c.name("before"), c.name("after"), c.name("set")
	counts := c.tupleCounts(n, sides, touched)
	if err := c.materialize(before, counts); err != nil {
		return nil, err
	}
	for _, in := range sides {
		if err := in.apply(); err != nil {
			return nil, err
		}
	}
	if err := c.materialize(after, counts); err != nil {
		return nil, err
	}
	names := renamed("c", "c", len(n.types()))
	diff := &relation{sql: "SELECT " + names + "_w FROM " + after + " UNION ALL SELECT " + names + "-_w FROM " + before}
	if err := c.materialize(table, consolidate(diff, len(n.types()))); err != nil {
		return nil, err
	}
	r := &relation{sql: "SELECT * FROM " + table, types: n.types(), floor: floors}
	if !strings.HasSuffix(n.op, "ALL") {
		r.keyed = true
		for i := range n.types() {
			r.key = append(r.key, i)
		}
	}
	return r, nil
}

// tupleCounts is the result's weight of every touched tuple, by what is stored.
func (c *compiler) tupleCounts(n *setOp, sides []*keyedInput, touched string) string {
	get := func(in *keyedInput) string {
		return "coalesce(" + in.state.Name + "_get(" + in.keyNames() + ")._w, 0)"
	}
	cols := ""
	for i := range n.types() {
		cols += "k" + itoa(i) + " AS c" + itoa(i) + ", "
	}
	return "SELECT " + cols + setWeights[n.op] + "::BIGINT AS _w FROM (SELECT *, " + get(sides[0]) + " AS l, " + get(sides[1]) + " AS r FROM " + touched + ")"
}

package planner

import (
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Conditions such as b.ts BETWEEN a.ts - x AND a.ts + y bound how long a row of a join is needed: the other
// side's watermark passes all that the row could still match. They also bound the join's own output.
//
// Let FA and FB be floors: no later row of a side, inserted or deleted, is below its own.
//
//	inner  a row with l of a condition l >= r matches nothing new once l < FB(r). A row that can still be
//	       deleted must be there to be deleted: where rows change, l < FA(l), too.
//	others A row is stored to be joined again when its key is touched. With a + L <= b <= a + U, a left row
//	       can be touched while a >= min(FB - U, FA), a right row while b >= min(FA + L, FB). A row must be
//	       kept while it can be touched itself, if its own side's rows are the result's, and while a row that it
//	       may match can be touched.
//	ASOF   a left row is settled once l < FB(r). Right rows stay: one of any age may be the nearest.
//
// Invariant: a row whose compared value is NULL matches nothing and is not stored; evicting would never find it.

// timeBound is a condition left >= right (leftGreater) or left <= right, strict or not, of times.
type timeBound struct {
	left, right *expr
	leftGreater bool
}

// timeBounds are the conditions of a join that compare times of both sides.
func (n *join) timeBounds() []timeBound {
	_, conds := n.split()
	nl := len(n.left.types())
	for _, p := range n.rest {
		if c, ok := differenceBound(p, nl, nl+len(n.right.types())); ok {
			conds = append(conds, c)
		}
	}
	var out []timeBound
	for _, c := range conds {
		greater := strings.HasPrefix(c.comparison, "COMPARE_GREATERTHAN")
		if !greater && !strings.HasPrefix(c.comparison, "COMPARE_LESSTHAN") {
			continue
		}
		lt, err1 := typesOver(n.left.types(), []*expr{c.left})
		rt, err2 := typesOver(n.right.types(), []*expr{c.right})
		if err1 == nil && err2 == nil && evictable(lt[0]) && lt[0].Equal(rt[0]) {
			out = append(out, timeBound{c.left, c.right, greater})
		}
	}
	return out
}

// differenceBound reads b.ts - a.ts <= INTERVAL … as b.ts <= a.ts + INTERVAL …. It stays a predicate of the
// join; only the bound is drawn from it.
func differenceBound(p *expr, nl, columns int) (joinCond, bool) {
	if p.Class != "BOUND_COMPARISON" || flipped[p.Type] == "" {
		return joinCond{}, false
	}
	left, right, op := bare(p.Left), bare(p.Right), p.Type
	if len(left.refs()) == 0 {
		left, right, op = right, left, flipped[op]
	}
	if len(right.refs()) > 0 || left.Class != "BOUND_FUNCTION" || left.Name != "-" || len(left.Children) != 2 || right.ReturnType == nil || right.ReturnType.ID != "INTERVAL" {
		return joinCond{}, false
	}
	x, y := left.Children[0], left.Children[1]
	if y.ReturnType == nil || y.ReturnType.ID != "TIMESTAMP" || x.ReturnType == nil || x.ReturnType.ID != "TIMESTAMP" {
		return joinCond{}, false
	}
	sum := &expr{Class: "BOUND_FUNCTION", Type: "BOUND_FUNCTION", Name: "+", IsOperator: true, ReturnType: y.ReturnType, Children: []*expr{y, right}}
	return asCondition(&expr{Class: "BOUND_COMPARISON", Type: op, Left: x, Right: sum}, nl, columns)
}

// eviction is how a side's state shrinks: rows whose value of the expression is below the floor are dead.
type eviction struct {
	by    *expr
	floor string
}

// evictions returns the left and the right side's, nil where the conditions bound nothing.
func (j *joinPlan) evictions() (left, right *eviction) {
	bounds := j.n.timeBounds()
	switch {
	case j.n.kind == innerJoin || j.n.kind.isAsof():
		for _, b := range bounds {
			if b.leftGreater && left == nil {
				left = j.dead(b.left, j.ra, j.n.left, j.floorOf(b.right, j.rb.floor))
			}
			if !b.leftGreater && right == nil && j.n.kind == innerJoin {
				right = j.dead(b.right, j.rb, j.n.right, j.floorOf(b.left, j.ra.floor))
			}
		}
		return left, right
	}
	return j.outerEvictions(bounds)
}

// dead is the eviction of a side by an expression below a floor that the other side gives.
func (j *joinPlan) dead(by *expr, side *relation, of node, floor string) *eviction {
	if !appendOnly(of) {
		floor = lowest(floor, j.floorOf(by, side.floor))
	}
	if floor == "" {
		return nil
	}
	return &eviction{by, floor}
}

// interval is a + low <= b <= a + high over one time column of each side, in microseconds.
type interval struct {
	a, b            int
	low, high       int64
	hasLow, hasHigh bool
	aFloor, bFloor  string
}

// outerEvictions are those of a join that pads, or that only asks whether there is a match.
func (j *joinPlan) outerEvictions(bounds []timeBound) (left, right *eviction) {
	w, ok := j.interval(bounds)
	if !ok || w.aFloor == "" || w.bFloor == "" {
		return nil, nil
	}
	leftIs, rightIs := j.n.kind != rightJoin, j.n.kind == rightJoin || j.n.kind == fullJoin // whose rows are the result's
	// What can be touched: a row of the side, by a later row of the other, or by one of its own side. Each list
	// of floors stands for the lowest of them.
	var a, b []string
	if w.hasHigh {
		a = []string{w.aFloor, plusMicros(w.bFloor, -w.high)}
	}
	if w.hasLow {
		b = []string{w.bFloor, plusMicros(w.aFloor, w.low)}
	}
	// What can still be deleted must be there, too.
	deadA, deadB := []string{w.aFloor}, []string{w.bFloor}
	if leftIs {
		deadA = append(deadA, orUnknown(a, w.hasHigh, 0)...)
		deadB = append(deadB, orUnknown(a, w.hasHigh && w.hasLow, w.low)...)
	}
	if rightIs {
		deadB = append(deadB, orUnknown(b, w.hasLow, 0)...)
		deadA = append(deadA, orUnknown(b, w.hasLow && w.hasHigh, -w.high)...)
	}
	if floor := lowest(deadA...); floor != "" {
		left = &eviction{ref(w.a), floor}
	}
	if floor := lowest(deadB...); floor != "" {
		right = &eviction{ref(w.b), floor}
	}
	return left, right
}

// orUnknown moves floors in time.
func orUnknown(floors []string, known bool, micros int64) []string {
	if !known {
		return []string{""}
	}
	var out []string
	for _, f := range floors {
		out = append(out, plusMicros(f, micros))
	}
	return out
}

// interval reads the bounds over the first pair of time columns that they compare.
func (j *joinPlan) interval(bounds []timeBound) (w interval, ok bool) {
	for _, b := range bounds {
		ac, ax, ok1 := j.shifted(b.left, j.ra.types)
		bc, bx, ok2 := j.shifted(b.right, j.rb.types)
		if !ok1 || !ok2 || ok && (ac != w.a || bc != w.b) {
			continue
		}
		w.a, w.b, ok = ac, bc, true
		switch d := ax - bx; {
		case b.leftGreater && (!w.hasHigh || d < w.high):
			w.high, w.hasHigh = d, true
		case !b.leftGreater && (!w.hasLow || d > w.low):
			w.low, w.hasLow = d, true
		}
	}
	if ok {
		w.aFloor, w.bFloor = j.ra.floor[w.a], j.rb.floor[w.b]
	}
	return w, ok
}

// shifted reads an expression as a TIMESTAMP column plus microseconds.
func (c *compiler) shifted(e *expr, types []vector.Type) (column int, micros int64, ok bool) {
	if e.Class == "BOUND_REF" {
		return int(e.Index), 0, types[e.Index].Kind == vector.Timestamp
	}
	if e.Class != "BOUND_FUNCTION" || len(e.Children) != 2 || e.Name != "+" && e.Name != "-" {
		return 0, 0, false
	}
	base, by := e.Children[0], e.Children[1]
	if e.Name == "+" && len(base.refs()) == 0 {
		base, by = by, base
	}
	if t, err := typeOf(by); err != nil || t.Kind != vector.Interval || !c.fixedLength(by) {
		return 0, 0, false
	}
	text, err := columns("c").expr(by)
	if err != nil {
		return 0, 0, false
	}
	value, ok, err := c.binder.QueryValue(c.ctx, "SELECT epoch_us("+text+")::VARCHAR")
	if err != nil || !ok {
		return 0, 0, false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if e.Name == "-" {
		n = -n
	}
	column, micros, ok = c.shifted(base, types)
	return column, micros + n, ok
}

// plusMicros moves a floor in time; "" stays unknown.
func plusMicros(floor string, n int64) string {
	if floor == "" || n == 0 {
		return floor
	}
	sign, by := " + ", n
	if n < 0 {
		sign, by = " - ", -n
	}
	if by%1_000_000 == 0 {
		return "(" + floor + sign + "INTERVAL '" + strconv.FormatInt(by/1_000_000, 10) + " seconds')"
	}
	return "(" + floor + sign + "to_microseconds(" + strconv.FormatInt(by, 10) + "))"
}

// boundFloors gives the output's time columns the floors that the conditions prove: a row of a later batch
// has a new row on one side at least, and with l >= r it is l >= min(FA(l), FB(r)).
func (j *joinPlan) boundFloors(floor []string, nl int) {
	set := func(e *expr, own *relation, first int, other string) {
		column, micros := int(e.Index), int64(0)
		if e.Class != "BOUND_REF" {
			var ok bool
			if column, micros, ok = j.shifted(e, own.types); !ok {
				return
			}
		}
		if at := first + column; at < len(floor) && floor[at] == "" {
			floor[at] = lowest(own.floor[column], plusMicros(other, -micros))
		}
	}
	for _, b := range j.n.timeBounds() {
		if b.leftGreater {
			set(b.left, j.ra, 0, j.floorOf(b.right, j.rb.floor))
		} else {
			set(b.right, j.rb, nl, j.floorOf(b.left, j.ra.floor))
		}
	}
}

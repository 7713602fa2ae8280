package planner

import (
	"slices"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Columns that determine each other, one to one, stand for each other in a key: window_start and window_end,
// or both sides of an equality. So a key survives a projection that drops one of them.

// twinOf is the first column that determines column i and is determined by it.
func (r *relation) twinOf(i int) int {
	if i < len(r.twin) {
		return r.twin[i]
	}
	return i
}

// pair makes columns a and b twins.
func (r *relation) pair(a, b int) {
	for i := len(r.twin); i < len(r.types); i++ {
		r.twin = append(r.twin, i)
	}
	r.twin = slices.Clone(r.twin) // relations are copied; the slice may be another's
	from, to := max(r.twin[a], r.twin[b]), min(r.twin[a], r.twin[b])
	for i, t := range r.twin {
		if t == from {
			r.twin[i] = to
		}
	}
}

// twinsOf are the twins among expressions over a relation: equal ones, references to twins, and times that
// differ by a fixed interval.
func (c *compiler) twinsOf(child *relation, exprs []*expr, types []vector.Type) []int {
	out := make([]int, len(exprs))
	var bases []*expr
	for i, e := range exprs {
		if evictable(types[i]) {
			e = c.withoutShift(e)
		}
		if e.Class == "BOUND_REF" {
			e = ref(child.twinOf(int(e.Index)))
		}
		bases = append(bases, e)
		same := func(x *expr) bool {
			return x.Class == e.Class && (e.Class == "BOUND_REF" && x.Index == e.Index || e.Class == "BOUND_FUNCTION" && evictable(types[i]) && sameExpr(x, e))
		}
		out[i] = slices.IndexFunc(bases[:i], same)
		if out[i] < 0 {
			out[i] = i
		} else {
			out[i] = out[out[i]]
		}
	}
	return out
}

// withoutShift takes off what is added to a time.
func (c *compiler) withoutShift(e *expr) *expr {
	for e.Class == "BOUND_FUNCTION" && len(e.Children) == 2 && (e.Name == "+" || e.Name == "-") {
		base, by := e.Children[0], e.Children[1]
		if e.Name == "+" && len(base.refs()) == 0 {
			base, by = by, base
		}
		if t, err := typeOf(by); err != nil || t.Kind != vector.Interval || len(by.refs()) > 0 || !c.fixedLength(by) {
			return e
		}
		e = base
	}
	return e
}

// keyAmong finds a key's columns, or their twins, among expressions over the relation.
func (r *relation) keyAmong(exprs []*expr) ([]int, bool) {
	if !r.keyed {
		return nil, false
	}
	var key []int
	for _, k := range r.key {
		at := slices.IndexFunc(exprs, func(e *expr) bool { return isRefTo(e, k) })
		if at < 0 {
			at = slices.IndexFunc(exprs, func(e *expr) bool { return e.Class == "BOUND_REF" && r.twinOf(int(e.Index)) == r.twinOf(k) })
		}
		if at < 0 {
			return nil, false
		}
		if !slices.Contains(key, at) {
			key = append(key, at)
		}
	}
	return key, true
}

// key of the output: both sides' keys, or one side's if its rows meet at most one row of the other. In a FULL
// join a padded row could equal one whose key is NULL.
func (j *joinPlan) key(nl int) ([]int, bool) {
	left := slices.Clone(j.ra.key)
	var right []int
	for _, k := range j.rb.key {
		right = append(right, nl+k)
	}
	kind := j.n.kind
	switch {
	case kind == semiJoin || kind == antiJoin || kind.isAsof():
		return left, j.ra.keyed
	case !j.ra.keyed || !j.rb.keyed || kind == fullJoin:
		return nil, false
	case kind != rightJoin && j.n.meetsAtMostOne(j.rb.key):
		return left, true
	case kind != leftJoin && j.n.leftMeetsAtMostOne(j.ra.key):
		return right, true
	}
	return append(left, right...), true
}

// pairs makes the columns that an inner join equates twins; the sides' own twins stay so.
func (j *joinPlan) pairs(r *relation, nl int) {
	for i := range nl {
		if t := j.ra.twinOf(i); t != i {
			r.pair(t, i)
		}
	}
	for i := 0; nl+i < j.out; i++ {
		if t := j.rb.twinOf(i); t != i {
			r.pair(nl+t, nl+i)
		}
	}
	for _, k := range j.keys {
		if j.n.kind == innerJoin && k.left.Class == "BOUND_REF" && k.right.Class == "BOUND_REF" {
			r.pair(int(k.left.Index), nl+int(k.right.Index))
		}
	}
}

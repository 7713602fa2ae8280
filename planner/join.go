package planner

import (
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// join combines two inputs. Conditions compare an expression over the left with one over the right; rest
// are predicates over both (right columns numbered after the left ones).
type join struct {
	kind        joinKind
	left, right node
	conds       []joinCond
	rest        []*expr
}

type joinKind string

const (
	innerJoin joinKind = "INNER"
	leftJoin  joinKind = "LEFT"
	rightJoin joinKind = "RIGHT"
	fullJoin  joinKind = "FULL"
	semiJoin  joinKind = "SEMI"
	antiJoin  joinKind = "ANTI"

	asofJoin     joinKind = "ASOF"      // each left row with the right row next to it, if there is one
	asofLeftJoin joinKind = "ASOF LEFT" // … or with NULL
	singleJoin   joinKind = "SINGLE"    // a scalar subquery: at most one match
	markJoin     joinKind = "MARK"      // adds whether there is a match; see mark.go
)

// isAsof says that the one condition which is not a key picks the nearest row.
func (k joinKind) isAsof() bool { return k == asofJoin || k == asofLeftJoin }

// preservesLeft says that a left row without a match is in the result, padded.
func (k joinKind) preservesLeft() bool { return k == leftJoin || k == fullJoin || k == asofLeftJoin }

type joinCond struct {
	left, right *expr
	comparison  string // COMPARE_EQUAL and so on
}

// isKey says that rows can be looked up by the condition.
func (c joinCond) isKey() bool {
	return c.comparison == "COMPARE_EQUAL" || c.comparison == "COMPARE_NOT_DISTINCT_FROM"
}

func (n *join) types() []vector.Type {
	if n.kind == semiJoin || n.kind == antiJoin {
		return n.left.types()
	}
	return append(append([]vector.Type{}, n.left.types()...), n.right.types()...)
}

// split separates the conditions that are keys from those that are predicates.
func (n *join) split() (keys, others []joinCond) {
	for _, c := range n.conds {
		if c.isKey() {
			keys = append(keys, c)
		} else {
			others = append(others, c)
		}
	}
	return keys, others
}

// shift moves the references of an expression by n columns.
func shift(e *expr, n, columns int) *expr {
	by := make([]*expr, columns)
	for i := range by {
		by[i] = &expr{Class: "BOUND_REF", Type: "BOUND_REF", Index: uint64(i + n)}
	}
	return substitute(e, by)
}

// predicate prints what rows must satisfy beyond equal keys: a… are left columns, b… right ones.
func (n *join) predicate() (string, error) {
	nl := len(n.left.types())
	p := &printer{column: func(i int) string {
		if i < nl {
			return "a" + itoa(i)
		}
		return "b" + itoa(i-nl)
	}}
	var parts []string
	_, others := n.split()
	for _, c := range others {
		l, err := columns("a").expr(c.left)
		if err != nil {
			return "", notYet("cannot print %v", err)
		}
		r, err := columns("b").expr(c.right)
		if err != nil {
			return "", notYet("cannot print %v", err)
		}
		op, ok := comparisons[c.comparison]
		if !ok {
			return "", notYet("join comparison %s", c.comparison)
		}
		parts = append(parts, "("+l+" "+op+" "+r+")")
	}
	for _, e := range n.rest {
		s, err := p.expr(e)
		if err != nil {
			return "", notYet("cannot print %v", err)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " AND "), nil
}

// zeroKey is the key of a join without equalities: every row has the same.
func zeroKey() *expr {
	t := planType{ID: "INTEGER"}
	return &expr{Class: "BOUND_CONSTANT", ReturnType: &t, Value: &constant{Type: t, Value: []byte("0")}}
}

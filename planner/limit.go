package planner

import (
	"encoding/json"

	"github.com/sluice-sql/sluice/internal/vector"
)

// arrival appends _seq, the place in its source's order of the row that a row comes from, as a column.
type arrival struct{ child node }

func (n *arrival) types() []vector.Type {
	return append(append([]vector.Type{}, n.child.types()...), sourceOf(n.child).orderType())
}

// arrival has the order checked where it is asked for: ordersRows says that no two rows share a _seq.
func (c *compiler) arrival(n *arrival) (*relation, error) {
	child, err := c.compile(n.child, demand{seq: true})
	if err != nil {
		return nil, err
	}
	cols := len(child.types)
	r := *child
	r.types, r.seq = n.types(), false
	r.floor = append(append([]string{}, child.floor...), "")
	list := "SELECT "
	for _, prefix := range child.prefixes() {
		from := "_seq"
		if child.pairs {
			from = prefix + "_seq"
		}
		list += renamed(prefix, prefix, cols) + from + " AS " + prefix + itoa(cols) + ", "
	}
	r.sql = trimComma(list) + r.hidden() + " FROM (" + child.sql + ")"
	return &r, nil
}

// limit builds ORDER BY … LIMIT as the rows whose number in that order is in range. Without ORDER BY, the
// first rows are those that arrived first, where rows have such an order.
func (b *treeBuilder) limit(n *planNode) (node, error) {
	count, offset, err := constantLimits(n)
	if err != nil {
		return nil, err
	}
	if len(n.Children) != 1 {
		return nil, notYet("LIMIT with %d inputs", len(n.Children))
	}
	if order := n.Children[0]; order.Type == "LOGICAL_ORDER_BY" {
		child, err := b.only(order)
		if err != nil {
			return nil, err
		}
		if err := b.checkOrders(child, order.Orders); err != nil {
			return nil, err
		}
		return numbered(child, nil, order.Orders, offset, count), nil
	}
	child, err := b.only(n)
	if err != nil {
		return nil, err
	}
	if !arrives(child) {
		return nil, notYet("LIMIT without ORDER BY, over rows that have no order")
	}
	return firstArrived(child, nil, offset, count), nil
}

// arrives says that _seq orders a node's rows totally.
func arrives(n node) bool { return ordersRows(n, nil) && sourceOf(n) != nil }

// sourceOf is the one source whose rows a node passes on, nil if there is no such: then _seq does not order
// its rows.
func sourceOf(n node) *SourceInput {
	switch n := n.(type) {
	case *scan:
		return n.source
	case *project:
		return sourceOf(n.child)
	case *filter:
		return sourceOf(n.child)
	case *unnest:
		return sourceOf(n.child)
	}
	return nil
}

// firstArrived keeps the rows offset+1 … offset+count of each partition in arrival order.
func firstArrived(child node, partition []*expr, offset, count int64) node {
	seq := len(child.types())
	by := []order{{Type: "ASCENDING", NullOrder: "NULLS LAST", Expr: typedRef(seq, sourceOf(child).orderType())}}
	out := &project{child: numbered(&arrival{child}, partition, by, offset, count), out: child.types()}
	for i := range out.out {
		out.exprs = append(out.exprs, ref(i))
	}
	return out
}

// constantLimits returns LIMIT (-1: none) and OFFSET.
func constantLimits(n *planNode) (count, offset int64, err error) {
	count, ok1 := constantLimit(n.LimitVal, -1)
	offset, ok2 := constantLimit(n.OffsetVal, 0)
	if !ok1 || !ok2 {
		return 0, 0, notYet("LIMIT with a percentage or an expression")
	}
	return count, offset, nil
}

func constantLimit(doc json.RawMessage, unset int64) (int64, bool) {
	var v struct {
		Type     string `json:"type"`
		Constant int64  `json:"constant_integer"`
	}
	if len(doc) == 0 || json.Unmarshal(doc, &v) != nil {
		return unset, true
	}
	switch v.Type {
	case "UNSET":
		return unset, true
	case "CONSTANT_VALUE":
		return v.Constant, true
	}
	return 0, false
}

// countOfLimit recognises count(*) over LIMIT n, which binding makes of an uncorrelated EXISTS (n = 1):
// the number of all rows, but n at most. No order is asked for.
func (b *treeBuilder) countOfLimit(n *planNode) (node, bool, error) {
	if len(n.Groups) > 0 || len(n.Expressions) != 1 || len(n.Children) != 1 || n.Children[0].Type != "LOGICAL_LIMIT" {
		return nil, false, nil
	}
	call, limit := n.Expressions[0], n.Children[0]
	count, offset, err := constantLimits(limit)
	if call.Name != "count_star" || call.Filter != nil || err != nil || offset != 0 || count < 0 {
		return nil, false, nil
	}
	child, err := b.only(limit)
	if err != nil {
		return nil, true, err
	}
	agg := &aggregate{child: child, calls: []*expr{call}, out: []vector.Type{vector.Of(vector.Int64)}}
	return &project{child: agg, exprs: []*expr{raw("least({0}, "+itoa(int(count))+")", "BIGINT", ref(0))}, out: agg.out}, true, nil
}

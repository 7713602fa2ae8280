package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// window appends window functions' columns. All of them can be computed partition by partition.
type window struct {
	child     node
	partition []*expr // shared by all calls; empty: everything is one partition
	calls     []windowCall
	// keep are predicates over the child's and the calls' columns: QUALIFY, or the rows of a LIMIT.
	keep []*expr
	// most, if not 0, says that keep lets at most the first `most` rows of a partition pass, by calls[0].
	most int64
	// drop leaves the calls' columns out of the result.
	drop bool
}

// windowCall is one OVER clause: e of a bound plan, or a row number in an order of the planner's.
type windowCall struct {
	e      *expr
	orders []order
	out    vector.Type
}

func (n *window) types() []vector.Type {
	out := append([]vector.Type{}, n.child.types()...)
	if !n.drop {
		for _, c := range n.calls {
			out = append(out, c.out)
		}
	}
	return out
}

// numbered keeps the rows offset+1 … offset+count (count < 0: all the rest) of each partition.
func numbered(child node, partition []*expr, orders []order, offset, count int64) *window {
	n := &window{child: child, partition: partition, drop: true, calls: []windowCall{{orders: orders, out: vector.Of(vector.Int64)}}}
	number := ref(len(child.types()))
	if offset > 0 {
		n.keep = append(n.keep, raw("({0} > "+itoa(int(offset))+")", "BOOLEAN", number))
	}
	if count >= 0 {
		n.keep = append(n.keep, raw("({0} <= "+itoa(int(offset+count))+")", "BOOLEAN", number))
		n.most = offset + count
	}
	return n
}

// windowNode builds the window operator of a bound plan.
func (b *treeBuilder) windowNode(n *planNode) (node, error) {
	child, err := b.only(n)
	if err != nil {
		return nil, err
	}
	out := &window{child: child}
	types, err := typesOf(n.Expressions)
	if err != nil {
		return nil, err
	}
	for _, e := range n.Expressions {
		// Why: LIMIT in a lateral subquery binds to a row number with a frame that text would not give it; a
		// row number has no use for one.
		if e.Type == "WINDOW_ROW_NUMBER" && e.Start == "UNBOUNDED_PRECEDING" && e.End == "CURRENT_ROW_ROWS" {
			e.End = "CURRENT_ROW_RANGE"
		}
	}
	if err := b.check(child.types(), n.Expressions, false); err != nil {
		return nil, err
	}
	// Why merge equal calls: binding writes one for every use, in the select list and again in QUALIFY.
	var at []int
	for i, e := range n.Expressions {
		if unstableWindow(e) {
			return nil, notYet("window function %s depends on the order of equal rows", windowName(e))
		}
		place := slices.IndexFunc(out.calls, func(c windowCall) bool { return sameExpr(c.e, e) })
		if place < 0 {
			place = len(out.calls)
			out.calls = append(out.calls, windowCall{e: e, out: types[i]})
		}
		at = append(at, place)
		if i == 0 {
			out.partition = e.Partitions
		} else {
			out.partition = common(out.partition, e.Partitions)
		}
	}
	if len(out.calls) == len(at) {
		return out, nil
	}
	spread := &project{child: out}
	for i, t := range child.types() {
		spread.exprs, spread.out = append(spread.exprs, ref(i)), append(spread.out, t)
	}
	for i, place := range at {
		spread.exprs, spread.out = append(spread.exprs, ref(len(child.types())+place)), append(spread.out, types[i])
	}
	return spread, nil
}

// common keeps the expressions that both lists have.
func common(a, b []*expr) []*expr {
	var out []*expr
	for _, x := range a {
		for _, y := range b {
			if sameExpr(x, y) {
				out = append(out, x)
				break
			}
		}
	}
	return out
}

// unstableWindow says that a call's value for a row depends on how equal rows are ordered, and that no
// tie-break can settle it: an order-sensitive aggregate, or a value picked from a frame that takes equals
// in.
func unstableWindow(e *expr) bool {
	if determined(e) {
		return false
	}
	switch e.Type {
	case "WINDOW_AGGREGATE":
		return orderSensitive(e)
	case "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE":
		return !tieBreaks(e)
	}
	return false
}

// determined says that rows which are equal in the call's order are equal in all that it computes from.
func determined(e *expr) bool {
	same := append([]*expr{}, e.Partitions...)
	for _, o := range e.Orders {
		same = append(same, o.Expr)
	}
	fixed := map[int]bool{}
	for _, x := range same {
		if x.Class == "BOUND_REF" {
			fixed[int(x.Index)] = true
		}
	}
	for _, arg := range append(slices.Clone(e.Children), e.Filters, e.OffsetExpr, e.DefaultExpr) {
		if arg == nil || slices.ContainsFunc(same, func(x *expr) bool { return sameExpr(x, arg) }) {
			continue
		}
		for i := range arg.refs() {
			if !fixed[i] {
				return false
			}
		}
	}
	return len(e.ArgOrders) == 0
}

// windowRule computes touched partitions before and after the batch and emits the difference. Where the
// input is append-only and only the first rows of a partition pass, only those are kept.
func (c *compiler) windowRule(n *window, want demand) (*relation, error) {
	if want.seq {
		return nil, notYet("an order-sensitive aggregate over a window function")
	}
	child, err := c.compile(n.child, demand{})
	if err != nil {
		return nil, err
	}
	keys := n.partition
	if len(keys) == 0 {
		keys = []*expr{zeroKey()}
	}
	if n.firstRows() && appendOnly(n.child) {
		return c.topRows(n, child, keys)
	}
	in, err := c.keyInput(child, keys, "grows with the input's rows")
	if err != nil {
		return nil, err
	}
	pruned := n.most > 0 && appendOnly(n.child)
	if pruned {
		in.state.Bound = "at most " + itoa(int(n.most)) + " rows a partition"
	}
	var floors []string
	for _, k := range keys {
		floors = append(floors, c.floorOf(k, child.floor))
	}
	if err := in.declare(floors); err != nil {
		return nil, err
	}
	touched, err := c.touched(in)
	if err != nil {
		return nil, err
	}
	table, err := c.windowDiff(n, in, touched, pruned)
	if err != nil {
		return nil, err
	}
	r := &relation{sql: "SELECT * FROM " + table, types: n.types(), floor: make([]string, len(n.types()))}
	for i, k := range n.partition {
		if k.Class == "BOUND_REF" {
			r.floor[k.Index] = floors[i]
		}
	}
	r.key, r.keyed = n.key(child)
	return r, nil
}

// key of the output: one row a partition, the partition with a row number that is shown, or the input's.
// Not so rank(): it gives equal rows the same number, so that several are first.
func (n *window) key(child *relation) ([]int, bool) {
	partition, plain := refColumns(n.partition)
	first := n.calls[0].e
	numbers := len(n.calls) == 1 && (first == nil || first.Type == "WINDOW_ROW_NUMBER" && len(first.Partitions) == len(n.partition))
	switch {
	case plain && numbers && n.most == 1:
		return partition, true
	case plain && numbers && !n.drop:
		return append(slices.Clone(partition), len(n.child.types())), true
	}
	return child.key, child.keyed
}

// refColumns are the columns of plain references, false if there is another expression among them.
func refColumns(es []*expr) ([]int, bool) {
	var out []int
	for _, e := range es {
		if e.Class != "BOUND_REF" {
			return nil, false
		}
		out = append(out, int(e.Index))
	}
	return out, true
}

func (c *compiler) windowDiff(n *window, in *keyedInput, touched string, pruned bool) (string, error) {
	before, after, table := c.name("before"), c.name("after"), c.name("window")
	beforeSQL, err := c.windowSQL(n, in.lookup(touched, "c"))
	if err != nil {
		return "", err
	}
	if err := c.materialize(before, beforeSQL); err != nil {
		return "", err
	}
	source := in.lookup(touched, "c")
	if pruned {
		source += " UNION ALL " + in.fromDelta("c")
	} else if err := in.apply(); err != nil {
		return "", err
	}
	afterSQL, err := c.windowSQL(n, source)
	if err != nil {
		return "", err
	}
	if err := c.materialize(after, afterSQL); err != nil {
		return "", err
	}
	if pruned {
		if err := c.applyKept(n, in, source); err != nil {
			return "", err
		}
	}
	names := renamed("c", "c", len(n.types()))
	diff := &relation{sql: "SELECT " + names + "1 AS _w FROM " + after + " UNION ALL SELECT " + names + "-1 AS _w FROM " + before}
	return table, c.materialize(table, consolidate(diff, len(n.types())))
}

// applyKept replaces a touched partition's stored rows by the first `most` of old and new ones.
func (c *compiler) applyKept(n *window, in *keyedInput, source string) error {
	kept := *n
	kept.drop = true
	kept.keep = []*expr{raw("({0} <= "+itoa(int(n.most))+")", "BOOLEAN", ref(len(n.child.types())))}
	sql, err := c.windowSQL(&kept, source)
	if err != nil {
		return err
	}
	// The rows to store are the input's; their keys are computed again from them.
	cols := len(n.child.types())
	texts, err := columns("c").list(n.partition)
	if err != nil {
		return err
	}
	if len(texts) == 0 {
		texts = []string{"0"}
	}
	own := map[string]int{}
	for i, name := range in.column {
		own[name] = i
	}
	list := ""
	for i, f := range in.state.Cols[:in.state.NKey] {
		if i < in.keys {
			list += texts[i] + " AS " + f.Name + ", "
		} else {
			list += "c" + itoa(own[f.Name]) + " AS " + f.Name + ", "
		}
	}
	table := c.name("kept")
	if err := c.materialize(table, "SELECT "+trimComma(renamed("c", "c", cols))+" FROM ("+sql+")"); err != nil {
		return err
	}
	was := c.name("was")
	if err := c.materialize(was, in.lookup(c.lastTouched(in), "c")); err != nil {
		return err
	}
	names := ""
	for _, f := range in.state.Cols[:in.state.NKey] {
		names += f.Name + ", "
	}
	back := renamedKeys(in.keys)
	for _, f := range in.state.Cols[in.keys:in.state.NKey] {
		back += "c" + itoa(own[f.Name]) + " AS " + f.Name + ", "
	}
	net := "SELECT " + names + "sum(_w)::BIGINT AS _w FROM (SELECT " + list + "1 AS _w FROM " + table +
		" UNION ALL SELECT " + back + "-_w FROM " + was + ") GROUP BY " + ordinals(in.state.NKey) + " HAVING sum(_w) <> 0"
	return c.apply(in.state.Name, net)
}

// lastTouched is the table of touched keys made last.
func (c *compiler) lastTouched(in *keyedInput) string {
	return "(SELECT DISTINCT " + in.keyNames() + " FROM " + in.delta + ")"
}

// windowSQL computes the calls over weighted rows c0…, _w and keeps what passes.
func (c *compiler) windowSQL(n *window, rows string) (string, error) {
	nc := len(n.child.types())
	var b strings.Builder
	b.WriteString("SELECT " + renamed("c", "c", nc))
	for i, call := range n.calls {
		text, err := c.windowText(n, call, nc)
		if err != nil {
			return "", err
		}
		b.WriteString(text + " AS c" + itoa(nc+i) + ", ")
	}
	sql := trimComma(b.String()) + " FROM (SELECT " + renamed("c", "c", nc) + "unnest(range(_w)) AS _i FROM (" + rows + "))"
	if len(n.keep) > 0 {
		pred, err := columns("c").join(n.keep, " AND ")
		if err != nil {
			return "", notYet("cannot print %v", err)
		}
		sql = "SELECT * FROM (" + sql + ") WHERE " + pred
	}
	return "SELECT " + trimComma(renamed("c", "c", len(n.types()))) + " FROM (" + sql + ")", nil
}

// windowText prints a call. The whole row breaks ties, so that the same rows give the same result
// whatever else is computed beside them.
func (c *compiler) windowText(n *window, call windowCall, columnsOfChild int) (string, error) {
	p := columns("c")
	var tie []string
	for i := 0; i < columnsOfChild; i++ {
		tie = append(tie, "c"+itoa(i))
	}
	if call.e != nil {
		return p.window(call.e, tie)
	}
	parts, err := p.list(n.partition)
	if err != nil {
		return "", notYet("cannot print %v", err)
	}
	over := ""
	if len(parts) > 0 {
		over = "PARTITION BY " + strings.Join(parts, ", ") + " "
	}
	orders, err := p.orderList(call.orders)
	if err != nil {
		return "", notYet("cannot print %v", err)
	}
	return "row_number() OVER (" + over + "ORDER BY " + strings.Join(append(orders, tie...), ", ") + ")", nil
}

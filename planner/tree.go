package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A node is an operator of the logical tree: what a query means, before how to maintain it is decided.
// Output columns are positions; types are in types().
type node interface {
	types() []vector.Type
}

// scan reads columns of a source.
type scan struct {
	source *SourceInput
	cols   []int // positions in source.Columns
}

// project computes one expression an output column.
type project struct {
	child node
	exprs []*expr
	out   []vector.Type
}

// filter keeps the rows for which every predicate is true.
type filter struct {
	child node
	preds []*expr
}

// unnest appends a column an expression: the elements of the lists side by side, padded with NULL.
type unnest struct {
	child node
	lists []*expr // the lists themselves
	out   []vector.Type
	// distinct says that no list holds a value twice.
	distinct bool
}

// unionAll concatenates its inputs.
type unionAll struct{ children []node }

// aggregate groups by expressions (none: one row for everything) and computes the calls. DISTINCT is an
// aggregate without calls.
type aggregate struct {
	child  node
	groups []*expr
	calls  []*expr
	out    []vector.Type // groups, then calls
	ttl    bool          // its groups may expire, see withTTL
}

func (n *scan) types() []vector.Type {
	out := make([]vector.Type, len(n.cols))
	for i, c := range n.cols {
		out[i] = n.source.Columns[c].Type
	}
	return out
}
func (n *project) types() []vector.Type { return n.out }
func (n *filter) types() []vector.Type  { return n.child.types() }
func (n *unnest) types() []vector.Type {
	return append(append([]vector.Type{}, n.child.types()...), n.out...)
}
func (n *unionAll) types() []vector.Type  { return n.children[0].types() }
func (n *aggregate) types() []vector.Type { return n.out }

// unsupported says why a query has no incremental rule yet; the planner then falls back to the
// full-recompute rule, and explain prints the reason.
type unsupported struct{ reason string }

func (u *unsupported) Error() string { return u.reason }

func notYet(format string, args ...any) error { return &unsupported{fmt.Sprintf(format, args...)} }

// treeBuilder turns a bound plan into a tree of nodes. The nodes own their slices of expressions, since
// simplifying changes them; the expressions themselves are never changed.
type treeBuilder struct {
	sources map[string]*SourceInput
	check   func(child []vector.Type, es []*expr, aggregate bool) error
	// arrival says that the aggregate above takes rows in the order in which they come.
	arrival bool
	delims  []delimScope    // the correlated joins around what is being built
	ctes    map[uint64]node // by table index
}

func (b *treeBuilder) build(n *planNode) (node, error) {
	switch n.Type {
	case "LOGICAL_GET":
		return b.scan(n)
	case "LOGICAL_PROJECTION":
		return b.project(n)
	case "LOGICAL_FILTER":
		if len(n.Children) == 1 && isMark(n.Children[0]) {
			return b.filterMark(n)
		}
		child, err := b.only(n)
		if err != nil {
			return nil, err
		}
		return &filter{child, slices.Clone(n.Expressions)}, b.check(child.types(), n.Expressions, false)
	case "LOGICAL_UNNEST":
		return b.unnest(n)
	case "LOGICAL_UNION":
		return b.union(n)
	case "LOGICAL_AGGREGATE_AND_GROUP_BY":
		return b.aggregate(n)
	case "LOGICAL_DISTINCT":
		return b.distinct(n)
	case "LOGICAL_ORDER_BY":
		if b.arrival {
			return nil, notYet("an order-sensitive aggregate over a sorted subquery has no incremental rule yet")
		}
		// Why: a table has no order, and without LIMIT an ORDER BY changes nothing else.
		return b.only(n)
	case "LOGICAL_DELIM_JOIN", "LOGICAL_COMPARISON_JOIN", "LOGICAL_ANY_JOIN", "LOGICAL_CROSS_PRODUCT", "LOGICAL_ASOF_JOIN":
		return b.joinNode(n)
	case "LOGICAL_DELIM_GET":
		return b.delimGet()
	case "LOGICAL_WINDOW":
		return b.windowNode(n)
	case "LOGICAL_LIMIT":
		return b.limit(n)
	case "LOGICAL_RECURSIVE_CTE":
		return nil, notYet("a recursive query is computed again from the start")
	case "LOGICAL_EXCEPT", "LOGICAL_INTERSECT":
		return b.setOperation(n)
	case "LOGICAL_MATERIALIZED_CTE":
		return b.cte(n)
	case "LOGICAL_CTE_REF":
		return b.cteRef(n)
	}
	return nil, notYet("%s has no incremental rule yet", operatorName(n))
}

func operatorName(n *planNode) string {
	name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(n.Type, "LOGICAL_"), "_", " "))
	if n.JoinType != "" {
		name = strings.ToLower(n.JoinType) + " " + name
	}
	return name
}

func (b *treeBuilder) only(n *planNode) (node, error) {
	if len(n.Children) != 1 {
		return nil, notYet("%s with %d inputs", operatorName(n), len(n.Children))
	}
	return b.build(n.Children[0])
}

func (b *treeBuilder) scan(n *planNode) (node, error) {
	src, ok := b.sources[n.table()]
	if !ok {
		return nil, notYet("reading %q, which is not a source", n.FunctionName+" "+n.table())
	}
	out := &scan{source: src}
	for _, c := range n.ColumnIndexes {
		if c.Index >= virtualColumn {
			// Why: SELECT count(*) reads no column, and DuckDB then asks for a row id that nothing refers to.
			if len(n.ColumnIndexes) > 1 {
				return nil, notYet("the row id of source %q", src.Name)
			}
			c.Index = 0
		}
		out.cols = append(out.cols, int(c.Index))
	}
	return out, nil
}

func (b *treeBuilder) project(n *planNode) (node, error) {
	sortedOutput(n)
	child, err := b.only(n)
	if err != nil {
		return nil, err
	}
	out := &project{child: child, exprs: oneRowGuards(n.Expressions)}
	if out.out, err = typesOf(n.Expressions); err != nil {
		return nil, err
	}
	return out, b.check(child.types(), out.exprs, false)
}

func (b *treeBuilder) unnest(n *planNode) (node, error) {
	child, err := b.only(n)
	if err != nil {
		return nil, err
	}
	out := &unnest{child: child}
	for _, e := range n.Expressions {
		if e.Class != "BOUND_UNNEST" {
			return nil, notYet("unnest of %s", e.Class)
		}
		out.lists = append(out.lists, e.Child)
	}
	if out.out, err = typesOf(n.Expressions); err != nil {
		return nil, err
	}
	return out, b.check(child.types(), out.lists, false)
}

func (b *treeBuilder) union(n *planNode) (node, error) {
	if !n.SetopAll {
		// UNION is DISTINCT over UNION ALL.
		u, err := b.unionAll(n)
		if err != nil {
			return nil, err
		}
		return distinctOf(u), nil
	}
	return b.unionAll(n)
}

func (b *treeBuilder) unionAll(n *planNode) (node, error) {
	out := &unionAll{}
	for _, c := range n.Children {
		child, err := b.build(c)
		if err != nil {
			return nil, err
		}
		out.children = append(out.children, child)
	}
	return out, nil
}

func (b *treeBuilder) aggregate(n *planNode) (node, error) {
	if out, ok, err := b.countOfLimit(n); ok {
		return out, err
	}
	sortedInput(n)
	outer := b.arrival
	b.arrival = slices.ContainsFunc(n.Expressions, orderSensitive)
	child, err := b.only(n)
	b.arrival = outer
	if err != nil {
		return nil, err
	}
	out := &aggregate{child: child, groups: slices.Clone(n.Groups), calls: slices.Clone(n.Expressions)}
	if out.out, err = typesOf(append(append([]*expr{}, n.Groups...), n.Expressions...)); err != nil {
		return nil, err
	}
	if err := b.check(child.types(), n.Groups, false); err != nil {
		return nil, err
	}
	if err := b.check(child.types(), n.Expressions, true); err != nil {
		return nil, err
	}
	if len(n.GroupingSets) > 1 || len(n.GroupingFunctions) > 0 || len(n.GroupingSets) == 1 && len(n.GroupingSets[0]) < len(n.Groups) {
		return b.groupingSets(n, out)
	}
	return out, nil
}

func (b *treeBuilder) distinct(n *planNode) (node, error) {
	if n.DistinctType != "DISTINCT" {
		return b.distinctOn(n)
	}
	child, err := b.only(n)
	if err != nil {
		return nil, err
	}
	return distinctOf(child), nil
}

// distinctOf groups by every column and computes nothing.
func distinctOf(child node) node {
	out := &aggregate{child: child, out: child.types()}
	for i := range out.out {
		out.groups = append(out.groups, &expr{Class: "BOUND_REF", Index: uint64(i)})
	}
	return out
}

func typesOf(es []*expr) ([]vector.Type, error) {
	out := make([]vector.Type, len(es))
	for i, e := range es {
		t, err := typeOf(e)
		if err != nil {
			return nil, notYet("%v", err)
		}
		out[i] = t
	}
	return out, nil
}

func typeOf(e *expr) (vector.Type, error) {
	t := e.ReturnType
	switch {
	case e.known != nil:
		return *e.known, nil
	case e.Class == "BOUND_CONSTANT" && e.Value != nil:
		t = &e.Value.Type
	case t == nil:
		return vector.Of(vector.Bool), nil // comparisons and conjunctions carry no type
	}
	if t.ID == "NULL" {
		return vector.Of(vector.Int32), nil // what DuckDB makes of a bare NULL in a result
	}
	return t.vector()
}

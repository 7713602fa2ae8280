package planner

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

// This file mirrors DuckDB's json_serialize_plan(query, optimize := false): the bound logical plan, with
// names, stars, macros, types and casts resolved. The format is internal to a DuckDB version; the
// rebind check (rebind.go) is what tells when an upgrade changed its meaning.

type boundPlan struct {
	Error    bool        `json:"error"`
	Message  string      `json:"error_message"`
	Position string      `json:"position"`
	Plans    []*planNode `json:"plans"`
}

type planNode struct {
	Type     string      `json:"type"`
	Children []*planNode `json:"children"`
	// Expressions are a projection's columns, a filter's conjuncts, an aggregate's calls, an unnest's lists.
	Expressions []*expr `json:"expressions"`

	// GET
	Names         []string      `json:"names"`
	ReturnedTypes []planType    `json:"returned_types"`
	ColumnIndexes []columnIndex `json:"column_indexes"`
	FunctionName  string        `json:"name"`
	FunctionData  struct {
		Table string `json:"table"`
	} `json:"-"`
	RawFunctionData json.RawMessage `json:"function_data"`

	// AGGREGATE_AND_GROUP_BY
	Groups            []*expr `json:"groups"`
	GroupingSets      [][]int `json:"grouping_sets"`
	GroupingFunctions [][]int `json:"grouping_functions"`

	// UNION
	SetopAll bool `json:"setop_all"`

	// DISTINCT
	DistinctType    string  `json:"distinct_type"`
	DistinctTargets []*expr `json:"distinct_targets"`

	// joins
	JoinType   string `json:"join_type"`
	Conditions []struct {
		Left       *expr  `json:"left"`
		Right      *expr  `json:"right"`
		Comparison string `json:"comparison"`
	} `json:"conditions"`
	DuplicateEliminated []*expr `json:"duplicate_eliminated_columns"`
	Condition           *expr   `json:"condition"` // ANY_JOIN

	// ORDER_BY, LIMIT, DISTINCT ON
	Orders    []order         `json:"orders"`
	LimitVal  json.RawMessage `json:"limit_val"`
	OffsetVal json.RawMessage `json:"offset_val"`
	OrderBy   *orderBys       `json:"order_by"`

	// MATERIALIZED_CTE and CTE_REF
	TableIndex uint64 `json:"table_index"`
	CTEIndex   uint64 `json:"cte_index"`
}

type columnIndex struct {
	Index uint64 `json:"index"`
}

// expr is any bound expression; Class says which fields count.
type expr struct {
	Class      string    `json:"expression_class"`
	Type       string    `json:"type"`
	Location   uint64    `json:"query_location"`
	ReturnType *planType `json:"return_type"`

	Index    uint64  `json:"index"`    // BOUND_REF: position in the child's output
	Children []*expr `json:"children"` // functions, operators, conjunctions, aggregates
	Child    *expr   `json:"child"`    // casts, unnest
	Left     *expr   `json:"left"`     // comparisons
	Right    *expr   `json:"right"`

	Name         string          `json:"name"`
	IsOperator   bool            `json:"is_operator"`
	FunctionData json.RawMessage `json:"function_data"`
	TryCast      bool            `json:"try_cast"`
	Value        *constant       `json:"value"`

	CaseChecks []struct {
		When *expr `json:"when_expr"`
		Then *expr `json:"then_expr"`
	} `json:"case_checks"`
	Else *expr `json:"else_expr"`

	// BOUND_AGGREGATE
	AggregateType string    `json:"aggregate_type"`
	Filter        *expr     `json:"filter"`
	OrderBys      *orderBys `json:"order_bys"`

	// BOUND_WINDOW
	Partitions  []*expr `json:"partitions"`
	Orders      []order `json:"orders"`
	Filters     *expr   `json:"filters"`
	IgnoreNulls bool    `json:"ignore_nulls"`
	Distinct    bool    `json:"distinct"`
	Start       string  `json:"start"`
	End         string  `json:"end"`
	StartExpr   *expr   `json:"start_expr"`
	EndExpr     *expr   `json:"end_expr"`
	OffsetExpr  *expr   `json:"offset_expr"`
	DefaultExpr *expr   `json:"default_expr"`
	Exclude     string  `json:"exclude_clause"`
	ArgOrders   []order `json:"arg_orders"`

	Binding *struct {
		Table  uint64 `json:"table_index"`
		Column int    `json:"column_index"`
	} `json:"binding"` // BOUND_COLUMN_REF, only under a lateral unnest

	// known is the type of an expression that the planner made, where it has no bound type.
	known *vector.Type
	// anyOrder says of an aggregate that its reader sorts what it gives.
	anyOrder bool
}

type orderBys struct {
	Orders []order `json:"orders"`
}

type order struct {
	Type      string `json:"type"`
	NullOrder string `json:"null_order"`
	Expr      *expr  `json:"expression"`
}

type constant struct {
	Type   planType        `json:"type"`
	IsNull bool            `json:"is_null"`
	Value  json.RawMessage `json:"value"`
}

const virtualColumn = 1 << 63 // column ids from here on are not columns of the table (rowid and such)

func decodePlan(doc []byte) (*planNode, error) {
	var p boundPlan
	if err := json.Unmarshal(doc, &p); err != nil {
		return nil, fmt.Errorf("read the bound plan: %w", err)
	}
	if p.Error {
		return nil, errors.New(p.Message)
	}
	if len(p.Plans) != 1 {
		return nil, fmt.Errorf("read the bound plan: %d statements instead of one", len(p.Plans))
	}
	return p.Plans[0], nil
}

// table returns the base table of a GET, "" if it reads something else.
func (n *planNode) table() string {
	var d struct {
		Table string `json:"table"`
	}
	if n.FunctionName != "seq_scan" || json.Unmarshal(n.RawFunctionData, &d) != nil {
		return ""
	}
	return d.Table
}

// walk visits e and everything below it, children first; nil expressions are skipped.
func (e *expr) walk(visit func(*expr)) {
	if e == nil {
		return
	}
	for _, c := range e.Children {
		c.walk(visit)
	}
	e.Child.walk(visit)
	e.Left.walk(visit)
	e.Right.walk(visit)
	for _, c := range e.CaseChecks {
		c.When.walk(visit)
		c.Then.walk(visit)
	}
	e.Else.walk(visit)
	e.Filter.walk(visit)
	for _, c := range append([]*expr{e.Filters, e.StartExpr, e.EndExpr, e.OffsetExpr, e.DefaultExpr}, e.Partitions...) {
		c.walk(visit)
	}
	for _, o := range append(append([]order{}, e.Orders...), e.ArgOrders...) {
		o.Expr.walk(visit)
	}
	if e.OrderBys != nil {
		for _, o := range e.OrderBys.Orders {
			o.Expr.walk(visit)
		}
	}
	visit(e)
}

// refs returns the child columns that e reads.
func (e *expr) refs() map[int]bool {
	out := map[int]bool{}
	e.walk(func(x *expr) {
		if x.Class == "BOUND_REF" {
			out[int(x.Index)] = true
		}
	})
	return out
}

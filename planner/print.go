package planner

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A printer turns bound expressions back into SQL. DuckDB cannot do that itself. What it does not know
// it refuses, and the rebind check compares what DuckDB makes of the text with the original, so that a
// misprint costs speed (full recompute), never correctness.
type printer struct {
	// column names the child column of a BOUND_REF.
	column func(index int) string
	depth  int // of lambda parameters, for unique names
}

// columns returns a printer that names columns prefix0, prefix1, ….
func columns(prefix string) *printer {
	return &printer{column: func(i int) string { return prefix + strconv.Itoa(i) }}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

var comparisons = map[string]string{
	"COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_GREATERTHAN": ">",
	"COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHANOREQUALTO": ">=",
	"COMPARE_DISTINCT_FROM": "IS DISTINCT FROM", "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}

func (p *printer) expr(e *expr) (string, error) {
	switch e.Class {
	case "BOUND_REF":
		return p.column(int(e.Index)), nil
	case "BOUND_CONSTANT":
		return printConstant(e.Value)
	case "BOUND_CAST":
		return p.cast(e)
	case "BOUND_COMPARISON":
		op, ok := comparisons[e.Type]
		if !ok {
			return "", fmt.Errorf("comparison %s", e.Type)
		}
		return p.join([]*expr{bare(e.Left), bare(e.Right)}, " "+op+" ")
	case "BOUND_CONJUNCTION":
		op := " AND "
		if e.Type == "CONJUNCTION_OR" {
			op = " OR "
		}
		return p.join(e.Children, op)
	case "BOUND_OPERATOR":
		return p.operator(e)
	case "BOUND_CASE":
		return p.caseExpr(e)
	case "BOUND_FUNCTION":
		return p.function(e)
	case "BOUND_AGGREGATE":
		return p.aggregate(e, "")
	case "BOUND_WINDOW":
		return p.window(e, nil)
	case "SLUICE_RAW":
		return p.raw(e)
	case "SLUICE_PAD_EMPTY":
		list, err := p.expr(e.Child)
		return "CASE WHEN len(" + list + ") > 0 THEN " + list + " ELSE [NULL] END", err
	}
	return "", fmt.Errorf("expression class %s", e.Class)
}

// bare takes off what comparing intervals puts on: binding the text puts it on again.
func bare(e *expr) *expr {
	if e.Class == "BOUND_FUNCTION" && e.Name == "normalized_interval" && len(e.Children) == 1 {
		return e.Children[0]
	}
	return e
}

func (p *printer) list(es []*expr) ([]string, error) {
	out := make([]string, len(es))
	for i, e := range es {
		s, err := p.expr(e)
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

func (p *printer) join(es []*expr, sep string) (string, error) {
	parts, err := p.list(es)
	return "(" + strings.Join(parts, sep) + ")", err
}

func (p *printer) cast(e *expr) (string, error) {
	child, err := p.expr(e.Child)
	if err != nil {
		return "", err
	}
	t, err := e.ReturnType.sql()
	word := "CAST"
	if e.TryCast {
		word = "TRY_CAST"
	}
	return word + "(" + child + " AS " + t + ")", err
}

func (p *printer) operator(e *expr) (string, error) {
	args, err := p.list(e.Children)
	if err != nil {
		return "", err
	}
	switch e.Type {
	case "OPERATOR_NOT":
		return "(NOT " + args[0] + ")", nil
	case "OPERATOR_IS_NULL":
		return "(" + args[0] + " IS NULL)", nil
	case "OPERATOR_IS_NOT_NULL":
		return "(" + args[0] + " IS NOT NULL)", nil
	case "COMPARE_IN":
		return "(" + args[0] + " IN (" + strings.Join(args[1:], ", ") + "))", nil
	case "COMPARE_NOT_IN":
		return "(" + args[0] + " NOT IN (" + strings.Join(args[1:], ", ") + "))", nil
	case "OPERATOR_COALESCE":
		return "coalesce(" + strings.Join(args, ", ") + ")", nil
	case "OPERATOR_TRY":
		return "try(" + args[0] + ")", nil
	}
	return "", fmt.Errorf("operator %s", e.Type)
}

func (p *printer) caseExpr(e *expr) (string, error) {
	var b strings.Builder
	b.WriteString("CASE")
	for _, c := range e.CaseChecks {
		parts, err := p.list([]*expr{c.When, c.Then})
		if err != nil {
			return "", err
		}
		b.WriteString(" WHEN " + parts[0] + " THEN " + parts[1])
	}
	other, err := p.expr(e.Else)
	b.WriteString(" ELSE " + other + " END")
	return b.String(), err
}

func (p *printer) function(e *expr) (string, error) {
	if lambda, ok := lambdaOf(e); ok {
		return p.lambda(e, lambda)
	}
	args, err := p.list(e.Children)
	if err != nil {
		return "", err
	}
	if e.Name == "*" && len(args) == 2 && e.ReturnType != nil && e.ReturnType.ID == "DECIMAL" {
		if args, err = p.factors(e); err != nil {
			return "", err
		}
	}
	switch {
	case e.Name == "struct_pack":
		for i, f := range e.ReturnType.Info.ChildTypes {
			args[i] = quoteIdent(f.First) + " := " + args[i]
		}
	case e.IsOperator && len(args) == 2:
		return "(" + args[0] + " " + e.Name + " " + args[1] + ")", nil
	case e.IsOperator && len(args) == 1:
		return "(" + e.Name + " " + args[0] + ")", nil
	}
	return quoteIdent(e.Name) + "(" + strings.Join(args, ", ") + ")", nil
}

// factors prints the arguments of a product of decimals without the casts to the product's width that
// binding put round them: bound again, they would widen the product once more.
func (p *printer) factors(e *expr) ([]string, error) {
	bare := make([]*expr, len(e.Children))
	for i, c := range e.Children {
		bare[i] = c
		if widened(c, e.ReturnType) {
			bare[i] = c.Child
		}
	}
	return p.list(bare)
}

// widened says that binding may have put a cast round a factor: it does if the factor is not stored as the
// product is, and leaves its scale alone. Any other cast is the user's.
func widened(c *expr, product *planType) bool {
	if c.Class != "BOUND_CAST" || c.TryCast || c.ReturnType.ID != "DECIMAL" || c.ReturnType.Info.Width != product.Info.Width {
		return false
	}
	from := c.Child.ReturnType
	if from == nil {
		return true
	}
	if from.ID != "DECIMAL" {
		return c.ReturnType.Info.Scale == 0
	}
	was, errWas := from.vector()
	is, errIs := product.vector()
	return errWas == nil && errIs == nil && was.Bytes() != is.Bytes() && was.Scale == c.ReturnType.Info.Scale
}

type lambdaData struct {
	Expr     *expr `json:"lambda_expr"`
	HasIndex bool  `json:"has_index"`
}

func lambdaOf(e *expr) (lambdaData, bool) {
	var d lambdaData
	if len(e.FunctionData) == 0 || json.Unmarshal(e.FunctionData, &d) != nil {
		return d, false
	}
	return d, d.Expr != nil
}

// lambda prints list_transform and its kin: inside the body, column 0 is the element and column i the
// i-th captured argument.
func (p *printer) lambda(e *expr, d lambdaData) (string, error) {
	if d.HasIndex || len(e.Children) == 0 {
		return "", fmt.Errorf("function %s with an index parameter", e.Name)
	}
	args, err := p.list(e.Children)
	if err != nil {
		return "", err
	}
	param := fmt.Sprintf("_x%d", p.depth)
	body := &printer{depth: p.depth + 1, column: func(i int) string {
		if i == 0 {
			return param
		}
		if i < len(args) {
			return args[i]
		}
		return "_unbound"
	}}
	text, err := body.expr(d.Expr)
	return fmt.Sprintf("%s(%s, lambda %s: %s)", quoteIdent(e.Name), args[0], param, text), err
}

// aggregate prints a call; extraOrder, if not empty, is appended to its ORDER BY.
func (p *printer) aggregate(e *expr, extraOrder string) (string, error) {
	args, err := p.aggregateArgs(e)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	name := quoteIdent(e.Name)
	if e.Name == "count_star" {
		name, args = "count", []string{"*"}
	}
	b.WriteString(name + "(")
	if e.AggregateType == "DISTINCT" {
		b.WriteString("DISTINCT ")
	}
	b.WriteString(strings.Join(args, ", "))
	orders, err := p.orders(e)
	if err != nil {
		return "", err
	}
	if extraOrder != "" {
		orders = append(orders, extraOrder)
	}
	if len(orders) > 0 {
		b.WriteString(" ORDER BY " + strings.Join(orders, ", "))
	}
	b.WriteString(")")
	if e.Filter != nil {
		f, err := p.expr(e.Filter)
		if err != nil {
			return "", err
		}
		b.WriteString(" FILTER (WHERE " + f + ")")
	}
	return b.String(), nil
}

func (p *printer) orders(e *expr) ([]string, error) {
	if e.OrderBys == nil {
		return nil, nil
	}
	return p.orderList(e.OrderBys.Orders)
}

func (p *printer) orderList(orders []order) ([]string, error) {
	var out []string
	for _, o := range orders {
		s, err := p.expr(o.Expr)
		if err != nil {
			return nil, err
		}
		dir := " ASC "
		if o.Type == "DESCENDING" {
			dir = " DESC "
		}
		out = append(out, s+dir+o.NullOrder)
	}
	return out, nil
}

// aggregateArgs puts back the constant arguments that binding moved into the function's data.
func (p *printer) aggregateArgs(e *expr) ([]string, error) {
	args, err := p.list(e.Children)
	if err != nil || len(e.FunctionData) == 0 || string(e.FunctionData) == "null" {
		return args, err
	}
	var d struct {
		Quantiles []json.RawMessage `json:"quantiles"`
		Separator *string           `json:"separator"`
	}
	if err := json.Unmarshal(e.FunctionData, &d); err != nil {
		return nil, fmt.Errorf("aggregate %s: %w", e.Name, err)
	}
	switch {
	case e.Name == "median" || e.Name == "mad":
	case d.Separator != nil:
		args = append(args, quote(*d.Separator))
	case len(d.Quantiles) > 0:
		var qs []string
		for _, doc := range d.Quantiles {
			q := string(doc) // a plain number in approx_quantile
			var c constant
			if json.Unmarshal(doc, &c) == nil {
				if q, err = printConstant(&c); err != nil {
					return nil, err
				}
			}
			qs = append(qs, q)
		}
		if ofLists, _ := typesOf(e.Children); len(qs) > 1 || e.ReturnType != nil && e.ReturnType.ID == "LIST" && ofLists[0].Kind != vector.List {
			args = append(args, "["+strings.Join(qs, ", ")+"]")
		} else {
			args = append(args, qs[0])
		}
	}
	return args, nil
}

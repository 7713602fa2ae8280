package planner

import (
	"fmt"
	"regexp"
	"strings"
)

var rawPlaceholder = regexp.MustCompile(`\{(\d+)\}`)

// raw prints SQL of the planner's own, with its children in place of {0}, {1}….
func (p *printer) raw(e *expr) (string, error) {
	args, err := p.list(e.Children)
	return rawPlaceholder.ReplaceAllStringFunc(e.Name, func(m string) string { return args[atoi(m[1:len(m)-1])] }), err
}

var windowNames = map[string]string{
	"WINDOW_ROW_NUMBER": "row_number", "WINDOW_RANK": "rank", "WINDOW_RANK_DENSE": "dense_rank", "WINDOW_NTILE": "ntile",
	"WINDOW_PERCENT_RANK": "percent_rank", "WINDOW_CUME_DIST": "cume_dist", "WINDOW_FIRST_VALUE": "first_value",
	"WINDOW_LAST_VALUE": "last_value", "WINDOW_LEAD": "lead", "WINDOW_LAG": "lag", "WINDOW_NTH_VALUE": "nth_value",
}

func windowName(e *expr) string {
	if n := windowNames[e.Type]; n != "" {
		return n
	}
	return e.Name
}

// window prints an OVER clause; tie is appended to its ORDER BY where that only decides among equals.
func (p *printer) window(e *expr, tie []string) (string, error) {
	name := windowNames[e.Type]
	if e.Type == "WINDOW_AGGREGATE" {
		name = quoteIdent(e.Name)
	}
	if name == "" || len(e.ArgOrders) > 0 {
		return "", fmt.Errorf("window function %s", e.Type)
	}
	args := append([]*expr{}, e.Children...)
	for _, a := range []*expr{e.OffsetExpr, e.DefaultExpr} {
		if a != nil {
			args = append(args, a)
		}
	}
	texts, err := p.list(args)
	if err != nil {
		return "", err
	}
	call := strings.Join(texts, ", ")
	if e.Type == "WINDOW_AGGREGATE" && (e.Name == "count_star" || e.Name == "count" && len(args) == 0) {
		name, call = "count", "*"
	}
	if e.Distinct {
		call = "DISTINCT " + call
	}
	if e.IgnoreNulls {
		call += " IGNORE NULLS"
	}
	out := name + "(" + call + ")"
	if e.Filters != nil {
		f, err := p.expr(e.Filters)
		if err != nil {
			return "", err
		}
		out += " FILTER (WHERE " + f + ")"
	}
	over, err := p.over(e, tie)
	return out + " OVER (" + over + ")", err
}

func (p *printer) over(e *expr, tie []string) (string, error) {
	var parts []string
	if len(e.Partitions) > 0 {
		by, err := p.list(e.Partitions)
		if err != nil {
			return "", err
		}
		parts = append(parts, "PARTITION BY "+strings.Join(by, ", "))
	}
	orders, err := p.orderList(e.Orders)
	if err != nil {
		return "", err
	}
	if tieBreaks(e) {
		orders = append(orders, tie...)
	}
	if len(orders) > 0 {
		parts = append(parts, "ORDER BY "+strings.Join(orders, ", "))
	}
	frame, err := p.frame(e)
	if frame != "" {
		parts = append(parts, frame)
	}
	return strings.Join(parts, " "), err
}

// tieBreaks says that making the order total changes nothing but the choice among equal rows. It would
// change rank(), whose equals share a number, and frames by RANGE or GROUPS, which take equals in.
func tieBreaks(e *expr) bool {
	switch e.Type {
	case "WINDOW_ROW_NUMBER", "WINDOW_NTILE", "WINDOW_LEAD", "WINDOW_LAG":
		return true
	case "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE", "WINDOW_AGGREGATE":
		return strings.HasSuffix(e.Start, "_ROWS") || strings.HasSuffix(e.End, "_ROWS")
	}
	return false
}

// frame prints the frame clause; the default one is left out.
func (p *printer) frame(e *expr) (string, error) {
	if e.Start == "UNBOUNDED_PRECEDING" && e.End == "CURRENT_ROW_RANGE" && (e.Exclude == "NO_OTHER" || e.Exclude == "") {
		return "", nil
	}
	if windowNames[e.Type] == "row_number" && e.End == "CURRENT_ROW_ROWS" {
		return "", nil
	}
	unit := "RANGE"
	for _, u := range []string{"ROWS", "GROUPS"} {
		if strings.HasSuffix(e.Start, "_"+u) || strings.HasSuffix(e.End, "_"+u) {
			unit = u
		}
	}
	start, err := p.bound(e.Start, e.StartExpr, unit)
	if err != nil {
		return "", err
	}
	end, err := p.bound(e.End, e.EndExpr, unit)
	if err != nil {
		return "", err
	}
	exclude := map[string]string{"NO_OTHER": "", "": "", "CURRENT_ROW": " EXCLUDE CURRENT ROW", "GROUP": " EXCLUDE GROUP", "TIES": " EXCLUDE TIES"}
	x, ok := exclude[e.Exclude]
	if !ok {
		return "", fmt.Errorf("frame exclusion %s", e.Exclude)
	}
	return unit + " BETWEEN " + start + " AND " + end + x, nil
}

// bound prints one end of a frame. Binding turned a RANGE offset into order ± offset; only the offset is
// written.
func (p *printer) bound(kind string, e *expr, unit string) (string, error) {
	switch kind {
	case "UNBOUNDED_PRECEDING":
		return "UNBOUNDED PRECEDING", nil
	case "UNBOUNDED_FOLLOWING":
		return "UNBOUNDED FOLLOWING", nil
	}
	if strings.HasPrefix(kind, "CURRENT_ROW") {
		return "CURRENT ROW", nil
	}
	word := " FOLLOWING"
	if strings.HasPrefix(kind, "EXPR_PRECEDING") {
		word = " PRECEDING"
	}
	if e == nil {
		return "", fmt.Errorf("frame bound %s without an offset", kind)
	}
	if unit == "RANGE" {
		if e.Class != "BOUND_FUNCTION" || len(e.Children) != 2 {
			return "", fmt.Errorf("a RANGE offset")
		}
		e = e.Children[1]
	}
	text, err := p.expr(e)
	return text + word, err
}

package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// How an aggregate call is maintained.
type aggRule uint8

const (
	// ruleMerge: partial values over the delta merge with the stored ones; the group is one state row.
	ruleMerge aggRule = iota
	// ruleDistinct: count(DISTINCT v): a counter per value says when one appears or disappears.
	ruleDistinct
	// ruleRecompute: the group's values are kept as a multiset and touched groups are computed again.
	ruleRecompute
)

func (r aggRule) String() string {
	return [...]string{"merge partials", "count values", "recompute touched groups"}[r]
}

// A partial is one stored value of a group. In merge, {o} is the stored value (NULL if the group is new)
// and {p} the delta's; {o1}, {p1} are those of the call's partial number 1.
type partial struct{ delta, merge string }

// callPlan is how one aggregate call is computed. In final, {0}, {1}… are its partials.
type callPlan struct {
	rule     aggRule
	needsSeq bool
	partials []partial
	final    string
}

// planCall chooses the rule for a call over an input that is append-only or not. seq says whether the
// input can carry arrival order.
//
// The invertible forms follow the weights (count, exact sums); the others merge only what was appended.
// Sums and averages of DOUBLE never subtract: after +1e17, +0.1, −1e17 the difference would be 0.
func planCall(e *expr, appendOnly bool) (callPlan, error) {
	p := columns("c")
	args, err := p.list(e.Children)
	if err != nil {
		return callPlan{}, notYet("cannot print %v", err)
	}
	filter := ""
	if e.Filter != nil {
		if filter, err = p.expr(e.Filter); err != nil {
			return callPlan{}, notYet("cannot print %v", err)
		}
	}
	types, err := typesOf(e.Children)
	if err != nil {
		return callPlan{}, err
	}
	distinct := e.AggregateType == "DISTINCT"
	if e.Name == "count" && distinct && len(args) == 1 {
		return callPlan{rule: ruleDistinct, final: "{0}"}, nil
	}
	if distinct && (e.Name == "min" || e.Name == "max") && len(args) == 1 {
		distinct = false // DISTINCT changes nothing
	}
	if e.OrderBys == nil && !distinct {
		in := callInput{args: args, types: types, filter: filter, appendOnly: appendOnly}
		if plan, ok := mergePlan(e.Name, in); ok {
			return plan, nil
		}
	}
	if !appendOnly && tellsEqualsApart(e) {
		return callPlan{}, notYet("%s of intervals over rows that change", e.Name)
	}
	return callPlan{rule: ruleRecompute, needsSeq: appendOnly && orderSensitive(e), final: "{0}",
		partials: []partial{{merge: "{p}"}}}, nil
}

type callInput struct {
	args       []string
	types      []vector.Type
	filter     string
	appendOnly bool
}

// where joins conditions with the call's FILTER.
func (in callInput) where(conds ...string) string {
	if in.filter != "" {
		conds = append(conds, in.filter)
	}
	if len(conds) == 0 {
		return ""
	}
	return " FILTER (WHERE " + strings.Join(conds, " AND ") + ")"
}

const addCounts = "coalesce({o}, 0) + {p}"
const addSums = "coalesce({o} + {p}, {o}, {p})"

// count is the partial that counts rows under a condition.
func (in callInput) count(conds ...string) partial {
	if in.appendOnly {
		return partial{"count(*)" + in.where(conds...), addCounts}
	}
	return partial{"coalesce(sum(_w)" + in.where(conds...) + ", 0)::BIGINT", addCounts}
}

func mergePlan(name string, in callInput) (callPlan, bool) {
	switch len(in.args) {
	case 0:
		if name == "count_star" {
			return callPlan{partials: []partial{in.count()}, final: "{0}"}, true
		}
	case 1:
		switch name {
		case "count":
			return callPlan{partials: []partial{in.count(in.args[0] + " IS NOT NULL")}, final: "{0}"}, true
		case "count_if", "countif":
			// Why not a count: over no TRUE and no FALSE it is NULL.
			yes, no := in.count(in.args[0]), in.count("NOT "+in.args[0])
			return callPlan{partials: []partial{yes, no}, final: "CASE WHEN {0} + {1} > 0 THEN {0} END"}, true
		case "sum", "sum_no_overflow":
			return sumPlan(name, in)
		case "avg", "mean":
			return avgPlan(in)
		case "bool_and", "bool_or":
			return boolPlan(name, in)
		}
		if in.appendOnly {
			return appendPlan(name, in)
		}
	case 2:
		if in.appendOnly {
			return argPlan(name, in)
		}
	}
	return callPlan{}, false
}

func isInteger(t vector.Type) bool { return t.Kind >= vector.Bool && t.Kind <= vector.Int128 }

func isFloat(t vector.Type) bool { return t.Kind == vector.Float32 || t.Kind == vector.Float64 }

// sumPartials are the exact running sum and, when rows may leave, the count of non-NULL values that
// tells an empty sum from zero.
func sumPartials(in callInput) (sum, count partial, ok bool) {
	v, t := in.args[0], in.types[0]
	count = in.count(v + " IS NOT NULL")
	switch {
	case isInteger(t) && in.appendOnly:
		return partial{"sum(" + v + ")" + in.where(), addSums}, count, true
	case isInteger(t):
		return partial{"sum(" + v + "::HUGEINT * _w)" + in.where(), addSums}, count, true
	case t.Kind == vector.Decimal:
		dec := fmt.Sprintf("DECIMAL(38,%d)", t.Scale)
		if in.appendOnly {
			return partial{"sum(" + v + ")" + in.where(), addSums}, count, true
		}
		return partial{"(sum(" + v + "::" + dec + " * _w)" + in.where() + ")::" + dec, addSums}, count, true
	case isFloat(t) && in.appendOnly:
		return partial{"sum(" + v + ")" + in.where(), addSums}, count, true
	}
	return partial{}, partial{}, false
}

func sumPlan(name string, in callInput) (callPlan, bool) {
	if name == "sum_no_overflow" && !in.appendOnly {
		return callPlan{}, false
	}
	sum, count, ok := sumPartials(in)
	if !ok {
		return callPlan{}, false
	}
	if in.appendOnly {
		return callPlan{partials: []partial{sum}, final: "{0}"}, true
	}
	return callPlan{partials: []partial{count, sum}, final: "CASE WHEN {0} > 0 THEN {1} END"}, true
}

func avgPlan(in callInput) (callPlan, bool) {
	sum, count, ok := sumPartials(in)
	if !ok {
		return callPlan{}, false
	}
	final := "CASE WHEN {0} > 0 THEN {1}::DOUBLE / {0} END"
	if t := in.types[0]; t.Kind == vector.Decimal && t.Scale > 0 {
		// DuckDB divides the unscaled sum by count × 10^scale; doing the same gives the same last bit.
		pow := "1" + strings.Repeat("0", int(t.Scale))
		final = "CASE WHEN {0} > 0 THEN ({1} * 10^" + itoa(int(t.Scale)) + ")::HUGEINT::DOUBLE / ({0} * " + pow + ") END"
	}
	return callPlan{partials: []partial{count, sum}, final: final}, true
}

func boolPlan(name string, in callInput) (callPlan, bool) {
	yes, no := in.count(in.args[0]), in.count("NOT "+in.args[0])
	final := "CASE WHEN {0} + {1} > 0 THEN {1} = 0 END"
	if name == "bool_or" {
		final = "CASE WHEN {0} + {1} > 0 THEN {0} > 0 END"
	}
	return callPlan{partials: []partial{yes, no}, final: final}, true
}

// appendPlan holds the one-argument aggregates that merge when nothing is ever removed.
func appendPlan(name string, in callInput) (callPlan, bool) {
	v := in.args[0]
	one := func(delta, merge string) (callPlan, bool) {
		return callPlan{partials: []partial{{delta + in.where(), merge}}, final: "{0}"}, true
	}
	keepBetter := func(op string) string {
		return "CASE WHEN {o} IS NULL OR {p} " + op + " {o} THEN {p} ELSE {o} END"
	}
	switch name {
	case "min":
		return one("min("+v+")", keepBetter("<"))
	case "max":
		return one("max("+v+")", keepBetter(">"))
	case "bit_and", "bit_or":
		if isInteger(in.types[0]) {
			op := map[string]string{"bit_and": "&", "bit_or": "|"}[name]
			return one(name+"("+v+")", "coalesce({o} "+op+" {p}, {o}, {p})")
		}
	case "bit_xor":
		if isInteger(in.types[0]) {
			return one("bit_xor("+v+")", "coalesce(xor({o}, {p}), {o}, {p})")
		}
	case "product":
		return one("product("+v+")", "coalesce({o} * {p}, {o}, {p})")
	case "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop":
		return momentPlan(name, in)
	case "first", "arbitrary", "last", "any_value":
		return firstPlan(name, in)
	}
	return callPlan{}, false
}

// momentPlan merges count, mean and sum of squared deviations, which stays accurate at large means where
// sums of squares do not (Chan, Golub, LeVeque: Updating formulae for computing sample variances, 1979).
func momentPlan(name string, in callInput) (callPlan, bool) {
	v := in.args[0]
	n := in.count(v + " IS NOT NULL")
	// Why CASE: avg of equal values can be off by the last bit, and a variance of 0 would become 1e-30.
	mean := partial{"CASE WHEN var_pop(" + v + ")" + in.where() + " = 0 THEN min(" + v + ")" + in.where() + " ELSE avg(" + v + ")" + in.where() + " END",
		"CASE WHEN {p0} = 0 THEN {o} WHEN coalesce({o0}, 0) = 0 THEN {p} ELSE {o} + ({p} - {o}) * {p0} / ({o0} + {p0}) END"}
	m2 := partial{"var_pop(" + v + ")" + in.where() + " * count(*)" + in.where(v+" IS NOT NULL"),
		"CASE WHEN {p0} = 0 THEN {o} WHEN coalesce({o0}, 0) = 0 THEN {p} " +
			"ELSE {o} + {p} + ({p1} - {o1}) * ({p1} - {o1}) * {o0} * {p0} / ({o0} + {p0}) END"}
	least, divisor := "1", "({0} - 1)"
	if strings.HasSuffix(name, "_pop") {
		least, divisor = "0", "{0}"
	}
	value := "{2} / " + divisor
	if strings.HasPrefix(name, "stddev") {
		value = "sqrt(" + value + ")"
	}
	return callPlan{partials: []partial{n, mean, m2}, final: "CASE WHEN {0} > " + least + " THEN " + value + " END"}, true
}

// firstPlan keeps the value with the smallest (or greatest) arrival sequence.
func firstPlan(name string, in callInput) (callPlan, bool) {
	v := in.args[0]
	pick, seq, op := "arg_min_null", "min", "<"
	var conds []string
	switch name {
	case "last":
		pick, seq, op = "arg_max_null", "max", ">"
	case "any_value":
		conds = []string{v + " IS NOT NULL"}
	}
	better := "{o1} IS NULL OR {p1} " + op + " {o1}"
	return callPlan{needsSeq: true, final: "{0}", partials: []partial{
		{pick + "(" + v + ", _seq)" + in.where(conds...), "CASE WHEN " + better + " THEN {p} ELSE {o} END"},
		{seq + "(_seq)" + in.where(conds...), "CASE WHEN " + better + " THEN {p} ELSE {o} END"},
	}}, true
}

// argPlan keeps the value whose companion is extreme, the earliest among equals.
func argPlan(name string, in callInput) (callPlan, bool) {
	x, v := in.args[0], in.args[1]
	var pick, extreme, op, seq string
	switch name {
	case "arg_max", "max_by", "argmax":
		pick, extreme, op, seq = "arg_max", "max", ">", "-_seq"
	case "arg_min", "min_by", "argmin":
		pick, extreme, op, seq = "arg_min", "min", "<", "_seq"
	default:
		return callPlan{}, false
	}
	order := "{'v': " + v + ", 's': " + seq + "}"
	where := in.where(x+" IS NOT NULL", v+" IS NOT NULL")
	better := "{o1} IS NULL OR {p1} " + op + " {o1}"
	return callPlan{needsSeq: true, final: "{0}", partials: []partial{
		{pick + "(" + x + ", " + order + ")" + where, "CASE WHEN " + better + " THEN {p} ELSE {o} END"},
		{extreme + "(" + order + ")" + where, "CASE WHEN " + better + " THEN {p} ELSE {o} END"},
	}}, true
}

// orderFree aggregates give the same result whatever the order of their input.
var orderFree = map[string]bool{
	"count": true, "count_star": true, "sum": true, "avg": true, "mean": true, "min": true, "max": true, "median": true,
	"quantile": true, "quantile_cont": true, "quantile_disc": true, "mad": true, "histogram": true, "entropy": true,
	"approx_count_distinct": true, "bool_and": true, "bool_or": true, "bit_and": true, "bit_or": true, "bit_xor": true,
	"stddev": true, "stddev_samp": true, "stddev_pop": true, "variance": true, "var_samp": true, "var_pop": true,
	"skewness": true, "kurtosis": true, "kurtosis_pop": true, "corr": true, "covar_pop": true, "covar_samp": true,
	"fsum": true, "kahan_sum": true, "favg": true, "sem": true, "product": true,
}

func orderSensitive(e *expr) bool {
	if e.anyOrder || orderedByArguments(e) {
		return false
	}
	return !(orderFree[e.Name] || strings.HasPrefix(e.Name, "regr_")) || (e.Name == "max" || e.Name == "min") && len(e.Children) > 2 ||
		tellsEqualsApart(e) || strings.HasPrefix(e.Name, "histogram") && readsType(e, isFloat)
}

// tellsEqualsApart says that a call's result depends on how equal values are written: '1 month' and '30
// days' are one value to GROUP BY and to a multiset, and two to these. (histogram of DOUBLE is
// order-sensitive for another reason: with NaN, DuckDB's map of values has no order.)
func tellsEqualsApart(e *expr) bool {
	switch e.Name {
	case "avg", "mean", "entropy", "histogram", "histogram_exact":
		return readsType(e, func(t vector.Type) bool { return t.Kind == vector.Interval })
	}
	return false
}

func readsType(e *expr, is func(vector.Type) bool) bool {
	types, err := typesOf(e.Children)
	return err == nil && slices.ContainsFunc(types, is)
}

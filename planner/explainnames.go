package planner

import (
	"regexp"
	"strings"
)

// Names of columns, for explain: a bound plan has positions only, and c3 tells nobody anything.

// maxNameBytes is up to how long an expression names its column itself.
const maxNameBytes = 32

// names are what the columns of a node are called, each differently.
func names(n node) []string {
	var out []string
	add := func(names ...string) { out = append(out, names...) }
	switch n := n.(type) {
	case *scan:
		for _, col := range n.cols {
			add(n.source.Columns[col].Name)
		}
	case *project:
		add(labels(n.child, n.exprs)...)
	case *unnest:
		add(names(n.child)...)
		for range n.lists {
			add("element")
		}
	case *arrival:
		add(append(names(n.child), "arrival")...)
	case *aggregate:
		add(labels(n.child, append(append([]*expr{}, n.groups...), n.calls...))...)
	case *join:
		add(names(n.left)...)
		add(names(n.right)...)
	case *window:
		add(names(n.child)...)
		for _, call := range n.calls {
			if name := "row_number"; call.e != nil {
				name = windowName(call.e)
				add(name)
			} else {
				add(name)
			}
		}
	case *sessions:
		for _, g := range n.groups {
			add(named([]string{over(n.child).text(n.key), "session's first time", "session's last time"}).text(g))
		}
		add(labels(n.child, n.calls)...)
	case *setOp:
		add(names(n.left)...)
	case *filter:
		add(names(n.child)...)
	case *unionAll:
		add(names(n.children[0])...)
	}
	for len(out) < len(n.types()) {
		add("c" + itoa(len(out)))
	}
	return distinct(out[:len(n.types())])
}

// labels name columns after what they are computed from.
func labels(child node, es []*expr) []string {
	p := over(child)
	var out []string
	for i, e := range es {
		text := p.text(e)
		if len(text) > maxNameBytes {
			text = "c" + itoa(i)
		}
		out = append(out, text)
	}
	return out
}

// distinct numbers the names that are there more than once: k, k#2.
func distinct(names []string) []string {
	seen := map[string]int{}
	out := make([]string, len(names))
	for i, name := range names {
		seen[name]++
		out[i] = name
		if seen[name] > 1 {
			out[i] = name + "#" + itoa(seen[name])
		}
	}
	return out
}

// over prints expressions over a node's columns for people.
func over(n node) *printer { return named(names(n)) }

func named(names []string) *printer {
	return &printer{column: func(i int) string { return names[i] }}
}

// text prints an expression or an aggregate's call.
func (p *printer) text(e *expr) string {
	print := p.expr
	if e.Class == "BOUND_AGGREGATE" {
		print = func(e *expr) (string, error) { return p.aggregate(e, "") }
	}
	text, err := print(e)
	if err != nil {
		return "…"
	}
	return readable(text)
}

func (p *printer) texts(es []*expr) string {
	var out []string
	for _, e := range es {
		out = append(out, p.text(e))
	}
	return strings.Join(out, ", ")
}

var (
	plainCast  = regexp.MustCompile(`CAST\(('(?:[^']|'')*'|-?[0-9.]+) AS (?:VARCHAR|BOOLEAN|[A-Z]*INT|INTEGER|DOUBLE|FLOAT|DECIMAL\([0-9,]+\))\)`)
	timeCast   = regexp.MustCompile(`CAST\(('(?:[^']|'')*') AS (INTERVAL|DATE|TIMESTAMP)\)`)
	quotedCall = regexp.MustCompile(`"([a-z_][a-z_0-9]*)"\(`)
)

// readable takes out of SQL what binding and printing put in: casts of constants, quotes around functions,
// parentheses around all of it; and writes {{watermark bid}} as watermark(bid), the lowest of several
// floors as least().
func readable(sql string) string {
	sql = strings.NewReplacer(batchTimePlaceholder, "the batch's time", lowestOf, "least(", endOfLowest, ")").Replace(sql)
	sql = timePlaceholder.ReplaceAllString(sql, "$1($2)")
	sql = timeCast.ReplaceAllString(sql, "$2 $1")
	sql = plainCast.ReplaceAllString(sql, "$1")
	sql = quotedCall.ReplaceAllString(sql, "$1(")
	if enclosed(sql) {
		return sql[1 : len(sql)-1]
	}
	return sql
}

// enclosed says that the first character is a parenthesis which the last one closes.
func enclosed(sql string) bool {
	if !strings.HasPrefix(sql, "(") || !strings.HasSuffix(sql, ")") {
		return false
	}
	depth := 0
	for i, r := range sql {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 && i < len(sql)-1 {
			return false
		}
	}
	return true
}

// printAll prints expressions over columns c0, c1, ….
func printAll(es []*expr) string {
	var parts []string
	for _, e := range es {
		s, err := columns("c").expr(e)
		if err != nil {
			s = "?"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

package ddl

import (
	"slices"
	"strings"
)

type columnList struct {
	columns   []Column
	watermark *Watermark
	key       []Ident
}

// columns reads ( col TYPE, …, WATERMARK FOR col AS expr, PRIMARY KEY (…) NOT ENFORCED ).
func (p *parser) columns(what string, name Ident) columnList {
	if !p.accept("(") {
		e := p.errorf(p.peek(), "expected the columns of %s %s, found %s", what, quote(name.Name), describe(p.peek()))
		p.fail(e.WithHint("write CREATE %s %s (column TYPE, …) WITH (connector = '…')", strings.ToUpper(what), name.Name))
	}
	open := p.last()
	var list columnList
	for !p.accept(")") {
		switch t, after := p.peek(), p.peekAt(1); {
		case isWord(t, "watermark") && isWord(after, "for"):
			p.watermark(&list)
		case isWord(t, "primary") && isWord(after, "key"):
			p.primaryKey(what, &list)
		case isWord(t, "constraint", "unique", "check", "foreign"):
			p.fail(p.errorf(t, "%s constraints are not supported", strings.ToUpper(t.text)).
				WithHint("the only constraint is PRIMARY KEY (column, …) NOT ENFORCED"))
		default:
			c := p.column()
			if c.Metadata != "" && what != "source" {
				p.fail(p.file.Errorf(c.MetadataSpan, "column %s: METADATA is for sources, and this is a %s", quote(c.Name.Name), what))
			}
			list.columns = append(list.columns, c)
		}
		p.separator(open)
	}
	if len(list.columns) == 0 {
		p.fail(p.file.Errorf(open.Span, "%s %s has no columns", what, quote(name.Name)).
			WithHint("write column TYPE, …"))
	}
	return list
}

// separator reads the comma between the items of a list, which may also stand behind the last one, or
// leaves the closing bracket to be read.
func (p *parser) separator(open token) {
	t := p.peek()
	switch {
	case p.accept(","), t.kind == op && t.text == ")":
	case t.kind == eof:
		p.fail(p.file.Errorf(open.Span, `"(" is not closed`).WithHint(`add ")" before the end of the statement`))
	default:
		p.fail(p.errorf(t, `expected "," or ")", found %s`, describe(t)))
	}
}

func (p *parser) column() Column {
	name := p.name("column")
	end := p.closing()
	if end == p.pos {
		p.fail(p.file.Errorf(name.Span, "column %s has no type", quote(name.Name)).
			WithHint("write the type after the name: %s VARCHAR", name.Name))
	}
	toks := p.toks[p.pos:end]
	c := Column{Name: name}
	toks = p.metadata(&c, toks)
	p.checkType(name, toks)
	p.pos = end
	c.Type = p.text(toks)
	c.Span = Span{name.Start, max(c.Type.End, c.MetadataSpan.End)}
	return c
}

// metadata reads METADATA FROM 'key' at the end of a column and returns the tokens before it. Which keys
// there are is for the planner to say.
func (p *parser) metadata(c *Column, toks []token) []token {
	depth := 0
	at := slices.IndexFunc(toks, func(t token) bool {
		switch t.text {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		}
		return depth == 0 && isWord(t, "metadata")
	})
	if at < 1 {
		return toks
	}
	rest := toks[at:]
	if len(rest) != 3 || !isWord(rest[1], "from") || rest[2].kind != stringToken {
		p.fail(p.errorf(rest[0], "column %s: METADATA must be followed by FROM and a key", quote(c.Name.Name)).
			WithHint("write %s TIMESTAMP METADATA FROM 'batch_time'", c.Name.Name))
	}
	c.Metadata, c.MetadataSpan = rest[2].value, rest[2].Span
	return toks[:at]
}

// checkType refuses what follows a type, and finds forgotten commas. Whether the type exists is for DuckDB
// to say.
func (p *parser) checkType(name Ident, toks []token) {
	if first := toks[0]; first.kind != word && first.kind != quotedWord {
		p.fail(p.errorf(first, "expected the type of column %s, found %s", quote(name.Name), describe(first)))
	}
	depth := 0
	for i, t := range toks {
		switch t.text {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		}
		if i == 0 || depth > 0 || t.kind != word && t.kind != quotedWord || typeWords[strings.ToLower(t.text)] || toks[i-1].text == "." {
			continue
		}
		switch {
		case isWord(t, "not", "null", "default", "primary", "unique", "check", "references", "generated", "collate", "comment", "as", "constraint"):
			e := p.errorf(t, "column %s: %s is not supported here", quote(name.Name), constraintName(t)).
				WithHint("a column is a name and a type; filter and compute in a view over the source")
			if isWord(t, "primary") {
				e.WithHint("declare the key behind the columns: PRIMARY KEY (%s) NOT ENFORCED", name.Name)
			}
			p.fail(e)
		default:
			p.fail(p.errorf(t, "unexpected %s after the type of column %s", describe(t), quote(name.Name)).
				WithHint("is there a comma missing before it?"))
		}
	}
}

// constraintName is how a column constraint is called that begins with t.
func constraintName(t token) string {
	switch {
	case isWord(t, "not"):
		return "NOT NULL"
	case isWord(t, "primary"):
		return "PRIMARY KEY"
	}
	return strings.ToUpper(t.text)
}

func (p *parser) watermark(list *columnList) {
	start := p.next()
	p.next()
	w := &Watermark{Column: p.name("column")}
	if !p.acceptWord("as") {
		p.fail(p.errorf(p.peek(), "expected AS and an expression, found %s", describe(p.peek())).
			WithHint("for example WATERMARK FOR %s AS %s - INTERVAL '5 seconds'", w.Column.Name, w.Column.Name))
	}
	end := p.closing()
	if end == p.pos {
		p.expected("the watermark's expression")
	}
	w.Expr = p.text(p.toks[p.pos:end])
	p.pos = end
	w.Span = Span{start.Start, w.Expr.End}
	if list.watermark != nil {
		p.fail(p.file.Errorf(w.Span, "a source has one watermark at most"))
	}
	list.watermark = w
}

func (p *parser) primaryKey(what string, list *columnList) {
	start := p.next()
	p.next()
	if !p.accept("(") {
		p.expected(`"(" and the key's columns`)
	}
	key := p.nameList("column")
	enforced := !isWord(p.peek(), "not") || !isWord(p.peekAt(1), "enforced")
	if !enforced {
		p.pos += 2
	}
	span := Span{start.Start, p.last().End}
	if enforced && what == "source" {
		p.fail(p.file.Errorf(span, "the primary key of a source must say NOT ENFORCED").
			WithDetail("a source's rows come from outside and sluice does not check that they are unique").
			WithHint("add NOT ENFORCED behind it"))
	}
	if list.key != nil {
		p.fail(p.file.Errorf(span, "a %s has one primary key at most", what))
	}
	list.key = key
}

// nameList reads the rest of ( name, … ).
func (p *parser) nameList(what string) []Ident {
	open := p.last()
	var names []Ident
	for !p.accept(")") {
		name := p.name(what)
		if slices.ContainsFunc(names, func(n Ident) bool { return n.Key() == name.Key() }) {
			p.report(p.file.Errorf(name.Span, "%s %s is named twice", what, quote(name.Name)))
		}
		names = append(names, name)
		p.separator(open)
	}
	if len(names) == 0 {
		p.fail(p.file.Errorf(open.Span, "expected a list of %s names, found \"()\"", what))
	}
	return names
}

// checkColumns refuses columns declared twice, and keys and watermarks over columns that are not declared.
func (p *parser) checkColumns(list columnList) {
	seen := map[string]bool{}
	var names []string
	for _, c := range list.columns {
		if seen[c.Name.Key()] {
			p.report(p.file.Errorf(c.Name.Span, "column %s is declared twice", quote(c.Name.Name)).
				WithDetail("case does not tell columns apart, quoted or not"))
		}
		seen[c.Name.Key()] = true
		names = append(names, c.Name.Name)
	}
	used := slices.Clone(list.key)
	if list.watermark != nil {
		used = append(used, list.watermark.Column)
	}
	for _, name := range used {
		if seen[name.Key()] {
			continue
		}
		e := p.file.Errorf(name.Span, "column %s is not declared", quote(name.Name))
		if best := Suggest(name.Name, names); best != "" {
			e.WithHint("did you mean %s?", quote(best))
		} else {
			e.WithHint("the columns are %s", strings.Join(names, ", "))
		}
		p.report(e)
	}
}

package ddl

import "strings"

// create reads a CREATE statement up to its kind and hands over.
func (p *parser) create() Statement {
	p.next()
	orReplace, temporary := token{}, token{}
	if t := p.peek(); isWord(t, "or") && isWord(p.peekAt(1), "replace") {
		orReplace = t
		orReplace.End = p.peekAt(1).End
		p.pos += 2
	}
	if t := p.peek(); isWord(t, "temp", "temporary", "persistent", "unlogged", "recursive", "external") {
		temporary = p.next()
	}
	kind := p.peek()
	if isWord(kind, "macro", "function") {
		return p.macro()
	}
	if orReplace.kind != eof {
		p.fail(p.errorf(orReplace, "OR REPLACE is for macros only").
			WithHint("leave it out: the file is the whole definition of the pipeline, and a changed file is a changed pipeline"))
	}
	if temporary.kind != eof {
		p.fail(p.errorf(temporary, "%s has no meaning in a pipeline file", strings.ToUpper(temporary.text)).
			WithHint("leave it out; a plain CREATE VIEW is inlined and stores nothing"))
	}
	p.next()
	switch {
	case isWord(kind, "source"):
		return p.source()
	case isWord(kind, "table"):
		return p.table()
	case isWord(kind, "view"):
		return p.view(false)
	case isWord(kind, "materialized"):
		if !p.acceptWord("view") {
			p.expected("VIEW after CREATE MATERIALIZED")
		}
		return p.view(true)
	case isWord(kind, "sink"):
		return p.sink()
	}
	e := p.errorf(kind, "CREATE cannot make %s", describe(kind))
	if kind.kind == eof {
		e = p.errorf(kind, "expected what to create, found the end of the statement")
	}
	e.WithHint("it makes a SOURCE, VIEW, MATERIALIZED VIEW, SINK, TABLE or MACRO")
	kinds := []string{"SOURCE", "VIEW", "MATERIALIZED VIEW", "SINK", "TABLE", "MACRO", "FUNCTION"}
	if s := Suggest(kind.text, kinds); s != "" {
		e.WithHint("did you mean CREATE %s?", s)
	}
	p.fail(e)
	return nil
}

func (p *parser) ifNotExists() bool {
	if !isWord(p.peek(), "if") || !isWord(p.peekAt(1), "not") {
		return false
	}
	p.pos += 2
	if !p.acceptWord("exists") {
		p.expected("EXISTS after IF NOT")
	}
	return true
}

func (p *parser) source() Statement {
	s := &Source{IfNotExists: p.ifNotExists(), Name: p.objectName("source")}
	list := p.columns("source", s.Name)
	s.Columns, s.Watermark, s.PrimaryKey = list.columns, list.watermark, list.key
	p.checkColumns(list)
	s.With = p.with("source", s.Name)
	p.finish()
	s.Span = p.span()
	return s
}

// table reads a table whose rows live in another system. A plain SQL table would have nobody to fill it.
func (p *parser) table() Statement {
	s := &Table{IfNotExists: p.ifNotExists(), Name: p.objectName("table")}
	if t := p.peek(); isWord(t, "as") {
		p.fail(p.errorf(t, "CREATE TABLE AS is not supported").
			WithHint("a table that follows from a query is CREATE MATERIALIZED VIEW %s AS SELECT …", s.Name.Name))
	}
	list := p.columns("table", s.Name)
	s.Columns, s.PrimaryKey = list.columns, list.key
	if list.watermark != nil {
		p.report(p.file.Errorf(list.watermark.Span, "a table has no watermark").
			WithHint("a stream of events is CREATE SOURCE"))
	}
	p.checkColumns(list)
	if p.peek().kind == eof {
		p.fail(p.file.Errorf(s.Name.Span, "table %s has no WITH clause", quote(s.Name.Name)).
			WithDetail("sluice keeps no tables of its own that a statement could fill: a table names the system its rows live in").
			WithHint("add WITH (connector = '…'), or use CREATE SOURCE for a stream or CREATE MATERIALIZED VIEW for a query's result"))
	}
	s.With = p.with("table", s.Name)
	p.finish()
	s.Span = p.span()
	return s
}

func (p *parser) sink() Statement {
	s := &Sink{IfNotExists: p.ifNotExists(), Name: p.objectName("sink")}
	if t := p.peek(); isWord(t, "as") {
		p.fail(p.errorf(t, "a sink reads a view, not a query").
			WithHint("write CREATE MATERIALIZED VIEW v AS SELECT …; CREATE SINK %s FROM v WITH (…);", s.Name.Name))
	}
	if !p.acceptWord("from") {
		p.expected("FROM and the name of a view")
	}
	s.From = p.objectName("view")
	s.With = p.with("sink", s.Name)
	p.finish()
	s.Span = p.span()
	return s
}

// macro reads as much of the statement as sluice needs to know; DuckDB runs it.
func (p *parser) macro() Statement {
	p.next()
	p.ifNotExists()
	m := &Macro{Name: p.objectName("macro")}
	if t := p.peek(); t.text != "(" {
		p.expected(`"(" and the macro's parameters`)
	}
	depth := 0
	for p.pos < len(p.toks) {
		switch t := p.next(); t.text {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth == 0 {
			break
		}
	}
	if !p.acceptWord("as") {
		p.expected("AS and the macro's body")
	}
	m.Table = isWord(p.peek(), "table")
	if p.peek().kind == eof {
		p.expected("the macro's body")
	}
	p.checkBody(p.toks[p.pos:])
	m.Create, m.Span = p.text(p.toks), p.span()
	return m
}

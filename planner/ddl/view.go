package ddl

import "strings"

func (p *parser) view(materialized bool) Statement {
	v := &View{Materialized: materialized, IfNotExists: p.ifNotExists(), Name: p.objectName("view")}
	if p.accept("(") {
		v.Columns = p.nameList("column")
	}
	if t := p.peek(); isWord(t, "with") {
		p.fail(p.errorf(t, "a view has no options").
			WithHint("where its rows go is said by CREATE SINK … FROM %s WITH (…)", v.Name.Name))
	}
	if !p.acceptWord("as") {
		p.expected("AS and a query")
	}
	var emit token
	v.Query, emit = p.body()
	v.EmitOnWindowClose = emit.kind != eof
	if v.EmitOnWindowClose && !materialized {
		p.fail(p.errorf(emit, "EMIT ON WINDOW CLOSE belongs to a materialized view").
			WithHint("a plain view is inlined where it is used; write CREATE MATERIALIZED VIEW %s", v.Name.Name))
	}
	v.Span = p.span()
	return v
}

func (p *parser) query() Statement {
	q := &Query{}
	var emit token
	q.Query, emit = p.body()
	q.EmitOnWindowClose = emit.kind != eof
	q.Span = p.span()
	return q
}

// startsQuery says whether a token can begin a query of DuckDB's.
func startsQuery(t token) bool {
	return t.text == "(" || isWord(t, "select", "with", "from", "values", "table", "pivot", "unpivot")
}

// body takes the rest of the statement as a query, the EMIT clause cut off. The token returned spans that
// clause; it is of kind eof if there is none.
func (p *parser) body() (Text, token) {
	toks := p.toks[p.pos:]
	if len(toks) == 0 {
		p.expected("a query")
	}
	if first := toks[0]; !startsQuery(first) {
		e := p.errorf(first, "expected a query, found %s", describe(first))
		if s := Suggest(first.text, []string{"SELECT", "WITH", "FROM", "VALUES"}); s != "" && first.kind == word {
			e.WithHint("did you mean %s?", s)
		} else {
			e.WithHint("a query begins with SELECT, WITH, FROM or VALUES")
		}
		p.fail(e)
	}
	p.checkBody(toks)
	var emit token
	if n := len(toks) - 4; n >= 0 && emitClause(toks[n:]) {
		emit = toks[n]
		emit.End = toks[n+3].End
		toks = toks[:n]
		if n == 0 {
			p.fail(p.errorf(emit, "expected a query before EMIT ON WINDOW CLOSE"))
		}
	}
	p.checkEmit(toks)
	p.pos = len(p.toks)
	return p.text(toks), emit
}

func emitClause(toks []token) bool {
	return len(toks) >= 4 && isWord(toks[0], "emit") && isWord(toks[1], "on") &&
		isWord(toks[2], "window") && isWord(toks[3], "close")
}

// checkEmit refuses EMIT clauses that DuckDB would answer with a puzzling syntax error. EMIT is no keyword
// in DuckDB: only combinations that no valid query has are looked for.
func (p *parser) checkEmit(toks []token) {
	for i, t := range toks {
		if !isWord(t, "emit") || i == 0 || i+1 == len(toks) {
			continue
		}
		before, rest := toks[i-1], toks[i:]
		if before.kind == op && before.text != ")" || isWord(before, "from", "join", "as") {
			continue // A name.
		}
		switch {
		case emitClause(rest):
			t.End = rest[3].End
			p.fail(p.errorf(t, "EMIT ON WINDOW CLOSE must be the last clause of the statement").
				WithHint("move it to the end, outside all parentheses"))
		case isWord(rest[1], "on") && len(rest) > 2 && isWord(rest[2], "window"),
			isWord(rest[1], "changes", "after", "final") && (len(rest) == 2 || isWord(rest[2], "watermark")),
			isWord(rest[1], "on") && len(rest) == 3 && isWord(rest[2], "update"):
			t.End = rest[1].End
			p.fail(p.errorf(t, "unknown EMIT clause").
				WithHint("EMIT ON WINDOW CLOSE gives final rows only; without an EMIT clause every batch updates the result"))
		}
	}
}

// checkBody finds in a query or macro body what can only be a mistake of the file around it.
func (p *parser) checkBody(toks []token) {
	depth := 0
	for i, t := range toks {
		switch t.text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		}
		if i == 0 || t.kind != word || toks[i-1].text == "." || isWord(toks[i-1], "as") {
			continue
		}
		rest := toks[i+1:]
		if p.beginsStatement(toks[i-1], t, rest) {
			p.fail(p.missingSemicolon(toks[i-1], t))
		}
		if depth == 0 && isWord(t, "into") && isWord(toks[0], "select", "with", "from") {
			p.fail(p.errorf(t, "SELECT INTO is not supported").
				WithHint("write CREATE MATERIALIZED VIEW name AS SELECT …"))
		}
	}
}

// beginsStatement says whether t, inside a body, begins the next statement of the file. CREATE is
// reserved in DuckDB, but SET is not and needs its whole form, at the beginning of a line.
func (p *parser) beginsStatement(before, t token, rest []token) bool {
	if len(rest) == 0 {
		return false
	}
	switch {
	case isWord(t, "create"):
		return isWord(rest[0], "source", "view", "materialized", "sink", "macro", "function", "table", "or", "temp", "temporary")
	case isWord(t, "set"):
		return len(rest) > 1 && rest[0].kind == word && (rest[1].text == "=" || isWord(rest[1], "to")) &&
			strings.Contains(p.file.Text[before.End:t.Start], "\n")
	}
	return false
}

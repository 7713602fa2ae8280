package ddl

import (
	"fmt"
	"strings"
)

// peek is the next token of the statement; behind the last one a token of kind eof stands.
func (p *parser) peek() token { return p.peekAt(0) }

func (p *parser) peekAt(ahead int) token {
	if i := p.pos + ahead; i < len(p.toks) {
		return p.toks[i]
	}
	end := p.toks[len(p.toks)-1].End
	return token{kind: eof, Span: Span{end, end}}
}

func (p *parser) next() token {
	t := p.peek()
	p.pos++
	return t
}

// last is the token read last. Invariant: at least one was.
func (p *parser) last() token { return p.toks[p.pos-1] }

// accept consumes an operator if it is next. Several characters are several tokens.
func (p *parser) accept(text string) bool {
	if t := p.peek(); t.kind == op && t.text == text {
		p.pos++
		return true
	}
	return false
}

// acceptWord consumes a keyword if it is next.
func (p *parser) acceptWord(w string) bool {
	if isWord(p.peek(), w) {
		p.pos++
		return true
	}
	return false
}

// isWord says whether the token is one of the keywords, which are given in lower case.
func isWord(t token, words ...string) bool {
	if t.kind != word {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.text, w) {
			return true
		}
	}
	return false
}

// span is the statement's, semicolon included.
func (p *parser) span() Span { return Span{p.toks[0].Start, p.end} }

// text is the SQL of some tokens; comments before the first and behind the last are not part of it.
func (p *parser) text(toks []token) Text {
	span := Span{toks[0].Start, toks[len(toks)-1].End}
	return Text{SQL: sameWidthSpaces(p.file.Text, p.regions, span), Span: span}
}

func (p *parser) errorf(t token, format string, args ...any) *Error {
	return p.file.Errorf(t.Span, format, args...)
}

// expected fails with what should have been next.
func (p *parser) expected(what string) {
	p.fail(p.errorf(p.peek(), "expected %s, found %s", what, describe(p.peek())))
}

// finish requires the statement to be over.
func (p *parser) finish() {
	t := p.peek()
	switch {
	case t.kind == eof:
	case t.kind == word && statementWords[strings.ToLower(t.text)]:
		p.fail(p.missingSemicolon(p.last(), t))
	default:
		p.fail(p.errorf(t, "expected the end of the statement, found %s", describe(t)).
			WithHint(`end the statement with ";"`))
	}
}

// missingSemicolon points behind the last token of a statement that another one follows.
func (p *parser) missingSemicolon(last, next token) *Error {
	return p.file.Errorf(Span{last.End, last.End}, `missing ";" before %s`, strings.ToUpper(next.text)).
		WithDetail("the next statement begins in line %d", p.errorf(next, "").Line).
		WithHint(`end every statement with ";"`)
}

// name reads the name of an object or column.
func (p *parser) name(what string) Ident {
	t := p.peek()
	switch {
	case isWord(t, "as", "from", "with"):
		p.expected(article(what) + " name")
	case t.kind == word && reserved[strings.ToLower(t.text)]:
		p.fail(p.errorf(t, "%s is a keyword and cannot name %s", quote(t.text), article(what)).
			WithHint("choose another name, or quote it: %s", Ident{Name: t.text}.SQL()))
	case t.kind == stringToken && t.region == stringRegion && t.value != "":
		p.fail(p.errorf(t, "expected %s name, found a string", article(what)).
			WithHint("names are written bare or in double quotes: %s", Ident{Name: t.value}.SQL()))
	case t.kind != word && t.kind != quotedWord:
		p.expected(article(what) + " name")
	}
	p.next()
	return Ident{Name: t.value, Quoted: t.kind == quotedWord, Span: t.Span}
}

// objectName reads a name that no schema qualifies.
func (p *parser) objectName(what string) Ident {
	name := p.name(what)
	if t := p.peek(); t.kind == op && t.text == "." {
		p.fail(p.errorf(t, "%s name cannot have a schema", what).
			WithHint("a pipeline has one namespace; the schema of a sink's table is set with WITH (schema = '%s')", name.Name))
	}
	return name
}

// closing is the index behind the tokens that end at a comma or closing bracket outside all brackets that
// they open, or at the end of the statement.
func (p *parser) closing() int {
	depth := 0
	for i := p.pos; i < len(p.toks); i++ {
		switch t := p.toks[i]; t.text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth == 0 {
				return i
			}
			depth--
		case ",":
			if depth == 0 {
				return i
			}
		}
	}
	return len(p.toks)
}

// describe names a token in a message.
func describe(t token) string {
	switch t.kind {
	case eof:
		return "the end of the statement"
	case stringToken:
		return "a string"
	case number:
		return "number " + t.text
	case quotedWord:
		return t.text
	}
	return quote(t.text)
}

func quote(s string) string {
	const limit = 64
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

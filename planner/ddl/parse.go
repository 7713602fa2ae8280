package ddl

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Parse reads a pipeline file. env looks up ${NAME} in option values; nil means that no variable is set.
//
// The error, if any, is an Errors with everything found: one mistake in a statement does not hide those in
// the next. The file is returned in any case, without the statements that could not be read.
func Parse(name string, src []byte, env func(string) (string, bool)) (*File, error) {
	f := &File{Name: name, Text: string(src)}
	if err := checkBytes(f); err != nil {
		return f, Errors{err}
	}
	p := &parser{file: f, env: env}
	f.tokens, p.regions = lex(f, p.report)
	if len(p.errors) > 0 {
		// Why: after an open quote the rest of the file means nothing.
		return f, p.errors.err()
	}
	for p.at < len(f.tokens) {
		p.statement()
	}
	p.checkNames()
	return f, p.errors.err()
}

// checkBytes refuses what no SQL file has, before anything counts characters.
func checkBytes(f *File) *Error {
	if strings.HasPrefix(f.Text, "\xff\xfe") || strings.HasPrefix(f.Text, "\xfe\xff") {
		return f.Errorf(Span{}, "file is UTF-16, not UTF-8").WithHint("save it as UTF-8")
	}
	if i := strings.IndexByte(f.Text, 0); i >= 0 {
		return f.Errorf(Span{i, i + 1}, "file contains a NUL byte").WithHint("is this a SQL file?")
	}
	if utf8.ValidString(f.Text) {
		return nil
	}
	for i, r := range f.Text {
		if _, size := utf8.DecodeRuneInString(f.Text[i:]); r == utf8.RuneError && size == 1 {
			return f.Errorf(Span{i, i + 1}, "byte 0x%02x is not UTF-8", f.Text[i]).WithHint("save the file as UTF-8")
		}
	}
	panic("ddl: invalid UTF-8 without an invalid byte")
}

// A parser reads one statement at a time: its tokens are toks, which end before the semicolon.
type parser struct {
	file    *File
	env     func(string) (string, bool)
	regions []region
	errors  Errors

	at   int // the next token of the file
	toks []token
	pos  int // the next token of toks
	end  int // offset behind the statement, semicolon included
}

// bail unwinds to the statement that could not be read; the error is in parser.errors. It never leaves the
// package.
type bail struct{}

func (p *parser) report(e *Error) { p.errors = append(p.errors, e) }

func (p *parser) fail(e *Error) {
	p.report(e)
	panic(bail{})
}

// statement reads the tokens up to the next semicolon, and appends what they mean.
func (p *parser) statement() {
	first := p.at
	for p.at < len(p.file.tokens) && p.file.tokens[p.at].text != ";" {
		p.at++
	}
	p.toks, p.pos = p.file.tokens[first:p.at], 0
	if p.at < len(p.file.tokens) {
		p.end = p.file.tokens[p.at].End
		p.at++
	} else {
		p.end = p.file.tokens[p.at-1].End
	}
	if len(p.toks) == 0 {
		return // An empty statement.
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(bail); !ok {
				panic(r)
			}
		}
	}()
	if s := p.dispatch(); s != nil {
		p.file.Statements = append(p.file.Statements, s)
	}
}

const supported = "a pipeline file has CREATE SOURCE, VIEW, MATERIALIZED VIEW, SINK, TABLE and MACRO, SET, and SELECT"

// notHere says what to do instead of a statement that a pipeline file does not have.
var notHere = map[string]string{
	"insert":   "to write a query's result somewhere, use CREATE SINK name FROM view WITH (…)",
	"update":   "a pipeline's tables follow from its queries; change the query",
	"delete":   "a pipeline's tables follow from its queries; change the query",
	"merge":    "to write a query's result somewhere, use CREATE SINK name FROM view WITH (…)",
	"truncate": "a pipeline's tables follow from its queries; change the query",
	"copy":     "to read a file use CREATE SOURCE … WITH (connector = 'file', path = '…', format = '…')",
	"drop":     "remove the statement from the file; `sluice drop NAME` drops a whole pipeline",
	"alter":    "change the CREATE statement; `sluice diff` says what the change means for the running pipeline",
	"explain":  "`sluice explain FILE.sql` explains every query of a file",
	"describe": "`sluice explain FILE.sql` shows the columns of every query",
	"show":     "`sluice explain FILE.sql` shows the columns of every query",
	"begin":    "every micro-batch is one transaction already",
	"commit":   "every micro-batch is one transaction already",
	"rollback": "every micro-batch is one transaction already",
	"pragma":   "pipeline options are set with SET option = value",
	"reset":    "leave the SET out: an option that is not set has its default",
	"install":  "DuckDB extensions cannot be loaded in a pipeline",
	"load":     "DuckDB extensions cannot be loaded in a pipeline",
	"attach":   "a pipeline reads through CREATE SOURCE only",
	"detach":   "a pipeline reads through CREATE SOURCE only",
	"use":      "a pipeline has one schema; a sink's is set with WITH (schema = '…')",
	"call":     supported,
	"execute":  supported,
	"prepare":  supported,
	"export":   supported,
	"import":   supported,
	"vacuum":   supported,
	"analyze":  supported,
	"grant":    supported,
	"revoke":   supported,
	"comment":  supported,
	"declare":  supported,
	"do":       supported,
}

func (p *parser) dispatch() Statement {
	t := p.peek()
	lower := strings.ToLower(t.text)
	switch {
	case startsQuery(t):
		return p.query()
	case lower == "create":
		return p.create()
	case lower == "set":
		return p.set()
	}
	if hint, ok := notHere[lower]; ok && t.kind == word {
		p.fail(p.errorf(t, "%s is not a statement of a pipeline file", strings.ToUpper(t.text)).WithHint("%s", hint))
	}
	e := p.errorf(t, "expected a statement, found %s", describe(t)).WithHint("%s", supported)
	if s := Suggest(t.text, []string{"CREATE", "SELECT", "SET", "WITH"}); s != "" && t.kind == word {
		e.WithHint("did you mean %s?", s)
	}
	p.fail(e)
	return nil
}

// set reads SET option = value.
func (p *parser) set() Statement {
	p.next()
	if t := p.peek(); isWord(t, "global", "session", "local", "variable") && p.peekAt(1).kind == word {
		p.fail(p.errorf(t, "SET %s is not supported", strings.ToUpper(t.text)).
			WithHint("every option is the pipeline's: SET %s = value", p.peekAt(1).text))
	}
	key := p.optionKey()
	if !p.accept("=") && !p.acceptWord("to") {
		p.expected(`"=" after option ` + quote(key.Name))
	}
	o := Option{Key: key}
	p.optionValue(&o)
	o.Span = Span{key.Start, o.ValueSpan.End}
	p.finish()
	return &Set{Option: o, Span: p.span()}
}

// checkNames refuses two objects of one name and sinks that read nothing.
func (p *parser) checkNames() {
	// A view that could not be read is not unknown: its own error is enough.
	complete := len(p.errors) == 0
	seen := map[string]Ident{}
	unique := func(space, what string, name Ident) {
		if first, ok := seen[space+name.Key()]; ok {
			line := p.file.Errorf(first.Span, "").Line
			p.report(p.file.Errorf(name.Span, "%s %s is defined twice", what, quote(name.Name)).
				WithDetail("the first definition of %s is in line %d", quote(first.Name), line))
			return
		}
		seen[space+name.Key()] = name
	}
	relations := map[string]bool{}
	var names []string
	for _, s := range p.file.Statements {
		if name, what, ok := relation(s); ok {
			unique("relation ", what, name)
			relations[name.Key()] = true
			names = append(names, name.Name)
		}
		switch s := s.(type) {
		case *Sink:
			unique("sink ", "sink", s.Name)
		case *Macro:
			unique(fmt.Sprint("macro ", s.Table, " "), "macro", s.Name)
		}
	}
	for _, s := range p.file.Statements {
		sink, ok := s.(*Sink)
		if !ok || !complete || relations[sink.From.Key()] {
			continue
		}
		e := p.file.Errorf(sink.From.Span, "sink %s reads %s, which does not exist", quote(sink.Name.Name), quote(sink.From.Name))
		if best := Suggest(sink.From.Name, names); best != "" {
			e.WithHint("did you mean %s?", quote(best))
		} else {
			e.WithHint("define it in this file: CREATE MATERIALIZED VIEW %s AS SELECT …", sink.From.Name)
		}
		p.report(e)
	}
}

package ddl

import (
	"regexp"
	"strings"
)

// with reads WITH ( key = value, … ).
func (p *parser) with(what string, name Ident) Options {
	if !p.acceptWord("with") {
		e := p.errorf(p.peek(), "expected WITH and the options of %s %s, found %s", what, quote(name.Name), describe(p.peek()))
		p.fail(e.WithHint("write WITH (connector = '…', …)"))
	}
	start := p.last().Start
	if !p.accept("(") {
		p.expected(`"(" after WITH`)
	}
	open := p.last()
	opts := Options{file: p.file}
	for !p.accept(")") {
		o := Option{Key: p.optionKey()}
		if !p.accept("=") {
			p.fail(p.errorf(p.peek(), `expected "=" after option %s, found %s`, quote(o.Key.Name), describe(p.peek())).
				WithHint("options are written name = 'value'"))
		}
		p.optionValue(&o)
		o.Span = Span{o.Key.Start, p.last().End}
		opts.Items = append(opts.Items, o)
		if t := p.peek(); (t.kind == word || t.kind == quotedWord) && p.peekAt(1).text == "=" {
			p.fail(p.errorf(t, `expected "," before option %s`, quote(t.value)).
				WithHint("options are separated by commas"))
		}
		p.separator(open)
	}
	opts.Span = Span{start, p.last().End}
	return opts
}

// optionKey reads an option's name: words with dots between them, or a string. Keywords are fine here.
func (p *parser) optionKey() Ident {
	first := p.peek()
	if first.kind == stringToken && first.value != "" {
		p.next()
		return Ident{Name: strings.ToLower(first.value), Quoted: true, Span: first.Span}
	}
	var b strings.Builder
	for {
		t := p.peek()
		if t.kind != word && t.kind != quotedWord {
			p.expected("the name of an option")
		}
		b.WriteString(strings.ToLower(t.value))
		p.next()
		if !p.accept(".") {
			break
		}
		b.WriteByte('.')
	}
	return Ident{Name: b.String(), Quoted: first.kind == quotedWord, Span: Span{first.Start, p.last().End}}
}

// optionValue reads a string, a number, true or false, or a list of strings in brackets.
func (p *parser) optionValue(o *Option) {
	start := p.peek()
	switch t := start; {
	case t.text == "[" || t.text == "(":
		p.listValue(o)
	case isWord(t, "true", "false"):
		p.next()
		o.Form, o.Value = BoolValue, strings.ToLower(t.text)
	default:
		p.scalar(o)
	}
	o.ValueSpan = Span{start.Start, p.last().End}
	o.Secret = o.Secret || secretName(o.Key.Name)
	if o.Secret || RedactURL(o.Value) != o.Value {
		p.file.secrets = append(p.file.secrets, secretLiteral(p.file.Text, o.ValueSpan))
	}
}

// secretLiteral is what to mask of a value: a ${NAME} in the file is no secret, its value is.
func secretLiteral(text string, span Span) Span {
	if strings.Contains(text[span.Start:span.End], "${") {
		return Span{}
	}
	return span
}

func (p *parser) scalar(o *Option) {
	t := p.peek()
	switch {
	case t.kind == stringToken:
		p.next()
		o.Form, o.Value = StringValue, p.substitute(o, t)
	case t.kind == number:
		p.next()
		o.Form, o.Value = NumberValue, strings.ReplaceAll(t.text, "_", "")
	case (t.text == "-" || t.text == "+") && p.peekAt(1).kind == number:
		p.next()
		o.Form, o.Value = NumberValue, strings.TrimPrefix(t.text, "+")+strings.ReplaceAll(p.next().text, "_", "")
	case t.kind == word && !reserved[strings.ToLower(t.text)] || isWord(t, "on"):
		p.fail(p.errorf(t, "the value of option %s must be quoted", quote(o.Key.Name)).
			WithHint("write %s = '%s'", o.Key.Name, bareValue(p.toks[p.pos:])))
	case t.kind == quotedWord:
		p.fail(p.errorf(t, "the value of option %s is in double quotes", quote(o.Key.Name)).
			WithHint("double quotes are for names; write %s = '%s'", o.Key.Name, strings.ReplaceAll(t.value, "'", "''")))
	default:
		p.expected("the value of option " + quote(o.Key.Name))
	}
}

// bareValue is what an unquoted value was meant to be: INTERVAL '1 second' is '1 second'.
func bareValue(toks []token) string {
	if isWord(toks[0], "interval") && len(toks) > 1 && toks[1].kind == stringToken {
		return toks[1].value
	}
	return toks[0].text
}

func (p *parser) listValue(o *Option) {
	open := p.next()
	closing := map[string]string{"[": "]", "(": ")"}[open.text]
	o.Form, o.List = ListValue, []string{}
	for !p.accept(closing) {
		item := Option{Key: o.Key}
		p.scalar(&item)
		o.List = append(o.List, item.Value)
		o.Secret = o.Secret || item.Secret
		if t := p.peek(); !p.accept(",") && t.text != closing {
			p.fail(p.errorf(t, `expected "," or %q in the list, found %s`, closing, describe(t)))
		}
	}
	o.Value = strings.Join(o.List, ",")
}

// variable matches $${ (a literal ${), ${NAME}, ${NAME:-default}, and what looks like one but is not.
var variable = regexp.MustCompile(`\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{`)

// substitute replaces ${NAME} in a string value. Query text is never touched, so that a query means the
// same in a DuckDB shell.
func (p *parser) substitute(o *Option, t token) string {
	var b strings.Builder
	done := 0
	for _, m := range variable.FindAllStringSubmatchIndex(t.value, -1) {
		b.WriteString(t.value[done:m[0]])
		done = m[1]
		switch {
		case t.value[m[0]:m[1]] == "$${":
			b.WriteString("${")
		case m[2] < 0:
			p.fail(p.errorf(t, "malformed ${…} in the value of option %s", quote(o.Key.Name)).
				WithHint("write ${NAME} or ${NAME:-default}; a literal ${ is written $${"))
		default:
			o.Secret = true
			var fallback *string
			if m[6] >= 0 {
				s := t.value[m[6]:m[7]]
				fallback = &s
			}
			b.WriteString(p.variable(t, t.value[m[2]:m[3]], fallback))
		}
	}
	b.WriteString(t.value[done:])
	return b.String()
}

// variable looks a name up; like in a shell, an empty variable takes the default.
func (p *parser) variable(t token, name string, fallback *string) string {
	value, ok := "", false
	if p.env != nil {
		value, ok = p.env(name)
	}
	switch {
	case fallback != nil && value == "":
		return *fallback
	case !ok:
		// Why: reported, not failed, so that one run names every variable that is missing.
		p.report(p.errorf(t, "environment variable %s is not set", name).
			WithHint("export %s=… before you start sluice, or give a default: ${%s:-value}", name, name))
	}
	return value
}

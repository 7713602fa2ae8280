package ddl

import (
	"strings"

	"github.com/xwb1989/sqlparser"
)

// tokenKind is what the statement parser needs to know of a token.
type tokenKind uint8

const (
	eof tokenKind = iota
	word
	quotedWord
	stringToken
	number
	op
)

// token is a piece of the file that is neither blank nor comment.
type token struct {
	kind tokenKind
	Span
	// text is the token as written.
	text string
	// value is a name or string without its quotes.
	value string
	// region tells the three kinds of string apart.
	region regionKind
}

// lex turns a file into tokens. Strings, comments and quoted names are cut out first, by DuckDB's rules;
// what is left between them goes to sqlparser's tokenizer.
//
// Why: it is a MySQL lexer. It takes "x" for a string, \' for an escape, # and // for comments, and it
// stumbles over dollar quotes, nested comments, :: and any character that is not ASCII; but it reads plain
// ASCII words, numbers and operators well, and those are all it gets.
func lex(f *File, report func(*Error)) ([]token, []region) {
	regions := scan(f.Text)
	var tokens []token
	for _, r := range regions {
		t := token{Span: r.Span, text: f.Text[r.Start:r.End], region: r.kind}
		if r.open {
			report(unterminated(f, r))
		}
		switch r.kind {
		case blank, lineComment, blockComment:
			continue
		case plain:
			tokens = appendPlain(tokens, t.text, r.Start)
			continue
		case stringRegion:
			t.kind, t.value = stringToken, unquote(t.text, "'")
		case escapeRegion:
			t.kind, t.value = stringToken, unescape(t.text)
		case dollarRegion:
			t.kind = stringToken
			if tag := dollarTag(t.text); len(t.text) >= 2*len(tag) {
				t.value = t.text[len(tag) : len(t.text)-len(tag)]
			}
		case quotedRegion:
			t.kind, t.value = quotedWord, unquote(t.text, `"`)
			if t.value == "" && !r.open {
				report(f.Errorf(r.Span, "a quoted name must not be empty"))
			}
		case wordRegion:
			t.kind, t.value = word, t.text
		case symbolRegion:
			t.kind = op
		}
		tokens = append(tokens, t)
	}
	return tokens, regions
}

// appendPlain tokenizes a plain region that starts at base.
func appendPlain(tokens []token, text string, base int) []token {
	tokenizer := sqlparser.NewStringTokenizer(text)
	end := 0
	for {
		start := end + len(text[end:]) - len(strings.TrimLeft(text[end:], " \t\r\n"))
		if start == len(text) {
			return tokens
		}
		id, _ := tokenizer.Scan()
		// Position counts the characters read, and the tokenizer has always read one ahead.
		end = tokenizer.Position - 1
		t := token{kind: op, Span: Span{base + start, base + end}, text: text[start:end]}
		switch c := t.text[0]; {
		case id == sqlparser.INTEGRAL, id == sqlparser.FLOAT, id == sqlparser.HEXNUM, '0' <= c && c <= '9':
			t.kind = number
		case isWordStart(c):
			t.kind, t.value = word, t.text
		}
		// DuckDB's 1_000 is a number and a name to the tokenizer.
		if last := len(tokens) - 1; t.kind == word && last >= 0 && tokens[last].kind == number && tokens[last].End == t.Start {
			tokens[last].End, tokens[last].text = t.End, tokens[last].text+t.text
			continue
		}
		tokens = append(tokens, t)
	}
}

// unquote removes the quotes and undoubles those inside. The closing quote may be missing.
func unquote(text, quote string) string {
	text = strings.TrimPrefix(text, quote)
	if n := len(text) - len(strings.TrimRight(text, quote)); n%2 == 1 {
		text = text[:len(text)-1]
	}
	return strings.ReplaceAll(text, quote+quote, quote)
}

// unescape decodes E'…' with the escapes that option values can need.
func unescape(text string) string {
	text = strings.TrimPrefix(strings.TrimLeft(text, "eE"), "'")
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\'':
			if i+1 == len(text) {
				return b.String()
			}
			i++
		case c == '\\' && i+1 < len(text):
			i++
			c = text[i]
			if at := strings.IndexByte("ntrbf", c); at >= 0 {
				c = "\n\t\r\b\f"[at]
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

func unterminated(f *File, r region) *Error {
	// Only the opening is underlined: the rest of the file is inside.
	opening := func(n int) Span { return Span{r.Start, min(r.Start+n, r.End)} }
	switch r.kind {
	case blockComment:
		return f.Errorf(opening(2), "comment is not closed").
			WithHint("end it with */; every /* inside a comment needs its own */")
	case quotedRegion:
		return f.Errorf(opening(1), "quoted name is not closed").WithHint(`end it with "`)
	case dollarRegion:
		tag := dollarTag(f.Text[r.Start:r.End])
		return f.Errorf(opening(len(tag)), "dollar-quoted string is not closed").WithHint("end it with %s", tag)
	}
	return f.Errorf(opening(1), "string is not closed").
		WithHint("end it with '; a quote inside a string is written twice: 'it''s'")
}

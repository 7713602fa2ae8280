package ddl

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// duckToken is a token as DuckDB's lexer reads it: a word (quoted or not), a number, a string or a
// semicolon; operators are left out.
type duckToken struct {
	At   int    `json:"at"`
	Kind string `json:"kind"`
}

// TestAgainstDuckDB compares where strings, names, numbers and semicolons begin with what DuckDB's lexer
// answered for the same text, as testdata/lexer.py recorded it.
func TestAgainstDuckDB(t *testing.T) {
	data, err := os.ReadFile("testdata/lexer.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		SQL    string      `json:"sql"`
		Tokens []duckToken `json:"tokens"`
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		got, open := ourTokens(c.SQL)
		got, want := withoutTails(c.SQL, got), withoutTails(c.SQL, c.Tokens)
		// DuckDB's lexer stops where something is not closed; so do both lists.
		for i, w := range want {
			if w.At >= open {
				want = want[:i]
				break
			}
		}
		if diff := cmp.Diff(want, got, cmp.Transformer("nil", func(ts []duckToken) []duckToken { return append([]duckToken{}, ts...) })); diff != "" {
			t.Errorf("%q (-DuckDB +ours):\n%s", c.SQL, diff)
		}
	}
}

// ourTokens is what lex makes of a text in DuckDB's terms, up to the first region that is not closed.
func ourTokens(sql string) (tokens []duckToken, open int) {
	f := &File{Text: sql}
	toks, regions := lex(f, func(*Error) {})
	open = len(sql) + 1
	for _, r := range regions {
		if r.open || r.kind == quotedRegion && r.End-r.Start == 2 { // DuckDB does not read on after "".
			open = r.Start
			break
		}
	}
	for i, tok := range toks {
		kind := map[tokenKind]string{word: "word", quotedWord: "word", number: "number", stringToken: "string"}[tok.kind]
		switch {
		case tok.Start >= open:
			// DuckDB does not report the beginning of a string whose continuation is open.
			for ; i > 0 && tok.kind == stringToken && tok.region != dollarRegion && toks[i-1].kind == stringToken && continues(sql[toks[i-1].End:toks[i].Start]); i-- {
				tokens = tokens[:len(tokens)-1]
			}
			return tokens, open
		case tok.text == ";":
			kind = ";"
		case kind == "":
			continue
		case kind == "string" && i > 0 && toks[i-1].kind == stringToken && continues(sql[toks[i-1].End:tok.Start]) && tok.region != dollarRegion && toks[i-1].region != dollarRegion && sql[tok.Start] == '\'':
			continue // To DuckDB the two are one string.
		case kind == "number" && i > 0 && toks[i-1].End == tok.Start && (toks[i-1].text == "$" || toks[i-1].text == "?"):
			continue // Parameter $1 or ?1 is one token to DuckDB; no pipeline has parameters.
		case kind == "string" && i > 0 && toks[i-1].End == tok.Start && isWord(toks[i-1], "x", "b") && tok.region == stringRegion:
			// The prefix of x'…' and b'…' belongs to the string.
			tokens[len(tokens)-1].Kind = "string"
			continue
		}
		tokens = append(tokens, duckToken{tok.Start, kind})
	}
	return tokens, open
}

// withoutTails drops words that touch the number before them: 1e is a number and a word to DuckDB, and one
// malformed number to us.
func withoutTails(sql string, tokens []duckToken) []duckToken {
	var kept []duckToken
	for i, t := range tokens {
		tail := i > 0 && t.Kind == "word" && tokens[i-1].Kind == "number" && sql[t.At] != '"' &&
			!strings.ContainsAny(sql[tokens[i-1].At:t.At], " \t\r\n\f;,()[]{}*/+%<>=!|&#:`@?~^'\"$\\-")
		if !tail {
			kept = append(kept, t)
		}
	}
	return kept
}

// continues says whether the text between two strings makes them one: blanks with a line break, and line
// comments after the first line break or before it.
func continues(between string) bool {
	newline := false
	for _, r := range scan(between) {
		text := between[r.Start:r.End]
		if r.kind != lineComment && strings.TrimSpace(text) != "" || r.kind == blockComment {
			return false
		}
		newline = newline || strings.ContainsAny(text, "\r\n")
	}
	return newline
}

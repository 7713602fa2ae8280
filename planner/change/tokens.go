package change

import (
	"iter"
	"strings"
)

// token is a word of generated SQL that may be a name: text[start:end], quotes included.
type token struct {
	name       string // without quotes
	quoted     bool
	start, end int
}

// tokens gives the words of a statement and passes over strings.
func tokens(text string) iter.Seq[token] {
	return func(yield func(token) bool) {
		for i := 0; i < len(text); {
			switch ch := text[i]; {
			case ch == '\'':
				i = closing(text, i, '\'')
			case ch == '"':
				end := closing(text, i, '"')
				name := strings.ReplaceAll(text[i+1:max(i+1, end-1)], `""`, `"`)
				if !yield(token{name, true, i, end}) {
					return
				}
				i = end
			case isWord(ch):
				end := i
				for end < len(text) && isWord(text[end]) {
					end++
				}
				if !yield(token{text[i:end], false, i, end}) {
					return
				}
				i = end
			default:
				i++
			}
		}
	}
}

// closing returns the index behind a quoted piece that begins at i; a doubled quote is a part of it.
func closing(text string, i int, quote byte) int {
	for i++; i < len(text); i++ {
		if text[i] != quote {
			continue
		}
		if i+1 < len(text) && text[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return len(text)
}

func isWord(ch byte) bool {
	return ch == '_' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch >= 0x80
}

package ddl

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// regionKind is what a stretch of the file is to DuckDB's lexer.
type regionKind uint8

const (
	// plain is ASCII words, numbers, blanks and the operators that the tokenizer reads as DuckDB does.
	plain regionKind = iota
	blank
	lineComment
	blockComment
	stringRegion
	escapeRegion // E'…', where a backslash escapes
	dollarRegion // $tag$…$tag$
	quotedRegion // "…"
	wordRegion   // an unquoted name with $ or non-ASCII characters in it
	symbolRegion // one character that the tokenizer would misread
)

// A region is a stretch of one kind. Invariant: the regions of a text tile it.
type region struct {
	kind regionKind
	Span
	// open is true if the text ended before the region did.
	open bool
}

// scan cuts text into regions by the rules of DuckDB's lexer, which is PostgreSQL's: backslashes are
// ordinary in '…', block comments nest, a line comment ends at a line feed or a carriage return, and a
// dollar quote cannot follow a letter directly.
//
// Invariant: text is valid UTF-8 without NUL.
func scan(text string) []region {
	s := scanner{text: text}
	for s.pos < len(text) {
		start := s.pos
		kind, open := s.region()
		if last := len(s.regions) - 1; kind == plain && last >= 0 && s.regions[last].kind == plain {
			s.regions[last].End = s.pos
			continue
		}
		s.regions = append(s.regions, region{kind: kind, Span: Span{start, s.pos}, open: open})
	}
	return s.regions
}

type scanner struct {
	text    string
	pos     int
	regions []region
}

// region advances over one region and returns its kind; plain regions may come in pieces.
func (s *scanner) region() (kind regionKind, open bool) {
	rest := s.text[s.pos:]
	c := rest[0]
	switch {
	case spaceLen(rest) > 0:
		s.pos += spaceLen(rest)
		// An ASCII blank stays with the plain text around it.
		if spaceLen(rest) > 1 || c == '\f' {
			return blank, false
		}
		return plain, false
	case strings.HasPrefix(rest, "--"):
		end := strings.IndexAny(rest, "\r\n")
		if end < 0 {
			end = len(rest)
		}
		s.pos += end
		return lineComment, false
	case strings.HasPrefix(rest, "/*"):
		return blockComment, s.blockComment()
	case c == '\'':
		if s.continuesEscape() {
			return escapeRegion, s.quoted('\'', true)
		}
		return stringRegion, s.quoted('\'', false)
	case c == '"':
		return quotedRegion, s.quoted('"', false)
	case c == '$':
		if tag := dollarTag(rest); tag != "" {
			return dollarRegion, s.dollar(tag)
		}
	case isWordStart(c):
		return s.word(rest)
	case strings.HasPrefix(rest, "//"):
		// Why: integer division, a comment to the tokenizer. In //* the second slash opens a comment.
		s.pos++
		if !strings.HasPrefix(rest, "//*") {
			s.pos++
		}
		return symbolRegion, false
	case '0' <= c && c <= '9' || strings.IndexByte("(),;.=<>+-*/%^~&|[]{}", c) >= 0:
		s.pos++
		return plain, false
	}
	s.pos++ // Whatever else: ` # : ? @ ! \ and a lone $ are one-character operators.
	return symbolRegion, false
}

// word advances over an unquoted name, or over an E'…' string that starts like one.
func (s *scanner) word(rest string) (regionKind, bool) {
	n, kind := 0, plain
	for n < len(rest) && (isWordStart(rest[n]) || '0' <= rest[n] && rest[n] <= '9' || rest[n] == '$') {
		if rest[n] >= utf8.RuneSelf && spaceLen(rest[n:]) > 0 {
			break
		}
		if rest[n] >= utf8.RuneSelf || rest[n] == '$' {
			kind = wordRegion
		}
		n++
	}
	if (rest[:n] == "e" || rest[:n] == "E") && strings.HasPrefix(rest[n:], "'") {
		s.pos += n
		return escapeRegion, s.quoted('\'', true)
	}
	s.pos += n
	return kind, false
}

// quoted advances over a quoted region, the doubled quotes inside included.
func (s *scanner) quoted(quote byte, backslash bool) (open bool) {
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch {
		case backslash && s.text[s.pos] == '\\':
			s.pos++
		case s.text[s.pos] != quote:
		case s.pos+1 < len(s.text) && s.text[s.pos+1] == quote:
			s.pos++
		default:
			s.pos++
			return false
		}
	}
	s.pos = len(s.text) // A backslash at the end steps past it.
	return true
}

func (s *scanner) blockComment() (open bool) {
	depth := 0
	for s.pos < len(s.text) {
		switch {
		case strings.HasPrefix(s.text[s.pos:], "/*"):
			depth++
			s.pos += 2
		case strings.HasPrefix(s.text[s.pos:], "*/"):
			depth--
			s.pos += 2
			if depth == 0 {
				return false
			}
		default:
			s.pos++
		}
	}
	return true
}

func (s *scanner) dollar(tag string) (open bool) {
	s.pos += len(tag)
	end := strings.Index(s.text[s.pos:], tag)
	if end < 0 {
		s.pos = len(s.text)
		return true
	}
	s.pos += end + len(tag)
	return false
}

// continuesEscape says whether the quote at pos continues an E'…' string: SQL joins strings that only
// blanks with a line break and line comments separate, and the second part escapes like the first.
func (s *scanner) continuesEscape() bool {
	newline := false
	for i := len(s.regions) - 1; i >= 0; i-- {
		r := s.regions[i]
		text := s.text[r.Start:r.End]
		switch {
		case r.kind == escapeRegion:
			return newline
		case r.kind == lineComment:
		case r.kind == blank || r.kind == plain && strings.Trim(text, " \t\r\n") == "":
			newline = newline || strings.ContainsAny(text, "\r\n")
		default:
			return false
		}
	}
	return false
}

// dollarTag is the opening $tag$ at the start of s, or "".
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			return s[:i+1]
		case isWordStart(c), i > 1 && '0' <= c && c <= '9':
		default:
			return ""
		}
	}
	return ""
}

func isWordStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= utf8.RuneSelf
}

// spaceLen is the length of the blank at the start of s, 0 if there is none. The Unicode blanks are those
// that DuckDB replaces by a space before it parses.
func spaceLen(s string) int {
	switch s[0] {
	case ' ', '\t', '\n', '\r', '\f':
		return 1
	}
	if s[0] < utf8.RuneSelf {
		return 0
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == 0x00a0, 0x2000 <= r && r <= 0x200d, r == 0x202f, r == 0x205f, r == 0x2060, r == 0x3000, r == 0xfeff:
		return size
	}
	return 0
}

// sameWidthSpaces replaces the Unicode spaces of a span by as many ASCII spaces, so that offsets hold.
func sameWidthSpaces(text string, regions []region, span Span) string {
	var b strings.Builder
	done := span.Start
	first := sort.Search(len(regions), func(i int) bool { return regions[i].Start >= span.Start })
	for _, r := range regions[first:] {
		if r.End > span.End {
			break
		}
		for at := r.Start; (r.kind == blank || r.kind == blockComment) && at < r.End; {
			n := max(spaceLen(text[at:]), 1)
			if n > 1 {
				b.WriteString(text[done:at])
				b.WriteString(strings.Repeat(" ", n))
				done = at + n
			}
			at += n
		}
	}
	b.WriteString(text[done:span.End])
	return b.String()
}

package ddl

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/textwidth"
)

// Error is a mistake in a pipeline file, or in options that came from elsewhere, where Line is 0. Message
// is lower-case and says what is wrong, Detail explains it and Hint names the next step.
type Error struct {
	File string
	// Line and Column count from 1; Column counts characters, not bytes.
	Line, Column int
	Message      string
	Detail       string
	Hint         string
	// SourceLine is the line as printed: tabs expanded, long lines cut, secrets masked. The caret stands
	// CaretStart display columns to the right and is CaretWidth wide.
	SourceLine             string
	CaretStart, CaretWidth int

	offset int
}

const (
	tabWidth = 4
	// maxShown is how many display columns of a source line are printed.
	maxShown = 120
	// maxErrors is how many errors of one file are printed.
	maxErrors = 20
)

// Errorf returns an error at a span of the file.
func (f *File) Errorf(span Span, format string, args ...any) *Error {
	e := &Error{File: f.Name, Message: fmt.Sprintf(format, args...)}
	start := min(max(span.Start, 0), len(f.Text))
	end := min(max(span.End, start), len(f.Text))
	e.offset = start
	e.locate(f.masked(), start, end)
	return e
}

// WithHint sets the hint and returns the error.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithDetail sets the detail and returns the error.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// Error prints the position, the message, the source line with a caret, the detail and the hint.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	b.WriteString(e.Message)
	if e.Line > 0 {
		number := fmt.Sprint(e.Line)
		fmt.Fprintf(&b, "\n  %s | %s", number, e.SourceLine)
		fmt.Fprintf(&b, "\n  %*s | %*s%s", len(number), "", e.CaretStart, "", strings.Repeat("^", e.CaretWidth))
	}
	if e.Detail != "" {
		b.WriteString("\ndetail: " + e.Detail)
	}
	if e.Hint != "" {
		b.WriteString("\nhint: " + e.Hint)
	}
	return b.String()
}

// locate fills the position and the printed line. Invariant: 0 <= start <= end <= len(text).
func (e *Error) locate(text string, start, end int) {
	lineStart := strings.LastIndexByte(text[:start], '\n') + 1
	e.Line = strings.Count(text[:lineStart], "\n") + 1
	e.Column = utf8.RuneCountInString(text[lineStart:start]) + 1
	lineEnd := len(text)
	if i := strings.IndexByte(text[start:], '\n'); i >= 0 {
		lineEnd = start + i
	}
	line := strings.TrimRight(text[lineStart:lineEnd], " \t\r")
	from := min(start-lineStart, len(line))
	to := max(min(end-lineStart, len(line)), from)

	before, marked, after := printable(line[:from]), printable(line[from:to]), printable(line[to:])
	e.CaretStart, e.CaretWidth = textwidth.String(before), max(textwidth.String(marked), 1)
	if start-lineStart > len(line) {
		e.CaretStart++ // In the trailing blanks that were trimmed: the caret stands after the last character.
	}
	if e.CaretStart+e.CaretWidth+textwidth.String(after) <= maxShown {
		e.SourceLine = before + marked + after
		return
	}
	// Why: a one-line query of ten thousand characters must not bury its caret.
	before = textwidth.Tail(before, maxShown/2)
	marked = textwidth.Truncate(marked, maxShown/2)
	e.CaretStart, e.CaretWidth = textwidth.String(before), max(textwidth.String(marked), 1)
	e.SourceLine = textwidth.Truncate(before+marked+after, maxShown)
	e.CaretWidth = min(e.CaretWidth, maxShown-e.CaretStart)
}

// printable expands tabs and makes control characters visible, so that each character has a known width.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, r < ' ' && r != '\t', r == 0x7f:
			return '�'
		}
		return r
	}, strings.ReplaceAll(s, "\t", strings.Repeat(" ", tabWidth)))
}

// masked is the file's text with secret literals overwritten, byte for byte so that offsets hold.
func (f *File) masked() string {
	if len(f.secrets) == 0 {
		return f.Text
	}
	b := []byte(f.Text)
	for _, s := range f.secrets {
		for i := s.Start; i < s.End; i++ {
			if b[i] != '\n' && b[i] != '\r' {
				b[i] = '*'
			}
		}
	}
	return string(b)
}

// Errors are several mistakes, in the order of the file.
type Errors []*Error

// Error joins the errors with empty lines between them.
func (es Errors) Error() string {
	var parts []string
	for i, e := range es {
		if i == maxErrors {
			parts = append(parts, fmt.Sprintf("and %d more errors", len(es)-maxErrors))
			break
		}
		parts = append(parts, e.Error())
	}
	return strings.Join(parts, "\n\n")
}

// Unwrap lets errors.As reach the single errors.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// Join collects errors, sorted by position, duplicates dropped, lists of errors flattened: nil if there are
// none. Errors that are not of this package are kept as messages without a position, after the others.
func Join(errs ...error) error {
	var list Errors
	for _, err := range errs {
		var many Errors
		var one *Error
		switch {
		case err == nil:
		case errors.As(err, &many):
			list = append(list, many...)
		case errors.As(err, &one):
			list = append(list, one)
		default:
			list = append(list, &Error{Message: err.Error()})
		}
	}
	return list.err()
}

func (es Errors) err() error {
	if len(es) == 0 {
		return nil
	}
	sorted := slices.Clone(es)
	slices.SortStableFunc(sorted, func(a, b *Error) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.offset, b.offset))
	})
	sorted = slices.CompactFunc(sorted, func(a, b *Error) bool { return *a == *b })
	return sorted
}

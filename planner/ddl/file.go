package ddl

import "sort"

// File is a parsed pipeline file. Its Text is the original: ${NAME} is substituted in option values only,
// so every offset in the tree is an offset in the file that the user sees.
type File struct {
	Name       string
	Text       string
	Statements []Statement

	tokens []token
	// secrets are literals that error messages must not show.
	secrets []Span
}

// Settings are the file's SET statements as one option list, to check against PipelineOptions.
func (f *File) Settings() Options {
	opts := Options{file: f}
	for _, s := range f.Statements {
		if set, ok := s.(*Set); ok {
			opts.Items = append(opts.Items, set.Option)
		}
	}
	return opts
}

// SpanAt is the token at an offset, or the first after it: the range to underline when DuckDB names only
// where an error begins.
func (f *File) SpanAt(offset int) Span {
	i := sort.Search(len(f.tokens), func(i int) bool { return f.tokens[i].End > offset })
	if i == len(f.tokens) {
		end := min(max(offset, 0), len(f.Text))
		return Span{end, end}
	}
	return f.tokens[i].Span
}

// SpanIn maps a byte offset that DuckDB reported for t.SQL to the token in the file. An offset outside the
// text, which DuckDB reports for some errors, gives the text's last token.
func (f *File) SpanIn(t Text, offset int) Span {
	if t.End == t.Start {
		return t.Span
	}
	return f.SpanAt(t.Start + min(max(offset, 0), len(t.SQL)-1))
}

// relation is a name that a query or a sink can read.
func relation(s Statement) (Ident, string, bool) {
	switch s := s.(type) {
	case *Source:
		return s.Name, "source", true
	case *Table:
		return s.Name, "table", true
	case *View:
		if s.Materialized {
			return s.Name, "materialized view", true
		}
		return s.Name, "view", true
	}
	return Ident{}, "", false
}

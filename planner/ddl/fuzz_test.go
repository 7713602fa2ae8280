package ddl

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzParse checks what must hold for any text: no panic, statements in order and without overlap, every
// span inside its parent, texts of the file's own length, nothing but blanks, comments and semicolons
// outside the statements of a file without errors, and errors that point into the file.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, ".sql") {
				f.Add(string(file.Data))
			}
		}
	}
	f.Add("\xff\xfeC\x00")
	f.Add("SELECT 1\x00")
	f.Fuzz(func(t *testing.T, src string) {
		file, err := Parse("f.sql", []byte(src), testEnv)
		if file.Text != src {
			t.Fatal("the file's text is not the original")
		}
		if err != nil {
			checkErrors(t, src, err.(Errors))
		}
		_, _ = Check(file.Settings(), "the pipeline", PipelineOptions)
		checkTiling(t, src)
		at := 0
		for _, s := range file.Statements {
			within(t, Span{at, len(src)}, s.Pos())
			if err == nil && !onlyBlank(src[at:s.Pos().Start]) {
				t.Fatalf("text %q belongs to no statement", src[at:s.Pos().Start])
			}
			at = s.Pos().End
			checkStatement(t, file, s)
		}
		if err == nil && !onlyBlank(src[at:]) {
			t.Fatalf("text %q belongs to no statement", src[at:])
		}
	})
}

func onlyBlank(text string) bool {
	toks, _ := lex(&File{Text: text}, func(*Error) {})
	for _, tok := range toks {
		if tok.text != ";" {
			return false
		}
	}
	return true
}

func checkErrors(t *testing.T, src string, errs Errors) {
	t.Helper()
	if len(errs) == 0 {
		t.Fatal("an error without errors")
	}
	for _, e := range errs {
		lines := strings.Count(src, "\n") + 1
		if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Message == "" || e.CaretWidth < 1 || e.CaretStart+e.CaretWidth > maxShown+1 {
			t.Fatalf("bad error %+v", e)
		}
	}
}

// checkTiling checks that regions and tokens cover the text without gaps or overlap.
func checkTiling(t *testing.T, src string) {
	t.Helper()
	f := &File{Text: src}
	if checkBytes(f) != nil {
		return
	}
	toks, regions := lex(f, func(*Error) {})
	at := 0
	for _, r := range regions {
		if r.Start != at || r.End <= r.Start {
			t.Fatalf("region %+v begins behind %d", r, at)
		}
		at = r.End
	}
	if at != len(src) {
		t.Fatalf("regions end at %d of %d", at, len(src))
	}
	at = 0
	for _, tok := range toks {
		if tok.Start < at || tok.End <= tok.Start || src[tok.Start:tok.End] != tok.text {
			t.Fatalf("token %+v begins behind %d", tok, at)
		}
		if between := src[at:tok.Start]; strings.ContainsAny(between, ";") && !strings.ContainsAny(between, "-*") {
			t.Fatalf("a semicolon in %q got lost", between)
		}
		at = tok.End
	}
}

func within(t *testing.T, outer, inner Span) {
	t.Helper()
	if inner.Start < outer.Start || inner.End < inner.Start || inner.End > outer.End {
		t.Fatalf("span %v is not within %v", inner, outer)
	}
}

func checkStatement(t *testing.T, f *File, s Statement) {
	t.Helper()
	text := func(x Text) {
		t.Helper()
		within(t, s.Pos(), x.Span)
		if len(x.SQL) != x.End-x.Start || x.SQL == "" {
			t.Fatalf("text %q has span %v", x.SQL, x.Span)
		}
		within(t, x.Span, f.SpanIn(x, 0))
	}
	columns := func(list []Column, opts Options) {
		t.Helper()
		for _, c := range list {
			within(t, s.Pos(), c.Span)
			within(t, c.Span, c.Name.Span)
			text(c.Type)
		}
		for _, o := range opts.Items {
			within(t, opts.Span, o.Span)
			within(t, o.Span, o.Key.Span)
			within(t, o.Span, o.ValueSpan)
		}
	}
	switch s := s.(type) {
	case *Source:
		columns(s.Columns, s.With)
		if s.Watermark != nil {
			text(s.Watermark.Expr)
		}
	case *Table:
		columns(s.Columns, s.With)
	case *Sink:
		columns(nil, s.With)
	case *View:
		text(s.Query)
	case *Query:
		text(s.Query)
	case *Macro:
		text(s.Create)
	}
}

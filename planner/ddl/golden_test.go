package ddl

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testEnv is the environment of the golden files.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{"PGPASSWORD": "hunter2", "TOPIC": "bids", "EMPTY": ""}[name]
	return v, ok
}

// testSpecs are the connectors of the golden files.
var testSpecs = map[string][]OptionSpec{
	"file": {
		{Name: "connector", Required: true},
		{Name: "path", Kind: List, Required: true, Doc: "a file, a glob or a list of them"},
		{Name: "format", Kind: Enum, Enum: []string{"json", "csv", "parquet"}, Required: true},
		{Name: "mode", Kind: Enum, Enum: []string{"tail", "bounded"}, Default: "tail"},
		{Name: "poll_interval", Kind: Duration, Default: "1s"},
		{Name: "header", Kind: Bool, Default: "true"},
		{Name: "max_line_bytes", Kind: Bytes, Default: "1MiB", Min: 1024},
		{Name: "skip", Kind: Int, Default: "0", Max: 100},
	},
	"postgres": {
		{Name: "connector", Required: true},
		{Name: "table"}, {Name: "schema"}, {Name: "password"}, {Name: "url"},
	},
}

// TestGolden parses the .sql files in testdata/*.txtar and compares the tree, or the errors, with the .want
// file beside each.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	out := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".sql")
		if !ok {
			continue
		}
		// The archive's last newline is not part of the case: positions at the end of a file matter.
		got := explain(name+".sql", bytes.TrimSuffix(f.Data, []byte("\n")))
		out.Files = append(out.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
		if !*update {
			if diff := cmp.Diff(want[name+".want"], got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// explain prints what Parse and Check make of a file.
func explain(name string, src []byte) string {
	f, err := Parse(name, src, testEnv)
	errs := []error{err}
	_, err = Check(f.Settings(), "the pipeline", PipelineOptions)
	errs = append(errs, err)
	for _, s := range f.Statements {
		var opts Options
		switch s := s.(type) {
		case *Source:
			opts = s.With
		case *Sink:
			opts = s.With
		}
		connector, _ := opts.Get("connector")
		if specs, ok := testSpecs[connector]; ok {
			_, err := Check(opts, fmt.Sprintf("connector %q", connector), specs)
			errs = append(errs, err)
		}
	}
	if err := Join(errs...); err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, s := range f.Statements {
		describeStatement(&b, f, s)
	}
	return b.String()
}

func describeStatement(b *strings.Builder, f *File, s Statement) {
	line := f.Errorf(s.Pos(), "").Line
	options := func(o Options) {
		for _, item := range o.Items {
			fmt.Fprintf(b, "  with %s = %s %q\n", item.Key.Name, item.Display(), f.Text[item.ValueSpan.Start:item.ValueSpan.End])
		}
	}
	columns := func(cols []Column, key []Ident) {
		for _, c := range cols {
			fmt.Fprintf(b, "  column %s %s\n", c.Name.SQL(), c.Type.SQL)
		}
		for _, k := range key {
			fmt.Fprintf(b, "  key %s\n", k.Name)
		}
	}
	switch s := s.(type) {
	case *Source:
		fmt.Fprintf(b, "line %d: source %s\n", line, s.Name.SQL())
		columns(s.Columns, s.PrimaryKey)
		if s.Watermark != nil {
			fmt.Fprintf(b, "  watermark %s: %s\n", s.Watermark.Column.Name, s.Watermark.Expr.SQL)
		}
		options(s.With)
	case *Table:
		fmt.Fprintf(b, "line %d: table %s\n", line, s.Name.SQL())
		columns(s.Columns, s.PrimaryKey)
		options(s.With)
	case *View:
		fmt.Fprintf(b, "line %d: view %s materialized=%t final=%t\n", line, s.Name.SQL(), s.Materialized, s.EmitOnWindowClose)
		for _, c := range s.Columns {
			fmt.Fprintf(b, "  column %s\n", c.SQL())
		}
		fmt.Fprintf(b, "  query %q\n", s.Query.SQL)
	case *Sink:
		fmt.Fprintf(b, "line %d: sink %s from %s\n", line, s.Name.SQL(), s.From.SQL())
		options(s.With)
	case *Macro:
		fmt.Fprintf(b, "line %d: macro %s table=%t\n  %q\n", line, s.Name.SQL(), s.Table, s.Create.SQL)
	case *Set:
		fmt.Fprintf(b, "line %d: set %s = %s\n", line, s.Option.Key.Name, s.Option.Display())
	case *Query:
		fmt.Fprintf(b, "line %d: query final=%t %q\n", line, s.EmitOnWindowClose, s.Query.SQL)
	}
}

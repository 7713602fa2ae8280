package planner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// A Pipeline is a planned pipeline file: what to read, what to run a batch, where the results go.
type Pipeline struct {
	File    *ddl.File
	Sources []Source
	Views   []View
	Sinks   []Sink
	Program *Program
	// Definitions create the file's macros and views, in order, in a plain DuckDB that has a table for
	// every source.
	Definitions []string
}

// Source is a declared source with its types resolved.
type Source struct {
	Decl    *ddl.Source
	Name    string
	Columns []vector.Field
	// Table says that the declaration is a CREATE TABLE.
	Table bool
}

// View is a view whose changes go to sinks.
type View struct {
	Name    string
	Query   string // the user's SELECT
	Columns []vector.Field
	Explain *Explain
	// Fallback says why the view is recomputed in full; empty if it is maintained incrementally.
	Fallback string
	// Closed is the condition, over the view's columns and the placeholders of Placeholders, that a row is
	// shown: EMIT ON WINDOW CLOSE. Empty if all are.
	Closed string
	// Loses says what state_ttl may make wrong in it; empty if its rows are those of its query.
	Loses string
}

// Sink says where a view goes. Decl is nil for a materialized view that no CREATE SINK names.
type Sink struct {
	Decl *ddl.Sink
	Name string
	View string
}

// planning is the work on one file.
type planning struct {
	ctx     context.Context
	binder  Binder
	file    *ddl.File
	out     *Pipeline
	inputs  map[string]*SourceInput
	objects map[string]string // name key → kind, for messages
	viewSQL []string          // CREATE VIEW statements, for full recompute
	views   []*ddl.View
	refused map[string]bool // functions whose result is not determined by their arguments
	failed  map[string]bool // sources and views that could not be declared
	names   int
	closed  map[string]string // View.Closed by view
	shared  *sharing
	loses   map[string]string // View.Loses by view
}

// Plan turns a parsed file into a program. The binder is an empty DuckDB instance that Plan fills with
// stand-ins; it is of no use afterwards. Errors are *ddl.Error or ddl.Errors where the user can mend the
// file.
func Plan(ctx context.Context, file *ddl.File, binder Binder) (*Pipeline, error) {
	p := &planning{ctx: ctx, binder: binder, file: file, out: &Pipeline{File: file, Program: &Program{}},
		inputs: map[string]*SourceInput{}, objects: map[string]string{}, failed: map[string]bool{}, closed: map[string]string{}, loses: map[string]string{}, shared: newSharing()}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	var problems []error
	for _, st := range file.Statements {
		if err := p.declare(st); err != nil && !p.follows(err) {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, ddl.Join(problems...)
	}
	outputs := p.outputs()
	if err := p.preludes(); err != nil {
		return nil, err
	}
	if err := p.planViews(outputs); err != nil {
		return nil, err
	}
	if len(p.out.Views) == 0 {
		return nil, file.Errorf(ddl.Span{Start: len(file.Text), End: len(file.Text)}, "the pipeline computes nothing").
			WithHint("add a CREATE MATERIALIZED VIEW name AS SELECT …")
	}
	for _, src := range p.out.Sources {
		p.out.Program.Sources = append(p.out.Program.Sources, *p.inputs[src.Name])
	}
	p.out.Program.Fingerprint = fingerprint(p.out.Program)
	return p.out, nil
}

// noting remembers what could not be declared.
func (p *planning) noting(name ddl.Ident, err error) error {
	if err != nil {
		p.failed[name.Name] = true
	}
	return err
}

// follows says that an error only repeats that something could not be declared.
func (p *planning) follows(err error) bool {
	for name := range p.failed {
		if strings.Contains(err.Error(), "Table with name "+name+" does not exist") {
			return true
		}
	}
	return false
}

func fingerprint(prog *Program) string {
	doc, err := json.Marshal(prog)
	if err != nil {
		panic("planner: a program cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:12])
}

func (p *planning) prepare() error {
	for _, m := range WindowMacros {
		if err := p.binder.Exec(p.ctx, m); err != nil {
			return fmt.Errorf("create the window macros: %w", err)
		}
		p.out.Program.Setup = append(p.out.Program.Setup, m)
		p.out.Definitions = append(p.out.Definitions, m)
	}
	if err := p.binder.Exec(p.ctx, markedSession); err != nil {
		return fmt.Errorf("mark the session macro: %w", err)
	}
	names, _, err := p.binder.QueryValue(p.ctx, "SELECT string_agg(DISTINCT function_name, ' ') FROM duckdb_functions() "+
		"WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')")
	if err != nil {
		return fmt.Errorf("list volatile functions: %w", err)
	}
	p.refused = map[string]bool{}
	// What DuckDB's list lacks: sampling, and functions of the session or of the clock.
	for _, n := range append(strings.Fields(names), "reservoir_quantile", "current_localtime", "current_localtimestamp", "current_setting", "getvariable") {
		p.refused[n] = true
	}
	// error() always does the same; binding puts it into every scalar subquery.
	delete(p.refused, "error")
	return nil
}

func (p *planning) declare(st ddl.Statement) error {
	switch st := st.(type) {
	case *ddl.Source:
		return p.noting(st.Name, p.source(st))
	case *ddl.View:
		return p.noting(st.Name, p.view(st))
	case *ddl.Query:
		return p.view(&ddl.View{Name: ddl.Ident{Name: "query", Span: st.Span}, Query: st.Query, Materialized: true,
			EmitOnWindowClose: st.EmitOnWindowClose, Span: st.Span})
	case *ddl.Macro:
		p.out.Program.Setup = append(p.out.Program.Setup, st.Create.SQL)
		p.out.Definitions = append(p.out.Definitions, st.Create.SQL)
		return p.sqlError(st.Create, p.binder.Exec(p.ctx, st.Create.SQL))
	case *ddl.Table:
		return p.noting(st.Name, p.table(st))
	}
	return nil
}

// source resolves the column types and creates the stand-ins: an empty table of the source's name, and
// in_NAME() with the hidden columns of a batch.
func (p *planning) source(st *ddl.Source) error {
	if err := p.reserved(st.Name); err != nil {
		return err
	}
	src := Source{Decl: st, Name: st.Name.Name}
	var problems []error
	for _, c := range st.Columns {
		f, err := p.binder.Describe(p.ctx, "SELECT NULL::"+c.Type.SQL+" AS c")
		if err != nil {
			problems = append(problems, p.file.Errorf(c.Type.Span, "column %q: type %s is not known", c.Name.Name, c.Type.SQL).
				WithDetail("%s", message(err)))
			continue
		}
		if err := p.reserved(c.Name); err != nil {
			problems = append(problems, err)
		}
		src.Columns = append(src.Columns, vector.Field{Name: c.Name.Name, Type: f[0].Type})
	}
	if len(problems) > 0 {
		return ddl.Join(problems...)
	}
	if len(src.Columns) == 0 {
		return p.file.Errorf(st.Name.Span, "source %q has no columns", src.Name)
	}
	var defs []string
	for _, c := range src.Columns {
		defs = append(defs, quoteIdent(c.Name)+" "+c.Type.String())
	}
	in := &SourceInput{Name: src.Name, Columns: src.Columns, EventTime: -1, Changes: sourceChanges(st), Key: primaryKey(st, src.Columns)}
	if err := p.metadataColumns(st, in); err != nil {
		return err
	}
	table, hidden := quoteIdent(src.Name), ""
	if in.HasWeight() {
		hidden = "1::BIGINT AS _w, "
	}
	for _, sql := range []string{
		"CREATE TABLE " + table + " (" + strings.Join(defs, ", ") + ")",
		"CREATE MACRO " + inputFunction(src.Name) + "() AS TABLE SELECT *, " + hidden + "0::BIGINT AS _seq FROM " + table,
	} {
		if err := p.binder.Exec(p.ctx, sql); err != nil {
			return p.file.Errorf(st.Name.Span, "source %q cannot be declared: %s", src.Name, message(err))
		}
	}
	if err := p.timeOptions(st, in); err != nil {
		return err
	}
	if err := p.watermark(st, in); err != nil {
		return err
	}
	p.inputs[src.Name] = in
	p.out.Sources = append(p.out.Sources, src)
	return nil
}

func (p *planning) reserved(name ddl.Ident) error {
	if strings.HasPrefix(name.Name, "_") {
		return p.file.Errorf(name.Span, "name %q starts with an underscore", name.Name).
			WithHint("such names are sluice's own; choose another")
	}
	return nil
}

func (p *planning) watermark(st *ddl.Source, in *SourceInput) error {
	if st.Watermark == nil {
		return nil
	}
	w := st.Watermark
	for i, c := range in.Columns {
		if strings.EqualFold(c.Name, w.Column.Name) {
			in.EventTime = i
		}
	}
	if in.EventTime < 0 {
		var names []string
		for _, c := range in.Columns {
			names = append(names, c.Name)
		}
		err := p.file.Errorf(w.Column.Span, "watermark column %q is not a column of source %q", w.Column.Name, in.Name)
		if s := ddl.Suggest(w.Column.Name, names); s != "" {
			return err.WithHint("did you mean %q?", s)
		}
		return err
	}
	col := in.Columns[in.EventTime]
	if !evictable(col.Type) {
		return p.file.Errorf(w.Column.Span, "watermark column %q is a %s, not a TIMESTAMP or DATE", col.Name, col.Type).
			WithHint("declare it as TIMESTAMP, or derive one in a view and declare no watermark")
	}
	query := "SELECT " + w.Expr.SQL + " FROM " + quoteIdent(in.Name)
	f, err := p.binder.Describe(p.ctx, query)
	if err != nil {
		return p.sqlErrorAt(w.Expr, len("SELECT "), err)
	}
	if len(f) != 1 {
		return p.file.Errorf(w.Expr.Span, "the watermark is %d expressions instead of one", len(f))
	}
	if err := p.repeatable(w.Expr, query, len("SELECT "), fmt.Sprintf("the watermark of source %q", in.Name)); err != nil {
		return err
	}
	if !f[0].Type.Equal(col.Type) {
		return p.file.Errorf(w.Expr.Span, "the watermark is a %s but column %q is a %s", f[0].Type, col.Name, col.Type).
			WithHint("cast it: (%s)::%s", w.Expr.SQL, col.Type)
	}
	in.WatermarkSQL, in.PartitionWatermarkSQL = watermarkSQL(in, w.Expr.SQL)
	return nil
}

func (p *planning) view(st *ddl.View) error {
	if err := p.reserved(st.Name); err != nil {
		return err
	}
	if _, err := p.binder.Describe(p.ctx, st.Query.SQL); err != nil {
		return p.sqlError(st.Query, err)
	}
	if err := p.readsClosing(st); err != nil {
		return err
	}
	cols := ""
	if len(st.Columns) > 0 {
		var names []string
		for _, c := range st.Columns {
			names = append(names, c.SQL())
		}
		cols = " (" + strings.Join(names, ", ") + ")"
	}
	sql := "CREATE VIEW " + st.Name.SQL() + cols + " AS " + st.Query.SQL
	if err := p.binder.Exec(p.ctx, sql); err != nil {
		return p.sqlErrorAt(st.Query, len(sql)-len(st.Query.SQL), err)
	}
	p.viewSQL = append(p.viewSQL, sql)
	p.out.Definitions = append(p.out.Definitions, sql)
	p.views = append(p.views, st)
	return nil
}

// outputs are the materialized views, and plain views that a sink names, in file order; it also fills
// in the sinks.
func (p *planning) outputs() []*ddl.View {
	sinks := map[string]bool{}
	for _, st := range p.file.Statements {
		if s, ok := st.(*ddl.Sink); ok {
			sinks[s.From.Key()] = true
			p.out.Sinks = append(p.out.Sinks, Sink{Decl: s, Name: s.Name.Name, View: p.viewName(s.From)})
		}
	}
	var out []*ddl.View
	for _, v := range p.views {
		if v.Materialized && !sinks[v.Name.Key()] {
			p.out.Sinks = append(p.out.Sinks, Sink{Name: v.Name.Name, View: v.Name.Name})
		}
		if v.Materialized || sinks[v.Name.Key()] {
			out = append(out, v)
		}
	}
	return out
}

// viewName spells a view as its definition does.
func (p *planning) viewName(ref ddl.Ident) string {
	for _, v := range p.views {
		if v.Name.Key() == ref.Key() {
			return v.Name.Name
		}
	}
	return ref.Name
}

// sqlError turns DuckDB's error about a piece of the file into one that points there.
func (p *planning) sqlError(t ddl.Text, err error) error { return p.sqlErrorAt(t, 0, err) }

// sqlErrorAt is sqlError for a statement in which the text starts at an offset.
func (p *planning) sqlErrorAt(t ddl.Text, offset int, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	span := t.Span
	var at interface{ Offset() int }
	if errors.As(err, &at) && at.Offset() >= offset {
		span = p.file.SpanIn(t, at.Offset()-offset)
	}
	return p.file.Errorf(span, "%s", message(err))
}

// message is an error's own text, without what a caller would add.
func message(err error) string {
	var m interface{ Text() string }
	if errors.As(err, &m) {
		return m.Text()
	}
	return err.Error()
}

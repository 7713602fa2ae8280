package ddl

import "strings"

// A Span is a half-open range of byte offsets in the file's text.
type Span struct {
	Start, End int
}

// Pos returns the span itself, so that every node that embeds a Span is a Node.
func (s Span) Pos() Span { return s }

// An Ident is a name as the user wrote it, quotes removed. Like DuckDB, sluice keeps the case of a name
// and ignores it in comparisons, whether or not the name is quoted.
type Ident struct {
	Name   string
	Quoted bool
	Span
}

// Key is the name for comparisons and map keys.
func (i Ident) Key() string { return strings.ToLower(i.Name) }

// SQL is the name as DuckDB reads it back, always quoted.
func (i Ident) SQL() string { return `"` + strings.ReplaceAll(i.Name, `"`, `""`) + `"` }

// Text is a piece of SQL that DuckDB parses.
//
// Invariant: len(SQL) == End-Start, and DuckDB's byte offset o into SQL is the file's offset Start+o. The
// bytes are the file's own, but for Unicode spaces, which are replaced by as many ASCII spaces.
//
// Why: DuckDB replaces each of them by one space before it parses, so its offsets would no longer be ours.
type Text struct {
	SQL string
	Span
}

// Statement is one of *Source, *Table, *View, *Sink, *Macro, *Set and *Query.
type Statement interface {
	// Pos covers the statement from its first token through its semicolon, if it has one.
	Pos() Span
	statement()
}

// Column is a declared column; its type is text that DuckDB resolves.
type Column struct {
	Name Ident
	Type Text
	// Metadata is the key of METADATA FROM 'key': the engine or the connector fills the column in. Empty for
	// columns that the source's rows have.
	Metadata     string
	MetadataSpan Span
	Span
}

// Watermark is WATERMARK FOR Column AS Expr.
type Watermark struct {
	Column Ident
	Expr   Text
	Span
}

// Source is CREATE SOURCE name (columns) WITH (options).
type Source struct {
	Name Ident
	// IfNotExists is kept for tools that print the statement; in a pipeline file it changes nothing.
	IfNotExists bool
	Columns     []Column
	Watermark   *Watermark
	PrimaryKey  []Ident
	With        Options
	Span
}

// Table is CREATE TABLE name (columns) WITH (options): rows that live elsewhere, to look up.
type Table struct {
	Name        Ident
	IfNotExists bool
	Columns     []Column
	PrimaryKey  []Ident
	With        Options
	Span
}

// View is CREATE [MATERIALIZED] VIEW name [(columns)] AS query [EMIT ON WINDOW CLOSE].
type View struct {
	Name         Ident
	IfNotExists  bool
	Columns      []Ident
	Query        Text
	Materialized bool
	// EmitOnWindowClose asks for final rows only; the clause is not part of Query.
	EmitOnWindowClose bool
	Span
}

// Sink is CREATE SINK name FROM view WITH (options).
type Sink struct {
	Name        Ident
	IfNotExists bool
	From        Ident
	With        Options
	Span
}

// Macro is CREATE MACRO or CREATE FUNCTION: a statement that DuckDB runs as it stands.
type Macro struct {
	Name Ident
	// Table is true for AS TABLE: scalar and table macros are different namespaces in DuckDB.
	Table bool
	// Create is the whole statement without its semicolon.
	Create Text
	Span
}

// Set is SET option = value.
type Set struct {
	Option Option
	Span
}

// Query is a SELECT that no CREATE gives a name.
type Query struct {
	Query             Text
	EmitOnWindowClose bool
	Span
}

func (*Source) statement() {}
func (*Table) statement()  {}
func (*View) statement()   {}
func (*Sink) statement()   {}
func (*Macro) statement()  {}
func (*Set) statement()    {}
func (*Query) statement()  {}

// Package ddl reads a pipeline's .sql file: it splits the file into statements, parses the CREATE …
// headers and option lists, and leaves every query body, column type and watermark expression as text
// with its position, because those belong to DuckDB's own parser.
//
// The layers, bottom up:
//
//	scan.go     where strings, comments, quoted names and dollar quotes begin and end, by DuckDB's rules
//	lex.go      words, numbers and operators between them (the only user of xwb1989/sqlparser)
//	parse.go    statements; create.go, view.go, columns.go and value.go read their parts
//	options.go  checks option lists against what a connector or the pipeline knows
//	errors.go   file:line:column, the source line, a caret and a hint
//
// The package is pure: it opens no file and reads no environment but through the function it is given.
package ddl

// Package queries holds runnable SQL that ships with the binary: the demo, Nexmark queries, and one small
// pipeline for each thing the engine can do. Every file is also a test: the oracle runs it straight, cut
// into random batches, and killed and resumed, and compares with one-shot DuckDB after every batch.
package queries

import (
	"embed"
	"io/fs"
	"strings"
)

// Files holds the *.sql files of this folder, of nexmark and of postgres, which capture tables of a database. Their
// relative paths mean the file's folder in the repository.
//
//go:embed *.sql nexmark/*.sql postgres/*.sql postgres/*.psql
var Files embed.FS

// Names returns every file's path in Files, sorted within its folder.
func Names() []string {
	var names []string
	for _, pattern := range []string{"*.sql", "nexmark/*.sql", "postgres/*.sql"} {
		found, err := fs.Glob(Files, pattern)
		if err != nil {
			panic(err) // the patterns are constants
		}
		names = append(names, found...)
	}
	return names
}

// Tables returns the SQL that makes the tables which a file captures, for PostgreSQL; ok is false if it captures none.
func Tables(name string) (sql string, ok bool) {
	text, err := Files.ReadFile(strings.TrimSuffix(name, ".sql") + ".psql")
	return string(text), err == nil
}

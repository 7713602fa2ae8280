// Package queries holds runnable SQL that ships with the binary: the demo, Nexmark queries, and one small
// pipeline for each thing the engine can do. Every file is also a test: the oracle runs it straight, cut
// into random batches, and killed and resumed, and compares with one-shot DuckDB after every batch.
package queries

import (
	"embed"
	"io/fs"
)

// Files holds the *.sql files of this folder and of nexmark. Their relative paths mean the file's folder in
// the repository.
//
//go:embed *.sql nexmark/*.sql
var Files embed.FS

// Names returns every file's path in Files, sorted within its folder.
func Names() []string {
	var names []string
	for _, pattern := range []string{"*.sql", "nexmark/*.sql"} {
		found, err := fs.Glob(Files, pattern)
		if err != nil {
			panic(err) // the patterns are constants
		}
		names = append(names, found...)
	}
	return names
}

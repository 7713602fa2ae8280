// Package queries holds runnable SQL that ships with the binary: the demo, Nexmark queries, and one small
// pipeline for each thing the engine can do. Every file is also a test: the oracle runs it straight, cut
// into random batches, and killed and resumed, and compares with one-shot DuckDB after every batch.
package queries

import "embed"

// Files holds the *.sql files of this folder. Their relative paths mean the folder in the repository.
//
//go:embed *.sql
var Files embed.FS

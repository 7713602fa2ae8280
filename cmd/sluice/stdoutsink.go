package main

import "github.com/sluice-sql/sluice/sinks/stdout"

// stdoutOptionsOf prints tables to people and NDJSON to programs.
func stdoutOptionsOf(p place) stdout.Options {
	o := stdout.Options{Writer: p.out, Format: stdout.FormatJSON}
	if p.out.IsTTY() {
		o.Format = stdout.FormatTable
	}
	return o
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/sources/nexmark"
)

// An input is a file as both sides read it, under one name.
type input struct {
	rows int64
	// source declares it to sluice, view to DuckDB.
	source, view string
}

// bids are read as NDJSON, all columns declared to both sides.
func bids(path string, rows int64) input {
	const columns = "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR"
	return input{rows: rows,
		source: fmt.Sprintf("CREATE SOURCE bid (%s,\n  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds')\nWITH (connector = 'file', path = %s);\n", columns, literal(path)),
		view:   fmt.Sprintf("CREATE VIEW bid AS SELECT * FROM read_json(%s, format = 'newline_delimited', columns = {%s})", literal(path), columnsOf(columns))}
}

// flightRows is the size of the whole data set; see testdata/README.md.
const flightRows = 3_000_000

func flights(path string) input {
	return input{rows: flightRows,
		source: fmt.Sprintf("CREATE SOURCE flight (date TIMESTAMP, delay BIGINT, distance BIGINT, origin VARCHAR, destination VARCHAR,\n"+
			"  WATERMARK FOR date AS date - INTERVAL '1 hour')\nWITH (connector = 'file', path = %s);\n", literal(path)),
		view: fmt.Sprintf("CREATE VIEW flight AS SELECT * FROM read_parquet(%s)", literal(path))}
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// columnsOf turns a column list into the body of a struct literal, as read_json takes it.
func columnsOf(list string) string {
	var items []string
	for _, column := range strings.Split(list, ", ") {
		name, typ, _ := strings.Cut(column, " ")
		items = append(items, fmt.Sprintf("%s: '%s'", name, typ))
	}
	return strings.Join(items, ", ")
}

// makeNexmark writes the first rows of a stream once and returns the file's path.
func makeNexmark(cache, typ string, rows int64) (path string, err error) {
	path = filepath.Join(cache, fmt.Sprintf("%ss-%d.ndjson", typ, rows))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "generating %d %ss in %s\n", rows, typ, path)
	f, err := os.CreateTemp(cache, typ+"-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	w := bufio.NewWriterSize(f, 1<<20)
	err = nexmark.WriteNDJSON(w, nexmark.Options{Type: typ}, rows)
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

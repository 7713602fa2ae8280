package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-sql/sluice/sources/nexmark"
)

// makeInput writes the bids once and returns the file's path.
func makeInput(cache string, rows int64) (path string, err error) {
	path = filepath.Join(cache, fmt.Sprintf("bids-%d.ndjson", rows))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "generating %d bids in %s\n", rows, path)
	f, err := os.CreateTemp(cache, "bids-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	w := bufio.NewWriterSize(f, 1<<20)
	err = nexmark.WriteNDJSON(w, nexmark.Options{Type: "bid"}, rows)
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

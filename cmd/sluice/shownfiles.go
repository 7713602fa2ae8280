package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	"github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/file"
)

// readFiles reads what a file sink has committed, with the source of the same name: what verify proves is then
// what another pipeline would read.
func (s *shownViews) readFiles(ctx context.Context, l *loaded, b sinkBinding, scratch string) (err error) {
	sink, err := filesink.New(b.files)
	if err != nil {
		return err
	}
	shown, err := sink.Read(ctx, l.Name)
	if err != nil {
		return err
	}
	// Sinks commit in this order, so this one is ahead only because batches were committed since the other was
	// read. Earlier batches are as they were.
	if n := len(s.parts); n > 0 && s.parts[n-1].ledger.Batch < shown.Ledger.Batch {
		shown.Ledger = s.parts[n-1].ledger
		shown.Batches = slices.DeleteFunc(shown.Batches, func(b filesink.ShownBatch) bool { return b.Batch > shown.Ledger.Batch })
	}
	if len(shown.Times) > 0 {
		s.times = nil
		for _, at := range shown.Times {
			s.times = append(s.times, postgres.BatchTime{Offsets: at.Offsets, At: at.At})
		}
	}
	t := &shownPart{where: b.files.Dir, ledger: shown.Ledger, outputs: []planner.Output{b.output}}
	for _, batch := range shown.Batches {
		s.addLate(batch.DeadLetters)
	}
	rows, err := fileRows(ctx, b, shown.Batches, scratch)
	if err != nil {
		return fmt.Errorf("read the files in %s: %w", b.files.Dir, err)
	}
	t.rows = [][]*vector.Chunk{rows}
	s.parts = append(s.parts, t)
	return nil
}

// fileRows are a view's rows after some batches. A changelog is added up batch by batch.
func fileRows(ctx context.Context, b sinkBinding, batches []filesink.ShownBatch, scratch string) ([]*vector.Chunk, error) {
	layout := b.files.Layout
	out := b.output
	out.Mode = planner.Multiset
	sum := oracle.NewAccumulator(out)
	var paths []string
	for _, batch := range batches {
		for _, path := range batch.Files {
			path, err := unpacked(path, layout, scratch)
			if err != nil {
				return nil, fmt.Errorf("unpack %s: %w", path, err)
			}
			paths = append(paths, path)
		}
		if layout.Mode != filesink.ModeChangelog {
			continue
		}
		changes, err := readBack(ctx, paths, layout, b.output.Columns)
		if err != nil {
			return nil, err
		}
		if err := sum.Apply(changes); err != nil {
			return nil, err
		}
		paths = nil
	}
	if layout.Mode == filesink.ModeChangelog {
		return sum.Rows(), nil
	}
	return readBack(ctx, paths, layout, b.output.Columns)
}

// readBack reads files to their end: the columns, and the weight of a changelog.
func readBack(ctx context.Context, paths []string, l filesink.Layout, fields []vector.Field) (out []*vector.Chunk, err error) {
	if len(paths) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(paths)
	if err != nil {
		return nil, err
	}
	o := file.Options{Columns: fields, Path: string(list), Format: l.Format, Mode: "bounded", OnError: "stop", MaxRowBytes: 1 << 30}
	width := len(fields)
	if l.Mode == filesink.ModeChangelog {
		o.Format, o.Encoding = "changelog", l.Format
		width++ // the weight
	}
	if l.CSV != nil {
		o.CSV = file.CSVOptions{NoHeader: l.CSV.NoHeader, Delimiter: l.CSV.Delimiter, Quote: l.CSV.Quote, NullString: l.CSV.Null}
	}
	source, err := file.New(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	var at json.RawMessage
	for {
		rows, err := source.Poll(ctx, at, microbatch.Limits{MaxRows: 1 << 20, MaxBytes: 64 << 20})
		if err != nil {
			return nil, err
		}
		for _, c := range rows.Chunks {
			out = append(out, &vector.Chunk{N: c.N, Cols: c.Cols[:width], Keep: c.Keep})
		}
		if at = rows.To; rows.Done {
			return out, nil
		}
	}
}

// unpacked is the path of a copy without compression, which the source does not read.
func unpacked(path string, l filesink.Layout, scratch string) (to string, err error) {
	if l.Format == filesink.FormatParquet || l.Compression == "none" {
		return path, nil
	}
	in, err := os.Open(path)
	if err != nil {
		return path, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	var r io.Reader
	switch l.Compression {
	case "gzip":
		if r, err = gzip.NewReader(in); err != nil {
			return path, err
		}
	default:
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return path, err
		}
		defer d.Close()
		r = d
	}
	out, err := os.CreateTemp(scratch, "*"+filepath.Ext(path[:len(path)-len(filepath.Ext(path))]))
	if err != nil {
		return path, err
	}
	_, err = io.Copy(out, r)
	return out.Name(), errors.Join(err, out.Close())
}

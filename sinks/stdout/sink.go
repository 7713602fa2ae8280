// Package stdout is a sink for trying queries without a database: it prints each batch's changes as
// NDJSON or as aligned tables.
//
// Its ledger lives in the process. It is not durable and cannot fence: a restarted engine finds an unknown
// pipeline and begins anew, and what was printed stays printed.
//
// NDJSON has a line per change with the output's columns. When a run has several outputs, or the output
// is not append-only, the line is {"op": …, "output": …, "row": {…}}: op is "insert" for an append output,
// "upsert" or "delete" for a keyed one, and "+n" or "-n", the change of the row's multiplicity, otherwise.
package stdout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// Formats that Options knows.
const (
	FormatJSON  = "json"
	FormatTable = "table"
)

// TargetOptions are the options of CREATE SINK … WITH that this sink reads, besides connector.
var TargetOptions = []string{"format"}

// Options configure a sink.
type Options struct {
	// Writer receives the rows, os.Stdout for a user. Required.
	Writer io.Writer
	// Format is FormatJSON or FormatTable; a target's own format option wins. Defaults to FormatJSON.
	Format string
	// MaxTableRows bounds the rows printed per output and batch in a table; the rest is counted. JSON is
	// never cut. Defaults to 40.
	MaxTableRows int
}

// Sink prints changes when they are committed. Its methods are for one goroutine at a time.
type Sink struct {
	options Options
	out     bytes.Buffer // a batch, before it is printed
	outputs []output
	ledger  microbatch.Ledger
	staged  *microbatch.StagedBatch
	closed  bool
}

type output struct {
	planner.Output
	format string
}

var _ microbatch.Sink = (*Sink)(nil)

// New returns a sink that writes to o.Writer.
func New(o Options) (*Sink, error) {
	if o.Writer == nil {
		return nil, errors.New("stdout sink: no writer given")
	}
	if o.Format == "" {
		o.Format = FormatJSON
	}
	if o.MaxTableRows <= 0 {
		o.MaxTableRows = 40
	}
	return &Sink{options: o}, checkFormat(o.Format)
}

func checkFormat(f string) error {
	if f != FormatJSON && f != FormatTable {
		return fmt.Errorf("unknown format %q\nHint: use format = '%s' or format = '%s'", f, FormatJSON, FormatTable)
	}
	return nil
}

// Open implements microbatch.Sink. Opening the same pipeline again in the same process fences the
// engine before, as a database would, in that it raises the epoch.
func (s *Sink) Open(_ context.Context, _ string, targets []microbatch.Target) (microbatch.Ledger, error) {
	if s.closed {
		return microbatch.Ledger{}, fmt.Errorf("open stdout: %w", microbatch.ErrSinkClosed)
	}
	s.outputs = nil
	for _, t := range targets {
		o := output{Output: t.Output, format: s.options.Format}
		if f, ok := t.Options["format"]; ok {
			o.format = f
		}
		if err := checkFormat(o.format); err != nil {
			return microbatch.Ledger{}, fmt.Errorf("output %s: %w", t.Output.Name, err)
		}
		s.outputs = append(s.outputs, o)
	}
	s.ledger.Epoch++
	l := s.ledger
	s.ledger.Found = true
	return l, nil
}

// Stage implements microbatch.Sink: it keeps the batch.
func (s *Sink) Stage(_ context.Context, b *microbatch.StagedBatch) error {
	if s.closed {
		return fmt.Errorf("stage batch %d for stdout: %w", b.Batch, microbatch.ErrSinkClosed)
	}
	s.staged = b
	return nil
}

// HasStaged implements microbatch.Sink.
func (s *Sink) HasStaged(_ context.Context, batch int64, outputs []checkpointlog.OutputDigest) (bool, error) {
	if s.closed {
		return false, fmt.Errorf("look for batch %d: %w", batch, microbatch.ErrSinkClosed)
	}
	return s.has(batch, outputs), nil
}

func (s *Sink) has(batch int64, outputs []checkpointlog.OutputDigest) bool {
	if s.staged == nil || s.staged.Batch != batch {
		return false
	}
	for i := range s.staged.Outputs {
		if !slices.Contains(outputs, s.staged.Outputs[i].Digest) {
			return false
		}
	}
	return true
}

// Commit implements microbatch.Sink: it prints the batch, in one piece, so that one that is given up meanwhile is not
// printed in part.
func (s *Sink) Commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	switch b := permit.Batch(); {
	case s.closed:
		return fmt.Errorf("commit batch %d to stdout: %w", b, microbatch.ErrSinkClosed)
	case b == s.ledger.Batch:
		return nil
	case !s.has(b, permit.Outputs()):
		return fmt.Errorf("commit batch %d to stdout: it was not staged in this process", b)
	case b != s.ledger.Batch+1 && s.ledger.Batch != 0: // a fresh process may go on from any batch
		return fmt.Errorf("commit batch %d to stdout: the last one was %d", b, s.ledger.Batch)
	}
	s.out.Reset()
	for _, o := range s.outputs {
		for i := range s.staged.Outputs {
			if s.staged.Outputs[i].Name != o.Name {
				continue
			}
			if err := s.print(ctx, o, &s.staged.Outputs[i]); err != nil {
				return fmt.Errorf("write batch %d to stdout: %w", s.staged.Batch, err)
			}
		}
	}
	if s.out.Len() > 0 {
		if _, err := s.options.Writer.Write(s.out.Bytes()); err != nil {
			return fmt.Errorf("write batch %d to stdout: %w", s.staged.Batch, err)
		}
	}
	s.ledger.Batch, s.ledger.Offsets, s.ledger.Plan, s.ledger.ContentHash = s.staged.Batch, c.Offsets, c.Plan, c.ContentHash
	s.staged = nil
	return nil
}

func (s *Sink) print(ctx context.Context, o output, d *microbatch.OutputDelta) error {
	if o.format == FormatTable {
		return s.printTable(o, d)
	}
	p := jsonPrinter{bare: len(s.outputs) == 1 && o.Mode == planner.Append, o: o.Output}
	for _, c := range d.Chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.out.Write(p.chunk(c)); err != nil {
			return err
		}
	}
	return nil
}

// Close implements microbatch.Sink.
func (s *Sink) Close() error {
	s.closed = true
	return nil
}

// op names what a row with that weight does.
func op(mode planner.ChangeMode, w int64) string {
	switch {
	case mode == planner.Append:
		return "insert"
	case mode == planner.Upsert && w > 0:
		return "upsert"
	case mode == planner.Upsert:
		return "delete"
	}
	return fmt.Sprintf("%+d", w)
}

// weight is the last column of a delta.
func weight(c *vector.Chunk, r int) int64 { return c.Cols[len(c.Cols)-1].I64(r) }

// copies is how many lines a row gets: an append output says a repeated row again.
func copies(mode planner.ChangeMode, w int64) int64 {
	if mode == planner.Append {
		return w
	}
	return 1
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
)

func (a *app) logShowCommand() *cobra.Command {
	o := &logOptions{app: a}
	cmd := o.flags(&cobra.Command{
		Use:   "show NAME|DIR",
		Short: "Show the batches of a log",
		Long: `Show the batches of a log: when each was planned and committed, its rows, and how large its state change is. With
--json every record is printed as it is, one object a line: offsets, watermarks and digests included.`,
		Example: `  sluice log show flights --from 40
  sluice log show flights --json | jq -c 'select(.prepared) | .prepared.outputs'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.show(cmd.Context(), args[0]) },
	})
	o.rangeFlags(cmd)
	return cmd
}

func (o *logOptions) show(ctx context.Context, arg string) error {
	if err := o.checkRange("sluice log show"); err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	dir, done, err := o.readable(arg)
	if err != nil {
		return err
	}
	defer done()
	last := int64(math.MaxInt64)
	if o.to > 0 {
		last = o.to
	}
	show := newLogShow(o)
	for e, err := range checkpointlog.Read(dir, vfs.OS{}) {
		var torn *checkpointlog.TornTail
		if errors.As(err, &torn) {
			// Beside a running engine this may be the record that it writes just now.
			fmt.Fprintln(o.streams.Err, torn.Error())
			break
		}
		if err != nil {
			return errors.Join(show.flush(), err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n := batchOf(e); n < o.from || n > last {
			continue
		}
		if err := show.entry(e); err != nil {
			return err
		}
	}
	return show.flush()
}

// logShow turns records into one row a batch, or one JSON line a record.
type logShow struct {
	o       *logOptions
	table   *term.Table
	json    *json.Encoder
	pending []*shownBatch // in the order of their Planned
}

// shownBatch gathers a batch's records.
type shownBatch struct {
	number      int64
	planned     *checkpointlog.Planned
	prepared    *checkpointlog.Prepared
	committedAt time.Time
	deltaBytes  int64
}

// logRecord is a line of log show --json.
type logRecord struct {
	Segment   string                   `json:"segment"`
	Offset    int64                    `json:"offset"`
	Bytes     int64                    `json:"bytes"`
	Planned   *checkpointlog.Planned   `json:"planned,omitempty"`
	Prepared  *checkpointlog.Prepared  `json:"prepared,omitempty"`
	Committed *checkpointlog.Committed `json:"committed,omitempty"`
	// Deltas are how large a Prepared's state change is, as encoded and as stored.
	Deltas []checkpointlog.DeltaInfo `json:"deltas,omitempty"`
}

func newLogShow(o *logOptions) *logShow {
	s := &logShow{o: o, table: term.NewTable(o.streams.Out, "BATCH", "EPOCH", "PLANNED AT", "ROWS IN", "LATE", "BAD", "ROWS OUT", "STATE", "OUTCOME").
		AlignRight(0, 1, 3, 4, 5, 6, 7)}
	if o.json {
		s.json = json.NewEncoder(o.streams.Out)
		s.json.SetEscapeHTML(false)
	}
	return s
}

// batchOf is the batch that an entry is about.
func batchOf(e checkpointlog.Entry) int64 {
	switch {
	case e.Planned != nil:
		return e.Planned.Batch
	case e.Prepared != nil:
		return e.Prepared.Batch
	}
	return e.Committed.Batch
}

func (s *logShow) entry(e checkpointlog.Entry) error {
	if s.json != nil {
		if err := s.json.Encode(logRecord{e.Segment, e.Offset, e.Bytes, e.Planned, e.Prepared, e.Committed, e.Deltas}); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return nil
	}
	b := s.batch(batchOf(e))
	switch {
	case e.Planned != nil:
		b.planned = e.Planned
	case e.Prepared != nil:
		b.prepared, b.deltaBytes = e.Prepared, e.Bytes
	default:
		b.committedAt = e.Committed.At
	}
	return nil
}

// batch finds a batch among the last ones, or begins it. A batch may be planned several times before it happens.
func (s *logShow) batch(n int64) *shownBatch {
	for i := len(s.pending) - 1; i >= 0 && s.pending[i].number >= n; i-- {
		if s.pending[i].number == n {
			return s.pending[i]
		}
	}
	b := &shownBatch{number: n}
	s.pending = append(s.pending, b)
	return b
}

func (s *logShow) flush() error {
	if s.json != nil {
		return nil
	}
	for _, b := range s.pending {
		s.row(b)
	}
	return s.table.Flush()
}

func (s *logShow) row(b *shownBatch) {
	var epoch int64
	at := ""
	if b.planned != nil {
		epoch, at = b.planned.Epoch, instant(b.planned.At)
	}
	if b.prepared == nil {
		// A crash before Prepared leads here: the plan was never carried out.
		s.table.Row(fmt.Sprint(b.number), fmt.Sprint(epoch), at, "", "", "", "", "", b.outcome())
		return
	}
	c := b.prepared.Counts
	s.table.Row(fmt.Sprint(b.number), fmt.Sprint(b.prepared.Epoch), at, fmt.Sprint(c.RowsIn), fmt.Sprint(c.RowsLate), fmt.Sprint(c.RowsBad),
		fmt.Sprint(c.RowsOut), s.o.bytes(b.deltaBytes), b.outcome())
}

func (b *shownBatch) outcome() string {
	switch {
	case !b.committedAt.IsZero() && b.planned != nil:
		return "committed after " + term.Duration(b.committedAt.Sub(b.planned.At))
	case !b.committedAt.IsZero():
		return "committed"
	case b.prepared != nil:
		return "prepared"
	}
	return "planned only"
}

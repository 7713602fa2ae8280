package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
)

func (a *app) logLsCommand() *cobra.Command {
	o := &logOptions{app: a}
	return o.flags(&cobra.Command{
		Use:   "ls [NAME|DIR]",
		Short: "List the segments and snapshots of a log, or all logs",
		Example: `  sluice log ls                     # every pipeline's log
  sluice log ls flights             # the files of one`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return o.lsAll()
			}
			return o.ls(args[0])
		},
	})
}

// logSummary is a row of log ls without a name.
type logSummary struct {
	Name        string    `json:"name"`
	Dir         string    `json:"dir"`
	Batch       int64     `json:"batch"`
	CommittedAt time.Time `json:"committed_at,omitzero"`
	Segments    int       `json:"segments"`
	Snapshots   int       `json:"snapshots"`
	Bytes       int64     `json:"bytes"`
	Error       string    `json:"error,omitempty"`
}

func (o *logOptions) lsAll() error {
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return err
	}
	names, err := state.names()
	if err != nil {
		return err
	}
	rows := []logSummary{}
	for _, name := range names {
		if dir := state.pipeline(name).logDir(); exists(dir) {
			rows = append(rows, summarise(name, dir))
		}
	}
	if o.json {
		return o.writeJSON(rows)
	}
	if len(rows) == 0 {
		fmt.Fprintf(o.streams.Err, "no logs in %s\n", state)
	}
	t := term.NewTable(o.streams.Out, "NAME", "BATCH", "COMMITTED AT", "SEGMENTS", "SNAPSHOTS", "SIZE").AlignRight(1, 3, 4, 5)
	for _, r := range rows {
		at := r.Error
		if at == "" {
			at = instant(r.CommittedAt)
		}
		t.Row(r.Name, fmt.Sprint(r.Batch), at, fmt.Sprint(r.Segments), fmt.Sprint(r.Snapshots), o.bytes(r.Bytes))
	}
	return t.Flush()
}

func summarise(name, dir string) logSummary {
	s := logSummary{Name: name, Dir: dir}
	report, err := checkpointlog.Inspect(dir, vfs.OS{})
	if err != nil {
		s.Error = err.Error()
	}
	if report.LastPrepared != nil {
		s.Batch = report.LastPrepared.Batch
	}
	if report.LastCommitted != nil {
		s.CommittedAt = report.LastCommitted.At
	}
	s.Segments, s.Snapshots = len(report.Segments), len(report.Snapshots)
	for _, seg := range report.Segments {
		s.Bytes += seg.Bytes
	}
	for _, snap := range report.Snapshots {
		s.Bytes += snap.Bytes
	}
	return s
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// bytes is for people on a terminal and exact elsewhere.
func (a *app) bytes(n int64) string {
	if a.streams.Out.IsTTY() {
		return term.Bytes(n)
	}
	return strconv.FormatInt(n, 10)
}

func (o *logOptions) ls(arg string) error {
	dir, done, err := o.readable(arg)
	if err != nil {
		return err
	}
	defer done()
	report, err := checkpointlog.Verify(dir, vfs.OS{})
	if err != nil {
		return err
	}
	r := newLogReport(dir, report)
	if o.json {
		return o.writeJSON(r)
	}
	return o.printFiles(r)
}

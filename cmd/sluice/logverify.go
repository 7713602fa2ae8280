package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
)

func (a *app) logVerifyCommand() *cobra.Command {
	o := &logOptions{app: a}
	return o.flags(&cobra.Command{
		Use:   "verify NAME|DIR",
		Short: "Read every byte of a log and check it",
		Long: `Read every byte of a log, snapshots included, and check every frame, its chained checksum and the order of the
records. Damage ends with exit code 4 and names the first bad byte: the file, the offset, the frame, what was expected
and what is there. An incomplete write at the end is no damage: a crash leaves one, and the next start cuts it off.`,
		Example: `  sluice log verify flights
  sluice log verify /backup/flights --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.verify(args[0]) },
	})
}

func (o *logOptions) verify(arg string) error {
	dir, done, err := o.readable(arg)
	if err != nil {
		return err
	}
	defer done()
	report, verr := checkpointlog.Verify(dir, vfs.OS{})
	var corrupt *checkpointlog.CorruptError
	if verr != nil && !errors.As(verr, &corrupt) {
		return verr
	}
	r := newLogReport(dir, report)
	if o.json {
		return errors.Join(o.writeJSON(r), verr)
	}
	if err := o.printFiles(r); err != nil {
		return err
	}
	if r.Torn != "" {
		fmt.Fprintln(o.streams.Err, r.Torn)
	}
	if verr != nil {
		for _, f := range r.Flaws {
			fmt.Fprintf(o.streams.Err, "first bad byte: %v\n", f)
		}
		for _, b := range report.Bad[1:] {
			fmt.Fprintln(o.streams.Err, tidy(b.Error()))
		}
		return verr
	}
	fmt.Fprintf(o.streams.Err, "%s: %s records up to batch %s, no damage\n", r.Pipeline, term.Count(r.Records), term.Count(r.LastPrepared))
	return nil
}

// logFile is a row of log ls NAME and log verify.
type logFile struct {
	File       string `json:"file"`
	Kind       string `json:"kind"`
	FirstBatch int64  `json:"first_batch,omitempty"`
	LastBatch  int64  `json:"last_batch,omitempty"`
	Records    int64  `json:"records"`
	Bytes      int64  `json:"bytes"`
}

// logReport is what log ls NAME and log verify print as JSON.
type logReport struct {
	Dir           string    `json:"dir"`
	OK            bool      `json:"ok"`
	Pipeline      string    `json:"pipeline"`
	Plan          string    `json:"plan"`
	DuckDB        string    `json:"duckdb"`
	FormatVersion int       `json:"format_version"`
	LastPrepared  int64     `json:"last_prepared"`
	LastCommitted int64     `json:"last_committed"`
	Records       int64     `json:"records"`
	Files         []logFile `json:"files"`
	// Torn describes an incomplete write at the end, which the next start cuts off.
	Torn string   `json:"torn,omitempty"`
	Bad  []string `json:"bad,omitempty"`
	// Flaws say for each of Bad where its first bad byte is, and what should stand there.
	Flaws []checkpointlog.Diagnosis `json:"flaws,omitempty"`
}

func newLogReport(dir string, r *checkpointlog.Report) logReport {
	out := logReport{Dir: dir, OK: len(r.Bad) == 0, Pipeline: r.Header.Pipeline, Plan: r.Header.Plan, DuckDB: r.Header.DuckDB,
		FormatVersion: r.Header.FormatVersion, Records: r.Records, Files: []logFile{}}
	if r.LastPrepared != nil {
		out.LastPrepared = r.LastPrepared.Batch
	}
	if r.LastCommitted != nil {
		out.LastCommitted = r.LastCommitted.Batch
	}
	for _, s := range r.Segments {
		out.Files = append(out.Files, logFile{s.Name, "segment", s.FirstBatch, s.LastBatch, s.Planned + s.Prepared + s.Committed, s.Bytes})
	}
	for _, s := range r.Snapshots {
		var blocks int64
		for _, t := range s.Tables {
			blocks += int64(t.Blocks)
		}
		out.Files = append(out.Files, logFile{filepath.Base(s.Path), "snapshot", s.Batch, s.Batch, blocks, s.Bytes})
	}
	if r.Torn != nil {
		out.Torn = r.Torn.Error()
	}
	for _, b := range r.Bad {
		out.Bad = append(out.Bad, b.Error())
		out.Flaws = append(out.Flaws, checkpointlog.Diagnose(vfs.OS{}, b))
	}
	return out
}

func (o *logOptions) printFiles(r logReport) error {
	t := term.NewTable(o.streams.Out, "FILE", "KIND", "FIRST BATCH", "LAST BATCH", "RECORDS", "SIZE").AlignRight(2, 3, 4, 5)
	for _, f := range r.Files {
		t.Row(f.File, f.Kind, fmt.Sprint(f.FirstBatch), fmt.Sprint(f.LastBatch), fmt.Sprint(f.Records), o.bytes(f.Bytes))
	}
	return t.Flush()
}

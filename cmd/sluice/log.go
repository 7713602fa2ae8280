package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
)

func (a *app) logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		GroupID: "prove",
		Short:   "Read a pipeline's checkpoint log, without an engine",
		Long: `Read a pipeline's checkpoint log. The commands change nothing and may run beside the engine. NAME is a pipeline
of the state directory, DIR a pipeline's directory or a log's own.`,
	}
	cmd.AddCommand(a.logLsCommand(), a.logShowCommand(), a.logVerifyCommand())
	return cmd
}

// logOptions are what the log commands share.
type logOptions struct {
	*app
	state    string
	json     bool
	from, to int64
}

func (o *logOptions) flags(cmd *cobra.Command) *cobra.Command {
	o.stateFlag(cmd, &o.state)
	jsonFlag(cmd, &o.json)
	cmd.ValidArgsFunction = o.pipelineNames(&o.state)
	return cmd
}

// pipelineNames completes the pipelines of the state directory.
func (a *app) pipelineNames(state *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		dir, err := a.stateDirFrom(*state)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := dir.names()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveDefault
	}
}

// dir finds the log of NAME|DIR.
func (o *logOptions) dir(arg string) (string, error) {
	if exists(filepath.Join(arg, manifestName)) {
		return arg, nil
	}
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return "", err
	}
	p, err := state.find(arg)
	if err != nil {
		return "", err
	}
	if exists(filepath.Join(string(p), manifestName)) {
		return string(p), nil
	}
	return p.logDir(), nil
}

// manifestName is the file that makes a directory a checkpoint log.
const manifestName = "MANIFEST"

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

func (o *logOptions) ls(arg string) error {
	dir, err := o.dir(arg)
	if err != nil {
		return err
	}
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

func (a *app) logVerifyCommand() *cobra.Command {
	o := &logOptions{app: a}
	return o.flags(&cobra.Command{
		Use:   "verify NAME|DIR",
		Short: "Read every byte of a log and check it",
		Long: `Read every byte of a log, snapshots included, and check every frame, its chained checksum and the order of the
records. Damage ends with exit code 4 and names the first bad byte. An incomplete write at the end is no damage: a
crash leaves one, and the next start cuts it off.`,
		Example: `  sluice log verify flights
  sluice log verify /backup/flights --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.verify(args[0]) },
	})
}

func (o *logOptions) verify(arg string) error {
	dir, err := o.dir(arg)
	if err != nil {
		return err
	}
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
		for _, b := range report.Bad[1:] {
			fmt.Fprintln(o.streams.Err, tidy(b.Error()))
		}
		return verr
	}
	fmt.Fprintf(o.streams.Err, "%s: %s records up to batch %s, no damage\n", r.Pipeline, term.Count(r.Records), term.Count(r.LastPrepared))
	return nil
}

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

func (o *logOptions) rangeFlags(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&o.from, "from", 0, "first batch (default the first there is)")
	cmd.Flags().Int64Var(&o.to, "to", 0, "last batch (default the last)")
}

func (o *logOptions) checkRange(command string) error {
	if o.from < 0 || o.to < 0 || o.to > 0 && o.to < o.from {
		return usagef(command, "--from %d --to %d is no range of batches", o.from, o.to)
	}
	return nil
}

func (o *logOptions) show(ctx context.Context, arg string) error {
	if err := o.checkRange("sluice log show"); err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	dir, err := o.dir(arg)
	if err != nil {
		return err
	}
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

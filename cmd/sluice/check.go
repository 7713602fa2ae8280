package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/pgcluster"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/change"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

type checkOptions struct {
	*app
	file     string
	name     string
	postgres string
	state    string
	json     bool
}

func (a *app) checkCommand() *cobra.Command {
	o := &checkOptions{app: a}
	cmd := &cobra.Command{
		Use:     "check FILE.sql",
		GroupID: "run",
		Short:   "Do everything that run does before its first batch, and change nothing",
		Long: `Parse, plan and bind a pipeline, read the first rows of its sources, connect to PostgreSQL, compare the target
tables with the views, and see whether an earlier run's log fits. Nothing is changed; an embedded PostgreSQL that does
not exist yet is not made.`,
		Example: `  sluice check flights.sql
  sluice check flights.sql --postgres postgres://me@localhost/warehouse --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(cmd.Context())
		},
		ValidArgsFunction: sqlFiles,
	}
	cmd.Flags().StringVar(&o.name, "name", "", "the pipeline's name (default the file's name without .sql)")
	a.databaseFlags(cmd, &o.postgres, &o.state)
	jsonFlag(cmd, &o.json)
	return cmd
}

// checkReport is what check --json prints.
type checkReport struct {
	Name string      `json:"name"`
	Plan string      `json:"plan"`
	Rows []checkItem `json:"checks"`
}

// checkItem is one thing that was looked at.
type checkItem struct {
	What   string `json:"what"`
	Name   string `json:"name"`
	Result string `json:"result"`
}

func (r *checkReport) add(what, name, format string, args ...any) {
	r.Rows = append(r.Rows, checkItem{what, name, fmt.Sprintf(format, args...)})
}

func (o *checkOptions) run(ctx context.Context) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	r, err := o.check(ctx)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	if o.json {
		return o.writeJSON(r)
	}
	t := term.NewTable(o.streams.Out, "CHECK", "NAME", "RESULT")
	for _, item := range r.Rows {
		t.Row(item.What, item.Name, item.Result)
	}
	return t.Flush()
}

func (o *checkOptions) check(ctx context.Context) (*checkReport, error) {
	s, err := o.readSpec(o.file, o.name)
	if err != nil {
		return nil, err
	}
	if err := checkName(s.Name); err != nil {
		return nil, err
	}
	l, err := o.load(ctx, s)
	if err != nil {
		return nil, err
	}
	r := &checkReport{Name: l.Name, Plan: l.plan.Program.Fingerprint}
	for _, v := range l.plan.Views {
		how := "incremental"
		if v.Fallback != "" {
			how = "recomputed in full every batch: " + v.Fallback
		}
		r.add("view", v.Name, "%s", how)
	}
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return nil, err
	}
	if err := o.checkInputs(ctx, l, state, r); err != nil {
		return nil, err
	}
	if err := l.checkCopies(ctx, r, place{dir: state.pipeline(l.Name), log: o.log}); err != nil {
		return nil, err
	}
	if !l.durable() {
		r.add("target", "standard output", "no PostgreSQL needed")
		return r, nil
	}
	if err := l.checkFileSinks(); err != nil {
		return nil, err
	}
	for _, b := range l.fileSinks() {
		r.add("files", b.files.Dir, "fit, or will be made")
	}
	if err := l.checkKafkaSinks(ctx, func(topic, how string) { r.add("topic", topic, "%s", how) }); err != nil {
		return nil, err
	}
	if l.needsPostgres() {
		if err := o.checkDatabase(ctx, l, state, r); err != nil {
			return nil, err
		}
	}
	return r, checkLog(l, state.pipeline(l.Name), r)
}

// checkInputs looks at the sources, and has the embedded database run meanwhile if it exists and may be looked up in.
func (o *checkOptions) checkInputs(ctx context.Context, l *loaded, state stateDir, r *checkReport) (err error) {
	url := o.postgresURL(o.postgres)
	if url == "" && l.needsPostgres() && l.looksUpHere() && exists(filepath.Join(string(state), "postgres")) {
		db, err := openDatabase(ctx, "", state)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		url = db.url
	}
	return l.checkSources(ctx, r, state.pipeline(l.Name), url)
}

// firstRows is how much of a source is read to see that it can be.
var firstRows = microbatch.Limits{MaxRows: 1000, MaxBytes: 1 << 20}

func (l *loaded) checkSources(ctx context.Context, r *checkReport, dir pipelineDir, url string) error {
	for _, b := range l.sources {
		if b.check != nil {
			found, err := b.check(ctx, purpose{dir: dir, url: url})
			if err != nil {
				return err
			}
			r.add("source", b.Name, "%s: %s", b.connector, found)
			continue
		}
		rows, err := b.firstRows(ctx)
		if err != nil {
			return fmt.Errorf("read the first rows of source %q: %w", b.Name, err)
		}
		switch {
		case len(rows.Bad) > 0:
			r.add("source", b.Name, "%s: %d of its first %d rows cannot be read, the first at %s:%d: %s", b.connector, len(rows.Bad),
				rows.Count+int64(len(rows.Bad)), rows.Bad[0].Partition, rows.Bad[0].Offset, rows.Bad[0].Reason)
		case rows.Count == 0:
			r.add("source", b.Name, "%s: nothing to read yet", b.connector)
		default:
			r.add("source", b.Name, "%s: its first %d rows can be read", b.connector, rows.Count)
		}
	}
	return nil
}

// firstRows reads a little of the source.
func (b sourceBinding) firstRows(ctx context.Context) (_ *microbatch.Rows, err error) {
	source, err := b.open(ctx, purpose{kind: toAnswer})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	rows, err := source.Poll(ctx, nil, firstRows)
	if waits, ok := source.(microbatch.Stater); ok && err == nil && rows.Count == 0 && len(rows.Bad) == 0 && waits.State() != "" {
		return nil, errors.New(waits.State())
	}
	return rows, err
}

func (o *checkOptions) checkDatabase(ctx context.Context, l *loaded, state stateDir, r *checkReport) (err error) {
	url := o.postgresURL(o.postgres)
	if url == "" && !exists(filepath.Join(string(state), "postgres")) {
		bin, err := pgcluster.Find()
		if err != nil {
			return err
		}
		r.add("database", "embedded", "will be made in %s with the programs in %s", filepath.Join(string(state), "postgres"), bin)
		return nil
	}
	db, err := openDatabase(ctx, url, state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := l.checkTargets(ctx, db); err != nil {
		return err
	}
	r.add("database", db.display(), "can be reached")
	for _, t := range l.tables() {
		r.add("table", t, "fits, or will be made")
	}
	return nil
}

// checkTargets compares the tables in the database with the views, and changes nothing.
func (l *loaded) checkTargets(ctx context.Context, db *database) (err error) {
	sink, err := postgres.New(postgres.Options{URL: db.url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	return sink.Check(ctx, l.Name, l.targets(toPostgres))
}

// checkLog compares the plan with the log of an earlier run.
func checkLog(l *loaded, dir pipelineDir, r *checkReport) error {
	if !exists(dir.logDir()) {
		r.add("log", dir.logDir(), "none yet: begins with batch 1")
		return nil
	}
	report, err := checkpointlog.Inspect(dir.logDir(), vfs.OS{})
	if err != nil {
		return err
	}
	if report.LastPrepared == nil {
		r.add("log", dir.logDir(), "holds no batch yet")
		return nil
	}
	logged, err := change.Decode(report.Header.Operators)
	if err != nil {
		return err
	}
	last := report.LastPrepared.Batch
	if logged == nil {
		if report.Header.Plan != l.plan.Program.Fingerprint {
			return &microbatch.ChangedError{Pipeline: l.Name, Unknown: true}
		}
		r.add("log", dir.logDir(), "goes on after batch %d", last)
		return nil
	}
	switch diff := change.Compare(logged, l.version()); diff.Verdict {
	case change.Identical:
		r.add("log", dir.logDir(), "goes on after batch %d", last)
	case change.Compatible:
		r.add("log", dir.logDir(), "goes on after batch %d; the file changed in a way that its state allows", last)
	default:
		return &microbatch.ChangedError{Pipeline: l.Name, Diff: diff}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
)

type runOptions struct {
	*app
	file         string
	name         string
	postgres     string
	state        string
	untilEnd     bool
	maxBatchRows int64
	checkpoint   string
	json         bool
	savepoint    string
	rewind       bool
	rebuild      bool
}

func (a *app) runCommand() *cobra.Command {
	o := &runOptions{app: a}
	cmd := &cobra.Command{
		Use:     "run FILE.sql",
		GroupID: "run",
		Short:   "Run a pipeline in the foreground",
		Long: `Run a pipeline in the foreground, from where it stopped last or from the beginning.

Views go to PostgreSQL: the server that --postgres or SLUICE_POSTGRES names, or else a private one that sluice
runs in its state directory. Sinks with connector = 'file' write files instead. A SELECT without CREATE, and sinks
with connector = 'stdout', print their rows; a pipeline with nothing else keeps no state unless --state-dir is given.
PostgreSQL is only started for views that go there. Sources with connector = 'http' are posted to at their option listen.

A file that changed goes on from its log where its state allows, which sluice diff tells beforehand. Where it does not,
--rebuild computes the new version from the beginning of its sources, into tables of its own, up to where the old one's
tables are; then one transaction swaps them, so that no reader sees a half of it.

The first SIGINT or SIGTERM lets the batch at hand finish, the second gives it up. Either way nothing is lost and
nothing is counted twice: the next run goes on from there.`,
		Example: `  sluice run flights.sql                    # waits for more input until Ctrl-C
  sluice run flights.sql --until-end        # reads what is there, then ends
  sluice run flights.sql --rebuild          # after a change that diff says needs it
  sluice run flights.sql --postgres postgres://me@localhost/warehouse
  echo "CREATE SOURCE l (a BIGINT) WITH (connector = 'file', path = 'log.ndjson'); SELECT sum(a) FROM l" |
    sluice run - --until-end                # try a query without a database`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(cmd.Context())
		},
		ValidArgsFunction: sqlFiles,
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the pipeline's name (default the file's name without .sql)")
	f.BoolVar(&o.untilEnd, "until-end", false, "end when the input has been read; files are read as they are now")
	f.Int64Var(&o.maxBatchRows, "max-batch-rows", 0, "a batch reads at most this many rows (default what the file says, or 100000)")
	f.StringVar(&o.checkpoint, "checkpoint", "", "copy the log to this bucket: s3://bucket/prefix?endpoint=… (default what the file says)")
	a.databaseFlags(cmd, &o.postgres, &o.state)
	a.fromSavepointFlag(cmd, &o.savepoint, &o.state)
	f.BoolVar(&o.rewind, "rewind", false, "with --from-savepoint: put a pipeline that has gone on back to it, tables and all")
	f.BoolVar(&o.rebuild, "rebuild", false, "if the file changed too much to go on, compute its tables anew beside the old ones and swap them")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON on standard output")
	return cmd
}

// databaseFlags adds --postgres and --state-dir.
func (a *app) databaseFlags(cmd *cobra.Command, postgres, state *string) {
	cmd.Flags().StringVar(postgres, "postgres", "", "connection string of the PostgreSQL to write to (default $SLUICE_POSTGRES, or a private one)")
	a.stateFlag(cmd, state)
}

func (a *app) stateFlag(cmd *cobra.Command, state *string) {
	cmd.Flags().StringVar(state, "state-dir", "", "where logs and the private PostgreSQL are kept (default $SLUICE_STATE_DIR or ~/.local/state/sluice)")
	if err := cmd.MarkFlagDirname("state-dir"); err != nil {
		panic("sluice: completion of --state-dir: " + err.Error())
	}
}

func sqlFiles(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"sql"}, cobra.ShellCompDirectiveFilterFileExt
}

func (o *runOptions) spec() (spec, error) {
	s, err := o.readSpec(o.file, o.name)
	if err != nil {
		return s, err
	}
	s.UntilEnd = o.untilEnd
	if o.maxBatchRows != 0 {
		s.Settings = map[string]string{ddl.MaxBatchRows: fmt.Sprint(o.maxBatchRows)}
	}
	if o.checkpoint != "" {
		if s.Settings == nil {
			s.Settings = map[string]string{}
		}
		s.Settings[ddl.Checkpoint] = o.checkpoint
	}
	return s, checkName(s.Name)
}

func (o *runOptions) run(ctx context.Context) (err error) {
	if o.rewind && o.savepoint == "" {
		return usagef("sluice run", "--rewind needs --from-savepoint")
	}
	if o.maxBatchRows < 0 {
		return usagef("sluice run", "--max-batch-rows is %d, and must be positive", o.maxBatchRows)
	}
	s, err := o.spec()
	if err != nil {
		return err
	}
	// Until the pipeline is open, one signal ends the command: there is no batch to finish.
	starting, started := interruptible(ctx)
	defer started()
	l, err := o.load(starting, s)
	if err != nil {
		return orInterrupted(starting, err)
	}
	if err := ddl.Join(l.checkEnd(), l.checkReached()); err != nil {
		return err
	}
	p, done, err := o.place(starting, l)
	if err != nil {
		return orInterrupted(starting, err)
	}
	defer func() { err = errors.Join(err, done()) }()

	p.inboxes = newInboxes(o.log)
	defer func() { err = errors.Join(err, p.inboxes.Close()) }()
	view := newRunView(o.app, l, p)
	defer view.close()
	p.log, p.note, p.restoring = o.log, view.note, view.restoring
	if o.savepoint != "" {
		if err := o.restore(starting, l, p); err != nil {
			return orInterrupted(starting, err)
		}
	}
	if o.rebuild {
		if done, err := l.rebuild(starting, p, view.note, view.line); err != nil {
			return orInterrupted(starting, err)
		} else if !done {
			view.note("there is nothing to rebuild: pipeline %s goes on from its log", l.Name)
		}
	}
	e, err := l.openNewest(starting, p)
	if err != nil {
		return orInterrupted(starting, err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	started()
	if err := orInterrupted(starting, nil); err != nil {
		return err // by a signal that came when there was nothing left to break off
	}
	view.opened(e)
	err = runUntilSignal(ctx, e, view, signals)
	view.close()
	if errors.Is(err, errInterrupted) || err == nil {
		return errors.Join(err, o.summary(l, p, e.Progress(), err))
	}
	return err
}

// restore puts the pipeline where --from-savepoint says.
func (o *runOptions) restore(ctx context.Context, l *loaded, p place) error {
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return err
	}
	dir, err := findSavepoint(state, o.savepoint)
	if err != nil {
		return err
	}
	return l.restoreFrom(ctx, p, dir, o.rewind)
}

// orInterrupted names the signal as the reason for what it broke off.
func orInterrupted(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

// place prepares where the pipeline runs. done undoes that when it has ended.
func (o *runOptions) place(ctx context.Context, l *loaded) (p place, done func() error, err error) {
	p = place{out: o.streams.Out}
	url := o.postgresURL(o.postgres)
	if !l.durable() && o.state == "" {
		if l.usesPostgres(url) {
			p.db = &database{url: url}
		}
		dir, err := os.MkdirTemp("", "sluice-*")
		p.dir = pipelineDir(dir)
		return p, func() error { return os.RemoveAll(dir) }, err
	}
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return p, nil, err
	}
	p.dir, done = state.pipeline(l.Name), func() error { return nil }
	if l.usesPostgres(url) {
		if url == "" && o.streams.Err.IsTTY() {
			fmt.Fprintln(o.streams.Err, o.streams.Err.Styled(term.Dim, "starting the embedded PostgreSQL"))
		}
		if p.db, err = openDatabase(ctx, url, state); err != nil {
			return p, nil, err
		}
		done = p.db.Close
	}
	return p, done, nil
}

// runUntilSignal runs the pipeline. The first signal stops it after the batch at hand, the second aborts
// that batch, a third kills the process.
func runUntilSignal(ctx context.Context, e *engine, view *runView, signals chan os.Signal) error {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	tick := time.NewTicker(view.interval())
	defer tick.Stop()
	count := 0
	for {
		select {
		case err := <-ended:
			view.update(e.Progress())
			if count > 0 && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)) {
				return errInterrupted
			}
			return err
		case <-signals:
			if count++; count == 1 {
				view.note("finishing the batch at hand; once more gives it up")
				e.Stop()
				continue
			}
			view.note("giving the batch up")
			signal.Stop(signals)
			abort(errInterrupted)
		case <-tick.C:
			view.update(e.Progress())
		}
	}
}

// runSummary is what run --json prints.
type runSummary struct {
	microbatch.Progress
	// End is "end of input" or "interrupted".
	End       string   `json:"end"`
	ElapsedMS int64    `json:"elapsed_ms"`
	Tables    []string `json:"tables"`
	// Files are patterns that match what the file sinks wrote.
	Files []string `json:"files,omitempty"`
	// Topics are those of the Kafka sinks.
	Topics []string `json:"topics,omitempty"`
	Psql   string   `json:"psql,omitempty"`
}

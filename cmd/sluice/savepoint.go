package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/savepoint"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

type savepointOptions struct {
	*app
	state    string
	postgres string
	json     bool
}

func (s stateDir) savepoints() string { return filepath.Join(string(s), "savepoints") }

func (a *app) savepointCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "savepoint",
		GroupID: "look",
		Short:   "Keep a pipeline as it is at a batch, to go back to or to start another from",
		Long: `A savepoint is a copy of all that a pipeline is at one batch: its state, how far its sources were read, its
watermarks, its text, the rows of its tables in PostgreSQL, and the files that it wrote. It is one directory in
STATE_DIR/savepoints, which nothing deletes but savepoint rm, and which can be copied to another machine as it is.

sluice run FILE.sql --from-savepoint and sluice submit FILE.sql --from-savepoint go on from one.`,
		Example: `  sluice savepoint create flights before_upgrade
  sluice savepoint ls
  sluice run flights.sql --from-savepoint before_upgrade --rewind   # the same pipeline, put back
  sluice run flights.sql --name flights_2 --from-savepoint ./copied/before_upgrade`,
	}
	cmd.AddCommand(a.savepointCreateCommand(), a.savepointLsCommand(), a.savepointRmCommand())
	return cmd
}

func (a *app) savepointCreateCommand() *cobra.Command {
	o := &savepointOptions{app: a}
	cmd := &cobra.Command{
		Use:   "create NAME|DIR SAVEPOINT",
		Short: "Make a savepoint of a pipeline, running or not",
		Long: `Make a savepoint of the last batch that the pipeline's tables show. NAME is a pipeline of the state directory, which may
be running meanwhile, here or in a daemon: the engine is not asked, and waits for nothing. What is copied are the files of
its checkpoint log, in one snapshot of PostgreSQL the rows of its tables, and the files that it wrote up to then.`,
		Example: `  sluice savepoint create flights before_upgrade`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			info, err := o.create(ctx, args[0], args[1])
			if err != nil {
				return orInterrupted(ctx, err)
			}
			return o.created(info)
		},
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	a.databaseFlags(cmd, &o.postgres, &o.state)
	jsonFlag(cmd, &o.json)
	return cmd
}

func (o *savepointOptions) created(info *savepoint.Info) error {
	if o.json {
		return o.writeJSON(info)
	}
	fmt.Fprintf(o.streams.Out, "savepoint %s of pipeline %s at batch %s\n", info.Name, info.Pipeline, term.Count(info.Batch))
	return nil
}

// create makes a savepoint from what is on disk and in Postgres. It asks no engine: the rows are of one snapshot
// of the database, whose ledger names the batch, and the log has every batch that a ledger has.
func (o *savepointOptions) create(ctx context.Context, arg, name string) (_ *savepoint.Info, err error) {
	l, dir, rec, err := o.reload(ctx, o.state, arg)
	if err != nil {
		return nil, err
	}
	if topics := l.topics(); len(topics) > 0 {
		return nil, fmt.Errorf("pipeline %s writes to topic %s, and a savepoint could not put its records back\nhint: run the pipeline anew under another name and into another topic to go back", l.Name, topics[0])
	}
	w, err := savepoint.Begin(vfs.OS{}, dir.state().savepoints(), name)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	info := savepoint.Info{Pipeline: l.Name, CreatedAt: time.Now().UTC(), Version: version(), File: rec.File, BaseDir: rec.BaseDir, Settings: rec.Settings}
	if l.needsPostgres() {
		o.phase("copying the tables")
		db, err := o.recordedDatabase(ctx, o.postgres, dir, rec)
		if err != nil {
			return nil, err
		}
		err = o.exportRows(ctx, l, db, w, &info)
		if err = errors.Join(err, db.Close()); err != nil {
			return nil, err
		}
	}
	files := len(l.fileSinks()) > 0
	if files && info.Batch == 0 {
		if info.Batch, err = l.leastOfFiles(); err == nil && info.Batch == 0 {
			err = nothingToKeep(l.Name)
		}
		if err != nil {
			return nil, err
		}
	}
	o.phase("copying the log")
	if err := copyPipeline(l, dir, w, &info); err != nil {
		return nil, err
	}
	if files {
		o.phase("copying the files")
		if err := o.exportFiles(ctx, l, w, info.Batch); err != nil {
			return nil, err
		}
	}
	o.phase("checking the copy")
	return w.Publish(info)
}

func nothingToKeep(pipeline string) error {
	return fmt.Errorf("pipeline %s has no committed batch yet, so there is nothing to keep", pipeline)
}

// phase says on a terminal what goes on: of a gigabyte, each takes seconds.
func (a *app) phase(what string) {
	if a.streams.Err.IsTTY() {
		fmt.Fprintln(a.streams.Err, a.streams.Err.Styled(term.Dim, what))
	}
}

// copyPipeline copies the log up to the batch of the tables, and what stands beside it.
func copyPipeline(l *loaded, dir pipelineDir, w *savepoint.Writer, info *savepoint.Info) error {
	to, err := w.Dir(savepoint.LogDir)
	if err != nil {
		return err
	}
	c, err := checkpointlog.Copy(vfs.OS{}, dir.logDir(), to, checkpointlog.CopyOptions{Batch: info.Batch})
	if err != nil {
		return err
	}
	hash := checkpointlog.ContentHash(c.Prepared)
	if info.ContentHash != "" && info.ContentHash != hash {
		return fmt.Errorf("batch %d of the log is not the one that PostgreSQL shows\nhint: is %s the newest state directory of pipeline %s?", info.Batch, dir.state(), l.Name)
	}
	info.Batch, info.Epoch, info.Plan, info.DuckDB = c.Prepared.Batch, c.Epoch, c.Header.Plan, c.Header.DuckDB
	info.ContentHash, info.Offsets, info.Watermarks = hash, c.Offsets, c.Prepared.Watermarks
	if err := w.Put(savepoint.SQLFile, l.Text); err != nil {
		return err
	}
	return w.PutTree(savepoint.TablesDir, dir.tablesDir())
}

const rowsIndex = savepoint.RowsDir + "/index.json"

// exportRows copies what the pipeline has in Postgres.
func (o *savepointOptions) exportRows(ctx context.Context, l *loaded, db *database, w *savepoint.Writer, info *savepoint.Info) (err error) {
	sink, err := postgres.New(postgres.Options{URL: db.url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	var outputs []planner.Output
	for _, t := range l.targets(toPostgres) {
		outputs = append(outputs, t.Output)
	}
	rows, err := sink.ExportRows(ctx, l.Name, outputs, func(name string) (io.WriteCloser, error) {
		f, err := w.Create(savepoint.RowsDir + "/" + name)
		if err != nil {
			return nil, err
		}
		return &packed{s2.NewWriter(f), f}, nil
	})
	if err != nil {
		return err
	}
	if rows.Ledger.Batch == 0 {
		return nothingToKeep(l.Name)
	}
	info.Batch, info.ContentHash = rows.Ledger.Batch, rows.Ledger.ContentHash
	if rows.Watermark != nil {
		info.Watermark = *rows.Watermark
	}
	doc, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return w.Put(rowsIndex, append(doc, '\n'))
}

// packed compresses into a file and closes both.
type packed struct {
	*s2.Writer
	file io.Closer
}

func (p *packed) Close() error { return errors.Join(p.Writer.Close(), p.file.Close()) }

func (a *app) savepointLsCommand() *cobra.Command {
	o := &savepointOptions{app: a}
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the savepoints of the state directory",
		Example: `  sluice savepoint ls --json | jq -r '.[] | select(.pipeline == "flights").name'`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return o.ls() },
	}
	a.stateFlag(cmd, &o.state)
	jsonFlag(cmd, &o.json)
	return cmd
}

func (o *savepointOptions) ls() error {
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return err
	}
	infos, bad, err := savepoint.List(vfs.OS{}, state.savepoints())
	if err != nil {
		return err
	}
	for _, b := range bad {
		fmt.Fprintf(o.streams.Err, "warning: %s\n", tidy(b.Error()))
	}
	if o.json {
		return o.writeJSON(append([]*savepoint.Info{}, infos...))
	}
	if len(infos) == 0 {
		fmt.Fprintf(o.streams.Err, "no savepoints in %s\n", state.savepoints())
		return nil
	}
	t := term.NewTable(o.streams.Out, "SAVEPOINT", "PIPELINE", "BATCH", "CREATED AT", "SIZE").AlignRight(2, 4)
	for _, i := range infos {
		t.Row(i.Name, i.Pipeline, fmt.Sprint(i.Batch), instant(i.CreatedAt), o.bytes(i.Bytes()))
	}
	return t.Flush()
}

func (a *app) savepointRmCommand() *cobra.Command {
	o := &savepointOptions{app: a}
	cmd := &cobra.Command{
		Use:     "rm SAVEPOINT",
		Short:   "Delete a savepoint",
		Example: `  sluice savepoint rm before_upgrade`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			state, err := o.stateDirFrom(o.state)
			if err != nil {
				return err
			}
			if !exists(filepath.Join(state.savepoints(), args[0])) {
				return noSavepoint(state, args[0])
			}
			return savepoint.Remove(vfs.OS{}, state.savepoints(), args[0])
		},
		ValidArgsFunction: a.savepointNames(&o.state),
	}
	a.stateFlag(cmd, &o.state)
	return cmd
}

// savepointNames completes savepoints.
func (a *app) savepointNames(state *string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		dir, err := a.stateDirFrom(*state)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return savepointsIn(dir), cobra.ShellCompDirectiveDefault
	}
}

func savepointsIn(state stateDir) (names []string) {
	infos, _, err := savepoint.List(vfs.OS{}, state.savepoints())
	if err != nil {
		return nil // a completion or a hint less
	}
	for _, i := range infos {
		names = append(names, i.Name)
	}
	return names
}

func noSavepoint(state stateDir, name string) error {
	hint := "sluice savepoint ls lists them"
	if best := ddl.Suggest(name, savepointsIn(state)); best != "" {
		hint = fmt.Sprintf("did you mean %s?", best)
	}
	return fmt.Errorf("there is no savepoint %s in %s\nhint: %s", name, state.savepoints(), hint)
}

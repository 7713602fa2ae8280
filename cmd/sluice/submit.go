package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
)

type submitOptions struct {
	daemonOptions
	name         string
	untilEnd     bool
	maxBatchRows int64
	detach       bool
	savepoint    string
	rebuild      bool
}

func (a *app) submitCommand() *cobra.Command {
	o := &submitOptions{daemonOptions: daemonOptions{app: a}}
	cmd := &cobra.Command{
		Use:     "submit FILE.sql",
		GroupID: "serve",
		Short:   "Start a pipeline in the daemon, or a new version of one",
		Long: `Send a pipeline to the daemon, which checks it, remembers it and runs it until stop or drop, across its own
restarts. The command waits until the first batch is committed, so that its tables can be read, or the pipeline has
failed. Relative paths in the file start from the file's directory, as with run.

A file that has changed since takes the place of the version that the daemon has, if it can go on from its log, which
sluice diff tells beforehand: the old version finishes its batch, and the new one goes on. Where it cannot, --rebuild
computes the new version's tables from the beginning of the sources, beside the old version, which goes on meanwhile.
When little is left the old version is stopped after a batch, the new one reads the rest, and one transaction swaps the
tables, so that no reader sees a half of it. A rebuild that fails, or that sluice stop NAME --rebuild gives up, leaves
the old version as it is.`,
		Example: `  sluice submit flights.sql
  sluice submit flights.sql --rebuild       # after a change that diff says needs it
  sluice submit flights.sql --name flights_2 --detach`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.maxBatchRows < 0 {
				return usagef("sluice submit", "--max-batch-rows is %d, and must be positive", o.maxBatchRows)
			}
			return o.ask(cmd.Context(), func(ctx context.Context, c *server.Client) error { return o.run(ctx, c, args[0]) })
		},
		ValidArgsFunction: sqlFiles,
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the pipeline's name (default the file's name without .sql)")
	f.BoolVar(&o.untilEnd, "until-end", false, "finish when the input has been read; files are read as they are now")
	f.Int64Var(&o.maxBatchRows, "max-batch-rows", 0, "a batch reads at most this many rows (default what the file says, or 100000)")
	a.fromSavepointFlag(cmd, &o.savepoint, &o.state)
	f.BoolVar(&o.rebuild, "rebuild", false, "if the file changed too much to go on, compute its tables anew beside the old ones and swap them")
	f.BoolVarP(&o.detach, "detach", "d", false, "do not wait for the first batch, nor for a rebuild")
	o.flags(cmd)
	return cmd
}

func (o *submitOptions) run(ctx context.Context, c *server.Client, file string) error {
	local, err := o.readSpec(file, o.name)
	if err != nil {
		return err
	}
	s := server.Spec{Name: local.Name, SQL: string(local.Text), File: local.File, Dir: local.BaseDir, Options: server.Options{UntilEnd: o.untilEnd}}
	if o.maxBatchRows != 0 {
		s.Options.Settings = map[string]string{ddl.MaxBatchRows: fmt.Sprint(o.maxBatchRows)}
	}
	if s.Options.FromSavepoint = o.savepoint; strings.ContainsRune(o.savepoint, filepath.Separator) {
		if s.Options.FromSavepoint, err = filepath.Abs(o.savepoint); err != nil {
			return err
		}
	}
	status, err := c.Submit(ctx, s)
	if refused := new(server.Error); errors.As(err, &refused) && refused.Code == server.CodeExists {
		status, err = o.replace(ctx, c, s, err)
	}
	if err != nil {
		return err
	}
	for _, w := range status.Warnings {
		fmt.Fprintf(o.streams.Err, "warning: %s\n", w)
	}
	if !o.detach {
		if status, err = o.await(ctx, c, s.Name, committed); err != nil {
			if status.State == server.Failed {
				fmt.Fprintf(o.streams.Err, "the daemon keeps pipeline %s: sluice resume %s tries again, sluice drop %s removes it\n", s.Name, s.Name, s.Name)
			}
			return err
		}
	}
	if o.json {
		return o.writeJSON(status)
	}
	if p := status.Progress; p != nil && p.Batch > 0 {
		fmt.Fprintf(o.streams.Out, "%s is %s: %s rows, committed up to batch %s\n", s.Name, status.State, term.Count(rowsRead(p)), term.Count(p.Batch))
	} else {
		fmt.Fprintf(o.streams.Out, "%s is %s\n", s.Name, status.State)
	}
	o.howToRead(status)
	return nil
}

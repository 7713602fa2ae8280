package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointstore"
)

func (a *app) logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		GroupID: "prove",
		Short:   "Read, check and repair a pipeline's checkpoint log, without an engine",
		Long: `Read a pipeline's checkpoint log. All but repair change nothing and may run beside the engine. NAME is a pipeline
of the state directory, DIR a pipeline's directory or a log's own. All but repair read copies in buckets, too:
s3://BUCKET/PREFIX/NAME?endpoint=…, the bucket as in SET checkpoint with the pipeline's name behind it.`,
	}
	cmd.AddCommand(a.logLsCommand(), a.logShowCommand(), a.logVerifyCommand(), a.logRepairCommand())
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

// readable finds the log of NAME|DIR|URL. One in a bucket is brought into a temporary directory, which done removes.
func (o *logOptions) readable(arg string) (dir string, done func(), err error) {
	done = func() {}
	if !strings.HasPrefix(arg, "s3://") {
		dir, err = o.dir(arg)
		return dir, done, err
	}
	at, err := checkpointstore.ParseLocation(arg)
	if err != nil {
		return "", done, err
	}
	at, name := at.Parent()
	if err := checkName(name); err != nil {
		return "", done, fmt.Errorf("the last part of a log's URL is the pipeline's name: %w", err)
	}
	tmp, err := os.MkdirTemp("", "sluice-log-*")
	if err != nil {
		return "", done, err
	}
	done = func() { _ = os.RemoveAll(tmp) } // what is left is in the system's temporary directory
	ctx, stop := interruptible(context.Background())
	defer stop()
	p := pipelineDir(tmp)
	c, err := checkpointstore.Restore(ctx, checkpointstore.RestoreOptions{Locations: []checkpointstore.Location{at}, Pipeline: name, LogDir: p.logDir(), Others: p.beside(), Logger: slog.New(slog.DiscardHandler)})
	switch {
	case err == nil && c == nil:
		err = fmt.Errorf("there is no log of pipeline %s in %s", name, at)
	case err == nil:
		return p.logDir(), done, nil
	}
	done()
	return "", done, orInterrupted(ctx, err)
}

// manifestName is the file that makes a directory a checkpoint log.
const manifestName = "MANIFEST"

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

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/server"
)

func (a *app) stopCommand() *cobra.Command {
	o := &daemonOptions{app: a}
	abort, rebuild, name := false, false, ""
	cmd := &cobra.Command{
		Use:     "stop NAME",
		GroupID: "serve",
		Short:   "Stop one of the daemon's pipelines",
		Long: `Stop a pipeline after the batch at hand. Its tables stay as they are, and resume goes on from there; a new daemon
does not start it. With --savepoint, what the pipeline is at that batch is kept under a name; see sluice savepoint.

With --rebuild the pipeline goes on, and the new version is given up that submit --rebuild computes beside it.`,
		Example: `  sluice stop flights
  sluice stop flights --savepoint before_upgrade
  sluice stop flights --rebuild`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, c *server.Client) error {
				if rebuild {
					s, err := c.CancelReplacement(ctx, args[0])
					if err != nil {
						return err
					}
					return o.told(s)
				}
				s, err := c.Stop(ctx, args[0], server.StopRequest{Abort: abort})
				if err != nil {
					return err
				}
				if s.State == server.Stopping {
					return fmt.Errorf("pipeline %s is still finishing its batch\nhint: look again with sluice status %s, or give the batch up with sluice stop --abort %s", s.Name, s.Name, s.Name)
				}
				if name != "" {
					return o.keep(ctx, s, name)
				}
				return o.told(s)
			})
		},
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	cmd.Flags().StringVar(&name, "savepoint", "", "then make a savepoint of that name")
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "give up the new version that is computed beside it, and let it go on")
	cmd.Flags().BoolVar(&abort, "abort", false, "give the batch at hand up; it is run again after a resume")
	cmd.MarkFlagsMutuallyExclusive("rebuild", "savepoint")
	cmd.MarkFlagsMutuallyExclusive("rebuild", "abort")
	o.flags(cmd)
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	o := &daemonOptions{app: a}
	detach := false
	cmd := &cobra.Command{
		Use:     "resume NAME",
		GroupID: "serve",
		Short:   "Let a stopped, finished or failed pipeline go on",
		Long:    `Let a pipeline go on where it was. The command waits until it runs, or has failed again.`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, c *server.Client) error {
				s, err := c.Resume(ctx, args[0])
				if err == nil && !detach {
					s, err = o.await(ctx, c, args[0], launched)
				}
				if err != nil {
					return err
				}
				return o.told(s)
			})
		},
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait until it runs")
	o.flags(cmd)
	return cmd
}

// keep makes a savepoint of a pipeline that was stopped.
func (o *daemonOptions) keep(ctx context.Context, s server.Status, name string) error {
	sp := &savepointOptions{app: o.app, state: o.state, json: o.json}
	info, err := sp.create(ctx, s.Name, name)
	if err != nil {
		return fmt.Errorf("pipeline %s is stopped, and no savepoint was made: %w", s.Name, err)
	}
	if !o.json {
		if err := o.told(s); err != nil {
			return err
		}
	}
	return sp.created(info)
}

// told prints a pipeline's new state.
func (o *daemonOptions) told(s server.Status) error {
	if o.json {
		return o.writeJSON(s)
	}
	at := ""
	if s.Progress != nil && s.Progress.Batch > 0 {
		at = ", committed up to batch " + term.Count(s.Progress.Batch)
	}
	fmt.Fprintf(o.streams.Out, "%s is %s%s\n", s.Name, s.State, at)
	return nil
}

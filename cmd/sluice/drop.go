package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/server"
)

type dropOptions struct {
	daemonOptions
	keepTables bool
	keepRemote bool
	yes        bool
}

func (a *app) dropCommand() *cobra.Command {
	o := &dropOptions{daemonOptions: daemonOptions{app: a}}
	cmd := &cobra.Command{
		Use:     "drop NAME",
		GroupID: "serve",
		Short:   "Remove one of the daemon's pipelines with all that it made",
		Long: `Remove a pipeline: its batch at hand is given up, and its log, its state, its rows in schema sluice, the tables that it
created and the files that it wrote go. Tables that were there before it stay, with what it wrote. With --keep-tables
all tables and files stay, as ordinary ones that no pipeline owns; submitting the same file again then needs
adopt = 'true' or other names.

Copies of the log in buckets go, too: a pipeline of the same name would otherwise find a log without its tables, and refuse
to start. With --keep-remote they stay, to be read by log ls, show and verify; a new pipeline of that name then needs
another prefix.

On a terminal the command asks first, unless --yes is given.`,
		Example: `  sluice drop flights
  sluice drop flights --keep-tables --keep-remote --yes   # only what runs it and what it remembers here`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, c *server.Client) error { return o.run(ctx, c, args[0]) })
		},
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	cmd.Flags().BoolVar(&o.keepTables, "keep-tables", false, "leave the tables in the database, the files and the topics")
	cmd.Flags().BoolVar(&o.keepRemote, "keep-remote", false, "leave the copies of the log in buckets")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	o.flags(cmd)
	return cmd
}

func (o *dropOptions) run(ctx context.Context, c *server.Client, name string) error {
	how := server.DropOptions{Tables: server.DropTables, KeepRemote: o.keepRemote}
	if o.keepTables {
		how.Tables = server.KeepTables
	}
	s, err := c.Status(ctx, name)
	if err != nil {
		return err
	}
	if !o.yes && o.streams.Err.IsTTY() {
		if err := o.confirm(ctx, s); err != nil {
			return err
		}
	}
	d, err := c.Drop(ctx, name, how)
	if err != nil {
		return err
	}
	if o.json {
		return o.writeJSON(d)
	}
	what := "its tables, files and topics are kept"
	if len(d.Tables) > 0 {
		what = "with " + strings.Join(d.Tables, ", ")
	} else if !o.keepTables {
		what = "it had created no tables, files or topics"
	}
	fmt.Fprintf(o.streams.Out, "%s is dropped, %s\n", name, what)
	return nil
}

// confirm asks on the terminal; a signal ends the question.
func (o *dropOptions) confirm(ctx context.Context, s server.Status) error {
	what := ""
	if len(s.Tables) > 0 && !o.keepTables {
		what = " with the tables it created of " + strings.Join(s.Tables, ", ")
	}
	if len(s.Files) > 0 && !o.keepTables {
		what += " with its files " + strings.Join(s.Files, ", ")
	}
	fmt.Fprintf(o.streams.Err, "drop pipeline %s%s? [y/N] ", s.Name, what)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(o.streams.In).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errors.New("nothing was dropped")
	}
}

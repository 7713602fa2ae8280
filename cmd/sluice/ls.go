package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/server"
)

func (a *app) lsCommand() *cobra.Command {
	o := &daemonOptions{app: a}
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		GroupID: "serve",
		Short:   "List the daemon's pipelines",
		Long: `List the daemon's pipelines: name, state, last committed batch, rows read in this run, input that is there and not
read yet, and when the last batch was committed. In a pipe the columns are separated by tabs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.ask(cmd.Context(), func(ctx context.Context, c *server.Client) error {
				all, err := c.List(ctx)
				if err != nil {
					return err
				}
				return o.printList(all)
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	o.flags(cmd)
	return cmd
}

func (o *daemonOptions) printList(all []server.Status) error {
	if o.json {
		return o.writeJSON(all)
	}
	t := term.NewTable(o.streams.Out, "NAME", "STATE", "BATCH", "ROWS", "LAG", "LAST COMMIT").AlignRight(2, 3, 4)
	for _, s := range all {
		row := []string{s.Name, string(s.State)}
		if p := s.Progress; p != nil {
			row = append(row, o.count(p.Batch), o.count(rowsRead(p)), lag(p), o.ago(p.CommittedAt))
		}
		t.Row(row...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(o.streams.Err, "no pipelines; start one with sluice submit FILE.sql")
	}
	for _, s := range all {
		if r := s.Replacement; r != nil && !r.State.Settled() {
			line := "a new version is " + strings.ReplaceAll(string(r.State), "_", " ")
			if r.Progress != nil {
				line += ": " + o.rebuildLine(r.Progress)
			}
			fmt.Fprintf(o.streams.Err, "%s: %s; see sluice status %s\n", s.Name, line, s.Name)
		}
		if s.Problem != nil {
			first, _, _ := strings.Cut(s.Problem.Message, "\n")
			fmt.Fprintf(o.streams.Err, "%s: %s; see sluice status %s\n", s.Name, first, s.Name)
		}
	}
	return nil
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

// debugCommand is for the project's own tests, and hidden: what is below it may change with any release.
func (a *app) debugCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "debug", Short: "Look at the binary itself", Hidden: true, Args: cobra.NoArgs}
	cmd.AddCommand(&cobra.Command{
		Use:   "failpoints",
		Short: "List the failpoints that " + failpoint.EnvPoints + " can arm",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, name := range failpoint.Names() {
				if _, err := fmt.Fprintln(a.streams.Out, name); err != nil {
					return err
				}
			}
			return nil
		},
	})
	cmd.AddCommand(&cobra.Command{
		Use:   "engine DIR",
		Short: "Run the pipeline of a directory that sluice drill made",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.drillEngine(cmd.Context(), args[0]) },
	})
	return cmd
}

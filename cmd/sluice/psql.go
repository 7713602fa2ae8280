package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/pgcluster"
)

type psqlOptions struct {
	*app
	postgres string
	state    string
}

func (a *app) psqlCommand() *cobra.Command {
	o := &psqlOptions{app: a}
	cmd := &cobra.Command{
		Use:     "psql [NAME] [-- ARG...]",
		GroupID: "look",
		Short:   "Open psql on a pipeline's PostgreSQL",
		Long: `Open psql on the PostgreSQL that a pipeline writes to: the server that it was run with, or the embedded one, which
is started for as long as psql runs. Without a name it is the one that --postgres, SLUICE_POSTGRES or the state
directory says. What follows -- goes to psql.`,
		Example: `  sluice psql flights
  sluice psql flights -- -c 'TABLE sluice.progress'
  sluice psql -- --csv -c 'SELECT * FROM totals' > totals.csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, rest := "", args
			if at := cmd.ArgsLenAtDash(); at >= 0 && at <= 1 || at < 0 && len(args) <= 1 {
				if len(args) > 0 && at != 0 {
					name, rest = args[0], args[1:]
				}
				return o.run(cmd.Context(), name, rest)
			}
			return usagef("sluice psql", "psql takes one pipeline; put arguments for psql after --")
		},
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	a.databaseFlags(cmd, &o.postgres, &o.state)
	return cmd
}

func (o *psqlOptions) run(ctx context.Context, name string, args []string) (err error) {
	db, err := o.open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	program, err := findPsql()
	if err != nil {
		return err
	}
	// psql gets Ctrl-C itself, to cancel a query; it must not end us before psql.
	signal.Ignore(os.Interrupt)
	defer signal.Reset(os.Interrupt)
	cmd := exec.Command(program, append([]string{db.url}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &exit):
		return errReported // psql has said why
	case err != nil:
		return fmt.Errorf("run psql: %w", err)
	}
	return nil
}

func (o *psqlOptions) open(ctx context.Context, name string) (*database, error) {
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return openDatabase(ctx, o.postgresURL(o.postgres), state)
	}
	dir, err := state.find(name)
	if err != nil {
		return nil, err
	}
	r, err := dir.record()
	if err != nil {
		return nil, err
	}
	return o.recordedDatabase(ctx, o.postgres, dir, r)
}

// findPsql prefers the one in PATH.
func findPsql() (string, error) {
	if p, err := exec.LookPath("psql"); err == nil {
		return p, nil
	}
	bin, err := pgcluster.Find()
	if err != nil {
		return "", fmt.Errorf("find psql: it is not in PATH\nhint: install it (Debian, Ubuntu: apt-get install postgresql-client; macOS: brew install libpq)")
	}
	return filepath.Join(bin, "psql"), nil
}

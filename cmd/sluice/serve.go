package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/server"
)

type serveOptions struct {
	*app
	postgres string
	state    string
	socket   string
	listen   string
	// elsewhere: any free port will do, because the user named none.
	elsewhere bool
}

func (a *app) serveCommand() *cobra.Command {
	o := &serveOptions{app: a}
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: "serve",
		Short:   "Run many pipelines in a daemon",
		Long: `Run the daemon that submit, ls, status, stop, resume and drop talk to. It resumes the pipelines that ran when it
ended last. Pipelines do not share their failures: one that fails in a way that may pass is started again, ever
later up to a minute; one that would only fail again waits for somebody.

The daemon listens on a Unix socket in the state directory, which only its user can open, and on 127.0.0.1 for
programs that send the token in STATE_DIR/token; docs/api.md describes the requests. Web pages cannot reach it.

The first SIGINT or SIGTERM lets every pipeline finish its batch, the second gives the batches up. Either way the
next daemon goes on from there. Variables in SQL files, ${NAME}, come from the daemon's environment.`,
		Example: `  sluice serve                              # in one terminal, or under systemd
  sluice submit flights.sql                 # in another
  sluice ls`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.elsewhere = !cmd.Flags().Changed("listen")
			if o.listen == "off" {
				o.listen = ""
			}
			return o.run(cmd.Context())
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.databaseFlags(cmd, &o.postgres, &o.state)
	a.socketFlag(cmd, &o.socket)
	cmd.Flags().StringVar(&o.listen, "listen", server.DefaultListen, `loopback TCP address, or "off"; when the default is in use, any free port`)
	complete(cmd, "listen", server.DefaultListen, "127.0.0.1:0", "off")
	return cmd
}

func (o *serveOptions) run(ctx context.Context) (err error) {
	if err := o.setLog(slog.LevelInfo); err != nil {
		return err
	}
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{StateDir: string(state), Socket: o.socketPath(o.socket, ""), Listen: o.listen, ListenElsewhere: o.elsewhere,
		Version: version(), Logger: o.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	end, abort, restore := o.twoSignals(ctx)
	defer restore()
	l := newLauncher(o.app, state, o.postgresURL(o.postgres), o.log)
	defer func() { err = errors.Join(err, l.Close()) }()
	// Why now: a machine without PostgreSQL is to be heard of before the first pipeline.
	db, err := l.database(end)
	if err != nil {
		return orInterrupted(end, err)
	}
	o.announce(s, state, db)
	if err := s.Run(end, abort, l); err != nil {
		return err
	}
	if abort.Err() != nil {
		return errInterrupted // batches were given up
	}
	return nil
}

func (o *serveOptions) announce(s *server.Server, state stateDir, db *database) {
	w := o.streams.Err
	fmt.Fprintf(w, "sluice serves %s\n  socket:   %s\n", state, s.Socket())
	if addr := s.Addr(); addr != "" {
		fmt.Fprintf(w, "  http:     http://%s, token in %s\n", addr, s.TokenPath())
	}
	fmt.Fprintf(w, "  database: %s\n", db.display())
	if cmd := db.psqlNow(); cmd != "" {
		fmt.Fprintf(w, "  look:     %s\n", cmd)
	}
}

// twoSignals returns a context that the first signal ends and one that the second does; a third kills the
// process.
func (o *serveOptions) twoSignals(ctx context.Context) (first, second context.Context, restore func()) {
	first, end := context.WithCancelCause(ctx)
	second, abort := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for _, step := range []struct {
			note   string
			cancel context.CancelCauseFunc
		}{
			{"every pipeline finishes its batch; once more gives the batches up", end},
			{"giving the batches up", abort},
		} {
			select {
			case <-signals:
				fmt.Fprintln(&o.logOut, step.note)
				step.cancel(errInterrupted)
			case <-done:
				return
			}
		}
		signal.Stop(signals)
	}()
	return first, second, func() {
		signal.Stop(signals)
		close(done)
		end(nil)
		abort(nil)
	}
}

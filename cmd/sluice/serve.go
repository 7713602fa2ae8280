package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointstore"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
)

type serveOptions struct {
	*app
	postgres string
	state    string
	socket   string
	listen   string
	standby  string
	// peers is the bucket by which daemons know each other; empty for none.
	peers string
	// checkpoint is where pipelines copy their logs that do not say so themselves.
	checkpoint string
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
Sources with connector = 'http' take rows there, at POST /v1/ingest/PIPELINE/SOURCE, with a token of their own, also
while their pipeline is stopped; docs/http.md has a quick start.

The first SIGINT or SIGTERM lets every pipeline finish its batch, the second gives the batches up. Either way the
next daemon goes on from there. Variables in SQL files, ${NAME}, come from the daemon's environment.

With --standby DIR the daemon stands by for another one, whose state directory is DIR, on storage that both see. It
lists that daemon's pipelines as "standby" and takes each over, with its file and options, within 5 seconds of its owner's
end: the owner renews a lease in PostgreSQL every second, and a lease that nobody renews for three is free. An owner
that was only paused or cut off commits nothing afterwards, and ends with exit code 5. Both daemons need the same
--postgres. Two daemons may stand by for each other: whichever has a pipeline's lease runs it.

With --standby s3://bucket/prefix the daemons need not see one disk: each puts the files and options of what it runs into that
bucket, where their logs are copied, too (--checkpoint is the same unless given), and takes over what another one ran from the
copy of its log. Give all of them the same URL.`,
		Example: `  sluice serve                              # in one terminal, or under systemd
  sluice submit flights.sql                 # in another
  sluice ls
  curl --unix-socket ~/.local/state/sluice/sluice.sock --data-binary @rows.ndjson http://sluice/v1/ingest/NAME/SOURCE
  sluice serve --state-dir /shared/a --postgres URL                        # on one machine
  sluice serve --state-dir /shared/b --postgres URL --standby /shared/a    # on another
  sluice serve --postgres URL --standby 's3://state/pair?endpoint=https://minio.example:9000'   # on each of two, without a shared disk`,
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
	cmd.Flags().StringVar(&o.checkpoint, "checkpoint", "", "pipelines that name no bucket copy their logs to this one: s3://bucket/prefix?endpoint=…")
	cmd.Flags().StringVar(&o.listen, "listen", server.DefaultListen, `loopback TCP address, or "off"; when the default is in use, any free port`)
	cmd.Flags().StringVar(&o.standby, "standby", "", "take over when another daemon is gone: its state directory, or a bucket, s3://bucket/prefix?endpoint=…")
	if err := cmd.MarkFlagDirname("standby"); err != nil {
		panic("sluice: completion of --standby: " + err.Error())
	}
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
	url := o.postgresURL(o.postgres)
	if o.standby != "" && url == "" {
		return usagef("sluice serve", "--standby needs the database of the other daemon: name it with --postgres or SLUICE_POSTGRES (a private one ends with its machine)")
	}
	others, err := o.standsByFor(state)
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{Standby: o.standby, StateDir: string(state), Socket: o.socketPath(o.socket, ""), Listen: o.listen, ListenElsewhere: o.elsewhere,
		Version: version(), Logger: o.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	end, abort, restore := o.twoSignals(ctx)
	defer restore()
	l := newLauncher(o.app, state, url, o.log)
	l.standbyFor, l.peers = o.standby, others
	if o.checkpoint != "" {
		if _, err := checkpointstore.ParseLocation(o.checkpoint); err != nil {
			return usagef("sluice serve", "--checkpoint: %w", err)
		}
		l.defaults = map[string]string{ddl.Checkpoint: o.checkpoint}
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	// Why now: a machine without PostgreSQL is to be heard of before the first pipeline.
	db, err := l.database(end)
	if err != nil {
		return orInterrupted(end, err)
	}
	if others != nil {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		go others.watch(watching)
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

// standsByFor reads --standby: a directory, or a bucket. What daemons tell each other by a bucket is kept in a directory, which
// takes the flag's place.
func (o *serveOptions) standsByFor(state stateDir) (*peers, error) {
	if !strings.HasPrefix(o.standby, "s3:") {
		if o.standby == "" {
			return nil, nil
		}
		other, err := absDir(o.standby)
		o.standby = string(other)
		return nil, err
	}
	at, err := checkpointstore.ParseLocation(o.standby)
	if err != nil {
		return nil, usagef("sluice serve", "--standby: %w", err)
	}
	if o.checkpoint == "" {
		o.checkpoint = o.standby
	}
	p, err := newPeers(at, state, o.log)
	if err == nil {
		o.standby, o.peers = string(p.there()), at.String()
	}
	return p, err
}

func (o *serveOptions) announce(s *server.Server, state stateDir, db *database) {
	w := o.streams.Err
	fmt.Fprintf(w, "sluice serves %s\n  socket:   %s\n", state, s.Socket())
	if addr := s.Addr(); addr != "" {
		fmt.Fprintf(w, "  http:     http://%s, token in %s\n", addr, s.TokenPath())
	}
	fmt.Fprintf(w, "  database: %s\n", db.display())
	switch {
	case o.peers != "":
		fmt.Fprintf(w, "  standby:  for the daemons of %s\n", o.peers)
	case o.standby != "":
		fmt.Fprintf(w, "  standby:  for the daemon of %s\n", o.standby)
	}
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

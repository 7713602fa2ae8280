package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/server"
)

// daemonOptions are what the commands share that ask a daemon.
type daemonOptions struct {
	*app
	state  string
	socket string
	json   bool
}

func (o *daemonOptions) flags(cmd *cobra.Command) {
	o.stateFlag(cmd, &o.state)
	o.socketFlag(cmd, &o.socket)
	jsonFlag(cmd, &o.json)
}

func (a *app) socketFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "socket", "", "the daemon's Unix socket (default $SLUICE_SOCKET or STATE_DIR/sluice.sock)")
}

// socketPath picks the socket: the flag, then SLUICE_SOCKET, then the state directory's.
func (a *app) socketPath(flag string, state stateDir) string {
	if flag != "" {
		return flag
	}
	if path, ok := a.env("SLUICE_SOCKET"); ok && path != "" {
		return path
	}
	if state == "" {
		return ""
	}
	return server.SocketPath(string(state))
}

// ask calls the daemon; the first signal ends the waiting, and nothing else.
func (o *daemonOptions) ask(ctx context.Context, fn func(context.Context, *server.Client) error) error {
	state, err := o.stateDirFrom(o.state)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	c := server.NewClient(o.socketPath(o.socket, state))
	defer c.Close()
	return orInterrupted(ctx, fn(ctx, c))
}

// pollEvery is how often a waiting command looks again.
const pollEvery = 100 * time.Millisecond

// await looks at a pipeline until done says so or it has failed, which is the error. Restarts are told, not
// waited through in silence.
func (o *daemonOptions) await(ctx context.Context, c *server.Client, name string, done func(server.Status) bool) (server.Status, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	told := ""
	for {
		s, err := c.Status(ctx, name)
		if err != nil {
			return s, err
		}
		switch {
		case s.State == server.Failed && s.Problem != nil:
			return s, fmt.Errorf("pipeline %s failed: %w", name, s.Problem)
		case done(s):
			return s, nil
		case s.State == server.Stopped || s.State == server.Dropping || s.State == server.Failed:
			return s, fmt.Errorf("pipeline %s is %s: somebody else ended it", name, s.State)
		case s.State == server.Restarting && s.Problem != nil && told != s.Problem.Message:
			told = s.Problem.Message
			fmt.Fprintf(o.streams.Err, "%s will be started again: %s\n", name, tidy(s.Problem.Error()))
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(o.streams.Err, "no longer waiting; pipeline %s stays as it is, see sluice status %s\n", name, name)
			return s, ctx.Err()
		case <-tick.C:
		}
	}
}

// committed says that the tables can be read.
func committed(s server.Status) bool {
	return s.State == server.Finished || s.State == server.Running && s.Progress != nil && s.Progress.Batch > 0
}

// launched says that the pipeline runs, or has nothing more to do.
func launched(s server.Status) bool { return s.State == server.Running || s.State == server.Finished }

// rowsRead is what ls calls rows.
func rowsRead(p *microbatch.Progress) int64 { return p.RowsIn + p.RowsLate + p.RowsBad }

// lag is the input that is there and not read yet, as people say it.
func lag(p *microbatch.Progress) string {
	switch {
	case p.RemainingRows > 0:
		return term.Count(p.RemainingRows) + " rows"
	case p.RemainingBytes > 0:
		return term.Bytes(p.RemainingBytes)
	case p.RemainingRows == 0 || p.RemainingBytes == 0:
		return "none"
	}
	return "unknown"
}

// ago is an instant as a person wants it, or a program.
func (o *daemonOptions) ago(at time.Time) string {
	switch {
	case at.IsZero():
		return ""
	case o.streams.Out.IsTTY():
		return term.Duration(max(time.Since(at), 0)) + " ago"
	}
	return at.UTC().Format(time.RFC3339)
}

func (o *daemonOptions) count(n int64) string {
	if o.streams.Out.IsTTY() {
		return term.Count(n)
	}
	return fmt.Sprint(n)
}

// look is the command that reads a pipeline's tables.
func (o *daemonOptions) look(s server.Status) string {
	if s.Psql != "" {
		return s.Psql
	}
	return "sluice psql " + s.Name + o.where()
}

// where repeats the flag that finds the state directory.
func (o *daemonOptions) where() string {
	if o.state == "" {
		return ""
	}
	return " --state-dir " + shellQuote(o.state)
}

// howToRead prints what to do with a pipeline that has results.
func (o *daemonOptions) howToRead(s server.Status) {
	w := o.streams.Out
	if len(s.Tables) > 0 {
		fmt.Fprintf(w, "  tables: %s\n  look:   %s\n", strings.Join(s.Tables, ", "), o.look(s))
	}
	for _, glob := range s.Files {
		fmt.Fprintf(w, "  files:  %s\n", glob)
	}
	if len(s.Topics) > 0 {
		fmt.Fprintf(w, "  topics: %s\n", strings.Join(s.Topics, ", "))
	}
	fmt.Fprintf(w, "  follow: sluice status %s%s\n", s.Name, o.where())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/term"
)

// app is what every command shares.
type app struct {
	streams *term.Streams
	env     func(string) (string, bool)

	log      *slog.Logger
	logOut   redirect // log lines go above a live progress line
	logLevel string
	format   string

	// started is set when a command's arguments are in order: errors before that are of usage.
	started bool
}

// execute runs a command line.
func (a *app) execute(args []string) ExitCode {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return ExitOK
	}
	var usage *usageError
	if !a.started && !errors.As(err, &usage) {
		err = &usageError{cmd.CommandPath(), err}
	}
	if !said(err) {
		message := tidy(err.Error())
		if exitCode(err) != ExitRejected { // Those begin with file:line:column, which editors can jump to.
			message = a.streams.Err.Styled(term.Red, "sluice:") + " " + message
		}
		fmt.Fprintln(a.streams.Err, message)
	}
	return exitCode(err)
}

// said tells that there is nothing to add: the command has reported the failure, or the user asked for it.
func said(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(many.Unwrap(), func(e error) bool { return !said(e) })
	}
	return errors.Is(err, errReported) || errors.Is(err, errInterrupted)
}

var noteLine = regexp.MustCompile(`(?m)^(Hint|Detail|Context): `)

// tidy gives the notes below an error one spelling, whichever package wrote them.
func tidy(message string) string {
	return noteLine.ReplaceAllStringFunc(message, strings.ToLower)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "continuous SQL into PostgreSQL, exactly once",
		Long: `sluice runs continuous SQL over files and streams. DuckDB executes it in small batches, a checkpoint log
decides which batches have happened, and PostgreSQL shows the results: at every moment its tables equal what
plain DuckDB answers for the same SQL over exactly the input that sluice.ledger names.`,
		Example: `  sluice run hourly.sql --until-end         # read the input to its end, with an embedded PostgreSQL
  sluice psql hourly                        # look at the tables
  sluice verify hourly                      # prove that they are right`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := a.setUpLog(); err != nil {
				return err
			}
			a.started = true
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.logLevel, "log-level", "", "least level that is logged: debug, info, warn or error (default warn; info for serve)")
	flags.StringVar(&a.format, "log-format", "text", "log format: text or json")
	complete(root, "log-level", "debug", "info", "warn", "error")
	complete(root, "log-format", "text", "json")
	for _, g := range []*cobra.Group{{ID: "run", Title: "Run a pipeline:"}, {ID: "look", Title: "Look at one:"}, {ID: "prove", Title: "Prove what it did:"}, {ID: "serve", Title: "Run many in a daemon:"}} {
		root.AddGroup(g)
	}
	for _, c := range a.commands() {
		root.AddCommand(c)
	}
	return root
}

// complete offers fixed values for a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("sluice: completion of --" + flag + ": " + err.Error())
	}
}

// interruptible returns a context that the first signal cancels. stop gives signals back their default.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(errInterrupted)
		case <-ctx.Done():
		case <-quit:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(quit)
		<-ended
		select { // one that came last: whoever asks for the cause must hear of it
		case <-signals:
			cancel(errInterrupted)
		default:
			cancel(nil)
		}
	})
}

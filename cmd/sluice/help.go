package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exitCodesTopic is `sluice help exit-codes`. A command that cannot run is a help topic.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("sluice ends with one of these exit codes:\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.doc)
	}
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}

// environment lists the variables that sluice reads.
var environment = []struct{ name, doc string }{
	{"SLUICE_POSTGRES", "connection string of the PostgreSQL to write to, unless --postgres is given"},
	{"SLUICE_STATE_DIR", "where logs and the private PostgreSQL are kept, unless --state-dir is given"},
	{"SLUICE_SOCKET", "the daemon's Unix socket, unless --socket is given"},
	{"XDG_STATE_HOME", "its subdirectory sluice is the state directory, unless one of the above says otherwise"},
	{"NO_COLOR", "set to anything: no colour"},
	{"TERM", "dumb: neither colour nor a live line"},
	{"PGPASSWORD, PGPASSFILE, …", "what libpq reads is read for --postgres, too"},
	{"SLUICE_FAILPOINTS", "for tests of recovery: name=exit|error|pause|sleep(1s)[:hit];… makes the engine fail there"},
	{"${NAME} in a SQL file", "in the value of an option, the variable NAME; use it for secrets"},
}

// environmentTopic is `sluice help environment`.
func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("sluice reads these environment variables:\n\n")
	for _, e := range environment {
		fmt.Fprintf(&b, "  %-26s %s\n", e.name, e.doc)
	}
	return &cobra.Command{Use: "environment", Short: "The environment variables that sluice reads", Long: b.String()}
}

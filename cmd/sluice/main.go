// Command sluice runs continuous SQL over files and streams into PostgreSQL, exactly once.
//
// Each command has a file: an options struct, a function that makes the cobra command, and a run
// function. launch.go goes from connector names to constructors; state.go says where things are kept.
package main

import (
	"fmt"
	"os"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/term"
)

func main() { os.Exit(int(Main())) }

// Main runs the command line in os.Args and returns the exit code.
func Main() ExitCode {
	if err := failpoint.ArmFromEnv(); err != nil {
		fmt.Fprintln(os.Stderr, "sluice:", err)
		return ExitUsage
	}
	a := &app{streams: term.System(), env: os.LookupEnv}
	return a.execute(os.Args[1:])
}

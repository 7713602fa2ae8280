package server

import (
	"context"

	"github.com/sluice-sql/sluice/microbatch"
)

// Spec is what a user submits.
type Spec struct {
	Name string `json:"name"`
	// SQL is the text of the pipeline file and File the name to show in errors.
	SQL  string `json:"sql,omitempty"`
	File string `json:"file"`
	// Dir is the absolute directory that relative paths in the SQL start from.
	Dir     string  `json:"dir"`
	Options Options `json:"options,omitzero"`
}

// Options change how a pipeline runs without changing what it computes.
type Options struct {
	// UntilEnd reads files as they are now and then finishes. Defaults to waiting for more.
	UntilEnd bool `json:"until_end,omitempty"`
	// Settings are pipeline options that go before the file's own SET statements. Defaults to none.
	Settings map[string]string `json:"settings,omitempty"`
	// FromSavepoint is a savepoint that the pipeline starts from when it has nothing yet: a name in the daemon's
	// state directory, or an absolute directory. Defaults to none.
	FromSavepoint string `json:"from_savepoint,omitempty"`
}

// Description is what a Launcher found out about a pipeline without running it.
type Description struct {
	// Plan is the plan's fingerprint.
	Plan string `json:"plan,omitempty"`
	// Tables are those to read in Postgres, quoted and qualified as psql wants them.
	Tables []string `json:"tables,omitempty"`
	// Files are patterns that match what the pipeline writes as files.
	Files []string `json:"files,omitempty"`
	// Topics are those that the pipeline writes to.
	Topics []string `json:"topics,omitempty"`
	// Psql is the shell command that opens psql on their database. Empty when it would show a password.
	Psql string `json:"psql,omitempty"`
	// Warnings tell what is allowed and yet likely to surprise.
	Warnings []string `json:"warnings,omitempty"`
}

// A Launcher makes pipelines out of specs. It is all that the server knows of SQL, connectors and databases.
// Calls come from many goroutines.
type Launcher interface {
	// Check parses, binds and connects, and changes nothing. SQL errors wrap ddl.Errors.
	Check(ctx context.Context, s Spec) (Description, error)
	// Review is Check for a new version of a pipeline that is there, running or not. why is nil when it goes on from the
	// pipeline's log, and otherwise says what asks for a rebuild; err refuses it altogether.
	Review(ctx context.Context, next Spec) (d Description, why, err error)
	// Rebuild computes the tables of a new version beside the one that runs, and puts it in its place. On an error the
	// version before is whole, or Settle finds out.
	Rebuild(ctx context.Context, next Spec, h Handover) error
	// Settle completes or clears away what a Rebuild left that did not get to its end, and reports whether the pipeline's
	// log is one that the version goes on from. Nothing runs.
	Settle(ctx context.Context, version Spec) (goesOn bool, err error)
	// Replacing says that, while it is on, an engine that ends makes way for the next one of this daemon: no standby is to
	// take it for the end of its owner.
	Replacing(name string, on bool)
	// Launch takes the pipeline over and settles what its last engine left.
	Launch(ctx context.Context, s Spec) (Runner, error)
	// Drop removes all that the pipeline made, its log included, and returns the tables and directories it dropped. It
	// succeeds when there is nothing left to remove.
	Drop(ctx context.Context, s Spec, how DropOptions) (dropped []string, err error)
	// Classify says whether starting again can help after err; see Classify for the engine's own errors.
	Classify(err error) Fault
}

// A Handover is where a rebuild and the version that runs meet.
type Handover struct {
	// Stop ends the version that runs after its batch, and keeps it from being started again until Rebuild has
	// returned. It is called at most once, when little is left to do.
	Stop func(ctx context.Context) error
	// Progress hears how far the rebuild is.
	Progress func(RebuildProgress)
}

// A Runner is a pipeline that was launched. microbatch.Pipeline is most of one.
type Runner interface {
	// Run returns nil after Stop, and when bounded input is at its end.
	Run(ctx context.Context) error
	// Stop makes Run finish the batch at hand. It may be called at any time, repeatedly.
	Stop()
	// Progress may be called at any time before Close.
	Progress() microbatch.Progress
	// Describe is Check's answer for what runs now.
	Describe() Description
	// Close releases everything; Run has returned.
	Close() error
}

// DropOptions say what of a pipeline stays when it is dropped.
type DropOptions struct {
	// Tables defaults to DropTables.
	Tables Tables
	// KeepRemote leaves the copies of its log in buckets. Defaults to removing them.
	KeepRemote bool
}

// Tables says what becomes of a dropped pipeline's tables.
type Tables string

const (
	// DropTables removes the tables that the pipeline created. Those that were there before stay.
	DropTables Tables = "drop"
	// KeepTables leaves them all, as ordinary tables.
	KeepTables Tables = "keep"
)

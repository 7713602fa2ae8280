// Package sinktest checks that a sink keeps microbatch.Sink's contract: every batch is seen whole and once, never
// before it is committed, whatever breaks in between and whoever comes after.
package sinktest

import (
	"context"
	"testing"

	"github.com/sluice-sql/sluice/microbatch"
)

// Config describes a kind of sink.
type Config struct {
	// New makes a target with nothing in it: a database, a topic, a directory. It is called for every test.
	New func(t testing.TB) *Target
	// Volatile says that the ledger ends with the sink, and so does what depends on it: nothing is taken up again,
	// and nobody is fenced.
	Volatile bool
	// InMemory says that what is staged is kept in the sink: it ends with it, and a fenced engine may stage, though
	// not commit.
	InMemory bool
}

// A Target is what sinks write to and readers read.
type Target struct {
	// Sink makes a sink over the target, as each new engine does. It is not opened yet.
	Sink func(t testing.TB) microbatch.Sink
	// Rows reads all that is visible at this moment, as an ordinary reader does, in the words of the function Rows and
	// in any order. It is called from several goroutines.
	Rows func(ctx context.Context) ([]string, error)
	// Settle waits until what was committed can be seen, if that is some time after Commit has returned. Defaults to
	// not waiting.
	Settle func(ctx context.Context) error
	// DeadLetters reads those that are visible. Defaults to not looking at them.
	DeadLetters func(ctx context.Context) ([]microbatch.DeadLetter, error)
	// Faults break the way from sinks to the target, by name: the n-th operation from now on is the first that
	// fails, is not answered or stands still, and tells hit; mend ends it, and may be called again. Readers see the
	// target all the same. An engine must be able to go on afterwards, and until then must return at the latest when
	// its context is cancelled.
	Faults map[string]func(n int, hit func()) (mend func())
	// Slow makes the way to the target crawl. Defaults to leaving that out.
	Slow func() (mend func())
}

// Run runs the whole suite.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	type test struct {
		name string
		run  func(*testing.T, Config)
		// lasting is for targets whose ledger outlives a sink.
		lasting bool
	}
	for _, test := range []test{
		{"phases", phases, false},
		{"staged twice", stagedTwice, false},
		{"committed twice", committedTwice, false},
		{"not as prepared", notAsPrepared, false},
		{"cancelled", cancelled, false},
		{"closed", closed, false},
		{"abandoned", abandoned, true},
		{"prepared", prepared, true},
		{"committed unheard", committedUnheard, true},
		{"fenced", fenced, true},
		{"fenced while staging", fencedAfterwards, true},
		{"slow", slow, true},
		{"faults", faults, true},
	} {
		if test.lasting && cfg.Volatile {
			continue
		}
		t.Run(test.name, func(t *testing.T) { test.run(t, cfg) })
	}
}

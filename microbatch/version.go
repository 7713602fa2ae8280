package microbatch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/change"
)

// ChangedError says that the log was written by a version of the pipeline whose state this one cannot use.
// Nothing was changed, not even the epoch.
type ChangedError struct {
	Pipeline string
	Diff     change.Diff
	// Unknown says that the log keeps no fingerprints of operators: an older sluice wrote it.
	Unknown bool
}

func (e *ChangedError) Error() string { return e.refused().Error() }

// Unwrap makes it a refusal to those who do not care why.
func (e *ChangedError) Unwrap() error { return e.refused() }

func (e *ChangedError) refused() *RefusedError {
	r := &RefusedError{Reason: checkpointlog.ReasonPlanChanged}
	var what []string
	for _, c := range e.Diff.Worst() {
		what = append(what, c.String())
	}
	r.Detail = fmt.Sprintf("pipeline %s changed, and this part of it cannot go on from the state in the log: %s", e.Pipeline, strings.Join(what, "; "))
	switch {
	case e.Unknown:
		r.Detail = fmt.Sprintf("pipeline %s changed, or sluice maintains it otherwise now, and the log was written by a sluice that kept no fingerprints of operators", e.Pipeline)
		r.Hint = "start it with --rebuild, which computes its tables anew beside the old ones and swaps them; or put the SQL back as it was and use the older sluice"
	case e.Diff.Verdict == change.Incompatible:
		r.Hint = "give the changed pipeline a name of its own with --name, or put the source back as it was"
	default:
		r.Hint = "start it with --rebuild, which computes its tables anew beside the old ones and swaps them; `sluice diff " + e.Pipeline + " FILE.sql` lists every change"
	}
	return r
}

// UnsettledError says that the log's last batch was in flight when the version before this one stopped. That
// version has to settle it: its outputs are what the batch is about.
type UnsettledError struct {
	Pipeline string
	Batch    int64
}

func (e *UnsettledError) Error() string {
	return fmt.Sprintf("batch %d of pipeline %s was in flight when the version before this one stopped\nHint: start the file as it was once more, which settles the batch, and then this one", e.Batch, e.Pipeline)
}

// adopted is a program with the names of the log's states, and what the log is to be labelled with.
type adopted struct {
	program *planner.Program
	version *change.Version
	// plan is what Resolve is told: the log's own, if this program may take its place.
	plan string
	// changed says that this version is another than the log's.
	changed bool
}

// adopt decides whether the program can go on from a log with that header, and makes it do so. last is the log's
// last prepared batch, 0 if it has none.
func (c *Config) adopt(logged checkpointlog.Header, last int64) (adopted, error) {
	program := c.Plan.Program
	out := adopted{program: program, version: c.Version, plan: logged.Plan}
	switch {
	case c.Version == nil || last == 0:
		// Nothing to judge by, or no state to judge: Resolve looks at the plan as a whole.
		out.plan = program.Fingerprint
		return out, nil
	case len(logged.Operators) == 0:
		if logged.Plan != program.Fingerprint {
			return out, &ChangedError{Pipeline: c.Name, Unknown: true}
		}
		return out, nil
	}
	was, err := change.Decode(logged.Operators)
	if err != nil {
		return out, err
	}
	if c.SinksRestored {
		was.TakeSinks(c.Version)
	}
	diff := change.Compare(was, c.Version)
	if diff.Verdict > change.Compatible {
		return out, &ChangedError{Pipeline: c.Name, Diff: diff}
	}
	var ok bool
	if out.program, out.version, ok = change.Adopt(program, c.Version, was, last); !ok {
		panic(fmt.Sprintf("microbatch: versions were found compatible and are not: %s and %s", was.Encode(), c.Version.Encode()))
	}
	out.changed = diff.Verdict != change.Identical || logged.Plan != program.Fingerprint
	return out, nil
}

// label is the header of the log's new segments.
func (a *adopted) label(name, duckdb string) checkpointlog.Header {
	return checkpointlog.Header{Pipeline: name, DuckDB: duckdb, Plan: a.program.Fingerprint, Operators: a.version.Encode()}
}

// ignored are states in the log that no view needs any more.
func (a *adopted) ignored() []string {
	if a.version == nil {
		return nil
	}
	return slices.Clone(a.version.Dropped)
}

// since is the last batch of an earlier version of the pipeline.
func (a *adopted) since() int64 {
	if a.version == nil {
		return 0
	}
	return a.version.Since
}

package faulttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// tolerated are points whose injected error the engine survives, with the reason.
var tolerated = map[string]string{
	"retention.before_delete": "a file that cannot be deleted costs space, and the next start tries again",
}

// TestCrashMatrix: whatever point of the binary kills or fails the engine at whatever pass, a resume gets
// to the tables of an undisturbed run.
func TestCrashMatrix(t *testing.T) {
	t.Parallel()
	matrix{
		points: pointsOf(t, func(p string) bool {
			return !(ofTables(p) || ofPosts(p) || ofCaptures(p) || ofRepairs(p) || ofChanges(p) || ofCopies(p) || ofKafkaSinks(p))
		}),
		fails: func(string) bool { return true },
		deep:  true,
		fresh: func(t testing.TB) *subject {
			p := newPipeline(t, pgtest.URL(t), smallBatchesSQL, map[string][]byte{"events.ndjson": events()})
			return &subject{pipeline: p, finish: func(t *testing.T) {
				p.mustRun(t)
				p.verify(t)
				p.mustEqual(t, referenceOf(t, smallBatchesSQL))
				p.replay(t)
			}}
		},
	}.run(t)
}

// ofTables says that a point is passed only with tables to look up; TestLookupCrashMatrix reaches it.
func ofTables(point string) bool { return strings.HasPrefix(point, "ingest.") }

// ofRepairs says that only sluice log repair or a savepoint passes a point; TestRepairCrash and the tests of package
// savepoint reach it.
func ofRepairs(point string) bool {
	return strings.HasPrefix(point, "log.repair.") || strings.HasPrefix(point, "savepoint.")
}

// faulty runs with failpoints armed and returns the names of those that fired.
func (p *pipeline) faulty(t testing.TB, spec string) ([]string, result) {
	t.Helper()
	return p.faultyWith(t, spec)
}

// faultyWith is faulty with more arguments.
func (p *pipeline) faultyWith(t testing.TB, spec string, args ...string) ([]string, result) {
	t.Helper()
	trace := filepath.Join(p.dir, "trace")
	if err := os.WriteFile(trace, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.sluice(t, []string{"SLUICE_FAILPOINTS=" + spec, "SLUICE_FAILPOINT_TRACE=" + trace}, append([]string{"run", p.file(), "--until-end"}, args...)...)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text)), r
}

// checkDeath says whether the faulty run ended as its fault demands.
func (p *pipeline) checkDeath(t *testing.T, point, action string, r result) {
	t.Helper()
	switch {
	case action == "exit":
		if !r.killed {
			t.Errorf("the run outlived SIGKILL:\n%v", r)
		}
	case tolerated[point] != "":
		if r.code != 0 {
			t.Errorf("the error was to be survived: %s\n%v", tolerated[point], r)
		}
	default:
		r.mustFail(t, 1, "injected by a failpoint", point)
	}
}

// verifyPrefix proves the guarantee where the engine stopped, if it got as far as committing anything.
func (p *pipeline) verifyPrefix(t *testing.T) {
	t.Helper()
	if pgtest.Rows(t, p.url, "SELECT to_regclass('sluice.ledger') IS NOT NULL")[0] == "f" {
		return
	}
	if len(pgtest.Rows(t, p.url, "SELECT batch FROM sluice.ledger WHERE batch > 0")) > 0 {
		p.verify(t)
	}
}

// verifyIfBegun proves the guarantee where the engine stopped, if it got as far on its disk as knowing what it runs.
func (p *pipeline) verifyIfBegun(t *testing.T) {
	t.Helper()
	if r := p.sluice(t, nil, "verify", p.name); r.code != 0 && !strings.Contains(r.stderr, "has not got to its first batch yet") {
		t.Errorf("the guarantee does not hold:\n%v", r)
	}
}

// TestCrashInRecovery: the engine dies after the decision point, with the staged rows there (recovery
// rolls the batch forward) and gone (it executes the batch again), and then dies once more at whatever
// point recovery passes.
func TestCrashInRecovery(t *testing.T) {
	t.Parallel()
	for _, staging := range []string{"staged", "staging lost"} {
		t.Run(staging, func(t *testing.T) {
			t.Parallel()
			matrix{
				points: pointsOf(t, inRecovery),
				hits:   []int{1}, // later ones are beyond recovery
				fresh: func(t testing.TB) *subject {
					p := newPipeline(t, pgtest.URL(t), smallBatchesSQL, map[string][]byte{"events.ndjson": events()})
					return &subject{pipeline: p,
						live: func(t testing.TB, l life) ([]string, result) {
							if names, r := p.faulty(t, "batch.after_prepare=exit:2"); !r.killed {
								return names, r // the input is read
							}
							if staging != "staged" {
								p.loseStaging(t)
							}
							return p.faulty(t, l.String())
						},
						finish: func(t *testing.T) {
							p.mustRun(t)
							p.verify(t)
							p.mustEqual(t, referenceOf(t, smallBatchesSQL))
						}}
				},
			}.run(t)
		})
	}
}

// inRecovery says whether a start that settles a batch may pass the point. The others first come when new
// batches run, which is the crash matrix's business.
func inRecovery(point string) bool {
	if atEnd(point) != "" && !soaking() {
		return false // so late that nothing is left of the recovery
	}
	for _, later := range []string{"mirror.", "restore.", "savepoint.", "change.", "ingest.", "intake.", "cdc.", "log.repair.", "kafkasink.", "snapshot.", "retention.", "manifest.", "log.segment.", "log.plan.", "log.prepare.", "batch.after_plan", "batch.after_prepare"} {
		if strings.HasPrefix(point, later) {
			return false
		}
	}
	return true
}

// loseStaging empties the staging tables, as a crash of the server does.
func (p *pipeline) loseStaging(t testing.TB) {
	t.Helper()
	if pgtest.Rows(t, p.url, "SELECT to_regnamespace('sluice') IS NOT NULL")[0] == "f" {
		return
	}
	for _, table := range pgtest.Rows(t, p.url, `SELECT 'sluice.' || quote_ident(relname) FROM pg_class
WHERE relpersistence = 'u' AND relkind = 'r' AND relnamespace = 'sluice'::regnamespace`) {
		pgtest.Exec(t, p.url, "TRUNCATE "+table)
	}
}

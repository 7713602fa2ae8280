package faulttest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// hits are the passes at which a point fires: the first, one with state before it, one with snapshots and
// sealed segments before it.
var hits = []int{1, 2, 7}

// tolerated are points whose injected error the engine survives, with the reason.
var tolerated = map[string]string{
	"retention.before_delete": "a file that cannot be deleted costs space, and the next start tries again",
}

// TestCrashMatrix: whatever point of the binary kills or fails the engine at whatever pass, a resume gets
// to the tables of an undisturbed run.
func TestCrashMatrix(t *testing.T) {
	points := slices.DeleteFunc(failpoints(t), func(p string) bool {
		return ofTables(p) || ofPosts(p) || ofCaptures(p) || ofRepairs(p) || ofChanges(p) || ofCopies(p) || ofKafkaSinks(p)
	})
	reach := passes(t, points)
	fired := &firedSet{}
	t.Run("cases", func(t *testing.T) {
		for _, point := range points {
			for _, hit := range hits {
				if hit > 1 && (testing.Short() || !slices.Contains(reach[hit], point)) {
					continue
				}
				for _, action := range []string{"exit", "error"} {
					t.Run(fmt.Sprintf("%s=%s:%d", point, action, hit), func(t *testing.T) {
						t.Parallel()
						crash(t, point, action, hit, fired)
					})
				}
			}
		}
	})
	for _, point := range points {
		if !fired.has(point) {
			t.Errorf("failpoint %s never fired: reach it here, or delete it", point)
		}
	}
}

// ofTables says that a point is passed only with tables to look up; TestLookupCrashMatrix reaches it.
func ofTables(point string) bool { return strings.HasPrefix(point, "ingest.") }

// ofRepairs says that only sluice log repair or a savepoint passes a point; TestRepairCrash and the tests of package
// savepoint reach it.
func ofRepairs(point string) bool {
	return strings.HasPrefix(point, "log.repair.") || strings.HasPrefix(point, "savepoint.")
}

// firedSet remembers which points fired, from tests that run in parallel.
type firedSet struct {
	mu    sync.Mutex
	names map[string]bool
}

func (s *firedSet) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[string]bool{}
	}
	s.names[name] = true
}

func (s *firedSet) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[name]
}

// passes finds out which points an undisturbed run passes how often, by arming all with a pause of nothing.
func passes(t *testing.T, points []string) map[int][]string {
	t.Helper()
	out := map[int][]string{}
	for _, hit := range hits {
		var spec []string
		for _, point := range points {
			spec = append(spec, fmt.Sprintf("%s=sleep(0s):%d", point, hit))
		}
		p := newEvents(t)
		trace, r := p.faulty(t, strings.Join(spec, ";"))
		if r.code != 0 {
			t.Fatal(r)
		}
		out[hit] = trace
	}
	return out
}

// faulty runs with failpoints armed and returns the names of those that fired.
func (p *pipeline) faulty(t testing.TB, spec string) ([]string, result) {
	t.Helper()
	trace := filepath.Join(p.dir, "trace")
	if err := os.WriteFile(trace, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.run(t, "SLUICE_FAILPOINTS="+spec, "SLUICE_FAILPOINT_TRACE="+trace)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text)), r
}

func crash(t *testing.T, point, action string, hit int, fired *firedSet) {
	p := newEvents(t)
	names, r := p.faulty(t, fmt.Sprintf("%s=%s:%d", point, action, hit))
	if len(names) == 0 {
		if r.code != 0 {
			t.Errorf("the run failed without a fault:\n%v", r)
		}
		return // the number of passes depends a little on timing
	}
	fired.add(point)
	p.checkDeath(t, point, action, r)
	if hit == 1 {
		p.verifyPrefix(t)
		p.finish(t)
	} else {
		p.finishFast(t)
	}
	if action == "exit" && hit == 7 {
		p.replay(t)
	}
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

// TestCrashInRecovery: the engine dies after the decision point, with the staged rows there (recovery
// rolls the batch forward) and gone (it executes the batch again), and then dies once more at whatever
// point recovery passes.
func TestCrashInRecovery(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	points := failpoints(t)
	for _, lost := range []string{"", "staging lost"} {
		for _, point := range points {
			if !inRecovery(point) {
				continue
			}
			t.Run(strings.TrimSpace(lost+" "+point), func(t *testing.T) {
				t.Parallel()
				p := newEvents(t)
				if names, r := p.faulty(t, "batch.after_prepare=exit:4"); !r.killed {
					t.Fatalf("fired %v:\n%v", names, r)
				}
				if lost != "" {
					p.loseStaging(t)
				}
				names, r := p.faulty(t, point+"=exit")
				if len(names) == 0 {
					t.Fatalf("%s did not fire on the way to the end:\n%v", point, r)
				}
				p.checkDeath(t, point, "exit", r)
				p.finish(t)
			})
		}
	}
}

// inRecovery says whether a start that settles a batch may pass the point. The others first come when new
// batches run, which is the crash matrix's business.
func inRecovery(point string) bool {
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

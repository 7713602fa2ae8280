package faulttest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// soaking says whether the whole products of points, actions and hits are asked for, each with a pipeline of its own.
func soaking() bool { return os.Getenv("SLUICE_SOAK") != "" }

// A life is one start of the engine, in which a point kills it (exit) or fails (error).
type life struct {
	point, action string
	hit           int
}

func (l life) String() string { return fmt.Sprintf("%s=%s:%d", l.point, l.action, l.hit) }

// A subject is a pipeline of a matrix with all that it reads.
type subject struct {
	*pipeline
	// feed makes what the next life finds, a torn tail for example, and says whether that was more input: a pipeline without
	// is of no more use once it has read all. Defaults to nothing.
	feed func(t testing.TB, l life) (more bool)
	// live starts the engine with a point armed, and returns what fired and how it ended. Defaults to faulty.
	live func(t testing.TB, l life) ([]string, result)
	// check says whether a life ended as its fault demands. Defaults to checkDeath.
	check func(t *testing.T, l life, r result)
	// prove proves what is committed. Defaults to verifyPrefix.
	prove func(t *testing.T, l life)
	// finish lets the engine get to the end of the input, proves all, and compares with an undisturbed run.
	finish func(t *testing.T)
}

// A matrix tries the points that one kind of pipeline passes.
//
// In `make test` it does so in chains: a pipeline dies at one point, is proven as it is, dies in its next life at the
// next point, and so on; what is there in the end must be that of an undisturbed run. A chain costs a third of what it
// does to begin anew for each point, and in it engines die in all kinds of recoveries, too. Under SLUICE_SOAK the whole
// product is tried instead, each life on a pipeline of its own.
type matrix struct {
	// points are those that are reached: one that never acts fails the test.
	points []string
	// fails says at which points errors are injected in `make test`, too. Defaults to none: there they are killed only.
	fails func(point string) bool
	fresh func(t testing.TB) *subject
	// hits are the passes at which a point acts. Defaults to 1, 2 and 7: the first, one with state before it, one with
	// snapshots and sealed segments before it.
	hits []int
	// deep says that the input is long enough for a second snapshot in one life.
	deep bool
	// links is how many lives a chain has. Defaults to 10.
	links int
}

func (m matrix) run(t *testing.T) {
	if m.hits == nil {
		m.hits = []int{1, 2, 7}
	}
	fired := &firedSet{}
	t.Run("cases", func(t *testing.T) {
		for i, lives := range m.chains() {
			name := fmt.Sprintf("chain %d from %s", i+1, lives[0])
			if soaking() {
				name = lives[0].String()
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m.chain(t, lives, fired)
			})
		}
	})
	for _, point := range m.points {
		if !fired.has(point) {
			t.Errorf("failpoint %s never fired: reach it here, or delete it", point)
		}
	}
}

// chains distributes the lives.
func (m matrix) chains() [][]life {
	var all []life
	for i, point := range m.points {
		for j, action := range []string{"exit", "error"} {
			switch {
			case soaking():
				for _, hit := range m.hits {
					all = append(all, life{point, action, hit})
				}
			case action == "exit" || !testing.Short() && m.fails != nil && m.fails(point):
				all = append(all, life{point, action, m.rotated(point, i+j)})
			}
		}
	}
	links := m.links
	switch {
	case soaking():
		links = 1
	case links == 0:
		links = 10
	}
	return slices.Collect(slices.Chunk(all, links))
}

// rotated chooses the hit at which a point acts in `make test`, so that over the points all come.
func (m matrix) rotated(point string, i int) int {
	for _, often := range []string{"batch.", "log.plan.", "log.prepare.", "log.commit.", "sink.stage.", "sink.commit.",
		"filesink.stage.", "filesink.commit.", "kafkasink.stage.", "kafkasink.commit.", "ingest.append."} {
		if strings.HasPrefix(point, often) {
			return m.hits[i%len(m.hits)]
		}
	}
	if seldom(point) && m.deep {
		return m.hits[i%min(2, len(m.hits))]
	}
	return 1
}

// seldom says that an engine passes a point once in some batches.
func seldom(point string) bool {
	for _, prefix := range []string{"log.segment.", "snapshot.", "manifest.", "retention."} {
		if strings.HasPrefix(point, prefix) {
			return true
		}
	}
	return false
}

func (m matrix) chain(t *testing.T, lives []life, fired *firedSet) {
	s, start := m.fresh(t), time.Now()
	for _, l := range lives {
		names, r := s.die(t, l)
		if len(names) == 0 && soaking() {
			break // the point is not passed so often
		}
		for _, hit := range slices.Compact([]int{l.hit, 1}) {
			if len(names) > 0 || t.Failed() {
				break
			}
			// The pipeline has read its input, or is not so young that it passes the point.
			t.Logf("%s wants a pipeline of its own", l)
			s.finish(t)
			s, l.hit = m.fresh(t), hit
			names, r = s.die(t, l)
		}
		if len(names) == 0 {
			t.Errorf("%s did not fire:\n%v", l, r)
			return
		}
		fired.add(l.point)
		t.Logf("%s after %s", l, time.Since(start).Round(time.Millisecond))
		if s.check != nil {
			s.check(t, l, r)
		} else {
			s.checkDeath(t, l.point, l.action, r)
		}
		if s.prove != nil {
			s.prove(t, l)
		} else {
			s.verifyPrefix(t)
		}
		if t.Failed() {
			t.Logf("after %s, of the chain %v", l, lives)
			return
		}
	}
	s.finish(t)
}

// die starts the engine until the point acts, with more input each time if there is more.
func (s *subject) die(t *testing.T, l life) (names []string, r result) {
	t.Helper()
	for range 4 {
		more := s.feed != nil && s.feed(t, l)
		if s.live != nil {
			names, r = s.live(t, l)
		} else {
			names, r = s.faulty(t, l.String())
		}
		if len(names) > 0 || r.code != 0 || !more || soaking() && l.hit > 1 {
			break
		}
		t.Logf("%s needs more input", l)
	}
	if len(names) == 0 && r.code != 0 {
		t.Errorf("the run failed without a fault:\n%v", r)
	}
	return names, r
}

// ofEngine says that every pipeline passes a point, whatever it reads and writes.
func ofEngine(point string) bool {
	for _, prefix := range []string{"batch.", "log.plan.", "log.prepare.", "log.commit.", "log.sync.", "log.segment.", "snapshot.", "retention.", "manifest."} {
		if strings.HasPrefix(point, prefix) {
			return point != "batch.commit.between_sinks" // which takes two
		}
	}
	return false
}

// ofPostgres says that a point is of a sink in PostgreSQL.
func ofPostgres(point string) bool { return strings.HasPrefix(point, "sink.") }

// atEnd returns the point if an engine passes it as it ends, and nothing otherwise.
func atEnd(point string) string {
	if strings.HasPrefix(point, "log.sync.") {
		return point
	}
	return ""
}

// pointsOf returns the registered points that one of the functions wants, those of the functions that come first first.
func pointsOf(t *testing.T, wanted ...func(string) bool) (out []string) {
	t.Helper()
	all := failpoints(t)
	for _, want := range wanted {
		for _, point := range all {
			if want(point) && !slices.Contains(out, point) {
				out = append(out, point)
			}
		}
	}
	// Those that an engine passes as it ends come last: they take a pipeline that has read its input.
	slices.SortStableFunc(out, func(a, b string) int { return strings.Compare(atEnd(a), atEnd(b)) })
	return out
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

// Package failpoint stops, breaks or delays the engine at named places, so that tests can make every
// crash happen once.
//
// A point is declared where it acts and is always compiled in; when it is off it costs one atomic load.
//
//	var fpPrepareBeforeSync = failpoint.New("log.prepare.before_sync")
//
//	if err := fpPrepareBeforeSync.Hit(); err != nil {
//		return err
//	}
//
// Points are package-level variables, so that Names lists every point of the binary before main begins:
// a crash test walks that list, and no point can be forgotten.
package failpoint

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
)

// Point is one named place. Use New.
type Point struct {
	name  string
	armed atomic.Pointer[arming] // nil: off
}

// registry is filled while package variables are initialised and only read afterwards.
var registry = struct {
	sync.Mutex
	points map[string]*Point
}{points: make(map[string]*Point)}

// New declares a point. It panics on a name that is taken: two points of one name could not be told
// apart by a test.
func New(name string) *Point {
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.points[name]; taken {
		panic(fmt.Sprintf("failpoint %q is declared twice", name))
	}
	p := &Point{name: name}
	registry.points[name] = p
	return p
}

// Names lists every declared point, sorted.
func Names() []string {
	registry.Lock()
	defer registry.Unlock()
	names := make([]string, 0, len(registry.points))
	for name := range registry.points {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Name is what the point was declared with.
func (p *Point) Name() string { return p.name }

// Hit passes the point. It returns nil unless the point is armed with `error` and this pass is the one
// that fires; armed with `exit` it does not return.
func (p *Point) Hit() error {
	a := p.armed.Load()
	if a == nil {
		return nil
	}
	return a.pass(p.name)
}

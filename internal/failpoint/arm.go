package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Environment variables that ArmFromEnv reads.
const (
	// EnvPoints arms points: "name=action[:hit]", several separated by ";".
	EnvPoints = "SLUICE_FAILPOINTS"
	// EnvTrace names a file to which a point appends its name, synced, before it acts: how a crash
	// test knows that the point fired.
	EnvTrace = "SLUICE_FAILPOINT_TRACE"
)

// ErrInjected marks (errors.Is) an error that a point armed with `error` returned.
var ErrInjected = errors.New("injected by a failpoint")

// arming is what an armed point does: act once, on pass number hit.
type arming struct {
	action action
	sleep  time.Duration
	hit    int64
	passes atomic.Int64
	trace  string
}

type action int

const (
	actionExit action = iota
	actionError
	actionSleep
	actionPause
)

// ArmFromEnv arms what SLUICE_FAILPOINTS names. Call it once, first thing in main.
func ArmFromEnv() error {
	spec := os.Getenv(EnvPoints)
	if spec == "" {
		return nil
	}
	if _, err := Arm(spec); err != nil {
		return fmt.Errorf("reading %s: %w", EnvPoints, err)
	}
	return nil
}

// Arm arms the points of a specification such as "log.prepare.before_sync=exit:2;snapshot.after_rename=error"
// and returns a function that turns them off again. Actions:
//
//	exit        kills the process with SIGKILL: no deferred call, no flush, no exit handler runs
//	error       Hit returns an error that wraps ErrInjected
//	sleep(50ms) Hit returns nil after that time
//	pause       Hit never returns
//
// The number after the colon is the pass that fires, 1 if absent. A point fires once.
func Arm(spec string) (disarm func(), err error) {
	armed := make(map[*Point]*arming)
	for _, item := range strings.Split(spec, ";") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		p, a, err := parse(item)
		if err != nil {
			return nil, err
		}
		armed[p] = a
	}
	for p, a := range armed {
		p.armed.Store(a)
	}
	return func() {
		for p, a := range armed {
			p.armed.CompareAndSwap(a, nil)
		}
	}, nil
}

func parse(item string) (*Point, *arming, error) {
	name, rest, ok := strings.Cut(item, "=")
	if !ok {
		return nil, nil, fmt.Errorf("failpoint %q: want name=action[:hit]", item)
	}
	registry.Lock()
	p := registry.points[name]
	registry.Unlock()
	if p == nil {
		return nil, nil, fmt.Errorf("failpoint %q does not exist; the points are %s", name, strings.Join(Names(), " "))
	}
	a := &arming{hit: 1, trace: os.Getenv(EnvTrace)}
	act, hit, counted := strings.Cut(rest, ":")
	if counted {
		n, err := strconv.ParseInt(hit, 10, 64)
		if err != nil || n < 1 {
			return nil, nil, fmt.Errorf("failpoint %q: hit %q is not a positive number", name, hit)
		}
		a.hit = n
	}
	switch {
	case act == "exit":
		a.action = actionExit
	case act == "error":
		a.action = actionError
	case act == "pause":
		a.action = actionPause
	case strings.HasPrefix(act, "sleep(") && strings.HasSuffix(act, ")"):
		d, err := time.ParseDuration(act[len("sleep(") : len(act)-1])
		if err != nil {
			return nil, nil, fmt.Errorf("failpoint %q: %w", name, err)
		}
		a.action, a.sleep = actionSleep, d
	default:
		return nil, nil, fmt.Errorf("failpoint %q: action %q is not exit, error, sleep(duration) or pause", name, act)
	}
	return p, a, nil
}

// pass counts one pass and acts if it is the one.
func (a *arming) pass(name string) error {
	if a.passes.Add(1) != a.hit {
		return nil
	}
	if a.trace != "" {
		traceFired(a.trace, name)
	}
	switch a.action {
	case actionExit:
		kill()
	case actionSleep:
		time.Sleep(a.sleep)
	case actionPause:
		select {}
	case actionError:
		return fmt.Errorf("failpoint %s: %w", name, ErrInjected)
	}
	return nil
}

// traceFired records that a point is about to act. A test that asked for a trace cannot be judged
// without it, so failing to write it is not passed over.
func traceFired(path, name string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(name + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		panic(fmt.Sprintf("failpoint %s: writing the trace: %v", name, err))
	}
}

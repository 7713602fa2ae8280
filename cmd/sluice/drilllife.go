package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

// A life is what became of one engine process.
type life struct {
	killed bool // by its failpoint or by us; otherwise it read the input to its end
	opened time.Duration
	// at is the batch that it opened after; commits are those after that, with the time since the process began.
	at      int64
	commits []lifeCommit
	// readBefore are rows read before it opened, to execute a batch again; read are those after.
	readBefore, read int64
}

type lifeCommit struct {
	batch int64
	after time.Duration
}

// firstNew is when the life first had more than a batch committed.
func (l *life) firstNew(after int64) (time.Duration, bool) {
	if l.opened > 0 && l.at > after {
		return l.opened, true // it settled the batch in flight
	}
	for _, c := range l.commits {
		if c.batch > after {
			return c.after, true
		}
	}
	return 0, false
}

// A lifePlan says how a life is to end.
type lifePlan struct {
	failpoints string                  // kill it from within
	until      func(*life) bool        // kill it from without, after an event
	after      time.Duration           // kill it from without, at an instant; 0: never
	onEvent    func(drillEvent, *life) // for progress; may be nil
}

// live runs an engine process until it ends or is killed. The error is for ends that no plan explains.
func (d *drill) live(ctx context.Context, plan lifePlan) (*life, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the sluice binary: %w", err)
	}
	cmd := exec.Command(self, "debug", "engine", string(d.dir))
	cmd.Env = append(os.Environ(), "SLUICE_POSTGRES="+d.url, failpoint.EnvPoints+"="+plan.failpoints, failpoint.EnvTrace+"=")
	cmd.Args[0] = os.Args[0]
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start an engine: %w", err)
	}
	l := &life{}
	kill := func() { l.killed = true; _ = cmd.Process.Kill() } // it may have ended by itself
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if plan.after > 0 {
		timer := time.AfterFunc(plan.after, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e drillEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue
		}
		l.note(e, time.Since(start))
		if plan.onEvent != nil {
			plan.onEvent(e, l)
		}
		if plan.until != nil && !l.killed && plan.until(l) {
			kill()
		}
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signal() == syscall.SIGKILL {
			l.killed = true
			return l, nil
		}
		return l, fmt.Errorf("the engine failed instead of going on:\n%s", strings.TrimPrefix(strings.TrimSpace(stderr.String()), "sluice: "))
	}
	l.killed = false // the input ended before the signal came
	return l, err
}

func (l *life) note(e drillEvent, after time.Duration) {
	switch e.Event {
	case "open":
		l.opened, l.at = after, e.Batch
	case "commit":
		l.commits = append(l.commits, lifeCommit{e.Batch, after})
	case "read":
		if l.opened == 0 {
			l.readBefore += e.Rows
		} else {
			l.read += e.Rows
		}
	}
}

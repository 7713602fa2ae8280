package faulttest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A process is a sluice that runs while the test goes on.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan error
	trace          string
	result         *result
}

// start runs a command beside the test. failpoints may be empty.
func (p *pipeline) start(t testing.TB, failpoints string, args ...string) *process {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	c := &process{ended: make(chan error, 1), trace: trace}
	c.cmd, c.stdout, c.stderr = p.command(ctx, []string{"SLUICE_FAILPOINTS=" + failpoints, "SLUICE_FAILPOINT_TRACE=" + trace}, args...)
	if err := c.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	t.Cleanup(func() {
		cancel() // kills it, if the test has not waited for it
		if c.result == nil {
			<-c.ended
		}
	})
	return c
}

// wait returns how the process ended.
func (c *process) wait(t testing.TB) result {
	t.Helper()
	if c.result == nil {
		r := ended(t, c.cmd, <-c.ended, c.stdout, c.stderr)
		c.result = &r
	}
	return *c.result
}

func (c *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
}

// waitFired waits until the process has come to these of its failpoints, or to any if none is named.
func (c *process) waitFired(t testing.TB, points ...string) {
	t.Helper()
	fired := func() bool {
		text, err := os.ReadFile(c.trace)
		names := strings.Fields(string(text))
		return err == nil && len(names) > 0 && !slices.ContainsFunc(points, func(p string) bool { return !slices.Contains(names, p) })
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if fired() {
			return
		}
		select {
		case err := <-c.ended:
			r := ended(t, c.cmd, err, c.stdout, c.stderr)
			c.result = &r
			t.Fatalf("the process ended before it came to its failpoint:\n%v", r)
		case <-tick.C:
		}
	}
}

// says waits until the process has said something on its standard error so often. It reports false if the process has
// ended without.
func (c *process) says(t testing.TB, text string, times int) bool {
	t.Helper()
	for strings.Count(c.stderr.String(), text) < times {
		if !c.livesFor(t, 10*time.Millisecond) {
			return strings.Count(c.stderr.String(), text) >= times
		}
	}
	return true
}

// livesFor reports whether the process still runs after d.
func (c *process) livesFor(t testing.TB, d time.Duration) bool {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-c.ended:
		r := ended(t, c.cmd, err, c.stdout, c.stderr)
		c.result = &r
		return false
	case <-timer.C:
		return true
	}
}

// lastLines is what a test shows of a message: the error and its hint, without the progress before them.
func lastLines(s string) string {
	if i := strings.LastIndex(s, "sluice: "); i >= 0 {
		s = s[i:]
	}
	return strings.TrimSpace(s)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/registrytest"
)

// pgMain stops the shared servers after the tests.
type pgMain struct{ m *testing.M }

func (p pgMain) Run() int { return max(pgtest.Run(p.m), kafkatest.Close()) }

func TestMain(m *testing.M) {
	testscript.Main(pgMain{m}, map[string]func(){"sluice": main})
}

// TestScripts runs testdata/script/*.txtar with the real binary. Scripts whose names begin with pg_ get a
// database of their own in SLUICE_POSTGRES, QUERIES is the folder of that name; those with kafka in them a broker in KAFKA
// and a schema registry in REGISTRY.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	shipped, err := filepath.Abs("../../queries")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The embedded server's user, who is not root, must be able to enter.
			root, err := os.MkdirTemp("", "sluice-script-*")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(root) })
			if err := os.Chmod(root, 0o755); err != nil {
				t.Fatal(err)
			}
			url := ""
			if strings.HasPrefix(name, "pg_") {
				url = pgtest.URL(t)
			}
			kafka, brokers, schemas, schemasAt := brokerOf(t, name), "", (*registrytest.Server)(nil), ""
			if kafka != nil {
				schemas = registrytest.New(t)
				brokers, schemasAt = strings.Join(kafka.Addrs, ","), schemas.URL()
			}
			testscript.Run(t, testscript.Params{
				Files: []string{file}, WorkdirRoot: root, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
				Setup: func(e *testscript.Env) error {
					e.Setenv("SLUICE_POSTGRES", url)
					e.Setenv("KAFKA", brokers)
					e.Setenv("REGISTRY", schemasAt)
					e.Setenv("SLUICE_STATE_DIR", filepath.Join(e.WorkDir, "state"))
					e.Setenv("PSQLRC", os.DevNull)
					e.Setenv("QUERIES", shipped)
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits": exits, "await": await, "flipbit": flipBit, "start": start, "says": says, "signal": sendSignal, "ended": ended,
					"produce": produce(kafka, schemas, t), "register": register(schemas), "registry": registry(schemas)},
			})
		})
	}
}

// exits CODE COMMAND ARG... runs a command that must end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// started are the commands that start began, by script and name.
var started sync.Map

type startedKey struct{ script, name string }

// start NAME COMMAND ARG... begins a command; its output goes to NAME.out and NAME.err.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME COMMAND ARG...")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SLUICE_POSTGRES", "SLUICE_STATE_DIR", "KAFKA", "REGISTRY"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	stdout, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	ts.Check(cmd.Start())
	started.Store(startedKey{ts.Name(), args[0]}, cmd)
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

func startedCommand(ts *testscript.TestScript, name string) *exec.Cmd {
	cmd, ok := started.Load(startedKey{ts.Name(), name})
	if !ok {
		ts.Fatalf("no command %s was started", name)
	}
	return cmd.(*exec.Cmd)
}

// says FILE TEXT waits until a file holds a text.
func says(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: says FILE TEXT")
	}
	timeout := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		ts.Check(err)
		if strings.Contains(string(b), args[1]) {
			return
		}
		select {
		case <-timeout:
			ts.Fatalf("%s says %q, want %q", args[0], b, args[1])
		case <-tick.C:
		}
	}
}

// signal NAME INT|TERM|KILL sends a signal to a started command.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}
	if neg || len(args) != 2 || signals[args[1]] == nil {
		ts.Fatalf("usage: signal NAME INT|TERM|KILL")
	}
	ts.Check(startedCommand(ts, args[0]).Process.Signal(signals[args[1]]))
}

// ended NAME CODE waits for a started command and checks its exit code.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME CODE")
	}
	cmd := startedCommand(ts, args[0])
	_ = cmd.Wait() // the exit code says it
	ts.Logf("%s", ts.ReadFile(args[0]+".err"))
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with exit code %s, want %s", args[0], got, args[1])
	}
}

// await WANT SQL waits until a query of the script's database gives one row of one column with that text.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await WANT SQL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	got := ""
	for {
		conn, err := pgx.Connect(ctx, ts.Getenv("SLUICE_POSTGRES"))
		if err == nil {
			var v any
			if err = conn.QueryRow(ctx, args[1]).Scan(&v); err == nil {
				got = fmt.Sprint(v)
			}
			_ = conn.Close(ctx)
		}
		if err == nil && got == args[0] {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s: got %q (%v), want %q", args[1], got, err, args[0])
		case <-tick.C:
		}
	}
}

// flipbit FILE OFFSET damages a file; a negative offset counts from the end.
func flipBit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flipbit FILE OFFSET")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 0x10
	ts.Check(os.WriteFile(path, b, 0o600))
}

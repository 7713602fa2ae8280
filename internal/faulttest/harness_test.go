package faulttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// commandTimeout bounds one command. Nothing here takes a tenth of it unless it hangs.
const commandTimeout = 2 * time.Minute

// A pipeline is one pipeline under test: its file, its state directory and its database.
type pipeline struct {
	name  string
	dir   string // of the .sql file and its input
	state string
	url   string
	env   []string // beside the usual
}

// newPipeline writes a pipeline file into a fresh directory; input is the text of its files by name.
func newPipeline(t testing.TB, url, sql string, input map[string][]byte) *pipeline {
	t.Helper()
	p := &pipeline{name: "faults", dir: t.TempDir(), state: t.TempDir(), url: url}
	p.write(t, p.name+".sql", []byte(sql))
	for name, text := range input {
		p.write(t, name, text)
	}
	return p
}

func (p *pipeline) write(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *pipeline) file() string   { return filepath.Join(p.dir, p.name+".sql") }
func (p *pipeline) logDir() string { return filepath.Join(p.state, "pipelines", p.name, "log") }

// result is how a command ended.
type result struct {
	args           []string
	code           int // -1 if a signal ended it
	killed         bool
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("sluice %s: exit %d, killed %t\n%s%s", strings.Join(r.args, " "), r.code, r.killed, r.stdout, r.stderr)
}

// command prepares a command line. extra is its additional environment.
func (p *pipeline) command(ctx context.Context, extra []string, args ...string) (cmd *exec.Cmd, stdout, stderr *output) {
	cmd = exec.CommandContext(ctx, binary, args...)
	// What hangs tells where.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }, 10*time.Second
	cmd.Env = append(os.Environ(), "SLUICE_POSTGRES="+p.url, "SLUICE_STATE_DIR="+p.state)
	cmd.Env = append(append(cmd.Env, p.env...), extra...)
	stdout, stderr = &output{}, &output{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// sluice runs a command to its end.
func (p *pipeline) sluice(t testing.TB, extra []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd, stdout, stderr := p.command(ctx, extra, args...)
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("sluice %s: not finished after %s\n%s%s", strings.Join(args, " "), commandTimeout, stdout, stderr)
	}
	return ended(t, cmd, err, stdout, stderr)
}

// ended reads how a command ended.
func ended(t testing.TB, cmd *exec.Cmd, err error, stdout, stderr *output) result {
	t.Helper()
	r := result{args: cmd.Args[1:], stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
		r.killed = exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	} else if err != nil {
		t.Fatalf("sluice %s: %v", strings.Join(cmd.Args[1:], " "), err)
	}
	return r
}

// run is `sluice run --until-end`.
func (p *pipeline) run(t testing.TB, extra ...string) result {
	t.Helper()
	return p.sluice(t, extra, "run", p.file(), "--until-end")
}

// mustRun runs to the end of the input.
func (p *pipeline) mustRun(t testing.TB) result {
	t.Helper()
	r := p.run(t)
	if r.code != 0 {
		t.Fatalf("the run did not get to the end of the input:\n%v", r)
	}
	return r
}

// mustFail checks the exit code and what the message says.
func (r result) mustFail(t testing.TB, code int, says ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d:\n%v", r.code, code, r)
	}
	for _, s := range says {
		if !strings.Contains(r.stderr, s) {
			t.Errorf("the message does not say %q:\n%s", s, r.stderr)
		}
	}
	if strings.Contains(r.stderr, "panic:") || strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("the engine panicked:\n%s", r.stderr)
	}
}

// verify proves the guarantee with the product's own command.
func (p *pipeline) verify(t testing.TB) {
	t.Helper()
	if r := p.sluice(t, nil, "verify", p.name); r.code != 0 {
		t.Errorf("the guarantee does not hold:\n%v", r)
	}
}

// replay executes the logged batches again.
func (p *pipeline) replay(t testing.TB) {
	t.Helper()
	if r := p.sluice(t, nil, "replay", p.name); r.code != 0 {
		t.Errorf("the log does not repeat itself:\n%v", r)
	}
}

// contents reads every target table, the dead letters and the ledger as sorted text, by table.
//
// Why beside verify: equality with the tables of a run that nothing disturbed needs none of the engine's
// own code, and it also covers rows that verify takes from the dead-letter table.
func (p *pipeline) contents(t testing.TB) map[string][]string {
	t.Helper()
	queries := []string{
		`SELECT 'ledger', batch::text FROM sluice.ledger`,
		`SELECT 'batches', row(batch, rows_in, rows_late, rows_bad, rows_out)::text FROM sluice.batches`,
		`SELECT 'dead_letter', row(batch, source, "offset", reason, raw)::text FROM sluice.dead_letter`,
	}
	for _, table := range pgtest.Rows(t, p.url, `SELECT format('%I.%I', schema_name, table_name) FROM sluice.targets`) {
		queries = append(queries, fmt.Sprintf("SELECT '%s', t::text FROM %s t", table, table))
	}
	out := map[string][]string{}
	for _, row := range pgtest.Rows(t, p.url, strings.Join(queries, " UNION ALL ")) {
		table, text, _ := strings.Cut(row, "|")
		out[table] = append(out[table], text)
	}
	for _, dir := range []string{"files", "changes"} {
		out[dir] = p.files(t, dir)
	}
	for _, rows := range out {
		slices.Sort(rows)
	}
	return out
}

// files reads every line that readers of a directory see, with the path below it.
func (p *pipeline) files(t testing.TB, dir string) (out []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.dir, dir, "batch-*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob(filepath.Join(p.dir, dir, "batch-*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, deeper...) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() || strings.HasPrefix(filepath.Base(path), ".") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			out = append(out, strings.TrimPrefix(path, p.dir)+" "+strings.TrimSpace(line))
		}
	}
	return out
}

// mustEqual compares the tables with those of an undisturbed run.
func (p *pipeline) mustEqual(t testing.TB, want map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(want, p.contents(t)); diff != "" {
		t.Errorf("the tables differ from those of an undisturbed run (-want +got):\n%s", diff)
	}
}

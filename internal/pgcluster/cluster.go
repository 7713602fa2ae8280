// Package pgcluster runs a private PostgreSQL server inside a state directory: the database that sluice
// uses when it is given none.
//
// The server listens on a Unix socket only. Its socket lies in the data directory, whose mode 0700 is
// the access control: who may read the directory may connect. The server outlives a killed sluice on
// purpose; the next Start finds it running and uses it. It is stopped by whoever is its last user,
// which lock files decide (see lock.go), so that a reader does not take the server from a running engine.
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	superuser = "postgres"
	database  = "postgres"
	port      = "5432" // names the socket file; there is no TCP listener

	startTimeout = 60 * time.Second // crash recovery included
	stopTimeout  = 30 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// Options change how a cluster is made and started. The zero value is for production.
type Options struct {
	// Settings are name=value server settings on top of the built-in ones. Defaults to none.
	Settings []string
	// InitArgs are further arguments of initdb. Defaults to none.
	InitArgs []string
}

// A Cluster is a running private server, and this process's claim on it.
type Cluster struct {
	bin    string // directory of the server's programs
	data   string
	socket string // directory of the Unix socket
	owner  *owner
	locks  *locks
	pid    int
	exited chan struct{} // closed when the server we started ended; nil when it was found running
}

// Start makes sure that the cluster in dir/postgres exists and runs, and claims it. The first call
// runs initdb. When ctx ends before the server is ready, Start gives up and releases its claim.
func Start(ctx context.Context, dir string) (*Cluster, error) {
	return StartWith(ctx, dir, Options{})
}

// StartWith is Start with options.
func StartWith(ctx context.Context, dir string, o Options) (*Cluster, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	own, err := findOwner()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	l, err := lockForStart(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer l.endStart()
	c := &Cluster{bin: bin, owner: own, locks: l}
	if err := c.open(ctx, dir, o); err != nil {
		l.release()
		return nil, err
	}
	return c, nil
}

// open runs under the start lock: nobody else starts, stops or initialises this cluster meanwhile.
func (c *Cluster) open(ctx context.Context, dir string, o Options) error {
	var err error
	if c.data, err = place(dir, c.owner); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := c.initdb(ctx, o); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("look for a cluster: %w", err)
	} else if err := c.checkVersion(); err != nil {
		return err
	}
	if c.socket, err = socketDir(c.data, c.owner); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the server was not ready in time"))
	defer cancel()
	for {
		// A server may be running: another sluice's, or one whose sluice was killed. Use it.
		if pid, ok := c.running(); ok {
			c.pid, c.exited = pid, nil
			return c.awaitReady(ctx)
		}
		if err := c.launch(o); err != nil {
			return err
		}
		err := c.awaitReady(ctx)
		if err == nil {
			return nil
		}
		if !c.gone() {
			_ = syscall.Kill(c.pid, syscall.SIGQUIT)
			return err
		}
		// A crash leads here: the postmaster was killed alone and its children still hold the shared
		// memory. They notice within a second or so; ctx bounds the attempts. Or an engine was killed just
		// after it had started the server, which is on its way up and will be running above.
		tail := c.logTail()
		if !strings.Contains(tail, "shared memory block") && !strings.Contains(tail, `"postmaster.pid" already exists`) || ctx.Err() != nil {
			return err
		}
	}
}

func (c *Cluster) launch(o Options) error {
	args := []string{"-D", c.data, "-k", c.socket, "-h", "", "-p", port}
	for _, s := range o.Settings {
		args = append(args, "-c", s)
	}
	log, err := openServerLog(c.data)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), args...)
	cmd.Dir, cmd.Env = c.data, serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	// Why: a group of its own, or Ctrl-C would reach the server before sluice has finished its batch.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.owner.credential()}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	c.pid, c.exited = cmd.Process.Pid, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(c.exited)
	}()
	return nil
}

// awaitReady polls until the server takes connections, its process ends or ctx does.
func (c *Cluster) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, c.URL())
		if err == nil {
			return conn.Close(ctx)
		}
		if c.gone() {
			return fmt.Errorf("postgres ended while starting: %w\nDetail: %s\nHint: see %s", err, c.logTail(), logPath(c.data))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres: %w (%v)\nHint: see %s", context.Cause(ctx), err, logPath(c.data))
		case <-tick.C:
		}
	}
}

func (c *Cluster) gone() bool {
	if c.exited == nil {
		return !alive(c.pid) || !c.isPostgres(c.pid) // a zombie that nobody reaps is not postgres either
	}
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// URL returns the connection string, in keyword form because socket paths are awkward in URLs.
func (c *Cluster) URL() string {
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", quoteDSN(c.socket), port, superuser, database)
}

// PsqlCommand returns a shell command that opens psql on the cluster.
func (c *Cluster) PsqlCommand() string {
	return fmt.Sprintf("%s -h %s -U %s %s", quoteShell(filepath.Join(c.bin, "psql")), quoteShell(c.socket), superuser, database)
}

// PID returns the postmaster's process id.
func (c *Cluster) PID() int { return c.pid }

// Reused reports whether Start found the server running.
func (c *Cluster) Reused() bool { return c.exited == nil }

// Stop gives up the claim on the cluster and, when nobody else has one, shuts the server down (fast
// mode: open transactions are rolled back). When ctx ends first the server goes on shutting down.
func (c *Cluster) Stop(ctx context.Context) error {
	last, err := c.locks.beginStop(ctx)
	if err != nil {
		return err
	}
	defer c.locks.endStart()
	if !last || c.gone() {
		return nil
	}
	// Fast shutdown, see "Shutting Down the Server" in the PostgreSQL manual.
	if err := syscall.Kill(c.pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop postgres (pid %d): %w", c.pid, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, errors.New("the server did not stop in time"))
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !c.gone() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop postgres (pid %d): %w", c.pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// quoteDSN quotes a value of a keyword connection string.
func quoteDSN(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteShell(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"\\$`!*?[](){}<>|&;#~") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// serverEnv is the environment without the variables that would steer the server's programs elsewhere.
func serverEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C", "TZ=UTC")
}

// Package pgtest gives tests a real PostgreSQL server: one private server a test binary with a fresh
// database a test, and servers of their own for tests that kill them.
//
// A missing PostgreSQL skips the test, but fails it under CI=true. Every server is ended by its pid: by
// Main or by the test's cleanup, and by a watchdog when the test binary itself is killed.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgcluster"
)

// Server is a private server that its owner may stop, kill and start again.
type Server struct {
	dir      string
	cluster  *pgcluster.Cluster
	watchdog io.Closer
	options  pgcluster.Options
}

// testOptions trade durability against power loss for speed; killing processes loses nothing.
var testOptions = pgcluster.Options{
	InitArgs: []string{"--no-sync"},
	Settings: []string{"fsync=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=50", "max_prepared_transactions=10",
		"wal_level=logical", "max_replication_slots=40", "max_wal_senders=40"},
}

var (
	shared    *Server
	sharedErr error
	sharedOne sync.Once
	databases atomic.Int64
)

// Main runs the tests of a package and then stops the shared server. Call it from TestMain.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has something of its own to clean up: it returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if shared != nil {
		if err := shared.close(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = max(code, 1)
		}
	}
	return code
}

// URL returns the connection string of a fresh, empty database on the shared server.
func URL(t testing.TB) string {
	t.Helper()
	sharedOne.Do(func() { shared, sharedErr = newServer(testOptions) })
	if sharedErr != nil {
		missing(t, sharedErr)
	}
	return shared.Database(t)
}

// New starts a server for one test; more settings (name=value) come last and win.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	o := testOptions
	o.Settings = append(append([]string(nil), o.Settings...), settings...)
	s, err := newServer(o)
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func missing(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, pgcluster.ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	t.Fatal(err)
}

func newServer(o pgcluster.Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	// The server's user, who is not root, must be able to enter.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	s := &Server{dir: dir, options: o}
	if err := s.start(context.Background()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	c, err := pgcluster.StartWith(ctx, s.dir, s.options)
	if err != nil {
		return err
	}
	s.cluster = c
	return s.guard()
}

// guard starts a shell that ends the server and removes its files when this process is gone: its
// standard input is a pipe that the kernel closes then. Leave is "line read", death is "end of file".
func (s *Server) guard() error {
	script := fmt.Sprintf(`trap "" INT; read -r line || { kill -QUIT %d; sleep 1; rm -rf %q; }`, s.cluster.PID(), s.dir)
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.watchdog = closer(func() error {
		_, err := io.WriteString(in, "bye\n")
		return errors.Join(err, cmd.Wait())
	})
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

func (s *Server) close() error {
	return errors.Join(s.stop(), os.RemoveAll(s.dir))
}

func (s *Server) stop() error {
	if s.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := errors.Join(s.watchdog.Close(), s.cluster.Stop(ctx))
	s.cluster = nil
	return err
}

// URL returns the connection string of the server's default database.
func (s *Server) URL() string { return s.cluster.URL() }

// PID returns the postmaster's process id.
func (s *Server) PID() int { return s.cluster.PID() }

// Database returns the connection string of a fresh database, dropped when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%d", os.Getpid(), databases.Add(1))
	Exec(t, s.URL(), "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() {
		if s.cluster != nil {
			Exec(t, s.URL(), "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active AND database = '"+name+"'",
				"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '"+name+"'",
				"DROP DATABASE "+name+" WITH (FORCE)")
		}
	})
	return strings.Replace(s.URL(), "dbname=postgres", "dbname="+name, 1)
}

// Stop shuts the server down cleanly; Start brings it back.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server as a crash does, with all its processes: unlogged tables come back empty. Those that it would leave
// behind go on for a moment, and write beside the next server's recovery.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	pid := s.cluster.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil { // so that it starts no more of them
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	s.Stop(t)
}

// Start starts a stopped or killed server again, on the same data and socket.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Exec runs statements, each in its own transaction unless they say otherwise.
func Exec(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx := context.Background() // also used in cleanups, when the test's own context has ended
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// Rows runs a query and returns its rows as text: columns separated by "|", NULL as "∅".
func Rows(t testing.TB, url, sql string) []string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	res, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out []string
	for _, r := range res {
		for _, row := range r.Rows {
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = string(v)
				if v == nil {
					cells[i] = "∅"
				}
			}
			out = append(out, strings.Join(cells, "|"))
		}
	}
	return out
}

// socketPath returns the server's socket file.
func socketPath(url string) (string, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return "", err
	}
	return filepath.Join(cfg.Host, fmt.Sprintf(".s.PGSQL.%d", cfg.Port)), nil
}

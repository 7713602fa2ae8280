package pgcluster

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var quick = Options{
	InitArgs: []string{"--no-sync"},
	Settings: []string{"fsync=off", "shared_buffers=16MB", "autovacuum=off"},
}

func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := StartWith(t.Context(), dir, quick)
	if errors.Is(err, ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t *testing.T, c *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// tempDir is a directory that the server's user can enter.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgcluster")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func query(t *testing.T, c *Cluster, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var out string
	if err := conn.QueryRow(t.Context(), sql).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStartReuseStop(t *testing.T) {
	dir := tempDir(t)
	a := start(t, dir)
	if a.Reused() {
		t.Error("a new cluster was found running")
	}
	if got := query(t, a, "SHOW listen_addresses"); got != "" {
		t.Errorf("listens on TCP: %q", got)
	}
	if got := query(t, a, "SELECT current_setting('server_encoding') || current_setting('synchronous_commit') || current_setting('TimeZone')"); got != "UTF8onUTC" {
		t.Errorf("settings: %s", got)
	}
	if st, err := os.Stat(filepath.Join(dir, "postgres")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v %v", st.Mode(), err)
	}
	b := start(t, dir)
	if !b.Reused() || b.PID() != a.PID() {
		t.Error("the second user did not find the server of the first")
	}
	// The first user leaves: the second keeps the server, and is the one that stops it.
	stop(t, a)
	if got := query(t, b, "SELECT 'still here'"); got != "still here" {
		t.Error(got)
	}
	stop(t, b)
	if alive(a.PID()) && a.isPostgres(a.PID()) {
		t.Error("the last user left and the server runs on")
	}
	// The data are still there after a restart.
	c := start(t, dir)
	if c.Reused() {
		t.Error("found a stopped server running")
	}
}

// TestOrphan drops the locks of the first user without stopping, as kill -9 does.
func TestOrphan(t *testing.T) {
	dir := tempDir(t)
	a := start(t, dir)
	a.locks.release()
	b := start(t, dir)
	if !b.Reused() || b.PID() != a.PID() {
		t.Error("the orphaned server was not taken over")
	}
	stop(t, b)
	if !a.gone() {
		t.Error("the orphaned server was not stopped")
	}
}

func TestServerKilled(t *testing.T) {
	dir := tempDir(t)
	a := start(t, dir)
	if err := syscall.Kill(a.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-a.exited
	a.locks.release()
	b := start(t, dir) // stale postmaster.pid and socket lock, children perhaps still ending
	if b.Reused() {
		t.Error("a killed server counts as running")
	}
	if got := query(t, b, "SELECT 'back'"); got != "back" {
		t.Error(got)
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(tempDir(t), strings.Repeat("long", 30))
	c := start(t, dir)
	t.Cleanup(func() { os.RemoveAll(c.socket) })
	if strings.HasPrefix(c.socket, dir) {
		t.Errorf("socket in %s", c.socket)
	}
	if got := query(t, c, "SELECT 'ok'"); got != "ok" {
		t.Error(got)
	}
}

// TestUnreachableHome is the fresh machine where everything is done as root below a 0700 home.
func TestUnreachableHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root meets this")
	}
	home := tempDir(t)
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, "state")
	c := start(t, dir)
	t.Cleanup(func() { os.RemoveAll(c.data) })
	if !strings.HasPrefix(c.data, farDir) {
		t.Errorf("cluster in %s", c.data)
	}
	stop(t, c)
	d := start(t, dir)
	if d.data != c.data {
		t.Errorf("the second start made another cluster: %s, then %s", c.data, d.data)
	}
}

func TestUnfinishedInitdb(t *testing.T) {
	dir := tempDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "postgres.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := start(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "postgres.new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("leftovers remain: %v", err)
	}
	out, err := exec.Command("sh", "-c", c.PsqlCommand()+" -Atc 'SELECT 40 + 2'").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "42" {
		t.Errorf("%s: %v, %s", c.PsqlCommand(), err, out)
	}
}

func TestWrongVersion(t *testing.T) {
	dir := tempDir(t)
	c := start(t, dir)
	stop(t, c)
	if err := os.WriteFile(filepath.Join(c.data, "PG_VERSION"), []byte("9.6\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := StartWith(t.Context(), dir, quick); err == nil || !strings.Contains(err.Error(), "PostgreSQL 9.6") {
		t.Errorf("got %v", err)
	}
}

func TestMajorOf(t *testing.T) {
	for _, tt := range []struct {
		dir  string
		want float64
	}{
		{"/usr/lib/postgresql/15/bin", 15},
		{"/usr/lib/postgresql/9.6/bin", 9.6},
		{"/usr/pgsql-17/bin", 17},
		{"/opt/homebrew/opt/postgresql@16/bin", 16},
		{"/usr/bin", 0},
	} {
		if got := majorOf(tt.dir); got != tt.want {
			t.Errorf("majorOf(%s) = %v, want %v", tt.dir, got, tt.want)
		}
	}
}

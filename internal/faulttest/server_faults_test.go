package faulttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// waitFiredTimes waits until n of the process's failpoints have been passed.
func (c *process) waitFiredTimes(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("failpoint number %d", n), func() bool {
		text, _ := os.ReadFile(c.trace)
		return len(strings.Fields(string(text))) >= n
	})
}

// TestPostgresKilledAtEachStep: SIGKILL of the server, which loses the unlogged staging tables, at every step of a
// batch, in one life of the engine. It waits for the server each time and goes on.
func TestPostgresKilledAtEachStep(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t, "fsync=on", "full_page_writes=on")
	p := newEvents(t)
	p.url = server.Database(t)
	steps := []string{"batch.after_plan", "batch.execute.after_run", "sink.stage.before_commit", "batch.after_stage", "batch.after_prepare",
		"sink.commit.before_commit", "batch.after_commit", "batch.after_done"}
	var spec []string
	for i, step := range steps {
		spec = append(spec, fmt.Sprintf("%s=sleep(500ms):%d", step, 2+i))
	}
	c := p.start(t, strings.Join(spec, ";"), "run", p.file(), "--until-end", "--max-batch-rows", "200")
	for i := range steps {
		c.waitFiredTimes(t, i+1)
		server.Kill(t)
		server.Start(t)
	}
	if r := c.wait(t); r.code != 0 {
		t.Fatalf("the engine did not outlive the server's deaths:\n%v", r)
	}
	p.verify(t)
	p.sameTables(t)
}

// TestNoConnectionLeft: other sessions have taken all that the server gives, at the start and, after the engine's
// connection broke, in the middle of a batch. The engine says so, waits, and goes on.
func TestNoConnectionLeft(t *testing.T) {
	t.Parallel()
	// A superuser gets in where others do not, so the engine is an ordinary user.
	server := pgtest.New(t, "max_connections=12", "superuser_reserved_connections=4")
	admin := server.Database(t)
	pgtest.Exec(t, admin, "CREATE ROLE engine LOGIN", "DO $$ BEGIN EXECUTE 'ALTER DATABASE '||current_database()||' OWNER TO engine'; END $$", "ALTER SCHEMA public OWNER TO engine")
	p := newEvents(t)
	p.url = admin + " user=engine"
	full := func() (free func()) {
		var held []*pgx.Conn
		for {
			conn, err := pgx.Connect(t.Context(), p.url)
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		if len(held) == 0 {
			t.Error("no connection was taken")
		}
		return func() {
			for _, c := range held {
				c.Close(t.Context())
			}
		}
	}
	free := full()
	c := p.start(t, "batch.after_stage=sleep(300ms):4", "run", p.file(), "--until-end")
	if !c.says(t, "connect to Postgres: still trying", 1) {
		t.Fatalf("the engine did not wait for a connection:\n%v", c.wait(t))
	}
	free()
	c.waitFired(t)
	c.signal(t, syscall.SIGSTOP)
	pgtest.Rows(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'engine'")
	free = full()
	said := strings.Count(c.stderr.String(), "still trying after")
	c.signal(t, syscall.SIGCONT)
	if !c.says(t, "still trying after", said+1) {
		t.Fatalf("the engine did not wait for a connection:\n%v", c.wait(t))
	}
	free()
	c.wait(t).mustFail(t, 0, "53300", "max_connections")
	p.url = admin
	p.finish(t)
}

// TestLockHeldByAnother: a session that sits on a target or on the ledger is named after some seconds, at the start
// and in a commit; when it lets go, the pipeline goes on.
func TestLockHeldByAnother(t *testing.T) {
	for _, tc := range []struct{ name, lock string }{
		{"target", "LOCK TABLE total IN ACCESS EXCLUSIVE MODE"},
		{"ledger", "SELECT FROM sluice.ledger FOR UPDATE"},
	} {
		for _, when := range []string{"in a commit", "at the start"} {
			t.Run(tc.name+" "+when, func(t *testing.T) {
				t.Parallel()
				p := newEvents(t)
				var c *process
				if when == "at the start" {
					p.crashed(t, "batch.after_done=exit:3")
				} else {
					c = p.start(t, "batch.after_prepare=sleep(1s):4", "run", p.file(), "--until-end")
					c.waitFired(t)
				}
				conn, err := pgx.Connect(t.Context(), p.url)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				for _, sql := range []string{"BEGIN", tc.lock} {
					if _, err := conn.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				if c == nil {
					c = p.start(t, "", "run", p.file(), "--until-end")
				}
				if !c.says(t, "waits for a lock of process", 1) {
					t.Fatalf("the engine did not wait for the lock:\n%v", c.wait(t))
				}
				if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
					t.Fatal(err)
				}
				c.wait(t).mustFail(t, 0, fmt.Sprintf("waits for a lock of process %d", conn.PgConn().PID()), "idle in transaction", fmt.Sprintf("pg_terminate_backend(%d)", conn.PgConn().PID()))
				p.finish(t)
			})
		}
	}
}

// TestTargetChangedMidRun: a target that is dropped or altered under a running engine ends it with what to do; put
// back, the pipeline goes on and the guarantee holds.
func TestTargetChangedMidRun(t *testing.T) {
	for _, tc := range []struct{ name, change, undo, says, refused string }{
		{"dropped", "ALTER TABLE total RENAME TO total_away", "ALTER TABLE total_away RENAME TO total", "hint: a table was changed while the pipeline ran", `"public"."total" is gone`},
		{"column renamed", "ALTER TABLE total RENAME COLUMN amount TO sum", "ALTER TABLE total RENAME COLUMN sum TO amount", "hint: a table was changed while the pipeline ran", "amount"},
		{"column that needs a value", "ALTER TABLE sevenths ADD COLUMN extra int; ALTER TABLE sevenths ADD CHECK (extra IS NOT NULL) NOT VALID", "ALTER TABLE sevenths DROP COLUMN extra", "hint: ", ""},
		{"key dropped", "ALTER TABLE spread RENAME TO spread_away; CREATE TABLE spread AS SELECT * FROM spread_away", "DROP TABLE spread; ALTER TABLE spread_away RENAME TO spread", "hint: ", "kind"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			c := p.start(t, "batch.after_done=sleep(1s):4", "run", p.file(), "--until-end")
			c.waitFired(t)
			pgtest.Exec(t, p.url, tc.change)
			r := c.wait(t)
			r.mustFail(t, 1, tc.says)
			t.Log(lastLines(r.stderr))
			if tc.refused != "" {
				r := p.run(t)
				r.mustFail(t, 1, tc.refused, "hint: ")
				t.Log(lastLines(r.stderr))
			}
			pgtest.Exec(t, p.url, tc.undo)
			p.verify(t)
			p.finish(t)
		})
	}
}

// TestDatabaseRestored: the whole database is put back to an older state, while the engine is away and under a
// running one. Both are noticed, and the newer database is still good.
func TestDatabaseRestored(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	p := newEvents(t)
	p.url = server.Database(t)
	name := strings.Fields(p.url[strings.Index(p.url, "dbname=")+len("dbname="):])[0]
	rename := func(from, to string) string { return fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", from, to) }
	p.crashed(t, "batch.after_done=exit:4")
	pgtest.Exec(t, server.URL(), fmt.Sprintf("CREATE DATABASE old TEMPLATE %s", name))
	p.crashed(t, "batch.after_done=exit:4")
	pgtest.Exec(t, server.URL(), rename(name, "newest"), rename("old", name))
	r := p.run(t)
	r.mustFail(t, 1, "commits were lost", "hint: restore a newer backup")
	t.Log(lastLines(r.stderr))
	pgtest.Exec(t, server.URL(), rename(name, "old"), rename("newest", name))

	c := p.start(t, "batch.after_stage=sleep(1s):4", "run", p.file(), "--until-end")
	c.waitFired(t)
	c.signal(t, syscall.SIGSTOP)
	pgtest.Exec(t, server.URL(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'", rename(name, "newest"), rename("old", name))
	c.signal(t, syscall.SIGCONT)
	r = c.wait(t)
	r.mustFail(t, 1, "log and database disagree", "hint: ", "restored from a backup")
	t.Log(lastLines(r.stderr))
	pgtest.Exec(t, server.URL(), rename(name, "old"), rename("newest", name))
	p.finish(t)
}

// TestPostgresDiskFull: the server's file system is full in the middle of a run. The engine waits and says why; with
// room it goes on.
func TestPostgresDiskFull(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "tablespace")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small file system takes root and a kernel that allows mounts: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	server := pgtest.New(t)
	owner := pgtest.Rows(t, server.URL(), "SELECT setting FROM pg_settings WHERE name = 'data_directory'")[0]
	info, err := os.Stat(owner)
	if err != nil {
		t.Fatal(err)
	}
	space := filepath.Join(dir, "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(space, int(info.Sys().(*syscall.Stat_t).Uid), -1); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, server.URL(), "CREATE TABLESPACE small LOCATION '"+space+"'", "CREATE DATABASE tight TEMPLATE template0 TABLESPACE small")
	p := newEvents(t)
	p.url = strings.Replace(server.URL(), "dbname=postgres", "dbname=tight", 1)
	c := p.start(t, "batch.after_done=sleep(2s):4", "run", p.file(), "--until-end")
	c.waitFired(t)
	// The filler takes all that there is, in ever smaller pieces.
	pgtest.Exec(t, p.url, "CREATE TABLE filler (t text)", `DO $$ DECLARE n int := 4000; BEGIN
  WHILE n > 0 LOOP
    BEGIN
      INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, n);
    EXCEPTION WHEN disk_full THEN n := n / 2;
    END;
  END LOOP; END $$`)
	if !c.says(t, "53100", 1) {
		t.Errorf("the server's disk was never full: %v", c.wait(t))
	}
	pgtest.Exec(t, p.url, "DROP TABLE filler", "CHECKPOINT")
	t.Log(c.wait(t).stderr)
	p.finish(t)
	pgtest.Exec(t, server.URL(), "DROP DATABASE tight WITH (FORCE)", "DROP TABLESPACE small")
}

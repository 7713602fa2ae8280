package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/server"
)

// TestServeOutage: with the database away a pipeline waits, says why, and goes on by itself when it is back.
func TestServeOutage(t *testing.T) {
	pg := pgtest.New(t)
	dir := t.TempDir()
	streams, _, _ := term.Buffers()
	a := &app{streams: streams, env: func(string) (string, bool) { return "", false }}
	l := newLauncher(a, stateDir(dir), pg.URL(), slog.New(slog.DiscardHandler))
	s, err := server.New(server.Config{StateDir: dir, Logger: l.log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, ctx, l) }()
	c := server.NewClient(s.Socket())
	defer func() {
		c.Close()
		end()
		if err := errors.Join(<-ended, s.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}()

	data := filepath.Join(dir, "in.ndjson")
	if err := os.WriteFile(data, []byte("{\"a\":1}\n{\"a\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sql := `SET trigger_interval = '50ms';
CREATE SOURCE t (a BIGINT) WITH (connector = 'file', path = 'in.ndjson');
CREATE MATERIALIZED VIEW total AS SELECT sum(a) AS s FROM t;`
	if _, err := c.Submit(ctx, server.Spec{Name: "p", SQL: sql, File: "p.sql", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, c, func(s server.Status) bool { return s.State == server.Running && s.Progress.Batch > 0 })
	if _, err := c.Stop(ctx, "p", server.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	pg.Stop(t)
	if err := os.WriteFile(data, []byte("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resume(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	st := awaitStatus(t, c, func(s server.Status) bool { return s.State == server.Restarting })
	if st.Problem == nil || st.Problem.Hint == "" || st.RetryAt.IsZero() {
		t.Errorf("in the outage: %+v", st.Problem)
	}
	pg.Start(t)
	st = awaitStatus(t, c, func(s server.Status) bool { return s.State == server.Running && s.Progress.RowsIn > 0 })
	if st.Restarts == 0 || st.Problem != nil {
		t.Errorf("after the outage: %d restarts, problem %v", st.Restarts, st.Problem)
	}
	if rows := pgtest.Rows(t, pg.URL(), "SELECT s FROM total"); len(rows) != 1 || rows[0] != "6" {
		t.Errorf("the table holds %q, want 6", rows)
	}
}

func awaitStatus(t *testing.T, c *server.Client, done func(server.Status) bool) server.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx, "p")
		if err != nil {
			t.Fatal(err)
		}
		if done(s) {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the pipeline is %s, problem %v", s.State, s.Problem)
		case <-tick.C:
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// A summary is what `sluice run --json` says at the end.
type summary struct {
	ElapsedMS  int64 `json:"elapsed_ms"`
	Batch      int64 `json:"batch"`
	RowsOut    int64 `json:"rows_out"`
	StateRows  int64 `json:"state_rows"`
	StateBytes int64 `json:"state_bytes"`
	// SnapshotBatch and SnapshotWait are microbatch.Progress's.
	SnapshotBatch int64 `json:"snapshot_batch"`
	SnapshotWait  int64 `json:"snapshot_wait_ns"`
	// CPU is what the process took, which a neighbour changes less than the clock.
	CPU time.Duration `json:"-"`
}

func (s summary) took() time.Duration { return time.Duration(s.ElapsedMS) * time.Millisecond }

// run has the binary work through a pipeline file to the end of its input; state stays in dir.
func (b *bench) run(ctx context.Context, dir, sql string) (s summary, err error) {
	file := filepath.Join(dir, "bench.sql")
	if err := os.WriteFile(file, []byte(sql), 0o644); err != nil {
		return s, err
	}
	doc, err := b.command(ctx, "run", file, "--until-end", "--json", "--postgres", b.postgres, "--state-dir", dir)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(doc, &s); err != nil {
		return s, fmt.Errorf("read the summary of sluice run: %w", err)
	}
	s.CPU = b.cpu
	return s, nil
}

// command runs the binary and returns what it printed.
func (b *bench) command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.sluice, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, stderr.Bytes())
	}
	b.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return stdout.Bytes(), nil
}

// scratch makes a directory for a run's state and empties the database; done removes the directory.
func (b *bench) scratch(ctx context.Context, tables ...string) (dir string, done func(*error), err error) {
	if dir, err = os.MkdirTemp(b.work, "run-*"); err != nil {
		return "", nil, err
	}
	done = func(err *error) { *err = errors.Join(*err, os.RemoveAll(dir)) }
	sql := "DROP SCHEMA IF EXISTS sluice CASCADE; "
	for _, t := range tables {
		sql += "DROP TABLE IF EXISTS " + pgx.Identifier{t}.Sanitize() + "; "
	}
	// Why CHECKPOINT: otherwise a run pays for writing back what the one before it left dirty.
	return dir, done, b.inPostgres(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql+"CHECKPOINT")
		return err
	})
}

func (b *bench) inPostgres(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, b.postgres)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return fn(conn)
}

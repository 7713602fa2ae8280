package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// engineRun is what one run gave.
type engineRun struct {
	took, wall time.Duration
	cpu        time.Duration // of the whole process
	answer     string
	rowsOut    int64
	stages     stages
}

// stages are the parts of a batch, summed over the run; they overlap, so they may exceed the time taken.
type stages struct {
	batches                              int64
	read, execute, stage, prepare, apply time.Duration
}

// engine runs the binary once, from nothing.
func (b *bench) engine(ctx context.Context, v variant) (r engineRun, err error) {
	dir, done, err := b.scratch(ctx, "result")
	if err != nil {
		return r, err
	}
	defer done(&err)
	conn, err := pgx.Connect(ctx, b.postgres)
	if err != nil {
		return r, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	file := filepath.Join(dir, "bench.sql")
	if err := os.WriteFile(file, []byte(pipeline(v)), 0o644); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, b.sluice, "run", file, "--until-end", "--json", "--postgres", b.postgres, "--state-dir", dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if v.stdout {
		if cmd.Stdout, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return r, err
		}
	}
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("%s: %w\n%s", cmd, err, stderr.Bytes())
	}
	r.wall, r.cpu = time.Since(start), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	if v.stdout {
		r.took = r.wall
		return r, nil
	}
	var summary struct {
		ElapsedMS int64 `json:"elapsed_ms"`
		RowsOut   int64 `json:"rows_out"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &summary); err != nil {
		return r, fmt.Errorf("read the summary of %s: %w", cmd, err)
	}
	r.took, r.rowsOut = time.Duration(summary.ElapsedMS)*time.Millisecond, summary.RowsOut
	if err := conn.QueryRow(ctx, "SELECT concat_ws(' ', "+v.digest+") FROM result").Scan(&r.answer); err != nil {
		return r, err
	}
	r.stages, err = readStages(ctx, conn)
	return r, err
}

func readStages(ctx context.Context, conn *pgx.Conn) (s stages, err error) {
	var ms [5]float64
	err = conn.QueryRow(ctx, `SELECT count(*), sum(read_ms), sum(execute_ms), sum(stage_ms), sum(prepare_ms), sum(apply_ms) FROM sluice.batches`).
		Scan(&s.batches, &ms[0], &ms[1], &ms[2], &ms[3], &ms[4])
	for i, d := range []*time.Duration{&s.read, &s.execute, &s.stage, &s.prepare, &s.apply} {
		*d = time.Duration(ms[i] * float64(time.Millisecond))
	}
	return s, err
}

// pipeline writes the SQL file of a variant.
func pipeline(v variant) string {
	sql := v.input.source
	if v.maxBatchRows > 0 {
		sql = fmt.Sprintf("SET max_batch_rows = %d;\nSET max_batch_bytes = '1GiB';\n", v.maxBatchRows) + sql
	}
	sql += "CREATE MATERIALIZED VIEW result AS\n" + v.sql + ";\n"
	if v.stdout {
		sql += "CREATE SINK result_out FROM result WITH (connector = 'stdout', format = 'json');\n"
	}
	return sql
}

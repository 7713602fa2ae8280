package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var (
	fpStageBeforeBegin  = failpoint.New("sink.stage.before_begin")
	fpStageBeforeCommit = failpoint.New("sink.stage.before_commit")
	fpStageAfterCommit  = failpoint.New("sink.stage.after_commit")
)

// manifest says what a staged batch consists of; it is the row of sluice.staged.
type manifest struct {
	epoch, batch int64
	outputs      []stagedOutput
	deadLetters  int64
}

// stagedOutput is one output of a manifest, as JSON.
type stagedOutput struct {
	checkpointlog.OutputDigest
	// Staged rows, and those of them that delete. Staged differs from Rows only where an append output
	// repeats a row.
	Staged int64 `json:"staged"`
	Minus  int64 `json:"minus"`
}

// Stage implements microbatch.Sink.
func (s *Sink) Stage(ctx context.Context, b *microbatch.StagedBatch) error {
	if err := fpStageBeforeBegin.Hit(); err != nil {
		return err
	}
	if err := s.retry(ctx, fmt.Sprintf("stage batch %d", b.Batch), func(ses *session) error { return s.stage(ctx, ses, b) }); err != nil {
		return err
	}
	s.last = b
	return fpStageAfterCommit.Hit()
}

func (s *Sink) stage(ctx context.Context, ses *session, b *microbatch.StagedBatch) error {
	deltas := map[string]*microbatch.OutputDelta{}
	for i := range b.Outputs {
		deltas[b.Outputs[i].Name] = &b.Outputs[i]
	}
	// Why without waiting for the disk: a server crash may take this transaction back, but it empties
	// the unlogged tables anyway, and recovery copes with both in the same way.
	tx, err := ses.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL synchronous_commit = off"})
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	// Invariant: the row stays locked until this transaction ends, so a newer engine's Open waits for it.
	var epoch, batch int64
	err = tx.QueryRow(ctx, "SELECT epoch, batch FROM sluice.ledger WHERE pipeline = $1 FOR SHARE", s.pipeline).Scan(&epoch, &batch)
	if err := s.checkEpoch(epoch, err); err != nil {
		return err
	}
	if batch >= b.Batch {
		return fmt.Errorf("%w: batch %d is to be staged, and the ledger is at %d", errDisagree, b.Batch, batch)
	}
	m := manifest{epoch: s.epoch, batch: b.Batch, deadLetters: int64(len(b.DeadLetters))}
	for _, t := range s.targets {
		d, ok := deltas[t.output.Name]
		if !ok {
			panic(fmt.Sprintf("postgres: batch %d has no delta of output %s", b.Batch, t.output.Name))
		}
		out, err := s.copyIn(ctx, tx, t, b.Batch, d)
		if err != nil {
			return err
		}
		m.outputs = append(m.outputs, out)
	}
	if err := s.copyDead(ctx, tx, b); err != nil {
		return err
	}
	if err := s.writeManifest(ctx, tx, m); err != nil {
		return err
	}
	if err := fpStageBeforeCommit.Hit(); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// again reports whether this process has staged the batch before, so that its rows must go first.
func (s *Sink) again(batch int64) bool { return s.last != nil && s.last.Batch == batch }

// checkEpoch judges the ledger row that a transaction has locked.
func (s *Sink) checkEpoch(epoch int64, err error) error {
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%w: the ledger has no row for pipeline %s\nHint: it was dropped while an engine ran it", errDisagree, s.pipeline)
	case err != nil:
		return err
	case epoch > s.epoch:
		return fmt.Errorf("pipeline %s: %w: this engine has epoch %d, the ledger %d", s.pipeline, microbatch.ErrFenced, s.epoch, epoch)
	case epoch < s.epoch:
		return fmt.Errorf("%w: the ledger went back from epoch %d to %d\nHint: the database was restored from a backup or failed over to a replica that lagged; restart the pipeline to find out what is missing", errDisagree, s.epoch, epoch)
	}
	return nil
}

// maxLitter is how many old rows a staging table may hold before it is emptied, as a multiple of the batch.
//
// Why not empty it in every commit: DELETE of 100,000 rows takes 28 ms and leaves them to vacuum, TRUNCATE
// 1–4 ms, more than a small batch's whole commit. Rows of the past only cost their share of a scan.
const (
	maxLitterFactor = 2
	maxLitterFloor  = 2000
)

// copyIn replaces what the staging table holds with the delta.
func (s *Sink) copyIn(ctx context.Context, tx pgx.Tx, t *target, batch int64, d *microbatch.OutputDelta) (stagedOutput, error) {
	out := stagedOutput{OutputDigest: d.Digest}
	if s.again(batch) || t.litter < 0 || t.litter > max(maxLitterFloor, maxLitterFactor*d.Rows) {
		if err := s.empty(ctx, tx, t.stagingTable()); err != nil {
			return out, err
		}
		t.litter = 0
	}
	if d.Rows == 0 {
		return out, nil
	}
	cols := t.stagingColumns()
	for i, c := range cols {
		if i < len(cols)-len(t.columns) {
			cols[i] = quote(c)
		}
	}
	rd := t.enc.delta(s.epoch, batch, d.Chunks)
	_, err := tx.Conn().PgConn().CopyFrom(ctx, rd, fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", t.stagingTable(), strings.Join(cols, ", ")))
	// The rows count as litter even if the transaction is rolled back: they take room until then.
	t.litter += rd.rows
	if rd.err != nil {
		return out, fmt.Errorf("output %s: %w", t.output.Name, rd.err)
	}
	if err != nil {
		return out, fmt.Errorf("output %s: %w", t.output.Name, err)
	}
	out.Staged, out.Minus = rd.rows, rd.minus
	return out, nil
}

// empty truncates a staging table, or deletes its rows when somebody reads it: a pg_dump of the database
// holds a lock against TRUNCATE for as long as it runs.
func (s *Sink) empty(ctx context.Context, tx pgx.Tx, table string) error {
	err := pgx.BeginFunc(ctx, tx, func(sub pgx.Tx) error {
		if _, err := sub.Exec(ctx, "SET LOCAL lock_timeout = '200ms'"); err != nil {
			return err
		}
		if _, err := sub.Exec(ctx, "TRUNCATE "+table); err != nil {
			return err
		}
		_, err := sub.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", s.options.LockTimeout.Milliseconds()))
		return err
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55P03" {
		_, err = tx.Exec(ctx, "DELETE FROM "+table)
	}
	return err
}

// copyDead replaces the dead letters that wait for phase 2.
func (s *Sink) copyDead(ctx context.Context, tx pgx.Tx, b *microbatch.StagedBatch) error {
	n := int64(len(b.DeadLetters))
	if s.again(b.Batch) || s.deadLitter < 0 || s.deadLitter > max(maxLitterFloor, maxLitterFactor*n) {
		if err := s.empty(ctx, tx, s.deadTable()); err != nil {
			return err
		}
		s.deadLitter = 0
	}
	if n == 0 {
		return nil
	}
	s.deadLitter += n
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"sluice", "stg_" + shortHash(s.pipeline) + "_dead"},
		[]string{colEpoch, colBatch, "source", "partition", "offset", "reason", "raw"},
		pgx.CopyFromSlice(len(b.DeadLetters), func(i int) ([]any, error) {
			d := b.DeadLetters[i]
			return []any{s.epoch, b.Batch, d.Source, string(appendText(nil, []byte(d.Partition))), d.Offset,
				string(appendText(nil, []byte(d.Reason))), string(appendText(nil, []byte(d.Raw)))}, nil
		}))
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	return nil
}

func (s *Sink) writeManifest(ctx context.Context, tx pgx.Tx, m manifest) error {
	outputs, err := json.Marshal(m.outputs)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO sluice.staged (pipeline, epoch, batch, outputs, dead_letters) VALUES ($1, $2, $3, $4::jsonb, $5)
ON CONFLICT (pipeline) DO UPDATE SET epoch = excluded.epoch, batch = excluded.batch, outputs = excluded.outputs, dead_letters = excluded.dead_letters`,
		s.pipeline, m.epoch, m.batch, string(outputs), m.deadLetters)
	return err
}

// HasStaged implements microbatch.Sink. It counts the rows too, because a server crash empties the
// staging tables and leaves the manifest.
func (s *Sink) HasStaged(ctx context.Context, batch int64, outputs []checkpointlog.OutputDigest) (has bool, err error) {
	err = s.retry(ctx, fmt.Sprintf("look for the staged rows of batch %d", batch), func(ses *session) error {
		return pgx.BeginTxFunc(ctx, ses.Conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			m, err := s.readManifest(ctx, tx)
			if err != nil || m == nil || m.batch != batch || s.differs(m, outputs) != "" {
				has = false
				return err
			}
			has, err = s.complete(ctx, tx, m)
			return err
		})
	})
	return has, err
}

// readManifest returns nil when nothing is staged.
func (s *Sink) readManifest(ctx context.Context, tx pgx.Tx) (*manifest, error) {
	var m manifest
	var outputs string
	err := tx.QueryRow(ctx, "SELECT epoch, batch, outputs::text, dead_letters FROM sluice.staged WHERE pipeline = $1", s.pipeline).
		Scan(&m.epoch, &m.batch, &outputs, &m.deadLetters)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &m, json.Unmarshal([]byte(outputs), &m.outputs)
}

// differs compares the manifest with the digests of a Prepared record and names the first difference.
// The record may know outputs that go to other sinks.
func (s *Sink) differs(m *manifest, outputs []checkpointlog.OutputDigest) string {
	want := map[string]checkpointlog.OutputDigest{}
	for _, o := range outputs {
		want[o.Output] = o
	}
	have := map[string]bool{}
	for _, o := range m.outputs {
		have[o.Output] = true
		if want[o.Output] != o.OutputDigest {
			return fmt.Sprintf("output %s has digest %s over %d rows in the staging area, %s over %d in the log",
				o.Output, o.Sum, o.Rows, want[o.Output].Sum, want[o.Output].Rows)
		}
	}
	for _, t := range s.targets {
		if !have[t.output.Name] {
			return fmt.Sprintf("output %s is not staged", t.output.Name)
		}
	}
	return ""
}

// complete reports whether the staging tables have the rows that the manifest counts.
func (s *Sink) complete(ctx context.Context, tx pgx.Tx, m *manifest) (bool, error) {
	count := func(table string, want int64) (bool, error) {
		var n int64
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = $1 AND %s = $2", table, colBatch, colEpoch), m.batch, m.epoch).Scan(&n)
		return n == want, err
	}
	for _, o := range m.outputs {
		for _, t := range s.targets {
			if t.output.Name != o.Output {
				continue
			}
			if ok, err := count(t.stagingTable(), o.Staged); !ok || err != nil {
				return false, err
			}
		}
	}
	return count(s.deadTable(), m.deadLetters)
}

package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var (
	fpCommitBeforeBegin  = failpoint.New("sink.commit.before_begin")
	fpCommitBeforeCommit = failpoint.New("sink.commit.before_commit")
	fpCommitAfterCommit  = failpoint.New("sink.commit.after_commit")
)

// Commit implements microbatch.Sink.
func (s *Sink) Commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	if c.ContentHash == "" {
		c.ContentHash = permit.ContentHash()
	}
	if err := fpCommitBeforeBegin.Hit(); err != nil {
		return err
	}
	err := s.retry(ctx, fmt.Sprintf("commit batch %d", permit.Batch()), func(ses *session) error {
		lost, err := s.commit(ctx, ses, permit, &c)
		if err != nil || !lost {
			return err
		}
		// The server crashed between the phases: stage the batch again if we still have it.
		if !s.again(permit.Batch()) {
			return fmt.Errorf("%w: batch %d", ErrStagingLost, permit.Batch())
		}
		if err := s.stage(ctx, ses, s.last); err != nil {
			return err
		}
		if lost, err = s.commit(ctx, ses, permit, &c); lost {
			return fmt.Errorf("%w: batch %d, right after it was staged again", ErrStagingLost, permit.Batch())
		}
		return err
	})
	if err != nil {
		return err
	}
	s.last, s.head = nil, c.ContentHash
	return fpCommitAfterCommit.Hit()
}

// commit is one attempt at phase 2. It succeeds at once when the ledger has the batch already, which is
// how a COMMIT whose answer was lost is found to have worked.
func (s *Sink) commit(ctx context.Context, ses *session, permit checkpointlog.CommitPermit, c *microbatch.CommitInfo) (lost bool, err error) {
	tx, err := ses.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer tx.Rollback(ctx)
	// Invariant: from here on no other engine can raise the epoch until this transaction ends.
	var epoch, batch int64
	var hash string
	err = tx.QueryRow(ctx, "SELECT epoch, batch, content_hash FROM sluice.ledger WHERE pipeline = $1 FOR UPDATE", s.pipeline).Scan(&epoch, &batch, &hash)
	if err := s.checkEpoch(epoch, err); err != nil {
		return false, err
	}
	switch want := permit.Batch(); {
	case batch == want && hash == c.ContentHash:
		return false, nil
	case batch == want:
		return false, fmt.Errorf("%w: batch %d is in the ledger with content %s, and the log has it with content %s\nHint: two state directories feed one pipeline; keep the one whose log is newest", errDisagree, batch, hash, c.ContentHash)
	case batch != want-1:
		return false, fmt.Errorf("%w: the ledger is at batch %d, and batch %d is to be committed\nHint: the database was restored from a backup, or the ledger was changed by hand; restart the pipeline, and it will say what is missing", errDisagree, batch, want)
	case hash != s.head:
		// The database was restored while the engine ran, and another engine went on from there.
		return false, fmt.Errorf("%w: batch %d in the ledger is not the one that this engine goes on from\nHint: the database was restored from a backup; restart the pipeline, and it will say what is missing", errDisagree, batch)
	}
	m, err := s.readManifest(ctx, tx)
	if err != nil {
		return false, err
	}
	if m == nil || m.batch != permit.Batch() {
		return true, nil
	}
	if diff := s.differs(m, permit.Outputs()); diff != "" {
		return false, fmt.Errorf("%w: batch %d: %s", errDisagree, m.batch, diff)
	}
	if lost, err := s.apply(ctx, tx, m, c); lost || err != nil {
		return lost, err
	}
	if err := fpCommitBeforeCommit.Hit(); err != nil {
		return false, err
	}
	// Commit fails when the answer is ROLLBACK, which is how COMMIT of an aborted transaction "succeeds".
	return false, tx.Commit(ctx)
}

// apply moves the staged rows into the targets and advances the ledger, in one round trip when all the
// counts are as they should be.
func (s *Sink) apply(ctx context.Context, tx pgx.Tx, m *manifest, c *microbatch.CommitInfo) (lost bool, err error) {
	var steps []step
	for _, o := range m.outputs {
		for _, t := range s.targets {
			if t.output.Name != o.Output {
				continue
			}
			more, lost, err := t.applySteps(ctx, tx, m, o)
			if lost || err != nil {
				return lost, err
			}
			steps = append(steps, more...)
		}
	}
	if m.deadLetters > 0 {
		steps = append(steps, step{want: m.deadLetters, from: "dead letters", args: []any{s.pipeline, m.batch, m.epoch},
			sql: fmt.Sprintf(`INSERT INTO sluice.dead_letter (pipeline, batch, source, partition, "offset", reason, raw, at)
SELECT $1, _sluice_batch, source, partition, "offset", reason, raw, now() FROM %s WHERE _sluice_batch = $2 AND _sluice_epoch = $3`, s.deadTable())})
	}
	steps = append(steps, s.ledgerSteps(m, c)...)
	var b pgx.Batch
	for _, st := range steps {
		b.Queue(st.sql, st.args...)
	}
	res := tx.SendBatch(ctx, &b)
	defer res.Close()
	for _, st := range steps {
		tag, err := res.Exec()
		if err != nil {
			return false, fmt.Errorf("%s: %w", st.from, err)
		}
		if got := tag.RowsAffected(); st.want >= 0 && got != st.want {
			if st.fromTarget {
				return false, fmt.Errorf("%w: %s: %d rows, and %d were expected\nHint: somebody else changed the table; run sluice verify to see what differs, then sluice drop to begin anew", errDisagree, st.from, got, st.want)
			}
			return true, nil // staged rows are missing
		}
	}
	return false, res.Close()
}

// ledgerSteps advance the ledger and write history.
func (s *Sink) ledgerSteps(m *manifest, c *microbatch.CommitInfo) []step {
	offsets := c.Offsets
	if len(offsets) == 0 {
		offsets = json.RawMessage("{}")
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	steps := []step{
		{from: "ledger", want: 1, fromTarget: true, args: []any{s.pipeline, m.batch, string(offsets), instant(c.Watermark), c.Plan, c.ContentHash, watermarksText(c.Watermarks)},
			sql: `UPDATE sluice.ledger SET batch = $2, offsets = $3::jsonb, watermark = $4, plan = $5, content_hash = $6, watermarks = $7::jsonb,
  committed_at = clock_timestamp()
WHERE pipeline = $1`},
		{from: "batch history", want: 1, fromTarget: true,
			args: []any{s.pipeline, m.batch, s.epoch, c.RowsIn, c.RowsLate, c.RowsBad, c.RowsOut, ms(c.ReadFor), ms(c.ExecuteFor), ms(c.StageFor), ms(c.PrepareFor), instant(c.PlannedAt)},
			// now() is when the transaction began, so the difference is the time that applying took.
			sql: `INSERT INTO sluice.batches (pipeline, batch, epoch, rows_in, rows_late, rows_bad, rows_out, read_ms, execute_ms, stage_ms, prepare_ms,
  apply_ms, planned_at, committed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, extract(epoch FROM clock_timestamp() - now()) * 1000, $12, clock_timestamp())`},
	}
	if c.KeepBatchTime {
		steps = append(steps, step{from: "batch time", want: 1, args: []any{s.pipeline, m.batch, c.PlannedAt, string(offsets)},
			sql: "INSERT INTO sluice.batch_time (pipeline, batch, at, offsets) VALUES ($1, $2, $3, $4::jsonb)"})
	}
	const pruneEvery = 100
	if m.batch%pruneEvery == 0 {
		steps = append(steps, step{from: "batch history", want: -1, args: []any{s.pipeline, m.batch - s.options.KeepBatches},
			sql: "DELETE FROM sluice.batches WHERE pipeline = $1 AND batch <= $2"})
	}
	return steps
}

func watermarksText(w map[string]int64) string {
	if len(w) == 0 {
		return "{}"
	}
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return string(b)
}

// instant turns the zero time into NULL.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

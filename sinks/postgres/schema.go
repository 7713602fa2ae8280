package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// schemaVersion counts the changes of schema sluice; migrations[i] leads from version i to i+1.
const schemaVersion = 3

// leaseSchema is the first version that has sluice.lease.
const leaseSchema = 3

// schemaLock is the key of the advisory lock under which the schema is made and migrated ("sluice").
const schemaLock = 0x736c75696365

var migrations = [schemaVersion]string{`
CREATE SCHEMA IF NOT EXISTS sluice;
COMMENT ON SCHEMA sluice IS 'what the sluice engine records about its pipelines; do not change by hand';

CREATE TABLE sluice.meta (key text PRIMARY KEY, value text NOT NULL);

CREATE TABLE sluice.ledger (
  pipeline text PRIMARY KEY,
  epoch bigint NOT NULL,
  batch bigint NOT NULL,
  offsets jsonb NOT NULL,
  watermark timestamptz,
  plan text NOT NULL,
  content_hash text NOT NULL,
  committed_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE sluice.ledger IS 'per pipeline the last committed batch: its tables hold the result of exactly the input up to offsets';
COMMENT ON COLUMN sluice.ledger.epoch IS 'fencing token, raised whenever an engine takes the pipeline over';

CREATE TABLE sluice.batches (
  pipeline text NOT NULL,
  batch bigint NOT NULL,
  epoch bigint NOT NULL,
  rows_in bigint NOT NULL,
  rows_late bigint NOT NULL,
  rows_bad bigint NOT NULL,
  rows_out bigint NOT NULL,
  read_ms double precision NOT NULL,
  execute_ms double precision NOT NULL,
  stage_ms double precision NOT NULL,
  prepare_ms double precision NOT NULL,
  apply_ms double precision NOT NULL,
  planned_at timestamptz,
  committed_at timestamptz NOT NULL,
  PRIMARY KEY (pipeline, batch)
);
COMMENT ON TABLE sluice.batches IS 'recent batches, one row each';

CREATE TABLE sluice.dead_letter (
  pipeline text NOT NULL,
  batch bigint NOT NULL,
  source text NOT NULL,
  partition text NOT NULL,
  "offset" bigint NOT NULL,
  reason text NOT NULL,
  raw text NOT NULL,
  at timestamptz NOT NULL
);
CREATE INDEX dead_letter_pipeline_batch ON sluice.dead_letter (pipeline, batch);
COMMENT ON TABLE sluice.dead_letter IS 'rows that were not processed: undecodable, or later than the watermark allows';

CREATE TABLE sluice.targets (
  pipeline text NOT NULL,
  output text NOT NULL,
  schema_name text NOT NULL,
  table_name text NOT NULL,
  mode text NOT NULL,
  staging text NOT NULL,
  staging_layout text NOT NULL,
  created boolean NOT NULL,
  PRIMARY KEY (pipeline, output),
  UNIQUE (schema_name, table_name)
);
COMMENT ON TABLE sluice.targets IS 'which pipeline writes which table';

CREATE TABLE sluice.staged (
  pipeline text PRIMARY KEY,
  epoch bigint NOT NULL,
  batch bigint NOT NULL,
  outputs jsonb NOT NULL,
  dead_letters bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE sluice.staged IS 'the batch that waits in the staging tables';

CREATE VIEW sluice.progress AS
SELECT l.pipeline, l.batch, l.epoch, l.watermark, l.committed_at,
  CASE WHEN l.committed_at IS NOT NULL THEN now() - l.committed_at END AS since_commit,
  b.rows_in, b.rows_late, b.rows_bad, b.rows_out,
  b.read_ms, b.execute_ms, b.stage_ms, b.prepare_ms, b.apply_ms, l.offsets
FROM sluice.ledger l LEFT JOIN sluice.batches b USING (pipeline, batch);
COMMENT ON VIEW sluice.progress IS 'how far each pipeline is, and its last batch';

CREATE VIEW sluice.lag AS
SELECT pipeline, batch, now() - watermark AS event_time_lag, now() - committed_at AS since_commit FROM sluice.ledger;

CREATE VIEW sluice.throughput AS
SELECT pipeline, date_trunc('minute', committed_at) AS minute, count(*) AS batches, sum(rows_in) AS rows_in, sum(rows_late) AS rows_late,
  sum(rows_bad) AS rows_bad, sum(rows_out) AS rows_out, sum(read_ms + execute_ms + stage_ms + prepare_ms + apply_ms) AS busy_ms
FROM sluice.batches GROUP BY 1, 2;
COMMENT ON VIEW sluice.throughput IS 'rows per pipeline and minute, from the recent batches';
`, `
ALTER TABLE sluice.ledger ADD COLUMN watermarks jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN sluice.ledger.watermarks IS 'per source, in the unit of its event-time column: rows of windows that these have closed are shown by EMIT ON WINDOW CLOSE';

CREATE TABLE sluice.batch_time (
  pipeline text NOT NULL,
  batch bigint NOT NULL,
  at timestamptz NOT NULL,
  offsets jsonb NOT NULL,
  PRIMARY KEY (pipeline, batch)
);
COMMENT ON TABLE sluice.batch_time IS 'of pipelines with a batch_time column, when each batch was planned and how far it read: the values of the column; never pruned';
`, `
CREATE TABLE sluice.lease (
  pipeline text PRIMARY KEY,
  epoch bigint NOT NULL,
  owner text NOT NULL,
  directory text NOT NULL,
  renewals bigint NOT NULL,
  renewed_at timestamptz NOT NULL,
  released boolean NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE sluice.lease IS 'who runs each pipeline, renewed every second: when nobody does for three, a standby takes over';
`}

// ensureSchema creates or migrates schema sluice, once, however many engines start together.
func ensureSchema(ctx context.Context, conn *pgx.Conn) error {
	have, err := readSchemaVersion(ctx, conn)
	if err != nil || have == schemaVersion {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", schemaLock); err != nil {
			return err
		}
		have, err := readSchemaVersion(ctx, conn) // again: another engine may have been faster
		if err != nil {
			return err
		}
		for ; have < schemaVersion; have++ {
			if _, err := tx.Exec(ctx, migrations[have]); err != nil {
				return fmt.Errorf("create schema sluice, version %d: %w", have+1, err)
			}
			if _, err := tx.Exec(ctx, `INSERT INTO sluice.meta (key, value) VALUES ('schema_version', $1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value`, strconv.Itoa(have+1)); err != nil {
				return err
			}
		}
		return nil
	})
}

// readSchemaVersion returns 0 when there is no schema sluice, and refuses one that a newer sluice made.
func readSchemaVersion(ctx context.Context, conn *pgx.Conn) (int, error) {
	var exists bool
	// Why not to_regclass: it may answer from the session's catalog cache, which waiting for an advisory
	// lock does not refresh.
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'sluice' AND relname = 'meta')").
		Scan(&exists); err != nil || !exists {
		return 0, err
	}
	var text string
	if err := conn.QueryRow(ctx, "SELECT value FROM sluice.meta WHERE key = 'schema_version'").Scan(&text); err != nil {
		return 0, fmt.Errorf("read the version of schema sluice: %w", err)
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < 1 {
		return 0, fmt.Errorf("schema sluice has version %q\nHint: it was changed by hand; restore it or use another database", text)
	}
	if v > schemaVersion {
		return 0, fmt.Errorf("schema sluice has version %d, and this sluice knows %d\nHint: use the newer sluice that made it", v, schemaVersion)
	}
	return v, nil
}

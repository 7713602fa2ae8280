package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/microbatch"
)

// prepareTarget creates or checks a table, records its owner, and makes its staging table.
func (s *Sink) prepareTarget(ctx context.Context, tx pgx.Tx, version int, t *target) error {
	d, owner, err := s.checkTarget(ctx, tx, version, t)
	if err != nil {
		return err
	}
	created := d == nil
	if created {
		if err := t.create(ctx, tx, version); err != nil {
			return err
		}
		if d, err = t.describe(ctx, tx, version); err != nil {
			return err
		}
		if err := t.check(d, version); err != nil {
			return fmt.Errorf("check the new table: %w", err)
		}
	}
	s.warnings = append(s.warnings, t.warnings(d)...)
	// Records of the same table from before it was dropped, or its view renamed, are of the past.
	if _, err := tx.Exec(ctx, "DELETE FROM sluice.targets WHERE schema_name = $1 AND table_name = $2 AND (pipeline, output) <> ($3, $4)",
		t.schema, t.table, s.pipeline, t.output.Name); err != nil {
		return err
	}
	var layout string
	err = tx.QueryRow(ctx, "SELECT staging_layout FROM sluice.targets WHERE pipeline = $1 AND output = $2 AND to_regclass($3) IS NOT NULL",
		s.pipeline, t.output.Name, t.stagingTable()).Scan(&layout)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if layout != t.layout(d) {
		if err := t.createStaging(ctx, tx, d); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO sluice.targets AS t (pipeline, output, schema_name, table_name, mode, staging, staging_layout, created)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (pipeline, output) DO UPDATE SET schema_name = excluded.schema_name,
  table_name = excluded.table_name, mode = excluded.mode, staging = excluded.staging, staging_layout = excluded.staging_layout,
  created = CASE WHEN $9 THEN t.created OR excluded.created ELSE excluded.created END`,
		s.pipeline, t.output.Name, t.schema, t.table, t.output.Mode.String(), t.staging, t.layout(d), created, owner == s.pipeline)
	return err
}

// sameTable refuses to go on with a batch after the first in a table that does not hold the earlier
// ones: a dropped table would come back with a part of its rows.
func (s *Sink) sameTable(ctx context.Context, tx pgx.Tx, t *target, batch int64) error {
	var schema, table string
	var exists bool
	err := tx.QueryRow(ctx, `SELECT schema_name, table_name, EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE nspname = schema_name AND relname = table_name) FROM sluice.targets WHERE pipeline = $1 AND output = $2`, s.pipeline, t.output.Name).
		Scan(&schema, &table, &exists)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && batch == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	was := pgx.Identifier{schema, table}.Sanitize()
	switch {
	case schema != t.schema || table != t.table:
		return fmt.Errorf("output %s is in table %s up to batch %d, and would go on in %s\nHint: keep the table's name, or run sluice drop %s and begin anew", t.output.Name, was, batch, t.qualified(), s.pipeline)
	case !exists:
		return fmt.Errorf("table %s is gone, and the ledger says that it holds batch %d\nHint: restore it, or run sluice drop %s and begin anew", was, batch, s.pipeline)
	}
	return nil
}

// checkTarget refuses a table that does not fit or that is not ours; it changes nothing. The result is
// nil when the table does not exist.
func (s *Sink) checkTarget(ctx context.Context, tx pgx.Tx, version int, t *target) (d *tableDef, owner string, err error) {
	if d, err = t.describe(ctx, tx, version); err != nil || d == nil {
		return nil, "", err
	}
	var known bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('sluice.targets') IS NOT NULL").Scan(&known); err != nil {
		return nil, "", err
	}
	if known {
		err = tx.QueryRow(ctx, "SELECT pipeline FROM sluice.targets WHERE schema_name = $1 AND table_name = $2", t.schema, t.table).Scan(&owner)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, "", err
		}
	}
	if owner != "" && owner != s.pipeline {
		return nil, "", fmt.Errorf("table %s belongs to pipeline %s\nHint: choose another with table = '…', or drop that pipeline with sluice drop", t.qualified(), owner)
	}
	if err := t.check(d, version); err != nil {
		return nil, "", err
	}
	if owner == "" && !t.adopt {
		var rows bool
		if err := tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s)", t.qualified())).Scan(&rows); err != nil {
			return nil, "", err
		}
		if rows {
			return nil, "", fmt.Errorf("table %s has rows that no pipeline wrote\nHint: empty it, choose another with table = '…', or say adopt = 'true' to keep the rows and write among them", t.qualified())
		}
	}
	return d, owner, nil
}

// Check does what Open would refuse, and changes nothing: the database can be reached, the tables fit
// and are not another pipeline's.
func (s *Sink) Check(ctx context.Context, pipeline string, targets []microbatch.Target) error {
	ts, err := newTargets(pipeline, targets)
	if err != nil {
		return err
	}
	ses, err := s.connectWaiting(ctx, pipeline, "check")
	if err != nil {
		return err
	}
	defer ses.drop()
	s.pipeline = pipeline
	if _, err := readSchemaVersion(ctx, ses.Conn); err != nil {
		return explain("check schema sluice", err)
	}
	err = pgx.BeginTxFunc(ctx, ses.Conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, t := range ts {
			if _, _, err := s.checkTarget(ctx, tx, ses.version, t); err != nil {
				return err
			}
		}
		return nil
	})
	return explain("check the tables of pipeline "+pipeline, err)
}

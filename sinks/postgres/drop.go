package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Tables says what Drop does with the tables that a pipeline wrote.
type Tables int

const (
	// KeepTables leaves them, as ordinary tables that no pipeline owns.
	KeepTables Tables = iota
	// DropTables drops those that sluice created; adopted ones stay.
	DropTables
)

// Drop removes everything that schema sluice holds of a pipeline: ledger, history, dead letters, staging.
// An engine that still runs it can commit nothing afterwards. It returns the tables dropped.
func (s *Sink) Drop(ctx context.Context, pipeline string, tables Tables) (dropped []string, err error) {
	ses, err := s.connectWaiting(ctx, pipeline, "drop")
	if err != nil {
		return nil, err
	}
	defer ses.drop()
	err = pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error {
		// A rebuild that did not get to its end leaves a shadow of the pipeline.
		if _, err := dropIn(ctx, tx, ShadowName(pipeline), DropTables); err != nil && !errors.Is(err, ErrUnknownPipeline) {
			return err
		}
		if dropped, err = dropIn(ctx, tx, pipeline, tables); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM sluice.meta WHERE key = $1", swapKey(pipeline))
		return err
	})
	return dropped, explain("drop pipeline "+pipeline, err)
}

// dropIn is Drop within a transaction.
func dropIn(ctx context.Context, tx pgx.Tx, pipeline string, tables Tables) (dropped []string, err error) {
	if _, err := readLedger(ctx, tx, pipeline); err != nil {
		return nil, err
	}
	// The ledger row goes first: it is the lock under which an engine stages and commits.
	if _, err := tx.Exec(ctx, "DELETE FROM sluice.ledger WHERE pipeline = $1", pipeline); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, "SELECT schema_name, table_name, staging, created FROM sluice.targets WHERE pipeline = $1 ORDER BY 1, 2", pipeline)
	if err != nil {
		return nil, err
	}
	type owned struct {
		schema, table, staging string
		created                bool
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (o owned, err error) {
		return o, r.Scan(&o.schema, &o.table, &o.staging, &o.created)
	})
	if err != nil {
		return nil, err
	}
	statements := []string{"DROP TABLE IF EXISTS " + `sluice."stg_` + shortHash(pipeline) + `_dead"`}
	for _, o := range list {
		statements = append(statements, "DROP TABLE IF EXISTS "+pgx.Identifier{"sluice", o.staging}.Sanitize())
		if name := (pgx.Identifier{o.schema, o.table}).Sanitize(); tables == DropTables && o.created {
			statements = append(statements, "DROP TABLE IF EXISTS "+name)
			dropped = append(dropped, name)
		}
	}
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	for _, table := range []string{"batches", "dead_letter", "targets", "staged", "batch_time", "lease"} {
		var there bool // an older schema has fewer
		if err := tx.QueryRow(ctx, "SELECT to_regclass('sluice.' || $1) IS NOT NULL", table).Scan(&there); err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf("DELETE FROM sluice.%s WHERE pipeline = $1", table), pipeline); err != nil {
			return nil, err
		}
	}
	return dropped, nil
}

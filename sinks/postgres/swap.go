package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

var (
	fpSwapBeforeCommit = failpoint.New("change.swap.before_commit")
	fpSwapAfterCommit  = failpoint.New("change.swap.after_commit")
)

// A SwapInfo says which rebuild takes the place of what.
type SwapInfo struct {
	// ID is what Swapped returns once the swap is committed.
	ID string
	// Old is the ledger whose prefix the rebuild has computed: if it has moved since, or an engine has been started,
	// nothing is swapped.
	Old microbatch.Ledger
	// Columns are those that the version before wrote, by output, as far as they are known.
	Columns map[string][]string
}

// Swap puts what a rebuild has filled in the place of the pipeline's tables, and its ledger row, batches and dead
// letters in the place of the pipeline's, in one transaction.
//
// A table that fits keeps its identity, and with it its grants, indexes, views and triggers: its rows are deleted
// and the new ones inserted. Why not TRUNCATE: it would make readers wait, and show an empty table to a
// transaction whose snapshot is older. One that does not fit is dropped and made anew, with the same
// grants.
func (s *Sink) Swap(ctx context.Context, pipeline string, targets []microbatch.Target, info SwapInfo) error {
	s.pipeline = pipeline
	var err error
	if s.targets, err = newTargets(pipeline, targets); err != nil {
		return err
	}
	ses, err := s.connectWaiting(ctx, pipeline, "swap")
	if err != nil {
		return err
	}
	defer ses.drop()
	err = pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		if err := s.swap(ctx, tx, ses.version, info); err != nil {
			return err
		}
		return fpSwapBeforeCommit.Hit()
	})
	if err != nil {
		return explain("swap the tables of pipeline "+pipeline, err)
	}
	return fpSwapAfterCommit.Hit()
}

func (s *Sink) swap(ctx context.Context, tx pgx.Tx, version int, info SwapInfo) error {
	shadow := ShadowName(s.pipeline)
	// The locks come first, in the ledger's order of rows: an engine that still runs the pipeline, or another
	// rebuild, waits here, and finds itself fenced.
	var epoch, batch int64
	var hash string
	err := tx.QueryRow(ctx, "SELECT epoch, batch, content_hash FROM sluice.ledger WHERE pipeline = $1 FOR UPDATE", s.pipeline).Scan(&epoch, &batch, &hash)
	if err != nil {
		return fmt.Errorf("lock the ledger: %w", err)
	}
	if epoch != info.Old.Epoch {
		return fmt.Errorf("%w: an engine has taken it over since the rebuild read its ledger, which was at epoch %d then and is at %d now\nHint: stop that engine and rebuild again", errDisagree, info.Old.Epoch, epoch)
	}
	if batch != info.Old.Batch || hash != info.Old.ContentHash {
		return fmt.Errorf("%w: the ledger was at batch %d when the rebuild began, and is at batch %d now\nHint: another engine runs the pipeline; stop it and rebuild again", errDisagree, info.Old.Batch, batch)
	}
	if _, err := tx.Exec(ctx, "SELECT FROM sluice.ledger WHERE pipeline = $1 FOR UPDATE", shadow); err != nil {
		return err
	}
	if err := s.retire(ctx, tx); err != nil {
		return err
	}
	for _, t := range s.targets {
		if err := s.swapTable(ctx, tx, version, t, info.Columns[t.output.Name]); err != nil {
			return fmt.Errorf("table %s: %w", t.qualified(), err)
		}
	}
	tag, err := tx.Exec(ctx, `UPDATE sluice.ledger l SET epoch = greatest(l.epoch, n.epoch) + 1, batch = n.batch, offsets = n.offsets, watermark = n.watermark,
  watermarks = n.watermarks, plan = n.plan, content_hash = n.content_hash, committed_at = clock_timestamp()
FROM sluice.ledger n WHERE l.pipeline = $1 AND n.pipeline = $2`, s.pipeline, shadow)
	if err == nil && tag.RowsAffected() != 1 {
		err = errors.New("the rebuild's ledger row is gone")
	}
	if err != nil {
		return fmt.Errorf("move the ledger: %w", err)
	}
	for _, table := range []string{"batches", "dead_letter", "batch_time"} {
		if _, err := tx.Exec(ctx, "DELETE FROM sluice."+table+" WHERE pipeline = $1", s.pipeline); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE sluice."+table+" SET pipeline = $1 WHERE pipeline = $2", s.pipeline, shadow); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM sluice.staged WHERE pipeline = $1", s.pipeline); err != nil {
		return err
	}
	if _, err := dropIn(ctx, tx, shadow, DropTables); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO sluice.meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", swapKey(s.pipeline), info.ID)
	return err
}

// swapTable fills one table with the rebuild's rows, and records that it is this output's.
func (s *Sink) swapTable(ctx context.Context, tx pgx.Tx, version int, t *target, were []string) error {
	how, d, err := s.place(ctx, tx, version, t, were)
	if err != nil {
		return err
	}
	switch how {
	case keepTable:
		if _, err := tx.Exec(ctx, "DELETE FROM "+t.qualified()); err != nil {
			return err
		}
	case replaceTable:
		if err := t.replace(ctx, tx, version, d); err != nil {
			return err
		}
	case makeTable:
		if err := t.create(ctx, tx, version); err != nil {
			return err
		}
	}
	columns := t.names("")
	if t.output.Mode == planner.Multiset {
		columns = append(columns, colCount, colHash)
	}
	list := strings.Join(columns, ", ")
	from := pgx.Identifier{"sluice", shadowTable(ShadowName(s.pipeline), t.output.Name)}.Sanitize()
	if _, err := tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s", t.qualified(), list, list, from)); err != nil {
		return err
	}
	// An empty layout has the next Open make the staging table anew.
	_, err = tx.Exec(ctx, `INSERT INTO sluice.targets (pipeline, output, schema_name, table_name, mode, staging, staging_layout, created)
VALUES ($1, $2, $3, $4, $5, $6, '', true) ON CONFLICT (pipeline, output) DO UPDATE SET schema_name = excluded.schema_name,
  table_name = excluded.table_name, mode = excluded.mode, staging = excluded.staging, staging_layout = '', created = true`,
		s.pipeline, t.output.Name, t.schema, t.table, t.output.Mode.String(), t.staging)
	return err
}

// replace drops a table and makes the one that the output needs, with the same grants.
func (t *target) replace(ctx context.Context, tx pgx.Tx, version int, d *tableDef) error {
	rows, err := tx.Query(ctx, `SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, $2::text,
  CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = $1 AND a.grantee <> c.relowner ORDER BY 1`, d.oid, t.qualified())
	if err != nil {
		return err
	}
	grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "DROP TABLE "+t.qualified()); err != nil {
		return err
	}
	if err := t.create(ctx, tx, version); err != nil {
		return err
	}
	for _, sql := range grants {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("grant again: %w", err)
		}
	}
	return nil
}

// swapKey is the row of sluice.meta that says which rebuild was swapped in last, until its log is in place.
func swapKey(pipeline string) string { return "rebuilt:" + pipeline }

// Swapped returns the ID of the swap that was committed and not yet settled, empty if there is none.
func (s *Sink) Swapped(ctx context.Context, pipeline string) (id string, err error) {
	ses, err := s.connectWaiting(ctx, pipeline, "read")
	if err != nil {
		return "", err
	}
	defer ses.drop()
	if have, err := readSchemaVersion(ctx, ses.Conn); err != nil || have == 0 {
		return "", explain("look for a swap", err)
	}
	err = ses.QueryRow(ctx, "SELECT value FROM sluice.meta WHERE key = $1", swapKey(pipeline)).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return id, explain("look for a swap", err)
}

// SettleSwap forgets the swap: the rebuild's log is in the place of the pipeline's.
func (s *Sink) SettleSwap(ctx context.Context, pipeline string) error {
	ses, err := s.connectWaiting(ctx, pipeline, "settle")
	if err != nil {
		return err
	}
	defer ses.drop()
	_, err = ses.Exec(ctx, "DELETE FROM sluice.meta WHERE key = $1", swapKey(pipeline))
	return explain("settle a swap", err)
}

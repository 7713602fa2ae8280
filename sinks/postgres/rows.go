package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// Rows are what a pipeline has in Postgres at a batch, in files: the rows of its tables, and its dead letters
// and batch times, which the answer to "exactly which input" needs. Each file is COPY's binary format.
type Rows struct {
	Ledger    microbatch.Ledger `json:"ledger"`
	Watermark *time.Time        `json:"watermark,omitempty"`
	Tables    []TableRows       `json:"tables"`
}

// TableRows is one file.
type TableRows struct {
	// Output is the view, or "" for a table of schema sluice.
	Output  string   `json:"output,omitempty"`
	Table   string   `json:"table,omitempty"` // in schema sluice
	Columns []string `json:"columns"`         // as SQL names them
	File    string   `json:"file"`
	Rows    int64    `json:"rows"`
}

// records are the tables of schema sluice whose rows belong to a batch and are kept.
var records = []TableRows{
	{Table: "dead_letter", Columns: []string{"batch", "source", "partition", `"offset"`, "reason", "raw", "at"}},
	{Table: "batch_time", Columns: []string{"batch", "at", "offsets"}},
}

func (t *target) stored() []string {
	cols := t.names("")
	if t.output.Mode == planner.Multiset {
		cols = append(cols, colCount, colHash)
	}
	return cols
}

// ExportRows writes what the pipeline has in Postgres, all of one snapshot: exactly the ledger's prefix. It
// raises no epoch and may run beside the engine. create makes a file.
func (s *Sink) ExportRows(ctx context.Context, pipeline string, outputs []planner.Output, create func(name string) (io.WriteCloser, error)) (*Rows, error) {
	ses, err := s.connectWaiting(ctx, pipeline, "savepoint")
	if err != nil {
		return nil, err
	}
	defer ses.drop()
	out := &Rows{}
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, ses.Conn, opts, func(tx pgx.Tx) (err error) {
		if out.Ledger, err = readLedger(ctx, tx, pipeline); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT watermark FROM sluice.ledger WHERE pipeline = $1", pipeline).Scan(&out.Watermark); err != nil {
			return explain("read the ledger", err)
		}
		for _, o := range outputs {
			t, err := newTarget(pipeline, microbatch.Target{Output: o})
			if err != nil {
				return err
			}
			err = tx.QueryRow(ctx, "SELECT schema_name, table_name FROM sluice.targets WHERE pipeline = $1 AND output = $2", pipeline, o.Name).Scan(&t.schema, &t.table)
			if err != nil {
				return explain("look up the table of output "+o.Name, err)
			}
			part := TableRows{Output: o.Name, Columns: t.stored()}
			query := fmt.Sprintf("SELECT %s FROM %s", strings.Join(part.Columns, ", "), t.qualified())
			if err := out.export(ctx, tx, part, query, create); err != nil {
				return err
			}
		}
		for _, part := range records {
			var there bool // an older schema has fewer
			if err := tx.QueryRow(ctx, "SELECT to_regclass('sluice.' || $1) IS NOT NULL", part.Table).Scan(&there); err != nil || !there {
				return err
			}
			query := fmt.Sprintf("SELECT %s FROM sluice.%s WHERE pipeline = %s", strings.Join(part.Columns, ", "), part.Table, literal(pipeline))
			if err := out.export(ctx, tx, part, query, create); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (r *Rows) export(ctx context.Context, tx pgx.Tx, part TableRows, query string, create func(string) (io.WriteCloser, error)) error {
	part.File = fmt.Sprintf("%04d.copy", len(r.Tables))
	w, err := create(part.File)
	if err != nil {
		return err
	}
	tag, err := tx.Conn().PgConn().CopyTo(ctx, w, "COPY ("+query+") TO STDOUT (FORMAT binary)")
	if err = errors.Join(err, w.Close()); err != nil {
		return explain("copy the rows of "+part.Output+part.Table, err)
	}
	part.Rows = tag.RowsAffected()
	r.Tables = append(r.Tables, part)
	return nil
}

// RestoreRows makes the pipeline's tables hold exactly these rows and its ledger say so, in one transaction:
// readers see what was there before, or this. Tables that do not exist are created. The epoch is raised above
// leastEpoch and above the ledger's, so that no older engine commits afterwards.
//
// Why DELETE and not TRUNCATE: readers are not locked out, and those with an older snapshot keep seeing it.
func (s *Sink) RestoreRows(ctx context.Context, pipeline string, targets []microbatch.Target, rows *Rows, leastEpoch int64, open func(name string) (io.ReadCloser, error)) (err error) {
	s.pipeline = pipeline
	if s.targets, err = newTargets(pipeline, targets); err != nil {
		return err
	}
	for _, t := range s.targets {
		if t.adopt {
			return fmt.Errorf("table %s was adopted: it may hold rows of others, which restoring would delete\nHint: restore under another pipeline name, into another table, without adopt", t.qualified())
		}
	}
	ses, err := s.connectWaiting(ctx, pipeline, "restore")
	if err != nil {
		return err
	}
	defer ses.drop()
	if err := ensureSchema(ctx, ses.Conn); err != nil {
		return explain("prepare schema sluice", err)
	}
	err = pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error { return s.restoreRows(ctx, tx, ses.version, rows, leastEpoch, open) })
	return explain("restore the rows of pipeline "+pipeline, err)
}

func (s *Sink) restoreRows(ctx context.Context, tx pgx.Tx, version int, rows *Rows, leastEpoch int64, open func(name string) (io.ReadCloser, error)) error {
	l := rows.Ledger
	// The ledger row goes first: it is the lock under which an engine stages and commits.
	if _, err := tx.Exec(ctx, `INSERT INTO sluice.ledger AS l (pipeline, epoch, batch, offsets, watermark, watermarks, plan, content_hash)
VALUES ($1, $2 + 1, $3, $4::jsonb, $5, $6::jsonb, $7, $8)
ON CONFLICT (pipeline) DO UPDATE SET epoch = greatest(l.epoch, $2) + 1, batch = $3, offsets = $4::jsonb, watermark = $5, watermarks = $6::jsonb, plan = $7, content_hash = $8`,
		s.pipeline, leastEpoch, l.Batch, string(l.Offsets), rows.Watermark, watermarksText(l.Watermarks), l.Plan, l.ContentHash); err != nil {
		return err
	}
	for _, sql := range []string{"DELETE FROM sluice.staged WHERE pipeline = $1", "DELETE FROM sluice.batches WHERE pipeline = $1",
		"DELETE FROM sluice.dead_letter WHERE pipeline = $1", "DELETE FROM sluice.batch_time WHERE pipeline = $1"} {
		if _, err := tx.Exec(ctx, sql, s.pipeline); err != nil {
			return err
		}
	}
	for _, t := range s.targets {
		if err := s.prepareTarget(ctx, tx, version, t); err != nil {
			return err
		}
		i := slices.IndexFunc(rows.Tables, func(r TableRows) bool { return r.Output == t.output.Name && r.Output != "" })
		if i < 0 {
			return fmt.Errorf("the savepoint has no rows of output %s", t.output.Name)
		}
		if !slices.Equal(rows.Tables[i].Columns, t.stored()) {
			return fmt.Errorf("the savepoint has output %s with columns %s, and the file with %s", t.output.Name, strings.Join(rows.Tables[i].Columns, ", "), strings.Join(t.stored(), ", "))
		}
		if _, err := tx.Exec(ctx, "DELETE FROM "+t.qualified()); err != nil {
			return err
		}
		if err := copyIn(ctx, tx, t.qualified(), rows.Tables[i], open); err != nil {
			return err
		}
	}
	for _, part := range rows.Tables {
		if part.Table == "" || part.Rows == 0 {
			continue
		}
		// Through a table of our own, because the pipeline may have another name now.
		const scratch = "pg_temp.sluice_restore"
		cols := strings.Join(part.Columns, ", ")
		if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE TEMP TABLE sluice_restore ON COMMIT DROP AS SELECT %s FROM sluice.%s LIMIT 0", cols, part.Table)); err != nil {
			return err
		}
		if err := copyIn(ctx, tx, scratch, part, open); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf("INSERT INTO sluice.%s (pipeline, %s) SELECT $1, %s FROM %s", part.Table, cols, cols, scratch), s.pipeline); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DROP TABLE "+scratch); err != nil {
			return err
		}
	}
	return nil
}

func copyIn(ctx context.Context, tx pgx.Tx, table string, part TableRows, open func(name string) (io.ReadCloser, error)) error {
	r, err := open(part.File)
	if err != nil {
		return err
	}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, r, fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", table, strings.Join(part.Columns, ", ")))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if tag.RowsAffected() != part.Rows {
		return fmt.Errorf("%d rows of %s were restored, and the savepoint has %d", tag.RowsAffected(), table, part.Rows)
	}
	return nil
}

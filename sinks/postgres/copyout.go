package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// TypeName returns the Postgres type that a DuckDB type is stored as, and whose binary form CopyOut reads.
func TypeName(t vector.Type) (string, error) {
	m, err := mapType(t)
	return m.sql, err
}

// CopyOut runs a query by COPY BINARY and hands its rows on as chunks. The query's columns are of the types
// that TypeName gives for columns, and then there is a bigint, which becomes _w. At least one chunk comes; it
// is owned by fn.
func CopyOut(ctx context.Context, conn *pgconn.PgConn, query string, columns []vector.Field, fn func(*vector.Chunk) error) error {
	t, err := newTarget("-", microbatch.Target{Output: planner.Output{Name: "-", Columns: columns, Mode: planner.Multiset}})
	if err != nil {
		return err
	}
	d := newDecoder(t, fn)
	_, err = conn.CopyTo(ctx, d, "COPY ("+query+") TO STDOUT (FORMAT binary)")
	if d.err != nil {
		return fmt.Errorf("read a row: %w", d.err)
	}
	if err != nil {
		return explain("read the rows", err)
	}
	return d.end()
}

// Explain wraps an error; of a Postgres server it keeps code, detail, context and hint.
func Explain(doing string, err error) error { return explain(doing, err) }

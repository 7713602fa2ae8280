package duck

import (
	"context"
	"errors"

	bindings "github.com/duckdb/duckdb-go-bindings"
	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Stmt is a prepared statement without parameters. Its plan stays right when tables change.
type Stmt struct {
	c   *Conn
	h   mapping.PreparedStatement
	sql string
	// ran says that h has run once.
	ran bool
	// cols is filled in at the first Columns.
	cols []vector.Field
}

// Prepare plans one statement.
func (c *Conn) Prepare(ctx context.Context, sql string) (*Stmt, error) {
	if err := usable(ctx, sql); err != nil {
		return nil, err
	}
	s := &Stmt{c: c, sql: sql}
	if err := s.plan(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stmt) plan(ctx context.Context) error {
	mapping.DestroyPrepare(&s.h)
	s.ran = false
	if mapping.Prepare(s.c.h, s.sql, &s.h) == mapping.StateError {
		defer s.Close()
		return s.c.fail(statementError(ctx, mapping.PrepareError(s.h)))
	}
	return nil
}

// ready makes the statement fit to run.
//
// Why: the plan of a CREATE TABLE AS gives away its columns when it runs; run again, it makes a table
// without any. DuckDB's own PREPARE takes queries and changes of rows only, so all else is planned anew.
func (s *Stmt) ready(ctx context.Context) error {
	if err := usable(ctx, ""); err != nil {
		return err
	}
	s.c.db.statements.Add(1)
	if s.ran {
		switch mapping.PreparedStatementType(s.h) {
		case mapping.StatementTypeSelect, mapping.StatementTypeInsert, mapping.StatementTypeUpdate, mapping.StatementTypeDelete:
		default:
			if err := s.plan(ctx); err != nil {
				return err
			}
		}
	}
	s.ran = true
	return nil
}

// Columns returns the names and types of the statement's result.
func (s *Stmt) Columns() ([]vector.Field, error) {
	if s.cols != nil {
		return s.cols, nil
	}
	cols := make([]vector.Field, mapping.PreparedStatementColumnCount(s.h))
	for i := range cols {
		t, err := typeOf(mapping.PreparedStatementColumnLogicalType(s.h, mapping.IdxT(i)))
		if err != nil {
			return nil, err
		}
		cols[i] = vector.Field{Name: mapping.PreparedStatementColumnName(s.h, mapping.IdxT(i)), Type: t}
	}
	s.cols = cols
	return cols, nil
}

// Query runs the statement and streams its rows.
func (s *Stmt) Query(ctx context.Context) (*Rows, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	r := &Rows{c: s.c, ctx: ctx, stop: s.c.interruptOn(ctx)}
	// The mapping leaves out streaming, which the bindings below it have.
	if bindings.ExecutePreparedStreaming(s.h, &r.res) == mapping.StateError {
		r.done = true
		defer r.Close()
		return nil, s.c.fail(resultError(ctx, &r.res))
	}
	if err := r.describe(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Exec runs the statement to its end and drops its rows.
func (s *Stmt) Exec(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	stop := s.c.interruptOn(ctx)
	defer stop()
	var res mapping.Result
	state := mapping.ExecutePrepared(s.h, &res)
	defer mapping.DestroyResult(&res)
	if state == mapping.StateError {
		return s.c.fail(resultError(ctx, &res))
	}
	return nil
}

// Close frees the statement.
func (s *Stmt) Close() error {
	mapping.DestroyPrepare(&s.h)
	return nil
}

// Collect runs the statement and returns its rows as chunks of the caller's own.
func (s *Stmt) Collect(ctx context.Context) ([]*vector.Chunk, []vector.Field, error) {
	r, err := s.Query(ctx)
	if err != nil {
		return nil, nil, err
	}
	return r.collect()
}

package duck

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Conn is a connection. See the package comment for who may use it.
type Conn struct {
	h  mapping.Connection
	db *DB
	// failed is the first statement error since the last BEGIN of Tx.
	failed error
}

// Close ends the connection and drops its temporary tables. Close its rows and statements first.
func (c *Conn) Close() error {
	mapping.Disconnect(&c.h)
	return nil
}

// Exec runs one or more statements and drops their results.
func (c *Conn) Exec(ctx context.Context, sql string) error {
	if err := usable(ctx, sql); err != nil {
		return err
	}
	c.db.statements.Add(1)
	stop := c.interruptOn(ctx)
	defer stop()
	var res mapping.Result
	state := mapping.Query(c.h, sql, &res)
	defer mapping.DestroyResult(&res)
	if state == mapping.StateError {
		return c.fail(resultError(ctx, &res))
	}
	return nil
}

// fail notes a statement's error for Tx.
func (c *Conn) fail(err error) error {
	if c.failed == nil {
		c.failed = err
	}
	return err
}

// Query runs one statement and streams its rows.
func (c *Conn) Query(ctx context.Context, sql string) (*Rows, error) {
	s, err := c.Prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	r, err := s.Query(ctx)
	if err != nil {
		s.Close()
		return nil, err
	}
	r.owned = s
	return r, nil
}

// Collect runs one statement and returns its rows as chunks of the caller's own.
func (c *Conn) Collect(ctx context.Context, sql string) ([]*vector.Chunk, []vector.Field, error) {
	r, err := c.Query(ctx, sql)
	if err != nil {
		return nil, nil, err
	}
	return r.collect()
}

// QueryValue returns the first column of the first row, which must be a VARCHAR, and whether there is a
// row and it is not NULL.
func (c *Conn) QueryValue(ctx context.Context, sql string) (string, bool, error) {
	r, err := c.Query(ctx, sql)
	if err != nil {
		return "", false, err
	}
	defer r.Close()
	if cols := r.Columns(); len(cols) == 0 || cols[0].Type.Kind != vector.Varchar {
		return "", false, errors.New("read a value: the first column must be a VARCHAR; cast it")
	}
	if !r.Next() {
		return "", false, r.Err()
	}
	v := &r.Chunk().Cols[0]
	value, ok := "", !v.IsNull(0)
	if ok {
		value = string(v.Str(0))
	}
	// A statement counts as complete, and is committed, only when its rows have been read to the end.
	r.Next()
	return value, ok, r.Err()
}

// Describe returns the names and types of a query's columns, without running it.
func (c *Conn) Describe(ctx context.Context, query string) ([]vector.Field, error) {
	s, err := c.Prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Columns()
}

// Tx runs fn inside a transaction: committed if it returns nil, rolled back on an error or a panic. An
// error that fn got from a statement and kept to itself rolls back, too: the transaction is aborted
// then, and DuckDB's COMMIT would not say so.
func (c *Conn) Tx(ctx context.Context, fn func() error) (err error) {
	if err := c.Exec(ctx, "BEGIN TRANSACTION"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	c.failed = nil
	defer func() {
		if !done {
			// The context may be the reason why we are here: roll back all the same.
			err = errors.Join(err, c.Exec(context.WithoutCancel(ctx), "ROLLBACK"))
		}
	}()
	if err := fn(); err != nil {
		return err
	}
	if c.failed != nil {
		return fmt.Errorf("commit: a statement has failed: %w", c.failed)
	}
	if err := c.Exec(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	done = true
	return nil
}

// usable refuses what must not reach DuckDB: a dead context, and text that C would cut short.
func usable(ctx context.Context, sql string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("run statement: %w", context.Cause(ctx))
	}
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return &Error{Kind: "Parser", Message: "the statement contains a NUL byte", Position: i}
	}
	return nil
}

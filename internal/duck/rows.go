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
	c *Conn
	h mapping.PreparedStatement
	// cols is filled in at the first Columns.
	cols []vector.Field
}

// Prepare plans one statement.
func (c *Conn) Prepare(ctx context.Context, sql string) (*Stmt, error) {
	if err := usable(ctx, sql); err != nil {
		return nil, err
	}
	s := &Stmt{c: c}
	if mapping.Prepare(c.h, sql, &s.h) == mapping.StateError {
		defer s.Close()
		return nil, statementError(ctx, mapping.PrepareError(s.h))
	}
	return s, nil
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
	if err := usable(ctx, ""); err != nil {
		return nil, err
	}
	r := &Rows{c: s.c, ctx: ctx, stop: s.c.interruptOn(ctx)}
	// The mapping leaves out streaming, which the bindings below it have.
	if bindings.ExecutePreparedStreaming(s.h, &r.res) == mapping.StateError {
		r.done = true
		defer r.Close()
		return nil, resultError(ctx, &r.res)
	}
	if err := r.describe(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Exec runs the statement to its end and drops its rows.
func (s *Stmt) Exec(ctx context.Context) error {
	if err := usable(ctx, ""); err != nil {
		return err
	}
	stop := s.c.interruptOn(ctx)
	defer stop()
	var res mapping.Result
	state := mapping.ExecutePrepared(s.h, &res)
	defer mapping.DestroyResult(&res)
	if state == mapping.StateError {
		return resultError(ctx, &res)
	}
	return nil
}

// Close frees the statement.
func (s *Stmt) Close() error {
	mapping.DestroyPrepare(&s.h)
	return nil
}

// Rows is a running statement's result.
type Rows struct {
	c *Conn
	//nolint:containedctx // The rows are the running statement; its context ends with them.
	ctx  context.Context
	stop func()
	// owned is a statement that lives only for these rows.
	owned *Stmt
	res   mapping.Result
	cols  []vector.Field
	read  *reader
	duck  mapping.DataChunk
	cur   *vector.Chunk
	err   error
	done  bool
}

func (r *Rows) describe() error {
	r.cols = make([]vector.Field, mapping.ColumnCount(&r.res))
	types := make([]vector.Type, len(r.cols))
	for i := range r.cols {
		t, err := typeOf(mapping.ColumnLogicalType(&r.res, mapping.IdxT(i)))
		if err != nil {
			return err
		}
		r.cols[i] = vector.Field{Name: mapping.ColumnName(&r.res, mapping.IdxT(i)), Type: t}
		types[i] = t
	}
	r.read = newReader(types)
	return nil
}

// finish makes DuckDB clean up after the last statement, by planning another.
func (c *Conn) finish() {
	var h mapping.PreparedStatement
	mapping.Prepare(c.h, "SELECT 1", &h)
	mapping.DestroyPrepare(&h)
}

// Columns returns the names and types of the result.
func (r *Rows) Columns() []vector.Field { return r.cols }

// Next fetches a chunk of at least one row. It returns false at the end and on an error; see Err.
func (r *Rows) Next() bool {
	for !r.done {
		r.drop()
		r.duck = mapping.FetchChunk(r.res)
		if r.duck.Ptr == nil {
			r.done = true
			if mapping.ResultError(&r.res) != "" {
				r.err = resultError(r.ctx, &r.res)
			}
			return false
		}
		if r.cur = r.read.view(r.duck.Ptr); r.cur.N > 0 {
			return true
		}
	}
	return false
}

// Chunk returns the rows that Next fetched: a view of DuckDB's memory, valid until the next call of Next
// or Close. Clone it to keep it.
func (r *Rows) Chunk() *vector.Chunk { return r.cur }

// Err returns what ended Next, nil at the regular end.
func (r *Rows) Err() error { return r.err }

// Close ends the statement. One closed before its end is rolled back, unless a transaction holds it.
// Closing twice is harmless.
func (r *Rows) Close() error {
	open := r.res != (mapping.Result{}) && !r.done
	r.done, r.cur = true, nil
	if r.read != nil {
		r.drop()
		r.read.close()
	}
	mapping.DestroyResult(&r.res)
	if open {
		// Why: DuckDB ends the transaction of an unfinished stream only when the next statement comes. A
		// function registered meanwhile would be rolled back with it.
		r.c.finish()
	}
	if r.owned != nil {
		r.owned.Close()
		r.owned = nil
	}
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
	return nil
}

func (r *Rows) drop() {
	r.cur = nil
	r.read.release()
	mapping.DestroyDataChunk(&r.duck)
}

// collect reads all rows into owned chunks and closes.
func (r *Rows) collect() ([]*vector.Chunk, []vector.Field, error) {
	defer r.Close()
	var out []*vector.Chunk
	for r.Next() {
		out = append(out, r.Chunk().Clone())
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	return out, r.cols, nil
}

// Collect runs the statement and returns its rows as chunks of the caller's own.
func (s *Stmt) Collect(ctx context.Context) ([]*vector.Chunk, []vector.Field, error) {
	r, err := s.Query(ctx)
	if err != nil {
		return nil, nil, err
	}
	return r.collect()
}

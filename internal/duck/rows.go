package duck

import (
	"context"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/sluice-sql/sluice/internal/vector"
)

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
				r.err = r.c.fail(resultError(r.ctx, &r.res))
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

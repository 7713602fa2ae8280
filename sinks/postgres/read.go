package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// ReadLedger returns what the ledger says about a pipeline, without taking it over. It fails with
// ErrUnknownPipeline when there is nothing.
func (s *Sink) ReadLedger(ctx context.Context, pipeline string) (l microbatch.Ledger, err error) {
	ses, err := s.connectWaiting(ctx, pipeline, "read")
	if err != nil {
		return l, err
	}
	defer ses.drop()
	return readLedger(ctx, ses, pipeline)
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readLedger(ctx context.Context, q querier, pipeline string) (l microbatch.Ledger, err error) {
	var there bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('sluice.ledger') IS NOT NULL").Scan(&there); err != nil {
		return l, explain("look for the ledger", err)
	}
	var offsets string
	var watermarks []byte
	if there {
		// Why to_jsonb: a schema that an older sluice made has no column watermarks until an engine migrates it.
		err = q.QueryRow(ctx, "SELECT true, epoch, batch, offsets::text, plan, content_hash, to_jsonb(l) -> 'watermarks' FROM sluice.ledger l WHERE pipeline = $1", pipeline).
			Scan(&l.Found, &l.Epoch, &l.Batch, &offsets, &l.Plan, &l.ContentHash, &watermarks)
	}
	if !there || errors.Is(err, pgx.ErrNoRows) {
		return l, fmt.Errorf("%w %s\nHint: sluice ls shows the pipelines; is this the right database?", ErrUnknownPipeline, pipeline)
	}
	l.Offsets = json.RawMessage(offsets)
	if err == nil && len(watermarks) > 2 {
		err = json.Unmarshal(watermarks, &l.Watermarks)
	}
	return l, explain("read the ledger", err)
}

// ReadSnapshot reads the ledger row and the tables of outputs in one snapshot, so that the rows are
// those of exactly the ledger's prefix, whatever is committed meanwhile. It raises no epoch and needs no Open.
//
// fn is called for each output in order, at least once, with chunks of the output's columns and then
// _w BIGINT, how many times the row is there. A chunk is owned by fn. The values are those that DuckDB
// had, as Normalize says.
func (s *Sink) ReadSnapshot(ctx context.Context, pipeline string, outputs []planner.Output,
	fn func(l microbatch.Ledger, output int, c *vector.Chunk) error) error {
	ses, err := s.connectWaiting(ctx, pipeline, "read")
	if err != nil {
		return err
	}
	defer ses.drop()
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, ses.Conn, opts, func(tx pgx.Tx) error {
		l, err := readLedger(ctx, tx, pipeline)
		if err != nil {
			return err
		}
		for i, o := range outputs {
			t, err := newTarget(pipeline, microbatch.Target{Output: o})
			if err != nil {
				return err
			}
			err = tx.QueryRow(ctx, "SELECT schema_name, table_name FROM sluice.targets WHERE pipeline = $1 AND output = $2", pipeline, o.Name).Scan(&t.schema, &t.table)
			if errors.Is(err, pgx.ErrNoRows) {
				return fmt.Errorf("pipeline %s has no table for output %s\nHint: was the SQL file changed since the pipeline ran?", pipeline, o.Name)
			}
			if err != nil {
				return explain("look up the table of output "+o.Name, err)
			}
			if err := t.copyOut(ctx, tx, func(c *vector.Chunk) error { return fn(l, i, c) }); err != nil {
				return explain("read table "+t.qualified(), err)
			}
		}
		return nil
	})
}

// copyOut reads a table by COPY BINARY.
func (t *target) copyOut(ctx context.Context, tx pgx.Tx, fn func(*vector.Chunk) error) error {
	count := "1::bigint"
	if t.output.Mode == planner.Multiset {
		count = colCount
	}
	d := newDecoder(t, fn)
	sql := fmt.Sprintf("COPY (SELECT %s FROM %s) TO STDOUT (FORMAT binary)", strings.Join(append(t.names(""), count), ", "), t.qualified())
	_, err := tx.Conn().PgConn().CopyTo(ctx, d, sql)
	if d.err != nil {
		return d.err
	}
	if err != nil {
		return err
	}
	return d.end()
}

// Normalize returns what ReadSnapshot would give for these rows, once written. It differs from c in what
// Postgres does not keep: a MAP's entries are ordered by key text, TIMESTAMP_NS and TIME_NS have whole
// microseconds, minus zero is zero. Compare the result of a query with a table after passing it through here.
func Normalize(o planner.Output, c *vector.Chunk) (*vector.Chunk, error) {
	o.Mode, o.Key = planner.Multiset, nil
	t, err := newTarget("-", microbatch.Target{Output: o})
	if err != nil {
		return nil, err
	}
	var out *vector.Chunk
	d := newDecoder(t, func(c *vector.Chunk) error { out = c; return nil })
	buf := be.AppendUint16(nil, uint16(len(t.columns)+1))
	for r := range c.N {
		row := buf[:2]
		for i := range t.columns {
			if v := &c.Cols[i]; v.IsNull(r) {
				row = append(row, 0xff, 0xff, 0xff, 0xff)
			} else if row, err = t.columns[i].put(row, v, r); err != nil {
				return nil, fmt.Errorf("column %s: %w", t.columns[i].name, err)
			}
		}
		row, _ = putInt64(row, &c.Cols[len(t.columns)], r)
		if err := d.row(row); err != nil {
			return nil, err
		}
		buf = row
	}
	if out == nil { // a full chunk was handed on with its last row
		err = d.flush()
	}
	return out, err
}

// decoder is an io.Writer of COPY BINARY that fills chunks.
type decoder struct {
	t      *target
	fn     func(*vector.Chunk) error
	reader valuetext.Reader
	types  []vector.Type
	chunk  *vector.Chunk
	n      int
	calls  int
	rest   []byte // of a row that came in pieces
	begun  bool
	ended  bool
	err    error
}

func newDecoder(t *target, fn func(*vector.Chunk) error) *decoder {
	d := &decoder{t: t, fn: fn, reader: valuetext.Reader{Unescape: plainText}}
	for _, c := range t.columns {
		d.types = append(d.types, c.typ)
	}
	d.types = append(d.types, vector.Of(vector.Int64))
	d.fresh()
	return d
}

func (d *decoder) fresh() {
	d.reader.Arena = &vector.Arena{}
	d.chunk, d.n = vector.NewChunk(d.types, vector.Size), 0
	d.chunk.Keep = append(d.chunk.Keep, d.reader.Arena)
}

// Write implements io.Writer. The server sends a row a message, but the protocol does not promise it.
func (d *decoder) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	b := p
	if len(d.rest) > 0 {
		d.rest = append(d.rest, p...)
		b = d.rest
	}
	for d.err == nil {
		n := d.next(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	d.rest = append(d.rest[:0], b...)
	return len(p), d.err
}

// next consumes the header, a row or the trailer from the front of b, or nothing if it is cut.
func (d *decoder) next(b []byte) int {
	switch {
	case !d.begun:
		if len(b) < len(copySignature) {
			return 0
		}
		d.begun = true
		return len(copySignature)
	case d.ended || len(b) < 2:
		return 0
	case b[0] == 0xff && b[1] == 0xff:
		d.ended = true
		return 2
	}
	n := 2
	for range d.types {
		if len(b) < n+4 {
			return 0
		}
		n += 4 + int(max(int32(be.Uint32(b[n:])), 0))
	}
	if len(b) < n {
		return 0
	}
	d.err = d.row(b[:n])
	return n
}

func (d *decoder) row(b []byte) error {
	if fields := int(be.Uint16(b)); fields != len(d.types) {
		return fmt.Errorf("the server sent %d columns, and %d were expected", fields, len(d.types))
	}
	b = b[2:]
	for i := range d.types {
		cell, rest, err := nextCell(b)
		if err != nil {
			return err
		}
		b = rest
		v := &d.chunk.Cols[i]
		switch {
		case cell == nil:
			valuetext.SetNull(v, d.n, vector.Size)
		case i == len(d.t.columns):
			err = takeInt(&d.reader, v, d.n, cell)
		default:
			err = d.t.columns[i].take(&d.reader, v, d.n, cell)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", d.t.columns[min(i, len(d.t.columns)-1)].name, err)
		}
	}
	if d.n++; d.n == vector.Size {
		return d.flush()
	}
	return nil
}

// flush hands the chunk on.
func (d *decoder) flush() error {
	c := d.chunk
	c.N = d.n
	d.calls++
	d.fresh()
	return d.fn(c)
}

// end hands on the last chunk; an empty table gives one empty chunk.
func (d *decoder) end() error {
	if len(d.rest) > 0 || !d.ended {
		return errors.New("the server's answer was cut short")
	}
	if d.n > 0 || d.calls == 0 {
		return d.flush()
	}
	return nil
}

// BatchTime is when a batch was planned, and how far it read.
type BatchTime struct {
	At      time.Time
	Offsets json.RawMessage
}

// ReadBatchTimes lists the batches of a pipeline with a batch_time column, up to one, in order.
func (s *Sink) ReadBatchTimes(ctx context.Context, pipeline string, upTo int64) ([]BatchTime, error) {
	ses, err := s.connectWaiting(ctx, pipeline, "read")
	if err != nil {
		return nil, err
	}
	defer ses.drop()
	rows, err := ses.Query(ctx, "SELECT at, offsets::text FROM sluice.batch_time WHERE pipeline = $1 AND batch <= $2 ORDER BY batch", pipeline, upTo)
	if err != nil {
		return nil, explain("read the batch times", err)
	}
	out, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (b BatchTime, err error) {
		var offsets string
		err = r.Scan(&b.At, &offsets)
		b.Offsets = json.RawMessage(offsets)
		return b, err
	})
	return out, explain("read the batch times", err)
}

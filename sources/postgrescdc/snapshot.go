package postgrescdc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/internal/failpoint"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

var (
	fpNamed     = failpoint.New("cdc.begin.after_name")
	fpPublished = failpoint.New("cdc.begin.after_publication")
	fpSlot      = failpoint.New("cdc.begin.after_slot")
	fpCopied    = failpoint.New("cdc.snapshot.after_table")
	fpComplete  = failpoint.New("cdc.snapshot.after_end")
)

// copyAll makes the publication and the slot, and copies the tables as of where the slot begins.
//
// Crash anywhere: the log's last entry does not say that the snapshot is complete. The next start drops the slot
// that the first entry names, removes the log and begins again; nobody has read a row of it.
func (g *Capture) copyAll(ctx context.Context) (w *writer, err error) {
	o := g.opt
	conn, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn.PgConn())
	srv, err := lookAtServer(ctx, conn)
	if err == nil && !o.Once {
		err = srv.checkLevel()
	}
	if err != nil {
		return nil, err
	}
	doc := document{Pipeline: o.Pipeline, Slot: o.Slot, Publication: o.Publication, System: srv.system, Database: srv.database}
	if doc.Slot == "" {
		doc.Slot = newSlotName(o.Pipeline)
	}
	if doc.Publication == "" {
		doc.Publication, doc.MadePublication = doc.Slot, true
	}
	if doc.Tables, err = o.resolve(ctx, conn); err != nil {
		return nil, err
	}
	if o.Once {
		return g.copyOnce(ctx, conn, doc)
	}
	if there, err := lookAtSlot(ctx, conn, doc.Slot); err != nil || there != nil {
		return nil, errors.Join(err, taken(doc.Slot, there))
	}
	if !doc.MadePublication {
		if err := checkPublication(ctx, conn, doc.Publication, doc.Tables); err != nil {
			return nil, err
		}
		if err := o.published(&doc); err != nil {
			return nil, err
		}
	}
	w = newWriter(g.log, doc)
	if err := errors.Join(w.add(&record{kind: kindNamed}), w.flush(), fpNamed.Hit()); err != nil {
		return nil, err
	}
	if doc.MadePublication {
		if err := createPublication(ctx, conn, doc.Publication, doc.Tables); err != nil {
			return nil, err
		}
		doc.Tables = slices.Clone(doc.Tables)
		if err := checkPublication(ctx, conn, doc.Publication, doc.Tables); err != nil {
			return nil, err
		}
		if err := w.describe(doc); err != nil { // with what the tables are in it
			return nil, err
		}
	}
	if err := fpPublished.Hit(); err != nil {
		return nil, err
	}
	return w, g.join(ctx, conn, w, srv)
}

func taken(name string, there *slot) error {
	if there == nil {
		return nil
	}
	return fmt.Errorf("replication slot %s is there already, and was not made from this state directory\nHint: it may hold another consumer's changes. Name another one with slot = '…', or remove it: SELECT pg_drop_replication_slot(%s)", name, quoteLiteral(name))
}

// join creates the slot and copies the tables in its snapshot: the stream goes on where the copy ends.
func (g *Capture) join(ctx context.Context, conn *pgx.Conn, w *writer, srv server) error {
	repl, err := g.opt.connectReplication(ctx)
	if err != nil {
		return err
	}
	// The snapshot lives as long as this connection does nothing else.
	defer hangUp(repl.PgConn)
	at, snapshot, err := g.opt.createSlot(ctx, repl, w.doc.Slot, srv.version)
	if err != nil {
		return err
	}
	if err := fpSlot.Hit(); err != nil {
		return err
	}
	w.phase, w.lsn = phaseSnapshot, at
	begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " + quoteLiteral(snapshot)
	return g.copyTables(ctx, conn, w, begin)
}

// copyOnce copies the tables as they are.
func (g *Capture) copyOnce(ctx context.Context, conn *pgx.Conn, doc document) (*writer, error) {
	w := newWriter(g.log, doc)
	if err := w.add(&record{kind: kindNamed}); err != nil {
		return nil, err
	}
	w.phase = phaseSnapshot
	return w, g.copyTables(ctx, conn, w, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
}

// copyTables copies every table and marks the snapshot complete.
func (g *Capture) copyTables(ctx context.Context, conn *pgx.Conn, w *writer, begin string) error {
	if _, err := conn.Exec(ctx, begin); err != nil {
		return sink.Explain("begin the snapshot", err)
	}
	// row_security: rows that a policy hides are an error, and not left out.
	set := "SET row_security = off"
	for name, value := range settings {
		set += "; SET " + name + " = " + quoteLiteral(value)
	}
	if _, err := conn.Exec(ctx, set); err != nil {
		return sink.Explain("set up the snapshot's session", err)
	}
	if !g.opt.Once {
		doc := w.doc
		doc.Tables = slices.Clone(doc.Tables)
		if err := pin(ctx, conn, doc.Tables); err != nil {
			return err
		}
		if err := w.describe(doc); err != nil {
			return err
		}
	}
	for i := range w.doc.Tables {
		if err := copyTable(ctx, conn.PgConn(), w, i); err != nil {
			return fmt.Errorf("copy table %s: %w", &w.doc.Tables[i], err)
		}
		if err := fpCopied.Hit(); err != nil {
			return err
		}
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
		return sink.Explain("end the snapshot", err)
	}
	w.phase = phaseStream
	return errors.Join(w.add(&record{kind: kindEnd, lsn: w.lsn}), w.flush(), fpComplete.Hit())
}

// copyTable copies one table, as text: what the stream says of a row later is in the same words.
func copyTable(ctx context.Context, conn *pgconn.PgConn, w *writer, i int) error {
	r := &w.doc.Tables[i]
	var names []string
	for _, c := range r.Columns {
		names = append(names, quoteIdent(c.Name))
	}
	c := &copier{w: w, table: i, columns: len(names)}
	_, err := conn.CopyTo(ctx, c, "COPY (SELECT "+strings.Join(names, ", ")+" FROM ONLY "+r.sql()+") TO STDOUT")
	if c.err != nil {
		return c.err
	}
	if code(err) == "42501" {
		return fmt.Errorf("%w\nHint: GRANT SELECT ON %s TO the user of the option url", sink.Explain("read it", err), r.sql())
	}
	if err == nil && len(c.rest) > 0 {
		err = errors.New("the server's answer was cut short")
	}
	return sink.Explain("read it", err)
}

// A copier is an io.Writer of COPY's text format.
type copier struct {
	w       *writer
	table   int
	columns int
	rest    []byte // of a row that came in pieces
	row     []byte
	cell    []byte
	err     error
}

// Write implements io.Writer. The server sends a row a message, but the protocol does not promise it.
func (c *copier) Write(p []byte) (int, error) {
	b := p
	if len(c.rest) > 0 {
		c.rest = append(c.rest, p...)
		b = c.rest
	}
	for c.err == nil {
		end := bytes.IndexByte(b, '\n') // in a value it is written \n
		if end < 0 {
			break
		}
		c.err = c.line(b[:end])
		b = b[end+1:]
	}
	c.rest = append(c.rest[:0], b...)
	return len(p), c.err
}

// line takes one row.
func (c *copier) line(b []byte) error {
	c.row = c.row[:0]
	n := 0
	for more := c.columns > 0; more; n++ {
		var field []byte
		field, b, more = bytes.Cut(b, []byte{'\t'})
		if string(field) == `\N` {
			c.row = appendCell(c.row, nil)
			continue
		}
		c.row = appendCell(c.row, c.unescape(field))
	}
	if n != c.columns {
		return fmt.Errorf("the server sent %d columns, and %d were expected", n, c.columns)
	}
	return c.w.add(&record{kind: kindCopied, table: c.table, new: c.row})
}

// unescape undoes COPY's escapes; the result is never nil, and valid until the next call.
func (c *copier) unescape(s []byte) []byte {
	if bytes.IndexByte(s, '\\') < 0 {
		if s == nil {
			return []byte{}
		}
		return s
	}
	c.cell = c.cell[:0]
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch == '\\' && i+1 < len(s) {
			i++
			ch = s[i]
			if at := strings.IndexByte("bfnrtv", ch); at >= 0 {
				ch = "\b\f\n\r\t\v"[at]
			}
		}
		c.cell = append(c.cell, ch)
	}
	return c.cell
}

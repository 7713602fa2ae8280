package postgrescdc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// Columns come, change and go while a table is captured, and what is in the log stays as it was written. What an older
// row has in a column of a newer description is the log's value if the column is still the same one; or the value that the
// server has for all rows from before the column was added, if that is certain; or nobody knows, and then the column
// cannot be declared.

// What rows from before a column have in it. Empty: nobody knows.
const (
	beforeNull = "n"
	beforeText = "t" // and the text
)

// An origin is where a value comes from.
type origin struct {
	at    int    // of the row's cells; -1: it is text for every row
	text  []byte // nil is NULL
	known bool
}

func (o origin) of(row [][]byte) []byte {
	if o.at >= 0 {
		return row[o.at]
	}
	return o.text
}

// origin says what a column is in rows that an older description is of.
func (c *column) origin(was *relation) origin {
	at := was.find(c.Name)
	switch {
	case at >= 0 && was.Columns[at].Since == c.Since:
		return origin{at: at, known: true}
	case c.Before == "":
		return origin{at: -1}
	case c.Before == beforeNull:
		return origin{at: -1, known: true}
	}
	return origin{at: -1, text: []byte(c.Before[len(beforeText):]), known: true}
}

// origins is origin for all columns.
func (r *relation) origins(was *relation) (out []origin) {
	for i := range r.Columns {
		out = append(out, r.Columns[i].origin(was))
	}
	return out
}

// isCertain says that rows of all ages have a value in a column.
func (c *column) isCertain() bool { return c.Since == 0 || c.Before != "" }

// A glance is a table as it is on the server by now, which may be ahead of the stream.
type glance struct {
	relation
	// dropped says that a column that was added since is gone already.
	dropped bool
}

// glanceAt looks a table up, with what rows from before a column have in it: the server notes that of columns that were
// added without writing the table anew.
func glanceAt(ctx context.Context, conn *pgx.Conn, was *relation) (g glance, err error) {
	for name, value := range settings { // values are to have the texts that they have in the stream
		if _, err := conn.Exec(ctx, "SET "+name+" = "+quoteLiteral(value)); err != nil {
			return g, sink.Explain("set up the session", err)
		}
	}
	rows, err := conn.Query(ctx, `SELECT attname, attnum, atttypid, atttypmod, CASE WHEN atthasmissing THEN '`+beforeText+`' || coalesce((attmissingval::text::text[])[1], '') ELSE '`+beforeNull+`' END
FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`, was.OID)
	if err == nil {
		g.Columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c column, err error) {
			err = row.Scan(&c.Name, &c.Num, &c.Type, &c.Mod, &c.Before)
			return c, err
		})
	}
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT coalesce(max(c.relfilenode), 0), coalesce(max(a.attnum), 0), coalesce(bool_or(a.attisdropped AND a.attnum > $2), false)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.oid = $1`, was.OID, was.Highest).Scan(&g.File, &g.Highest, &g.dropped)
	}
	return g, sink.Explain("look at the columns of table "+was.String(), err)
}

// follow fills in what a new description of the stream does not say. at is the position that it will have in the log.
func (r *relation) follow(was *relation, now glance, at int64) {
	abreast := slices.EqualFunc(r.Columns, now.Columns, func(a, b column) bool { return a.Name == b.Name && a.Type == b.Type && a.Mod == b.Mod })
	// Why the file: a default that is another in every row has the table written anew, and then nothing says any more what
	// the rows have. With the file of old, what the server notes of a column is so.
	certain := abreast && was.File != 0 && now.File == was.File && !now.dropped
	r.File, r.Highest = was.File, was.Highest
	if abreast {
		r.File, r.Highest = now.File, now.Highest
	}
	for i := range r.Columns {
		c := &r.Columns[i]
		before, is := was.find(c.Name), now.find(c.Name)
		switch {
		case is >= 0:
			c.Num = now.Columns[is].Num // the stream has only names, and a column that was dropped and added again is another
		case before >= 0:
			c.Num = was.Columns[before].Num // it is dropped by now
		}
		same := before >= 0 && was.Columns[before].Num == c.Num
		switch {
		case same && was.Columns[before].unchanged(*c):
			c.Since, c.Before = was.Columns[before].Since, was.Columns[before].Before
		case !same && certain:
			c.Since, c.Before = at, now.Columns[is].Before
		default:
			c.Since, c.Before = at, ""
		}
	}
}

// unchanged says that a column has the values that it had.
func (c column) unchanged(now column) bool {
	return c.Type == now.Type && (c.Mod == now.Mod || longer(c, now))
}

// pin locks the tables in the transaction of the initial snapshot and sees to it that they are, up to now, as they were
// when they were looked at.
//
// Why: whoever has a table written anew hides its rows from snapshots that are older.
func pin(ctx context.Context, conn *pgx.Conn, tables []relation) error {
	if _, err := conn.Exec(ctx, "LOCK TABLE "+tableList(tables)+" IN ACCESS SHARE MODE"); err != nil {
		err = sink.Explain("lock the tables for reading", err)
		if code(err) == "42501" {
			err = fmt.Errorf("%w\nHint: GRANT SELECT ON %s TO the user of the option url", err, strings.ReplaceAll(tableList(tables), "ONLY ", ""))
		}
		return err
	}
	for i := range tables {
		r := &tables[i]
		is := relation{OID: r.OID, Schema: r.Schema, Name: r.Name, Identity: r.Identity}
		if err := is.readColumns(ctx, conn); err != nil {
			return err
		}
		var file uint32 // as of now; the others are as of the snapshot
		err := conn.QueryRow(ctx, `SELECT c.relfilenode, (SELECT max(attnum) FROM pg_attribute WHERE attrelid = c.oid), pg_relation_filenode(c.oid) FROM pg_class c WHERE c.oid = $1`, r.OID).
			Scan(&r.File, &r.Highest, &file)
		if err != nil {
			return sink.Explain("look at table "+r.String(), err)
		}
		if file != r.File || !slices.Equal(is.read, r.read) {
			return fmt.Errorf("table %s was changed while it was about to be copied\nHint: start the pipeline again", r)
		}
	}
	return nil
}

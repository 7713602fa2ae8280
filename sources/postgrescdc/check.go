package postgrescdc

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/term"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// Check connects and looks whether the tables can be captured, changes nothing, and says what was found.
func Check(ctx context.Context, o Options) (found string, err error) {
	o = o.withDefaults()
	named := false // the error says which source it is about
	err = o.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		srv, err := lookAtServer(ctx, conn)
		if err == nil {
			err = srv.checkLevel()
		}
		if err != nil {
			return err
		}
		if _, err := o.createSQL("", srv.version); err != nil {
			return err
		}
		if made, err := o.recorded(); err != nil {
			return err
		} else if made != nil {
			if made, err = newReader(o.FS, o.Dir, nil).latest(); err == nil {
				err = o.matches(made)
			}
			if err != nil {
				named = true
				return err
			}
		}
		doc := document{Publication: o.Publication}
		if doc.Tables, err = o.resolve(ctx, conn); err != nil {
			named = true
			return err
		}
		if o.Publication != "" {
			if err := checkPublication(ctx, conn, o.Publication, doc.Tables); err != nil {
				return err
			}
			if err := o.published(&doc); err != nil {
				return err
			}
		}
		r := &doc.Tables[0]
		var rows int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM ONLY "+r.sql()+" LIMIT 1000) q").Scan(&rows); err != nil {
			return sink.Explain("read table "+r.String(), err)
		}
		more := ""
		if rows == 1000 {
			more = "at least "
		}
		found = fmt.Sprintf("table %s can be captured; it has %s%d rows", r, more, rows)
		return o.checkSlots(ctx, conn, &found)
	})
	if err != nil && !named {
		err = fmt.Errorf("source %q: %w", o.Tables[0].Name, err)
	}
	return found, err
}

// checkSlots looks at the slot that is there, or whether another one can be made.
func (o Options) checkSlots(ctx context.Context, conn *pgx.Conn, found *string) error {
	doc, err := o.recorded()
	if err != nil {
		return err
	}
	if doc != nil {
		s, err := lookAtSlot(ctx, conn, doc.Slot)
		if err != nil {
			return err
		}
		if s == nil || s.walStatus == "lost" {
			return s.check(doc.Slot, 0)
		}
		*found += fmt.Sprintf("; slot %s keeps %s of the server's log", doc.Slot, term.Bytes(s.retained))
		return nil
	}
	if o.Slot != "" {
		if s, err := lookAtSlot(ctx, conn, o.Slot); err != nil || s != nil {
			return fmt.Errorf("%w", firstOf(err, taken(o.Slot, s)))
		}
	}
	var free int
	var may bool
	err = conn.QueryRow(ctx, `SELECT current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots)::int, rolreplication OR rolsuper
FROM pg_roles WHERE rolname = current_user`).Scan(&free, &may)
	switch {
	case err != nil:
		return sink.Explain("look at the replication slots", err)
	case !may:
		return fmt.Errorf("role %s may not make a replication slot\nHint: ALTER ROLE %s REPLICATION", o.user(), quoteIdent(o.user()))
	case free <= 0:
		return fmt.Errorf("all replication slots of the server are taken\nHint: raise max_replication_slots, or drop a slot that nobody needs: SELECT * FROM pg_replication_slots WHERE NOT active")
	}
	return nil
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

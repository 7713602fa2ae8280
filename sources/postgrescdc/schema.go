package postgrescdc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluice-sql/sluice/microbatch"
)

// relation takes over how a table is from here on. What nobody declared may change; anything else stops the
// capture, since rows that were there before have changed, too, and no message says how.
func (s *stream) relation(ctx context.Context, d described) error {
	at := slices.IndexFunc(s.w.doc.Tables, func(r relation) bool { return r.OID == d.oid })
	if s.tables[d.oid] = at; at < 0 {
		return nil
	}
	was := &s.w.doc.Tables[at]
	now := relation{OID: d.oid, Schema: d.schema, Name: d.name, Identity: string(d.identity), Sources: was.Sources, Key: was.Key, Member: was.Member}
	for _, c := range d.columns {
		now.Columns = append(now.Columns, column{Name: c.name, Type: c.oid, Mod: c.mod, Identity: c.identity && d.identity != 'f'})
	}
	seen, err := s.glance(ctx, was)
	if err != nil {
		return err
	}
	// Why the flush: the new description will be at the front of the next entry.
	if err := s.w.flush(); err != nil {
		return err
	}
	now.follow(was, seen, s.w.at)
	if err := s.g.opt.stillFits(was, &now); err != nil {
		return fmt.Errorf("%w: %w\nHint: change the file to what the table is now, drop the pipeline and start it again", err, microbatch.ErrRangeChanged)
	}
	same := slices.Equal(was.Columns, now.Columns) && was.Identity == now.Identity
	if same && was.Name == now.Name && was.Schema == now.Schema && was.File == now.File && was.Highest == now.Highest {
		return nil
	}
	if !same { // rows are looked up by the key, whose place may be another
		s.live.forget(at)
	}
	doc := s.w.doc
	doc.Tables = slices.Clone(doc.Tables)
	doc.Tables[at] = now
	return s.w.describe(doc)
}

// glance looks at a table that the server describes anew, and at the publication.
func (s *stream) glance(ctx context.Context, was *relation) (seen glance, err error) {
	err = s.g.opt.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if seen, err = glanceAt(ctx, conn, was); err != nil {
			return err
		}
		return stillPublished(ctx, conn, &s.w.doc)
	})
	return seen, err
}

// stillFits says why a table can no longer be captured as it was declared.
func (o Options) stillFits(was, now *relation) error {
	for i := range o.Tables {
		t := &o.Tables[i]
		if !slices.Contains(was.Sources, t.Name) {
			continue
		}
		for j, f := range t.Columns {
			if t.Metadata[j] != "" {
				continue
			}
			if why := changedColumn(was, now, f.Name); why != "" {
				return fmt.Errorf("column %s of table %s %s", f.Name, was, why)
			}
		}
	}
	identity := now.identityNames()
	switch {
	case now.Identity == "f":
		return nil
	case now.Identity == "n":
		return fmt.Errorf("table %s has REPLICA IDENTITY NOTHING now: its updates and deletes do not say which row", was)
	case len(was.Key) == 0:
		return fmt.Errorf("table %s no longer has REPLICA IDENTITY FULL, so that its changes do not say which rows are deleted", was)
	case !sameNames(identity, was.Key):
		return fmt.Errorf("the replica identity of table %s is now (%s), and the declared PRIMARY KEY is (%s)", was, strings.Join(identity, ", "), strings.Join(was.Key, ", "))
	}
	return nil
}

// changedColumn says what became of a column, "" if it is the same.
func changedColumn(was, now *relation, name string) string {
	at, before := now.find(name), was.find(name)
	if at < 0 {
		return "was dropped or renamed"
	}
	if before < 0 {
		return "" // found out when the log was opened
	}
	a, b := was.Columns[before], now.Columns[at]
	switch {
	case a.Type != b.Type:
		return "has another type"
	case a.Num != b.Num:
		return "was dropped, and another of its name was added"
	case a.Mod != b.Mod && !longer(a, b):
		return "has another length or precision"
	}
	return ""
}

// longer says that a text column only lost or raised its limit, which changes no row.
func longer(a, b column) bool {
	return a.Type == pgtype.VarcharOID && (b.Mod < 0 || a.Mod >= 0 && b.Mod >= a.Mod)
}

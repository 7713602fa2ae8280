package postgrescdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/planner/ddl"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// A server is what is to be known of it.
type server struct {
	version  int
	walLevel string
	system   string
	database string
}

func lookAtServer(ctx context.Context, conn *pgx.Conn) (s server, err error) {
	err = conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('wal_level'), system_identifier::text, current_database() FROM pg_control_system()").
		Scan(&s.version, &s.walLevel, &s.system, &s.database)
	if err != nil {
		return s, sink.Explain("look at the server's settings", err)
	}
	if s.version < minServer {
		return s, fmt.Errorf("the server is PostgreSQL %d, and changes are captured from %d on", s.version/10000, minServer/10000)
	}
	return s, nil
}

func (s server) checkLevel() error {
	if s.walLevel == "logical" {
		return nil
	}
	return fmt.Errorf("the server's wal_level is %s, and changes can be captured only if it is logical\nHint: ALTER SYSTEM SET wal_level = 'logical'; then restart the server", s.walLevel)
}

// resolve finds the tables, and says of every one all that keeps it from being captured.
func (o Options) resolve(ctx context.Context, conn *pgx.Conn) ([]relation, error) {
	var out []relation
	var problems []error
	for i := range o.Tables {
		t := &o.Tables[i]
		r, err := findTable(ctx, conn, t)
		if err == nil {
			err = r.fits(ctx, conn, t)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("source %q: %w", t.Name, err))
			continue
		}
		if at := slices.IndexFunc(out, func(x relation) bool { return x.OID == r.OID }); at >= 0 {
			if !slices.Equal(out[at].Key, r.Key) {
				problems = append(problems, fmt.Errorf("source %q: table %s is read by source %q, too, with another PRIMARY KEY\nHint: declare the same one, or give one of them a slot of its own: slot = '…'", t.Name, r, out[at].Sources[0]))
			}
			out[at].Sources = append(out[at].Sources, t.Name)
			continue
		}
		out = append(out, *r)
	}
	return out, errors.Join(problems...)
}

// findTable looks a table up by the name that the user gave.
func findTable(ctx context.Context, conn *pgx.Conn, t *Table) (*relation, error) {
	r := &relation{Sources: []string{t.Name}}
	var kind, persistence string
	err := conn.QueryRow(ctx, `SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relreplident::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`, t.Table).
		Scan(&r.OID, &r.Schema, &r.Name, &kind, &persistence, &r.Identity)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("there is no table %s in database %s%s", t.Table, conn.Config().Database, suggestTable(ctx, conn, t.Table))
	}
	if err != nil {
		return nil, sink.Explain("look for table "+t.Table, err)
	}
	switch {
	case kind == "p":
		return nil, fmt.Errorf("table %s is partitioned, and a TRUNCATE of one of its partitions is not in the stream of changes\nHint: declare a source for each partition, and UNION ALL them in a view", r)
	case kind != "r":
		return nil, fmt.Errorf("%s is not an ordinary table\nHint: changes are captured of tables; a view can be looked up with connector = 'postgres_lookup'", r)
	case persistence != "p":
		return nil, fmt.Errorf("table %s is not logged, so that its changes are not in the server's log\nHint: ALTER TABLE %s SET LOGGED", r, r.sql())
	}
	return r, r.readColumns(ctx, conn)
}

func suggestTable(ctx context.Context, conn *pgx.Conn, name string) string {
	rows, err := conn.Query(ctx, `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema', 'sluice') ORDER BY 1 LIMIT 100`)
	if err != nil {
		return ""
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return ""
	}
	if best := ddl.Suggest(name, names); best != "" {
		return fmt.Sprintf("\nHint: did you mean table = '%s'?", best)
	}
	return "\nHint: it has " + strings.Join(names[:min(len(names), 20)], ", ")
}

// readColumns lists the columns that are in the stream, in its order.
func (r *relation) readColumns(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT a.attname, a.attnum, a.atttypid, a.atttypmod, coalesce(a.attnum = ANY (i.indkey), false)
FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND CASE $2 WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum`, r.OID, r.Identity)
	if err != nil {
		return sink.Explain("look at the columns of table "+r.String(), err)
	}
	r.Columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c column, err error) {
		err = row.Scan(&c.Name, &c.Num, &c.Type, &c.Mod, &c.Identity)
		return c, err
	})
	r.read = r.Columns
	return sink.Explain("look at the columns of table "+r.String(), err)
}

// fits compares a table with the source that is declared over it.
func (r *relation) fits(ctx context.Context, conn *pgx.Conn, t *Table) error {
	var problems []error
	for i, c := range t.Columns {
		if t.Metadata[i] != "" {
			continue
		}
		at := r.find(c.Name)
		if at < 0 {
			problems = append(problems, r.noColumn(c.Name))
			continue
		}
		problems = append(problems, readable(ctx, conn, c, r.Columns[at]))
	}
	for _, k := range t.Key {
		r.Key = append(r.Key, t.Columns[k].Name)
	}
	problems = append(problems, r.checkIdentity(ctx, conn, t))
	return errors.Join(problems...)
}

func (r *relation) noColumn(name string) error {
	var names []string
	for _, c := range r.Columns {
		names = append(names, c.Name)
	}
	hint := "it has " + strings.Join(names, ", ")
	if best := ddl.Suggest(name, names); best != "" {
		hint = fmt.Sprintf("did you mean %q?", best)
	}
	return fmt.Errorf("column %s is not among the columns of table %s that its changes have\nHint: %s", name, r, hint)
}

// identityNames lists the columns of the replica identity.
func (r *relation) identityNames() (names []string) {
	for _, c := range r.Columns {
		if c.Identity {
			names = append(names, c.Name)
		}
	}
	return names
}

// checkIdentity sees to it that updates and deletes say enough of the old row.
func (r *relation) checkIdentity(ctx context.Context, conn *pgx.Conn, t *Table) error {
	full := fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", r.sql())
	identity := r.identityNames()
	switch {
	case r.Identity == "f" && len(r.Key) == 0:
		return nil
	case r.Identity == "f":
		return r.checkUnique(ctx, conn)
	case r.Identity == "n":
		return fmt.Errorf("table %s has REPLICA IDENTITY NOTHING: its updates and deletes do not say which row\nHint: ALTER TABLE %s REPLICA IDENTITY DEFAULT if it has a primary key, else %s", r, r.sql(), full)
	case len(identity) == 0:
		return fmt.Errorf("table %s has no primary key: its updates and deletes do not say which row\nHint: %s", r, full)
	case len(r.Key) == 0:
		return fmt.Errorf("source %q declares no PRIMARY KEY, and updates and deletes of table %s have only the columns of its own\nHint: declare PRIMARY KEY (%s) NOT ENFORCED, or %s", t.Name, r, strings.Join(identity, ", "), full)
	case !sameNames(identity, r.Key):
		return fmt.Errorf("source %q declares PRIMARY KEY (%s), and updates and deletes of table %s have (%s)\nHint: declare PRIMARY KEY (%s) NOT ENFORCED, or %s", t.Name, strings.Join(r.Key, ", "), r,
			strings.Join(identity, ", "), strings.Join(identity, ", "), full)
	}
	return nil
}

func sameNames(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// checkUnique sees to it that a declared key is one.
func (r *relation) checkUnique(ctx context.Context, conn *pgx.Conn) error {
	var unique bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C") FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[:i.indnkeyatts - 1]))
  = (SELECT array_agg(k ORDER BY k COLLATE "C") FROM unnest($2::text[]) k))`, r.OID, r.Key).Scan(&unique)
	if err != nil {
		return sink.Explain("look for a unique index of table "+r.String(), err)
	}
	if !unique {
		return fmt.Errorf("table %s has no unique index over the declared PRIMARY KEY (%s)\nHint: CREATE UNIQUE INDEX ON %s (%s), or declare no key", r, strings.Join(r.Key, ", "), r.sql(), strings.Join(r.Key, ", "))
	}
	return nil
}

package postgrescdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// tableList is the tables as in CREATE PUBLICATION. ONLY: a table's children are tables of their own.
func tableList(tables []relation) string {
	var names []string
	for _, r := range tables {
		names = append(names, "ONLY "+r.sql())
	}
	return strings.Join(names, ", ")
}

// createPublication makes the one that the slot reads by.
func createPublication(ctx context.Context, conn *pgx.Conn, name string, tables []relation) error {
	create := "CREATE PUBLICATION " + quoteIdent(name) + " FOR TABLE " + tableList(tables)
	_, err := conn.Exec(ctx, create)
	if code(err) == "42501" {
		// Why another name: what is left of this start is cleared away by the next, and that one must stay.
		theirs := strings.TrimPrefix(name, "sluice_")
		return fmt.Errorf("%w\nHint: have the owner of the tables run: CREATE PUBLICATION %s FOR TABLE %s; and name it with publication = '%s'", sink.Explain("create a publication", err), quoteIdent(theirs), tableList(tables), theirs)
	}
	return sink.Explain("create a publication", err)
}

// checkPublication sees to it that a publication says all that happens to the tables.
func checkPublication(ctx context.Context, conn *pgx.Conn, name string, tables []relation) error {
	var insert, update, deletes, truncate bool
	err := conn.QueryRow(ctx, "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = $1", name).Scan(&insert, &update, &deletes, &truncate)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("there is no publication %s in database %s\nHint: CREATE PUBLICATION %s FOR TABLE %s, or leave out the option publication", name, conn.Config().Database, quoteIdent(name), tableList(tables))
	}
	if err != nil {
		return sink.Explain("look for publication "+name, err)
	}
	if !insert || !update || !deletes || !truncate {
		return fmt.Errorf("publication %s leaves some kinds of changes out\nHint: ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", name, quoteIdent(name))
	}
	var problems []error
	var missing []relation
	for i := range tables {
		found, err := published(ctx, conn, name, &tables[i])
		if problems = append(problems, err); err == nil && !found {
			missing = append(missing, tables[i])
		}
	}
	if len(missing) > 0 {
		var names []string
		for _, r := range missing {
			names = append(names, r.String())
		}
		problems = append(problems, fmt.Errorf("publication %s has not table %s\nHint: ALTER PUBLICATION %s ADD TABLE %s", name, strings.Join(names, ", "), quoteIdent(name), tableList(missing)))
	}
	return errors.Join(problems...)
}

// published says whether a publication has a table, notes as which member, and takes the columns that it leaves out
// from the relation.
func published(ctx context.Context, conn *pgx.Conn, name string, r *relation) (bool, error) {
	// Why to_jsonb: servers before 15 have neither column.
	var filter *string
	var columns []string
	err := conn.QueryRow(ctx, `SELECT to_jsonb(p) ->> 'rowfilter', (SELECT array_agg(a) FROM jsonb_array_elements_text(to_jsonb(p) -> 'attnames') a),
coalesce((SELECT m.oid FROM pg_publication_rel m JOIN pg_publication o ON o.oid = m.prpubid WHERE o.pubname = $1 AND m.prrelid = $2), 0)
FROM pg_publication_tables p JOIN pg_class c ON c.oid = $2 AND c.relname = tablename JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = schemaname
WHERE pubname = $1`, name, r.OID).Scan(&filter, &columns, &r.Member)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, sink.Explain("look at publication "+name, err)
	}
	if filter != nil {
		return false, fmt.Errorf("publication %s has only the rows of table %s for which %s\nHint: filter in the query, and publish the whole table", name, r, *filter)
	}
	if columns != nil {
		for _, c := range r.Columns {
			if c.Identity && !slices.Contains(columns, c.Name) {
				return false, fmt.Errorf("publication %s leaves out column %s of table %s, which is of its replica identity", name, c.Name, r)
			}
		}
		r.Columns = slices.DeleteFunc(slices.Clone(r.Columns), func(c column) bool { return !slices.Contains(columns, c.Name) })
	}
	return true, nil
}

// published sees to it that a publication's list of columns has the declared ones.
func (o Options) published(doc *document) error {
	var problems []error
	for i := range o.Tables {
		t := &o.Tables[i]
		r := &doc.Tables[doc.find(t)]
		for j, c := range t.Columns {
			if t.Metadata[j] == "" && r.find(c.Name) < 0 {
				problems = append(problems, fmt.Errorf("source %q: publication %s leaves out column %s of table %s\nHint: ALTER PUBLICATION … SET TABLE … with the column, or do not declare it", t.Name, doc.Publication, c.Name, r))
			}
		}
	}
	return errors.Join(problems...)
}

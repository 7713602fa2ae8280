package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluice-sql/sluice/internal/vector"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// resolve finds the table or checks the query, and its columns. from goes after FROM, list after SELECT: every
// declared column in the type that its DuckDB type is read as, then a bigint.
func (o Options) resolve(ctx context.Context, tx pgx.Tx) (from, list string, err error) {
	if from, err = o.from(ctx, tx); err != nil {
		return "", "", err
	}
	there, err := tx.Conn().Prepare(ctx, "", "SELECT * FROM "+from)
	if err != nil {
		return "", "", sink.Explain("look at the columns", err)
	}
	var parts []string
	var problems []error
	for _, c := range o.Columns {
		text, err := o.column(ctx, tx, c, there.Fields)
		problems = append(problems, err)
		parts = append(parts, text)
	}
	return from, strings.Join(parts, ", ") + ", 1::bigint", errors.Join(problems...)
}

// from is what rows are selected from.
func (o Options) from(ctx context.Context, tx pgx.Tx) (string, error) {
	if o.Query != "" {
		return "(" + strings.TrimRight(strings.TrimSpace(o.Query), ";") + ") AS q", nil
	}
	var name *string
	// to_regclass reads a name as SQL does, quotes and search path included.
	err := tx.QueryRow(ctx, "SELECT to_regclass($1)::oid::regclass::text", o.Table).Scan(&name)
	if err != nil {
		return "", sink.Explain("look for table "+o.Table, err)
	}
	if name == nil {
		return "", fmt.Errorf("there is no table %s in database %s%s", o.Table, tx.Conn().Config().Database, o.suggestTable(ctx, tx))
	}
	return *name, nil
}

func (o Options) suggestTable(ctx context.Context, tx pgx.Tx) string {
	rows, err := tx.Query(ctx, `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND nspname NOT IN ('pg_catalog', 'information_schema', 'sluice') ORDER BY 1 LIMIT 20`)
	if err != nil {
		return ""
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return ""
	}
	return "\nHint: it has " + strings.Join(names, ", ")
}

// column is the expression that reads a declared column.
func (o Options) column(ctx context.Context, tx pgx.Tx, c vector.Field, there []pgconn.FieldDescription) (string, error) {
	at := slices.IndexFunc(there, func(f pgconn.FieldDescription) bool { return f.Name == c.Name })
	if at < 0 {
		at = slices.IndexFunc(there, func(f pgconn.FieldDescription) bool { return strings.EqualFold(f.Name, c.Name) })
	}
	if at < 0 {
		var names []string
		for _, f := range there {
			names = append(names, f.Name)
		}
		return "", fmt.Errorf("column %s is not among its columns\nHint: it has %s", c.Name, strings.Join(names, ", "))
	}
	want, err := sink.TypeName(c.Type)
	if err != nil {
		return "", err
	}
	name := quoteIdent(there[at].Name)
	var is string
	var ok bool
	// Only casts that lose nothing: implicit ones, among integers, whose overflow is an error, and to text.
	err = tx.QueryRow(ctx, `SELECT format_type(s.oid, $3), s.oid = t.oid OR t.oid = 'text'::regtype
OR (s.typname IN ('int2', 'int4', 'int8') AND t.typname IN ('int2', 'int4', 'int8'))
OR (s.typname = 'json' AND t.typname = 'jsonb') OR (s.typcategory = 'A' AND t.typcategory = 'A')
OR EXISTS (SELECT FROM pg_cast WHERE castsource = s.oid AND casttarget = t.oid AND castcontext = 'i')
FROM pg_type s, pg_type t WHERE s.oid = $1 AND t.oid = $2::text::regtype`, there[at].DataTypeOID, want, there[at].TypeModifier).Scan(&is, &ok)
	if err != nil {
		return "", sink.Explain("look at column "+c.Name, err)
	}
	if !ok {
		return "", fmt.Errorf("column %s is declared as %s and is %s there\nHint: %s", c.Name, c.Type, is, declareAs(there[at].DataTypeOID))
	}
	if c.Type.Kind == vector.Decimal {
		// A value that does not fit is an error, and not rounded.
		return fmt.Sprintf("CASE WHEN %[1]s::%[2]s = %[1]s THEN %[1]s::%[2]s ELSE %[1]s::numeric END", name, want), nil
	}
	return name + "::" + want, nil
}

// declareAs suggests a DuckDB type for a Postgres type.
func declareAs(oid uint32) string {
	names := map[uint32]string{pgtype.BoolOID: "BOOLEAN", pgtype.Int2OID: "SMALLINT", pgtype.Int4OID: "INTEGER", pgtype.Int8OID: "BIGINT",
		pgtype.Float4OID: "REAL", pgtype.Float8OID: "DOUBLE", pgtype.NumericOID: "DECIMAL(38, 10)", pgtype.DateOID: "DATE", pgtype.TimeOID: "TIME",
		pgtype.TimestampOID: "TIMESTAMP", pgtype.TimestamptzOID: "TIMESTAMPTZ", pgtype.IntervalOID: "INTERVAL", pgtype.UUIDOID: "UUID", pgtype.ByteaOID: "BLOB"}
	if name, ok := names[oid]; ok {
		return "declare it as " + name + ", or cast it in query = 'SELECT …'"
	}
	return "declare it as VARCHAR, or cast it in query = 'SELECT …'"
}

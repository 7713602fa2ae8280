package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// TargetOptions are the options of CREATE SINK … WITH that this sink reads, besides connector.
//
//	table        the table's name. Defaults to the materialized view's
//	schema       its schema, created if need be. Defaults to public
//	adopt        true: take over a table that has rows and that no pipeline owns. Defaults to false
//	primary_key  true: a PRIMARY KEY, and NULL keys refused, on a table that is created. Defaults to false
var TargetOptions = []string{"table", "schema", "adopt", "primary_key"}

// Hidden columns of our making.
const (
	colHash  = "_sluice_hash"
	colCount = "_sluice_count"
	colEpoch = "_sluice_epoch"
	colBatch = "_sluice_batch"
	colW     = "_sluice_w"

	reservedPrefix = "_sluice_"
)

// target is an output's table, checked, and its staging table.
type target struct {
	output  planner.Output
	schema  string
	table   string
	adopt   bool
	pk      bool
	columns []column
	staging string // in schema sluice

	// nullKeys: the key's index holds NULLs equal, so rows may have them. Otherwise phase 1 refuses them.
	nullKeys bool
	// litter is how many rows of the past the staging table may hold; -1 when unknown.
	litter int64
	enc    *encoder
}

type column struct {
	name string
	typ  vector.Type
	mapping
}

func newTarget(pipeline string, t microbatch.Target) (*target, error) {
	out := &target{output: t.Output, schema: "public", table: t.Output.Name, litter: -1,
		staging: "stg_" + shortHash(pipeline, t.Output.Name)}
	var errs []error
	for _, name := range TargetOptions {
		value, ok := t.Options[name]
		if !ok {
			continue
		}
		var err error
		switch name {
		case "table":
			out.table = value
		case "schema":
			out.schema = value
		case "adopt":
			out.adopt, err = strconv.ParseBool(value)
		case "primary_key":
			out.pk, err = strconv.ParseBool(value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("option %s is %q\nHint: use 'true' or 'false'", name, value))
		}
	}
	errs = append(errs, checkName("schema", out.schema), checkName("table", out.table))
	if out.schema == "sluice" || strings.HasPrefix(out.schema, "pg_") || out.schema == "information_schema" {
		errs = append(errs, fmt.Errorf("schema %s is reserved\nHint: choose another with schema = '…'", out.schema))
	}
	for i, f := range t.Output.Columns {
		m, err := mapType(f.Type)
		if err == nil {
			err = checkName("column", f.Name)
		}
		if err == nil && isKey(t.Output, i) && !keyable(f.Type) {
			err = fmt.Errorf("the key has type %s, and Postgres holds values equal that DuckDB tells apart\nHint: cast it in the query, e.g. %s::VARCHAR, or ::TIMESTAMP for a time in nanoseconds", f.Type, vector.QuoteIdent(f.Name))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("column %s: %w", f.Name, err))
		}
		out.columns = append(out.columns, column{name: f.Name, typ: f.Type, mapping: m})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("output %s: %w", t.Output.Name, err)
	}
	out.enc = newEncoder(out)
	return out, nil
}

// keyable reports whether Postgres tells all values of the type apart: it does not keep nanoseconds nor the
// order of a MAP, and '1 day -1 second' equals '23:59:59' there.
func keyable(t vector.Type) bool {
	switch t.Kind {
	case vector.TimestampNS, vector.TimeNS, vector.Interval, vector.Map:
		return false
	}
	for _, c := range t.ChildTypes() {
		if !keyable(c) {
			return false
		}
	}
	return true
}

func isKey(o planner.Output, col int) bool {
	if o.Mode != planner.Upsert {
		return false
	}
	for _, k := range o.Key {
		if k == col {
			return true
		}
	}
	return false
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a %s needs a name\nHint: give it one with AS, or table = '…'", what)
	case len(name) > maxNameBytes:
		// Postgres would cut it, and two long names could become one.
		return fmt.Errorf("%s name %q has %d bytes, and Postgres allows %d\nHint: give it a shorter one with AS, or table = '…'", what, name, len(name), maxNameBytes)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%s name %q holds a NUL byte", what, name)
	case strings.HasPrefix(name, reservedPrefix):
		return fmt.Errorf("names that begin with %s are reserved\nHint: give %s another name with AS", reservedPrefix, name)
	}
	return nil
}

func (t *target) qualified() string { return pgx.Identifier{t.schema, t.table}.Sanitize() }
func (t *target) stagingTable() string {
	return pgx.Identifier{"sluice", t.staging}.Sanitize()
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// names returns the quoted names of all columns.
func (t *target) names(prefix string) []string {
	out := make([]string, len(t.columns))
	for i, c := range t.columns {
		out[i] = prefix + quote(c.name)
	}
	return out
}

// namesOf returns the quoted names of the columns with these indexes.
func (t *target) namesOf(prefix string, cols []int) []string {
	all, out := t.names(prefix), make([]string, len(cols))
	for k, i := range cols {
		out[k] = all[i]
	}
	return out
}

// values returns the columns that are not in the key.
func (t *target) values() []int {
	var out []int
	for i := range t.columns {
		if !isKey(t.output, i) {
			out = append(out, i)
		}
	}
	return out
}

// fillFactor leaves room on each page of a table that sees updates, so that most stay on it and touch
// no index. Measured, 100,000 updates among 1,000,000 rows: 100 → 660 ms, 85 → 305 ms, 70 → 340 ms.
const fillFactor = 85

// create makes the table.
func (t *target) create(ctx context.Context, tx pgx.Tx, version int) error {
	if t.schema != "public" {
		// Not IF NOT EXISTS alone: that asks for the right to create even when the schema is there.
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", t.schema).Scan(&exists); err != nil {
			return err
		}
		if !exists {
			if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quote(t.schema)); err != nil {
				return explain("create schema "+t.schema, err)
			}
		}
	}
	var defs []string
	for _, c := range t.columns {
		defs = append(defs, quote(c.name)+" "+c.sql)
	}
	with, after := "", ""
	switch t.output.Mode {
	case planner.Upsert:
		with = fmt.Sprintf(" WITH (fillfactor = %d)", fillFactor)
		key := strings.Join(t.namesOf("", t.output.Key), ", ")
		switch {
		case len(t.output.Key) == 0:
			// A constant in a unique index: one row at most.
			after = fmt.Sprintf("CREATE UNIQUE INDEX ON %s ((true))", t.qualified())
		case t.pk || version < versionNullsNotDistinct:
			defs = append(defs, "PRIMARY KEY ("+key+")")
		default:
			defs = append(defs, "UNIQUE NULLS NOT DISTINCT ("+key+")")
		}
	case planner.Multiset:
		with = fmt.Sprintf(" WITH (fillfactor = %d)", fillFactor)
		defs = append(defs, colCount+" bigint NOT NULL CHECK ("+colCount+" > 0)", colHash+" uuid PRIMARY KEY")
		after = fmt.Sprintf("COMMENT ON COLUMN %s.%s IS 'how many times the view has this row'", t.qualified(), colCount)
	}
	if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (%s)%s", t.qualified(), strings.Join(defs, ", "), with)); err != nil {
		return explain("create table "+t.qualified(), err)
	}
	if after != "" {
		if _, err := tx.Exec(ctx, after); err != nil {
			return explain("create table "+t.qualified(), err)
		}
	}
	return nil
}

const versionNullsNotDistinct = 150000

// stagingColumns are what COPY fills: our own columns, then the target's, in the encoder's order.
func (t *target) stagingColumns() []string {
	cols := []string{colEpoch, colBatch, colW}
	if t.output.Mode == planner.Multiset {
		cols = append(cols, colHash)
	}
	return append(cols, t.names("")...)
}

// createStaging makes the staging table like the target, so that a row that the target would refuse is
// refused in phase 1, where the batch can still be given up. A row that deletes may have NULL in any
// column but the key, so NOT NULL becomes a check of the other rows.
func (t *target) createStaging(ctx context.Context, tx pgx.Tx, def *tableDef) error {
	statements := []string{
		"DROP TABLE IF EXISTS " + t.stagingTable(),
		fmt.Sprintf("CREATE UNLOGGED TABLE %s (LIKE %s INCLUDING CONSTRAINTS, %s bigint NOT NULL, %s bigint NOT NULL, %s bigint NOT NULL) WITH (autovacuum_enabled = off)",
			t.stagingTable(), t.qualified(), colEpoch, colBatch, colW),
	}
	alter := func(format string, args ...any) {
		statements = append(statements, "ALTER TABLE "+t.stagingTable()+" "+fmt.Sprintf(format, args...))
	}
	if t.output.Mode == planner.Multiset {
		alter("DROP COLUMN %s", colCount)
	}
	ours := map[string]int{}
	for i, c := range t.columns {
		ours[c.name] = i
	}
	for _, c := range def.columns {
		i, mine := ours[c.name]
		switch {
		case !mine && !strings.HasPrefix(c.name, reservedPrefix):
			alter("DROP COLUMN %s", quote(c.name)) // with the constraints that mention it
		case mine && c.notNull && !isKey(t.output, i):
			alter("ALTER COLUMN %s DROP NOT NULL", quote(c.name))
			alter("ADD CONSTRAINT %s CHECK (%s < 0 OR %s IS NOT NULL)", quote(cut(c.name+" is not null")), colW, quote(c.name))
		case mine && isKey(t.output, i) && !t.nullKeys && !c.notNull:
			alter("ALTER COLUMN %s SET NOT NULL", quote(c.name))
		}
	}
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return explain("create a staging table for "+t.qualified(), err)
		}
	}
	t.litter = 0
	return nil
}

// cut shortens a name that only has to be readable.
func cut(name string) string {
	if len(name) <= maxNameBytes {
		return name
	}
	return strings.ToValidUTF8(name[:maxNameBytes-9], "") + shortHash(name)[:8]
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// tableDef is an existing table as the catalog describes it.
type tableDef struct {
	oid     uint32
	kind    string
	columns []columnDef
	indexes []indexDef
	missing []string // privileges that we lack
	// other things that only phase 2 can run into
	triggers, foreignKeys int
	rowSecurity           bool
}

type columnDef struct {
	name       string
	oid        uint32
	typmod     int32
	typ        string // as psql shows it
	notNull    bool
	hasDefault bool
	identity   string // a: always, d: by default
	generated  string
}

type indexDef struct {
	name             string
	columns          []string
	plain            bool // valid, not partial, not deferrable, no expressions
	constant         bool // the single-row index of an ungrouped aggregate
	nullsNotDistinct bool
}

// describe reads a table from the catalog; nil when there is none.
func (t *target) describe(ctx context.Context, tx pgx.Tx, version int) (*tableDef, error) {
	d := &tableDef{}
	err := tx.QueryRow(ctx, `SELECT c.oid, c.relkind::text, c.relrowsecurity,
  (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
  (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'),
  ARRAY(SELECT p FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE']) p WHERE NOT has_table_privilege(c.oid, p))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`, t.schema, t.table).
		Scan(&d.oid, &d.kind, &d.rowSecurity, &d.triggers, &d.foreignKeys, &d.missing)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("look up table "+t.qualified(), err)
	}
	rows, err := tx.Query(ctx, `SELECT attname, atttypid, atttypmod, format_type(atttypid, atttypmod), attnotnull, atthasdef,
  attidentity::text, attgenerated::text
FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, d.oid)
	if err != nil {
		return nil, explain("read the columns of "+t.qualified(), err)
	}
	d.columns, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (c columnDef, err error) {
		return c, r.Scan(&c.name, &c.oid, &c.typmod, &c.typ, &c.notNull, &c.hasDefault, &c.identity, &c.generated)
	})
	if err != nil {
		return nil, explain("read the columns of "+t.qualified(), err)
	}
	nulls := "false"
	if version >= versionNullsNotDistinct {
		nulls = "indnullsnotdistinct"
	}
	rows, err = tx.Query(ctx, `SELECT indexrelid::regclass::text,
  ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = indrelid AND a.attnum = ANY (indkey::int2[]) ORDER BY 1),
  indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL AND indnkeyatts = indnatts,
  indisvalid AND indimmediate AND indpred IS NULL AND indnatts = 1 AND pg_get_expr(indexprs, indrelid) = 'true', `+nulls+`
FROM pg_index WHERE indrelid = $1 AND indisunique ORDER BY indisprimary DESC, 1`, d.oid)
	if err != nil {
		return nil, explain("read the indexes of "+t.qualified(), err)
	}
	d.indexes, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (x indexDef, err error) {
		var constant *bool
		err = r.Scan(&x.name, &x.columns, &x.plain, &constant, &x.nullsNotDistinct)
		x.constant = constant != nil && *constant
		return x, err
	})
	return d, explain("read the indexes of "+t.qualified(), err)
}

// check compares an existing table with what the output needs and names every difference.
func (t *target) check(d *tableDef, version int) error {
	if d.kind != "r" && d.kind != "p" {
		return fmt.Errorf("%s is not a table\nHint: choose another name with table = '…'", t.qualified())
	}
	var diffs, fixes []string
	differ := func(fix, format string, args ...any) {
		diffs = append(diffs, fmt.Sprintf(format, args...))
		if fix != "" && !slices.Contains(fixes, fix) {
			fixes = append(fixes, fix)
		}
	}
	alter := "ALTER TABLE " + t.qualified() + " "
	want := t.columns
	if t.output.Mode == planner.Multiset {
		want = append(slices.Clone(want),
			column{name: colCount, mapping: mapping{sql: "bigint", oid: oidInt8}}, column{name: colHash, mapping: mapping{sql: "uuid", oid: oidUUID}})
	}
	byName := map[string]columnDef{}
	for _, c := range d.columns {
		byName[c.name] = c
	}
	for _, w := range want {
		c, ok := byName[w.name]
		delete(byName, w.name)
		switch {
		case !ok:
			differ(alter+"ADD COLUMN "+quote(w.name)+" "+w.sql, "column %s %s is missing", quote(w.name), w.sql)
		case !compatible(w, c):
			differ(alter+"ALTER COLUMN "+quote(w.name)+" TYPE "+w.sql, "column %s is %s, and the query gives %s", quote(w.name), c.typ, w.sql)
		case c.generated != "":
			differ(alter+"ALTER COLUMN "+quote(w.name)+" DROP EXPRESSION", "column %s is generated", quote(w.name))
		case c.identity == "a":
			differ(alter+"ALTER COLUMN "+quote(w.name)+" DROP IDENTITY", "column %s is GENERATED ALWAYS AS IDENTITY", quote(w.name))
		}
	}
	for _, c := range d.columns {
		if _, extra := byName[c.name]; extra && c.notNull && !c.hasDefault && c.identity == "" && c.generated == "" {
			differ(alter+"ALTER COLUMN "+quote(c.name)+" DROP NOT NULL", "column %s is NOT NULL, has no default, and is not in the query", quote(c.name))
		}
	}
	if len(diffs) == 0 { // an index over columns that are missing would only repeat the above
		if diff, fix := t.checkKey(d, version); diff != "" {
			differ(fix, "%s", diff)
		}
	}
	if len(d.missing) > 0 {
		differ("GRANT "+strings.Join(d.missing, ", ")+" ON "+t.qualified()+" TO CURRENT_USER", "the privilege %s is missing", strings.Join(d.missing, ", "))
	}
	if len(diffs) == 0 {
		return nil
	}
	return fmt.Errorf("table %s does not fit output %s: %s\nHint: run %s; or DROP TABLE %s, and sluice creates it; or choose another with table = '…'",
		t.qualified(), t.output.Name, strings.Join(diffs, "; "), strings.Join(fixes, "; "), t.qualified())
}

// checkKey looks for the unique index that the apply statement relies on.
func (t *target) checkKey(d *tableDef, version int) (diff, fix string) {
	var key []string
	switch {
	case t.output.Mode == planner.Append:
		return "", ""
	case t.output.Mode == planner.Multiset:
		key = []string{colHash}
	case len(t.output.Key) == 0:
		if slices.ContainsFunc(d.indexes, func(x indexDef) bool { return x.constant }) {
			return "", ""
		}
		return "nothing limits it to the single row of the query", "CREATE UNIQUE INDEX ON " + t.qualified() + " ((true))"
	default:
		for _, k := range t.output.Key {
			key = append(key, t.columns[k].name)
		}
	}
	slices.Sort(key)
	found := false
	for _, x := range d.indexes {
		if x.plain && slices.Equal(x.columns, key) {
			found, t.nullKeys = true, t.nullKeys || x.nullsNotDistinct
		}
	}
	if found {
		return "", ""
	}
	for i := range key {
		key[i] = quote(key[i])
	}
	list := strings.Join(key, ", ")
	fix = "ALTER TABLE " + t.qualified() + " ADD PRIMARY KEY (" + list + ")"
	if version >= versionNullsNotDistinct && t.output.Mode == planner.Upsert {
		fix = "ALTER TABLE " + t.qualified() + " ADD UNIQUE NULLS NOT DISTINCT (" + list + ")"
	}
	return "it has no unique index over exactly (" + list + ")", fix
}

// compatible reports whether the column takes all values of the type, in the same binary form.
func compatible(w column, c columnDef) bool {
	switch {
	case w.oid == oidText:
		return c.oid == oidText || c.oid == oidVarchar && c.typmod < 0
	case w.oid != c.oid:
		return false
	case w.oid == oidNumeric && c.typmod >= 0:
		precision, scale := int(c.typmod-4)>>16, int(c.typmod-4)&0x7ff
		needPrecision, needScale := digitsOf(w)
		return needPrecision > 0 && scale >= needScale && precision-scale >= needPrecision-needScale
	case w.oid == arrayOIDs[oidNumeric], w.oid == oidVarbit, w.oid == oidTimestamp, w.oid == oidTimestamptz, w.oid == oidTime, w.oid == oidTimetz, w.oid == oidInterval:
		// A precision, length or field restriction would change values silently.
		return c.typmod < 0 || w.oid == arrayOIDs[oidNumeric] && c.typ == w.sql
	}
	return true
}

// digitsOf returns precision and scale of a numeric column; 0 when unlimited.
func digitsOf(w column) (precision, scale int) {
	switch w.typ.Kind {
	case vector.Decimal:
		return int(w.typ.Width), int(w.typ.Scale)
	case vector.UInt64:
		return 20, 0
	case vector.Int128, vector.UInt128:
		return 39, 0
	}
	return 0, 0
}

// warnings tells what of a table can stop a batch in phase 2 only.
func (t *target) warnings(d *tableDef) []string {
	var out []string
	warn := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("table "+t.qualified()+" "+format, args...))
	}
	if d.triggers > 0 {
		warn("has triggers: one that fails stops the pipeline until it is mended")
	}
	if d.foreignKeys > 0 {
		warn("has foreign keys: a row that violates one stops the pipeline until the other table has its key")
	}
	if d.rowSecurity {
		warn("has row-level security: rows that a policy hides or refuses stop the pipeline")
	}
	uniques := len(d.indexes)
	if t.output.Mode != planner.Append {
		uniques--
	}
	if uniques > 0 {
		warn("has unique indexes besides the query's key: a row that violates one stops the pipeline")
	}
	return out
}

// layout describes what a staging table depends on; when it changes, the staging table is made anew.
func (t *target) layout(d *tableDef) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %v %v %d", d.oid, t.output.Mode, t.nullKeys, t.output.Key)
	for _, c := range d.columns {
		fmt.Fprintf(&b, " %q %d %d %v", c.name, c.oid, c.typmod, c.notNull)
	}
	for _, c := range t.columns {
		fmt.Fprintf(&b, " %q", c.name)
	}
	return shortHash(b.String())
}

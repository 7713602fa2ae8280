package postgrescdc

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluice-sql/sluice/internal/vector"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

var integers = []vector.Kind{vector.Int8, vector.Int16, vector.Int32, vector.Int64, vector.Int128, vector.UInt8, vector.UInt16, vector.UInt32, vector.UInt64, vector.UInt128}

// reads says, for the types that have texts of a form, as which types they can be read without losing anything
// that is not an error. Everything can be read as VARCHAR.
var reads = map[uint32][]vector.Kind{
	pgtype.BoolOID:        {vector.Bool},
	pgtype.Int2OID:        append(slices.Clone(integers), vector.Decimal, vector.Float32, vector.Float64),
	pgtype.Int4OID:        append(slices.Clone(integers), vector.Decimal, vector.Float64),
	pgtype.Int8OID:        append(slices.Clone(integers), vector.Decimal),
	pgtype.Float4OID:      {vector.Float32},
	pgtype.Float8OID:      {vector.Float64},
	pgtype.NumericOID:     {vector.Decimal},
	pgtype.ByteaOID:       {vector.Blob},
	pgtype.DateOID:        {vector.Date},
	pgtype.TimeOID:        {vector.Time, vector.TimeNS},
	pgtype.TimetzOID:      {vector.TimeTZ},
	pgtype.TimestampOID:   {vector.Timestamp, vector.TimestampNS},
	pgtype.TimestamptzOID: {vector.TimestampTZ},
	pgtype.IntervalOID:    {vector.Interval},
	pgtype.UUIDOID:        {vector.UUID},
	pgtype.TextOID:        {vector.Enum},
	pgtype.VarcharOID:     {vector.Enum},
	pgtype.BPCharOID:      {vector.Enum},
	pgtype.JSONOID:        {vector.Struct, vector.Map, vector.List, vector.Union},
	pgtype.JSONBOID:       {vector.Struct, vector.Map, vector.List, vector.Union},
}

// readable says whether a column of the server can be read as declared.
func readable(ctx context.Context, conn *pgx.Conn, declared vector.Field, c column) error {
	var base, elem uint32
	var typtype, name string
	// A domain is what is below it, and an array what its items are.
	err := conn.QueryRow(ctx, `WITH RECURSIVE t AS (SELECT oid, typtype, typbasetype, typelem, typcategory FROM pg_type WHERE oid = $1
UNION ALL SELECT p.oid, p.typtype, p.typbasetype, p.typelem, p.typcategory FROM t JOIN pg_type p ON p.oid = t.typbasetype WHERE t.typtype = 'd')
SELECT oid, typtype::text, CASE WHEN typcategory = 'A' THEN typelem ELSE 0 END, format_type($1, $2) FROM t WHERE typtype <> 'd'`, c.Type, c.Mod).Scan(&base, &typtype, &elem, &name)
	if err != nil {
		return sink.Explain("look at the type of column "+declared.Name, err)
	}
	if canRead(declared.Type, base, elem, typtype) {
		return nil
	}
	return fmt.Errorf("column %s is declared as %s and is %s there\nHint: %s", declared.Name, declared.Type, name, declareAs(base, elem))
}

func canRead(t vector.Type, base, elem uint32, typtype string) bool {
	if t.Kind == vector.Varchar {
		return true
	}
	if elem != 0 {
		// Items of an array of arrays are of the same type.
		for t.Kind == vector.List || t.Kind == vector.Array {
			t = *t.Elem
		}
		return t.Kind == vector.Varchar || slices.Contains(reads[elem], t.Kind)
	}
	return slices.Contains(reads[base], t.Kind) || typtype == "e" && t.Kind == vector.Enum
}

// declareAs suggests a type.
func declareAs(base, elem uint32) string {
	names := map[uint32]string{pgtype.BoolOID: "BOOLEAN", pgtype.Int2OID: "SMALLINT", pgtype.Int4OID: "INTEGER", pgtype.Int8OID: "BIGINT",
		pgtype.Float4OID: "REAL", pgtype.Float8OID: "DOUBLE", pgtype.NumericOID: "DECIMAL(38, 10)", pgtype.DateOID: "DATE", pgtype.TimeOID: "TIME",
		pgtype.TimetzOID: "TIMETZ", pgtype.TimestampOID: "TIMESTAMP", pgtype.TimestamptzOID: "TIMESTAMPTZ", pgtype.IntervalOID: "INTERVAL",
		pgtype.UUIDOID: "UUID", pgtype.ByteaOID: "BLOB"}
	if name, ok := names[elem]; ok {
		return "declare it as " + name + "[], or as VARCHAR"
	}
	if name, ok := names[base]; ok {
		return "declare it as " + name + ", or as VARCHAR, and cast it in the query"
	}
	return "declare it as VARCHAR, and cast it in the query"
}

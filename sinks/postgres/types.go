package postgres

import (
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Object identifiers of the built-in types, fixed since they were introduced (pg_type.dat).
const (
	oidBool, oidBytea, oidInt8, oidInt2, oidInt4, oidText = 16, 17, 20, 21, 23, 25
	oidFloat4, oidFloat8, oidBpchar, oidVarchar           = 700, 701, 1042, 1043
	oidDate, oidTime, oidTimestamp, oidTimestamptz        = 1082, 1083, 1114, 1184
	oidInterval, oidTimetz, oidVarbit, oidNumeric         = 1186, 1266, 1562, 1700
	oidUUID, oidJSONB                                     = 2950, 3802
)

// arrayOIDs maps an element type to its array type.
var arrayOIDs = map[uint32]uint32{
	oidBool: 1000, oidBytea: 1001, oidInt2: 1005, oidInt4: 1007, oidText: 1009, oidInt8: 1016, oidFloat4: 1021, oidFloat8: 1022,
	oidTimestamp: 1115, oidDate: 1182, oidTime: 1183, oidTimestamptz: 1185, oidInterval: 1187, oidNumeric: 1231,
	oidTimetz: 1270, oidVarbit: 1563, oidUUID: 2951, oidJSONB: 3807,
}

// A mapping says how values of a DuckDB type are stored.
type mapping struct {
	sql  string // as in CREATE TABLE
	oid  uint32
	put  putFunc
	take takeFunc
	// lossy types store values that DuckDB tells apart as one (nanoseconds): no good for a key.
	lossy bool
}

// mapType chooses the Postgres type of a column. docs: the table in the package comment.
func mapType(t vector.Type) (mapping, error) {
	switch t.Kind {
	case vector.Bool:
		return mapping{sql: "boolean", oid: oidBool, put: putBool, take: takeBool}, nil
	case vector.Int8:
		return mapping{sql: "smallint", oid: oidInt2, put: putInt8, take: takeInt}, nil
	case vector.UInt8:
		return mapping{sql: "smallint", oid: oidInt2, put: putUint8, take: takeInt}, nil
	case vector.Int16:
		return mapping{sql: "smallint", oid: oidInt2, put: putInt16, take: takeInt}, nil
	case vector.UInt16:
		return mapping{sql: "integer", oid: oidInt4, put: putUint16, take: takeInt}, nil
	case vector.Int32, vector.Null:
		return mapping{sql: "integer", oid: oidInt4, put: putInt32, take: takeInt}, nil
	case vector.UInt32:
		return mapping{sql: "bigint", oid: oidInt8, put: putUint32, take: takeInt}, nil
	case vector.Int64:
		return mapping{sql: "bigint", oid: oidInt8, put: putInt64, take: takeInt}, nil
	case vector.UInt64:
		return mapping{sql: "numeric(20,0)", oid: oidNumeric, put: putNumeric, take: takeNumeric}, nil
	case vector.Int128, vector.UInt128:
		return mapping{sql: "numeric(39,0)", oid: oidNumeric, put: putNumeric, take: takeNumeric}, nil
	case vector.Decimal:
		return mapping{sql: fmt.Sprintf("numeric(%d,%d)", t.Width, t.Scale), oid: oidNumeric, put: putNumeric, take: takeNumeric}, nil
	case vector.Bignum:
		return mapping{sql: "numeric", oid: oidNumeric, put: putBignum, take: takeBignum}, nil
	case vector.Float32:
		return mapping{sql: "real", oid: oidFloat4, put: putFloat32, take: takeFloat32}, nil
	case vector.Float64:
		return mapping{sql: "double precision", oid: oidFloat8, put: putFloat64, take: takeFloat64}, nil
	case vector.Date:
		return mapping{sql: "date", oid: oidDate, put: putDate, take: takeDate}, nil
	case vector.Time:
		return mapping{sql: "time", oid: oidTime, put: putInt64, take: takeInt}, nil
	case vector.TimeNS:
		return mapping{sql: "time", oid: oidTime, put: putTimeNS, take: takeTimeNS, lossy: true}, nil
	case vector.TimeTZ:
		return mapping{sql: "time with time zone", oid: oidTimetz, put: putTimeTZ, take: takeTimeTZ}, nil
	case vector.Timestamp, vector.TimestampS, vector.TimestampMS:
		return mapping{sql: "timestamp", oid: oidTimestamp, put: putTimestamp, take: takeTimestamp}, nil
	case vector.TimestampNS:
		return mapping{sql: "timestamp", oid: oidTimestamp, put: putTimestamp, take: takeTimestamp, lossy: true}, nil
	case vector.TimestampTZ:
		return mapping{sql: "timestamp with time zone", oid: oidTimestamptz, put: putTimestamp, take: takeTimestamp}, nil
	case vector.Interval:
		return mapping{sql: "interval", oid: oidInterval, put: putInterval, take: takeInterval}, nil
	case vector.UUID:
		return mapping{sql: "uuid", oid: oidUUID, put: putUUID, take: takeUUID}, nil
	case vector.Varchar:
		return mapping{sql: "text", oid: oidText, put: putText, take: takeText}, nil
	case vector.Enum:
		return mapping{sql: "text", oid: oidText, put: putEnum, take: takeText}, nil
	case vector.Blob:
		return mapping{sql: "bytea", oid: oidBytea, put: putBytes, take: takeBytes}, nil
	case vector.Bit:
		return mapping{sql: "bit varying", oid: oidVarbit, put: putBits, take: takeBits}, nil
	case vector.List, vector.Array:
		return mapList(t)
	case vector.Struct, vector.Map, vector.Union:
		return jsonMapping, nil
	}
	return mapping{}, fmt.Errorf("type %s has no place in Postgres\nHint: cast the column to another type", t)
}

var jsonMapping = mapping{sql: "jsonb", oid: oidJSONB, put: putJSON, take: takeJSON}

// mapList makes a Postgres array of a list of scalars, and jsonb of anything deeper: the inner lists
// may differ in length, which Postgres's multi-dimensional arrays cannot.
func mapList(t vector.Type) (mapping, error) {
	if t.Elem.IsNested() {
		return jsonMapping, nil
	}
	elem, err := mapType(*t.Elem)
	if err != nil {
		return mapping{}, err
	}
	oid, ok := arrayOIDs[elem.oid]
	if !ok {
		return mapping{}, fmt.Errorf("type %s has no array type in Postgres", t)
	}
	return mapping{sql: elem.sql + "[]", oid: oid, put: putList(elem), take: takeList(elem), lossy: elem.lossy}, nil
}

package vector

import (
	"fmt"
	"strings"
)

// Kind names a DuckDB logical type without its parameters.
type Kind uint8

// The kinds, in no meaningful order; the numbers are part of the checkpoint log's format, so new ones
// are only ever added at the end.
const (
	Invalid Kind = iota
	Bool
	Int8
	Int16
	Int32
	Int64
	UInt8
	UInt16
	UInt32
	UInt64
	Int128  // HUGEINT: lower uint64, upper int64
	UInt128 // UHUGEINT: lower uint64, upper uint64
	Float32
	Float64
	Decimal     // stored as int16, int32, int64 or Int128 by precision (4, 9, 18, 38)
	Date        // int32 days since 1970-01-01
	Time        // int64 microseconds since midnight
	TimeTZ      // uint64, DuckDB's packing of microseconds and offset
	TimeNS      // int64 nanoseconds since midnight
	Timestamp   // int64 microseconds since 1970-01-01
	TimestampS  // int64 seconds
	TimestampMS // int64 milliseconds
	TimestampNS // int64 nanoseconds
	TimestampTZ // int64 microseconds, UTC
	Interval    // int32 months, int32 days, int64 microseconds
	UUID        // Int128 with the top bit flipped, so that it sorts
	Enum        // uint8, uint16 or uint32 index by dictionary size
	Varchar
	Blob
	Bit
	Bignum
	List
	Array
	Struct
	Map   // a LIST of STRUCT(key, value)
	Union // a STRUCT whose first field is the UTINYINT tag
	Null  // SQLNULL, the type of a bare NULL; stored as int32
)

var kindNames = [...]string{
	Invalid: "INVALID", Bool: "BOOLEAN", Int8: "TINYINT", Int16: "SMALLINT", Int32: "INTEGER", Int64: "BIGINT",
	UInt8: "UTINYINT", UInt16: "USMALLINT", UInt32: "UINTEGER", UInt64: "UBIGINT", Int128: "HUGEINT", UInt128: "UHUGEINT",
	Float32: "FLOAT", Float64: "DOUBLE", Decimal: "DECIMAL", Date: "DATE", Time: "TIME", TimeTZ: "TIME WITH TIME ZONE",
	TimeNS: "TIME_NS", Timestamp: "TIMESTAMP", TimestampS: "TIMESTAMP_S", TimestampMS: "TIMESTAMP_MS",
	TimestampNS: "TIMESTAMP_NS", TimestampTZ: "TIMESTAMP WITH TIME ZONE", Interval: "INTERVAL", UUID: "UUID", Enum: "ENUM",
	Varchar: "VARCHAR", Blob: "BLOB", Bit: "BIT", Bignum: "BIGNUM", List: "LIST", Array: "ARRAY", Struct: "STRUCT",
	Map: "MAP", Union: "UNION", Null: "\"NULL\"",
}

// Type is a DuckDB logical type. Types are values: compare them with Equal.
type Type struct {
	Kind Kind
	// Width and Scale are DECIMAL's precision (1..38) and scale.
	Width, Scale uint8
	// Size is the length of an ARRAY.
	Size int
	// Elem is the element of LIST and ARRAY, and STRUCT(key, value) of MAP.
	Elem *Type
	// Fields are the fields of STRUCT and the members of UNION (without the tag).
	Fields []Field
	// Values is the dictionary of an ENUM.
	Values []string
}

// Field is a named column or member.
type Field struct {
	Name string
	Type Type
}

// Of returns the parameterless type of a kind.
func Of(k Kind) Type { return Type{Kind: k} }

// ListOf returns LIST of elem.
func ListOf(elem Type) Type { return Type{Kind: List, Elem: &elem} }

// Bytes returns how many bytes a row takes in Vector.Data: 0 for ARRAY, STRUCT and UNION.
func (t Type) Bytes() int {
	switch t.Kind {
	case Bool, Int8, UInt8:
		return 1
	case Int16, UInt16:
		return 2
	case Int32, UInt32, Float32, Date, Null:
		return 4
	case Int64, UInt64, Float64, Time, TimeTZ, TimeNS, Timestamp, TimestampS, TimestampMS, TimestampNS, TimestampTZ:
		return 8
	case Int128, UInt128, Interval, UUID, Varchar, Blob, Bit, Bignum, List, Map:
		return 16
	case Decimal:
		switch {
		case t.Width <= 4:
			return 2
		case t.Width <= 9:
			return 4
		case t.Width <= 18:
			return 8
		}
		return 16
	case Enum:
		switch {
		case len(t.Values) <= 1<<8:
			return 1
		case len(t.Values) <= 1<<16:
			return 2
		}
		return 4
	}
	return 0
}

// IsString reports whether rows are StringRefs.
func (t Type) IsString() bool {
	return t.Kind == Varchar || t.Kind == Blob || t.Kind == Bit || t.Kind == Bignum
}

// IsNested reports whether the type has child vectors.
func (t Type) IsNested() bool {
	switch t.Kind {
	case List, Array, Struct, Map, Union:
		return true
	}
	return false
}

// ChildTypes returns the types of the child vectors, in order.
func (t Type) ChildTypes() []Type {
	switch t.Kind {
	case List, Array, Map:
		return []Type{*t.Elem}
	case Struct:
		out := make([]Type, len(t.Fields))
		for i, f := range t.Fields {
			out[i] = f.Type
		}
		return out
	case Union:
		out := []Type{Of(UInt8)}
		for _, f := range t.Fields {
			out = append(out, f.Type)
		}
		return out
	}
	return nil
}

// Equal reports whether two types are the same, names of struct fields included.
func (t Type) Equal(u Type) bool {
	if t.Kind != u.Kind || t.Width != u.Width || t.Scale != u.Scale || t.Size != u.Size ||
		len(t.Fields) != len(u.Fields) || len(t.Values) != len(u.Values) || (t.Elem == nil) != (u.Elem == nil) {
		return false
	}
	for i := range t.Fields {
		if t.Fields[i].Name != u.Fields[i].Name || !t.Fields[i].Type.Equal(u.Fields[i].Type) {
			return false
		}
	}
	for i := range t.Values {
		if t.Values[i] != u.Values[i] {
			return false
		}
	}
	return t.Elem == nil || t.Elem.Equal(*u.Elem)
}

// String returns the type as DuckDB SQL, usable in a CAST or a CREATE TABLE.
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Width, t.Scale)
	case List:
		return t.Elem.String() + "[]"
	case Array:
		return fmt.Sprintf("%s[%d]", t.Elem, t.Size)
	case Map:
		return fmt.Sprintf("MAP(%s, %s)", t.Elem.Fields[0].Type, t.Elem.Fields[1].Type)
	case Struct, Union:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = QuoteIdent(f.Name) + " " + f.Type.String()
		}
		return kindNames[t.Kind] + "(" + strings.Join(parts, ", ") + ")"
	case Enum:
		parts := make([]string, len(t.Values))
		for i, v := range t.Values {
			parts[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		return "ENUM(" + strings.Join(parts, ", ") + ")"
	}
	if int(t.Kind) < len(kindNames) {
		return kindNames[t.Kind]
	}
	return fmt.Sprintf("KIND(%d)", t.Kind)
}

// QuoteIdent quotes a name as a DuckDB (and Postgres) identifier.
func QuoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

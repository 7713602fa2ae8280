package duck

import (
	"fmt"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/sluice-sql/sluice/internal/vector"
)

// plainTypes are the types without parameters, both ways.
var plainTypes = map[vector.Kind]mapping.Type{
	vector.Bool: mapping.TypeBoolean, vector.Int8: mapping.TypeTinyInt, vector.Int16: mapping.TypeSmallInt,
	vector.Int32: mapping.TypeInteger, vector.Int64: mapping.TypeBigInt, vector.UInt8: mapping.TypeUTinyInt,
	vector.UInt16: mapping.TypeUSmallInt, vector.UInt32: mapping.TypeUInteger, vector.UInt64: mapping.TypeUBigInt,
	vector.Int128: mapping.TypeHugeInt, vector.UInt128: mapping.TypeUHugeInt, vector.Float32: mapping.TypeFloat,
	vector.Float64: mapping.TypeDouble, vector.Date: mapping.TypeDate, vector.Time: mapping.TypeTime,
	vector.TimeTZ: mapping.TypeTimeTZ, vector.TimeNS: mapping.TypeTimeNS, vector.Timestamp: mapping.TypeTimestamp,
	vector.TimestampS: mapping.TypeTimestampS, vector.TimestampMS: mapping.TypeTimestampMS,
	vector.TimestampNS: mapping.TypeTimestampNS, vector.TimestampTZ: mapping.TypeTimestampTZ,
	vector.Interval: mapping.TypeInterval, vector.UUID: mapping.TypeUUID, vector.Varchar: mapping.TypeVarchar,
	vector.Blob: mapping.TypeBlob, vector.Bit: mapping.TypeBit, vector.Bignum: mapping.TypeBigNum,
	vector.Null: mapping.TypeSQLNull,
}

var plainKinds = func() map[mapping.Type]vector.Kind {
	out := make(map[mapping.Type]vector.Kind, len(plainTypes))
	for k, t := range plainTypes {
		out[t] = k
	}
	return out
}()

// logicalType makes DuckDB's handle for a type; the caller destroys it.
func logicalType(t vector.Type) (mapping.LogicalType, error) {
	if id, ok := plainTypes[t.Kind]; ok {
		return mapping.CreateLogicalType(id), nil
	}
	switch t.Kind {
	case vector.Decimal:
		return mapping.CreateDecimalType(t.Width, t.Scale), nil
	case vector.Enum:
		return mapping.CreateEnumType(t.Values), nil
	case vector.List, vector.Array:
		elem, err := logicalType(*t.Elem)
		if err != nil {
			return mapping.LogicalType{}, err
		}
		defer mapping.DestroyLogicalType(&elem)
		if t.Kind == vector.Array {
			return mapping.CreateArrayType(elem, mapping.IdxT(t.Size)), nil
		}
		return mapping.CreateListType(elem), nil
	case vector.Map, vector.Struct, vector.Union:
		return fieldsType(t)
	}
	return mapping.LogicalType{}, fmt.Errorf("duckdb has no type for %s", t)
}

// fieldsType makes the handle of a type with several children: STRUCT, UNION, and MAP by its entry.
func fieldsType(t vector.Type) (mapping.LogicalType, error) {
	fields := t.Fields
	if t.Kind == vector.Map {
		fields = t.Elem.Fields
	}
	types, names := make([]mapping.LogicalType, 0, len(fields)), make([]string, 0, len(fields))
	defer func() {
		for i := range types {
			mapping.DestroyLogicalType(&types[i])
		}
	}()
	for _, f := range fields {
		ft, err := logicalType(f.Type)
		if err != nil {
			return mapping.LogicalType{}, err
		}
		types, names = append(types, ft), append(names, f.Name)
	}
	switch t.Kind {
	case vector.Map:
		return mapping.CreateMapType(types[0], types[1]), nil
	case vector.Union:
		return mapping.CreateUnionType(types, names), nil
	}
	return mapping.CreateStructType(types, names), nil
}

// typeOf reads a handle and destroys it.
func typeOf(h mapping.LogicalType) (vector.Type, error) {
	defer mapping.DestroyLogicalType(&h)
	id := mapping.GetTypeId(h)
	if k, ok := plainKinds[id]; ok {
		return vector.Of(k), nil
	}
	switch id {
	case mapping.TypeDecimal:
		return vector.Type{Kind: vector.Decimal, Width: mapping.DecimalWidth(h), Scale: mapping.DecimalScale(h)}, nil
	case mapping.TypeEnum:
		values := make([]string, mapping.EnumDictionarySize(h))
		for i := range values {
			values[i] = mapping.EnumDictionaryValue(h, mapping.IdxT(i))
		}
		return vector.Type{Kind: vector.Enum, Values: values}, nil
	case mapping.TypeList:
		elem, err := typeOf(mapping.ListTypeChildType(h))
		return vector.Type{Kind: vector.List, Elem: &elem}, err
	case mapping.TypeArray:
		elem, err := typeOf(mapping.ArrayTypeChildType(h))
		return vector.Type{Kind: vector.Array, Elem: &elem, Size: int(mapping.ArrayTypeArraySize(h))}, err
	case mapping.TypeMap:
		return mapTypeOf(h)
	case mapping.TypeStruct:
		return fieldsOf(vector.Struct, int(mapping.StructTypeChildCount(h)), func(i mapping.IdxT) (string, mapping.LogicalType) {
			return mapping.StructTypeChildName(h, i), mapping.StructTypeChildType(h, i)
		})
	case mapping.TypeUnion:
		return fieldsOf(vector.Union, int(mapping.UnionTypeMemberCount(h)), func(i mapping.IdxT) (string, mapping.LogicalType) {
			return mapping.UnionTypeMemberName(h, i), mapping.UnionTypeMemberType(h, i)
		})
	}
	return vector.Type{}, fmt.Errorf("duckdb's type number %d (%s) cannot leave the database; cast it to VARCHAR or BLOB",
		id, strangeTypes[id])
}

var strangeTypes = map[mapping.Type]string{
	mapping.TypeGeometry: "GEOMETRY", mapping.TypeVariant: "VARIANT", mapping.TypeAny: "ANY",
	mapping.TypeInvalid: "INVALID or an unresolved parameter", mapping.TypeStringLiteral: "STRING_LITERAL",
	mapping.TypeIntegerLiteral: "INTEGER_LITERAL",
}

func mapTypeOf(h mapping.LogicalType) (vector.Type, error) {
	key, err := typeOf(mapping.MapTypeKeyType(h))
	if err != nil {
		return vector.Type{}, err
	}
	value, err := typeOf(mapping.MapTypeValueType(h))
	entry := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: key}, {Name: "value", Type: value}}}
	return vector.Type{Kind: vector.Map, Elem: &entry}, err
}

func fieldsOf(kind vector.Kind, n int, at func(mapping.IdxT) (string, mapping.LogicalType)) (vector.Type, error) {
	t := vector.Type{Kind: kind, Fields: make([]vector.Field, n)}
	for i := range t.Fields {
		name, h := at(mapping.IdxT(i))
		ft, err := typeOf(h)
		if err != nil {
			return vector.Type{}, err
		}
		t.Fields[i] = vector.Field{Name: name, Type: ft}
	}
	return t, nil
}

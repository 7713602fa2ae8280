package planner

import (
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

// planType is a logical type as a bound plan writes it.
type planType struct {
	ID   string        `json:"id"`
	Info *planTypeInfo `json:"type_info"`
}

type planTypeInfo struct {
	Kind       string    `json:"type"`
	Alias      string    `json:"alias"`
	Width      uint8     `json:"width"`
	Scale      uint8     `json:"scale"`
	Collation  string    `json:"collation"`
	ChildType  *planType `json:"child_type"`
	Size       int       `json:"size"`
	Values     []string  `json:"values"`
	ChildTypes []struct {
		First  string   `json:"first"`
		Second planType `json:"second"`
	} `json:"child_types"`
}

var kindOfID = map[string]vector.Kind{
	"BOOLEAN": vector.Bool, "TINYINT": vector.Int8, "SMALLINT": vector.Int16, "INTEGER": vector.Int32, "BIGINT": vector.Int64,
	"UTINYINT": vector.UInt8, "USMALLINT": vector.UInt16, "UINTEGER": vector.UInt32, "UBIGINT": vector.UInt64,
	"HUGEINT": vector.Int128, "UHUGEINT": vector.UInt128, "FLOAT": vector.Float32, "DOUBLE": vector.Float64,
	"DATE": vector.Date, "TIME": vector.Time, "TIME WITH TIME ZONE": vector.TimeTZ, "TIME_NS": vector.TimeNS,
	"TIMESTAMP": vector.Timestamp, "TIMESTAMP_S": vector.TimestampS, "TIMESTAMP_MS": vector.TimestampMS,
	"TIMESTAMP_NS": vector.TimestampNS, "TIMESTAMP WITH TIME ZONE": vector.TimestampTZ, "INTERVAL": vector.Interval,
	"UUID": vector.UUID, "VARCHAR": vector.Varchar, "CHAR": vector.Varchar, "BLOB": vector.Blob, "BIT": vector.Bit,
	"BIGNUM": vector.Bignum, "NULL": vector.Null, "\"NULL\"": vector.Null,
}

// vector returns the type as the rest of the engine knows it.
func (t planType) vector() (vector.Type, error) {
	child := func() (vector.Type, error) {
		if t.Info == nil || t.Info.ChildType == nil {
			return vector.Type{}, fmt.Errorf("bound type %s has no element type", t.ID)
		}
		return t.Info.ChildType.vector()
	}
	switch t.ID {
	case "DECIMAL":
		if t.Info == nil {
			return vector.Type{}, fmt.Errorf("bound DECIMAL has no width")
		}
		return vector.Type{Kind: vector.Decimal, Width: t.Info.Width, Scale: t.Info.Scale}, nil
	case "LIST", "MAP":
		elem, err := child()
		kind := vector.List
		if t.ID == "MAP" {
			kind = vector.Map
		}
		return vector.Type{Kind: kind, Elem: &elem}, err
	case "ARRAY":
		elem, err := child()
		return vector.Type{Kind: vector.Array, Elem: &elem, Size: t.Info.Size}, err
	case "STRUCT":
		out := vector.Type{Kind: vector.Struct}
		if t.Info == nil {
			return out, fmt.Errorf("bound STRUCT has no fields")
		}
		for _, c := range t.Info.ChildTypes {
			ft, err := c.Second.vector()
			if err != nil {
				return out, err
			}
			out.Fields = append(out.Fields, vector.Field{Name: c.First, Type: ft})
		}
		return out, nil
	case "ENUM":
		if t.Info == nil {
			return vector.Type{}, fmt.Errorf("bound ENUM has no values")
		}
		return vector.Type{Kind: vector.Enum, Values: t.Info.Values}, nil
	}
	if k, ok := kindOfID[t.ID]; ok {
		return vector.Of(k), nil
	}
	return vector.Type{}, fmt.Errorf("type %s is not known to the planner", t.ID)
}

// sql returns the type for a CAST, with what vector.Type does not carry: JSON and collations.
func (t planType) sql() (string, error) {
	if t.Info != nil && t.Info.Alias == "JSON" {
		return "JSON", nil
	}
	if t.Info != nil && t.Info.Collation != "" {
		return "", fmt.Errorf("collation %s in a cast", t.Info.Collation)
	}
	if t.Info != nil && t.Info.Alias != "" {
		return "", fmt.Errorf("type alias %s", t.Info.Alias)
	}
	vt, err := t.vector()
	if err != nil {
		return "", err
	}
	return vt.String(), nil
}

package decode

import (
	"github.com/sluice-sql/sluice/internal/vector"
)

// A code says how the values of a column are written in change events, where that is not how JSON files
// write them. Numbers that count from the epoch or from midnight, decimals as bytes, and bytes themselves.
type code struct {
	kind  codeKind
	scale int32  // of asDecimal
	kids  []code // of nested columns, as the type's children
}

type codeKind uint8

const (
	asJSON codeKind = iota
	asDays
	asMillis
	asMicros
	asNanos
	asTimeMillis
	asTimeMicros
	asTimeNanos
	asMicroDuration
	asNanoDuration
	asDecimal
	asBytes
	asISO // a time with Z for UTC, or an interval of ISO 8601
)

// kid is the code of a child column.
func (k code) kid(i int) code {
	if i < len(k.kids) {
		return k.kids[i]
	}
	return code{}
}

// setCode sets how the column's values are written.
func (c *column) setCode(k code) {
	c.code, c.class = k, classOf(c.typ.Kind)
	if k.kind != asJSON && c.class == classText {
		c.class = classOther // keeps the fast path for plain text away from it
	}
	for i, kid := range c.kids {
		kid.setCode(k.kid(i))
	}
}

// A connectSchema is the part of a Kafka Connect schema that codes depend on.
type connectSchema struct {
	Type       string
	Name       string // of the logical type
	Field      string
	Parameters struct{ Scale any }
	Fields     []connectSchema
	Items      *connectSchema
	Keys       *connectSchema
	Values     *connectSchema
}

// field returns a member's schema, nil if there is none.
func (s *connectSchema) field(name string) *connectSchema {
	if s != nil {
		for i := range s.Fields {
			if s.Fields[i].Field == name {
				return &s.Fields[i]
			}
		}
	}
	return nil
}

// logicalTypes are the names of Debezium's and Kafka Connect's logical types that are not written as text.
var logicalTypes = map[string]codeKind{
	"io.debezium.time.Date":                 asDays,
	"io.debezium.time.Timestamp":            asMillis,
	"io.debezium.time.MicroTimestamp":       asMicros,
	"io.debezium.time.NanoTimestamp":        asNanos,
	"io.debezium.time.Time":                 asTimeMillis,
	"io.debezium.time.MicroTime":            asTimeMicros,
	"io.debezium.time.NanoTime":             asTimeNanos,
	"io.debezium.time.MicroDuration":        asMicroDuration,
	"io.debezium.time.NanoDuration":         asNanoDuration,
	"io.debezium.data.VariableScaleDecimal": asDecimal,
	"org.apache.kafka.connect.data.Date":    asDays,
	"org.apache.kafka.connect.data.Time":    asTimeMillis,
	// Connect's timestamps count milliseconds.
	"org.apache.kafka.connect.data.Timestamp": asMillis,
	"org.apache.kafka.connect.data.Decimal":   asDecimal,
}

// codeOf returns how values of a declared type are written by a field's schema.
func codeOf(s *connectSchema, t vector.Type) code {
	if s == nil {
		return code{}
	}
	kind := logicalTypes[s.Name]
	switch {
	case kind == asDecimal:
		if t.Kind == vector.Blob || t.IsNested() {
			return code{}
		}
		return code{kind: asDecimal, scale: scaleOf(s.Parameters.Scale)}
	case kind != asJSON:
		if !isTemporal(t.Kind) {
			return code{} // a number declared as a number
		}
		return code{kind: kind}
	case s.Type == "bytes" && t.Kind == vector.Blob:
		return code{kind: asBytes}
	}
	switch t.Kind {
	case vector.Time, vector.TimeTZ, vector.TimeNS, vector.Interval:
		return code{kind: asISO}
	case vector.List, vector.Array:
		return code{kids: []code{codeOf(s.Items, t.ChildTypes()[0])}}
	case vector.Map:
		entry := t.ChildTypes()[0].ChildTypes()
		return code{kids: []code{{kids: []code{{}, codeOf(s.Values, entry[1])}}}}
	case vector.Struct:
		var k code
		for i, child := range t.ChildTypes() {
			k.kids = append(k.kids, codeOf(s.field(t.Fields[i].Name), child))
		}
		return k
	}
	return code{}
}

// bare returns how values of a declared type are written where there is no schema to ask.
func (o DebeziumOptions) bare(t vector.Type) code {
	switch t.Kind {
	case vector.Date:
		return code{kind: asDays}
	case vector.Timestamp, vector.TimestampTZ, vector.TimestampS:
		return code{kind: [...]codeKind{asMicros, asMillis, asMicros, asNanos}[o.TimestampUnit]}
	case vector.TimestampMS:
		return code{kind: asMillis}
	case vector.TimestampNS:
		return code{kind: asNanos}
	case vector.Time:
		return code{kind: [...]codeKind{asTimeMicros, asTimeMillis, asTimeMicros, asTimeNanos}[o.TimeUnit]}
	case vector.TimeNS:
		return code{kind: asTimeNanos}
	case vector.TimeTZ:
		return code{kind: asISO}
	case vector.Interval:
		return code{kind: asMicroDuration}
	case vector.Decimal:
		if o.TextDecimals {
			return code{}
		}
		return code{kind: asDecimal, scale: int32(t.Scale)}
	case vector.Blob:
		return code{kind: asBytes}
	}
	var k code
	for _, child := range t.ChildTypes() {
		k.kids = append(k.kids, o.bare(child))
	}
	return k
}

func isTemporal(k vector.Kind) bool {
	switch k {
	case vector.Date, vector.Time, vector.TimeTZ, vector.TimeNS, vector.Timestamp, vector.TimestampS,
		vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ, vector.Interval:
		return true
	}
	return false
}

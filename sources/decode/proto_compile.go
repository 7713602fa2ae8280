package decode

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-sql/sluice/internal/vector"
)

// protoRun is how a value is stored.
type protoRun uint8

const (
	protoRefuse protoRun = iota
	protoNumber
	protoBool
	protoFloat
	protoText   // of a string or bytes into VARCHAR
	protoString // of a string into any other type
	protoBytes
	protoName
	protoCode
	protoStruct
	protoTimestamp
	protoDuration
	protoWrapper
	protoJSON
)

// A protoOp reads the messages of a type into the columns of a STRUCT, or of the source. It belongs to one column and
// holds what is known of the message being read.
type protoOp struct {
	fields []protoField
	dense  []int16       // by number, index of fields or -1
	sparse map[int32]int // of numbers beyond dense
	absent []int         // columns that the message does not have
}

// A protoField is a field that is wanted, or one of a oneof that has such a field.
type protoField struct {
	protoValue
	to       int // which column, -1 for none
	list     bool
	key      *protoValue // of a map; protoValue is then the map's value
	implicit bool        // a field that is not there has its default, not NULL
	oneof    int         // -1 for none

	// Of the message being read:
	seen  bool
	start int    // where the items of a list or map begin
	n     int    // items of an ARRAY
	raw   []byte // of a message that is stored as one value
	owned bool   // raw is a copy, of a message that came in parts
	keys  map[string]int
}

// A protoValue is how one value of a field is written and stored.
type protoValue struct {
	kind   protoreflect.Kind
	run    protoRun
	why    string // of protoRefuse
	op     *protoOp
	inner  *protoValue                        // of a wrapper
	names  map[protoreflect.EnumNumber][]byte // of an enum's values
	codes  map[protoreflect.EnumNumber]uint32
	desc   protoreflect.MessageDescriptor
	number protoreflect.FieldNumber
}

const maxDense = 256

// compileProto matches fields by name, and else by the name that they have in JSON.
func compileProto(m protoreflect.MessageDescriptor, fields []vector.Field) *protoOp {
	op := &protoOp{}
	oneofs := map[int]bool{}
	for i, f := range fields {
		fd := m.Fields().ByName(protoreflect.Name(f.Name))
		if fd == nil {
			fd = m.Fields().ByJSONName(f.Name)
		}
		if fd == nil || op.has(fd.Number()) {
			op.absent = append(op.absent, i)
			continue
		}
		field := compileField(fd, f.Type)
		field.to = i
		if field.oneof >= 0 {
			oneofs[field.oneof] = true
		}
		op.fields = append(op.fields, field)
	}
	// A member of a oneof that nobody declared takes the place of one that is declared.
	for i := range m.Fields().Len() {
		if fd := m.Fields().Get(i); fd.ContainingOneof() != nil && oneofs[fd.ContainingOneof().Index()] && !op.has(fd.Number()) {
			op.fields = append(op.fields, protoField{protoValue: protoValue{kind: fd.Kind(), number: fd.Number()}, to: -1, oneof: fd.ContainingOneof().Index()})
		}
	}
	op.number()
	return op
}

func (op *protoOp) has(n protoreflect.FieldNumber) bool {
	for i := range op.fields {
		if op.fields[i].protoValue.number == n {
			return true
		}
	}
	return false
}

// number makes the index of fields by their numbers.
func (op *protoOp) number() {
	for i := range op.fields {
		n := int32(op.fields[i].protoValue.number)
		if n >= maxDense {
			if op.sparse == nil {
				op.sparse = map[int32]int{}
			}
			op.sparse[n] = i
			continue
		}
		for len(op.dense) <= int(n) {
			op.dense = append(op.dense, -1)
		}
		op.dense[n] = int16(i)
	}
}

// field returns the field of a number, nil if it is not wanted.
func (op *protoOp) field(n int32) *protoField {
	if n < int32(len(op.dense)) {
		if i := op.dense[n]; i >= 0 {
			return &op.fields[i]
		}
		return nil
	}
	if i, ok := op.sparse[n]; ok {
		return &op.fields[i]
	}
	return nil
}

// compileField compiles a field with all that a number can stand for.
func compileField(fd protoreflect.FieldDescriptor, t vector.Type) protoField {
	f := protoField{oneof: -1}
	switch {
	case fd.IsMap() && t.Kind == vector.Map:
		key := compileValue(fd.MapKey(), t.Elem.Fields[0].Type)
		f.protoValue, f.key = compileValue(fd.MapValue(), t.Elem.Fields[1].Type), &key
	case fd.IsList() && (t.Kind == vector.List || t.Kind == vector.Array):
		f.protoValue, f.list = compileValue(fd, *t.Elem), true
	case fd.IsMap() || fd.IsList():
		what := "a map"
		if fd.IsList() {
			what = "repeated"
		}
		f.protoValue = protoValue{kind: fd.Kind(), why: fmt.Sprintf("the field is %s in the message's schema, and cannot be read as %s", what, t)}
	default:
		f.protoValue = compileValue(fd, t)
		f.implicit = !fd.HasPresence()
		if o := fd.ContainingOneof(); o != nil {
			f.oneof = o.Index()
		}
	}
	f.protoValue.number = fd.Number()
	return f
}

// compileValue compiles one value of a field.
func compileValue(fd protoreflect.FieldDescriptor, t vector.Type) protoValue {
	v := protoValue{kind: fd.Kind(), number: fd.Number(), desc: fd.Message()}
	numeric := isNumeric(t.Kind) || t.Kind == vector.Varchar
	switch fd.Kind() {
	case protoreflect.BoolKind:
		if numeric {
			v.run = protoBool
		}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if numeric {
			v.run = protoFloat
		}
	case protoreflect.StringKind:
		if !t.IsNested() {
			if v.run = protoString; t.Kind == vector.Varchar {
				v.run = protoText
			}
		}
	case protoreflect.BytesKind:
		switch t.Kind {
		case vector.Blob:
			v.run = protoBytes
		case vector.Varchar:
			v.run = protoText
		}
	case protoreflect.EnumKind:
		v.compileEnum(fd.Enum().Values(), t)
	case protoreflect.MessageKind, protoreflect.GroupKind:
		v.compileMessage(t)
	default:
		if numeric {
			v.run = protoNumber
		}
	}
	if v.run == protoRefuse && v.why == "" {
		what := fd.Kind().String()
		if v.desc != nil {
			what = string(v.desc.FullName())
		}
		v.why = fmt.Sprintf("%s in the message's schema cannot be read as %s", what, t)
	}
	return v
}

func (v *protoValue) compileEnum(values protoreflect.EnumValueDescriptors, t vector.Type) {
	switch {
	case t.Kind == vector.Varchar:
		v.run = protoName
	case t.Kind == vector.Enum:
		v.run = protoCode
		v.codes = map[protoreflect.EnumNumber]uint32{}
		for i, name := range t.Values {
			if ev := values.ByName(protoreflect.Name(name)); ev != nil {
				v.codes[ev.Number()] = uint32(i)
			}
		}
	case classOf(t.Kind) == classInteger || t.Kind == vector.Int64:
		v.run = protoNumber
	}
	v.names = map[protoreflect.EnumNumber][]byte{}
	for i := range values.Len() {
		// Of several names for a number, the first is the library's, too.
		if ev := values.Get(i); v.names[ev.Number()] == nil {
			v.names[ev.Number()] = []byte(ev.Name())
		}
	}
}

func (v *protoValue) compileMessage(t vector.Type) {
	name := v.desc.FullName()
	switch {
	case t.Kind == vector.Struct:
		v.run, v.op = protoStruct, compileProto(v.desc, t.Fields)
	case name == "google.protobuf.Timestamp" && (isStamp(t.Kind) || t.Kind == vector.Date):
		v.run = protoTimestamp
	case name == "google.protobuf.Duration" && t.Kind == vector.Interval:
		v.run = protoDuration
	case isWrapper(name):
		if inner := compileValue(v.desc.Fields().ByNumber(1), t); inner.run != protoRefuse {
			v.run, v.inner = protoWrapper, &inner
		}
	case t.Kind == vector.Varchar:
		v.run = protoJSON
	}
}

func isWrapper(name protoreflect.FullName) bool {
	switch name {
	case "google.protobuf.BoolValue", "google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value",
		"google.protobuf.FloatValue", "google.protobuf.DoubleValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		return true
	}
	return false
}

package planner

import (
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// identities gives nodes an identity that equal trees share: operators, expressions, types and sources
// alike, wherever in the file they were written. A bound plan refers to columns by position, so names and
// aliases do not matter.
//
// Why by reflection: a field that an operator gains later counts by itself. One that was forgotten here
// would let two different sub-plans share their state.
//
// Invariant: a node is not changed after it was asked for its identity; the answer is kept.
type identities struct{ of map[node]string }

func newIdentities() *identities { return &identities{map[node]string{}} }

func (ids *identities) id(n node) string {
	if id, ok := ids.of[n]; ok {
		return id
	}
	var b strings.Builder
	v := reflect.ValueOf(n)
	b.WriteString(v.Type().String())
	ids.write(&b, v.Elem())
	sum := sha256.Sum256([]byte(b.String()))
	ids.of[n] = string(sum[:])
	return ids.of[n]
}

var (
	nodeType     = reflect.TypeFor[node]()
	exprType     = reflect.TypeFor[expr]()
	sourceType   = reflect.TypeFor[*SourceInput]()
	documentType = reflect.TypeFor[json.RawMessage]()
)

// write appends a value. What it cannot write stands for itself alone, by its address.
func (ids *identities) write(b *strings.Builder, v reflect.Value) {
	switch {
	case v.Type() == nodeType:
		if !v.IsNil() {
			b.WriteString(ids.id(opened(v).Interface().(node)))
		}
		return
	case v.Type() == sourceType:
		b.WriteString(strconv.Quote(v.Elem().FieldByName("Name").String()))
		return
	case v.Type() == documentType:
		b.WriteString(strconv.Quote(string(v.Bytes())))
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			b.WriteString("&" + v.Elem().Type().String())
			ids.write(b, v.Elem())
		}
	case reflect.Struct:
		ids.writeStruct(b, v)
	case reflect.Slice, reflect.Array:
		b.WriteString("[")
		for i := range v.Len() {
			ids.write(b, v.Index(i))
			b.WriteString(",")
		}
		b.WriteString("]")
	case reflect.String:
		b.WriteString(strconv.Quote(v.String()))
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	default:
		b.WriteString("@" + strconv.FormatUint(uint64(v.Pointer()), 16))
	}
}

// writeStruct names the fields that are set. Of an expression, where it stood in the text does not count,
// and of a reference only the position.
func (ids *identities) writeStruct(b *strings.Builder, v reflect.Value) {
	isExpr := v.Type() == exprType
	reference := isExpr && v.FieldByName("Class").String() == "BOUND_REF"
	b.WriteString("{")
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() || isExpr && name == "Location" || reference && name != "Class" && name != "Index" {
			continue
		}
		b.WriteString(name + ":")
		ids.write(b, v.Field(i))
		b.WriteString(";")
	}
	b.WriteString("}")
}

// opened is an addressable value without the mark that it was read from an unexported field.
func opened(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}

package decode

import (
	"fmt"
	"slices"

	"github.com/sluice-sql/sluice/internal/vector"
)

// avroRun is what is done with a value.
type avroRun uint8

const (
	runRefuse avroRun = iota
	runNull
	runBool
	runBigint
	runInt
	runInstant
	runSpan
	runFloat
	runDouble
	runText
	runString
	runBytes
	runBytesText
	runDecimal
	runDuration
	runUUID
	runSymbol
	runCode
	runIndex
	runArray
	runMap
	runRecord
	runUnion
	runVariableDecimal
)

// An avroOp reads a value of a writer's schema into a column. The ops of a schema and the declared columns are a
// program, which is made once and looks nothing up by name when it runs.
type avroOp struct {
	run    avroRun
	node   *avroNode
	unit   codeKind
	scale  int64
	why    string // of runRefuse
	codes  []int32
	fields []avroMember
	absent []avroAbsent
	item   *avroOp
	of     []*avroOp
	tags   []int // the member of a UNION that each branch is, -1 for none
}

// An avroMember is a field in the writer's order.
type avroMember struct {
	to   int // which column, -1 to skip the value
	node *avroNode
	op   *avroOp
}

// An avroAbsent is a column that the writer does not have: NULL, or the reader's default.
type avroAbsent struct {
	to     int
	preset []byte
	op     *avroOp
}

// avroProgram compiles the reading of values of a schema into columns. A schema that is not a record is the value of
// the only column. reader has defaults and aliases for what the writer does not have; it may be nil.
func avroProgram(writer, reader *avroNode, fields []vector.Field) (*avroOp, error) {
	if writer.kind != avroRecord {
		if len(fields) != 1 {
			return nil, fmt.Errorf("the schema is not a record but %s, and %d columns are declared", writer.name, len(fields))
		}
		return &avroOp{run: runRecord, node: &avroNode{kind: avroRecord, min: writer.min},
			fields: []avroMember{{0, writer, compileAvro(writer, reader, fields[0].Type)}}}, nil
	}
	return compileRecord(writer, reader, fields), nil
}

// compileRecord matches fields by name, and those of a reader by its aliases.
func compileRecord(writer, reader *avroNode, fields []vector.Field) *avroOp {
	reader = reader.alternative(avroRecord)
	op := &avroOp{run: runRecord, node: writer}
	for _, f := range writer.fields {
		op.fields = append(op.fields, avroMember{to: -1, node: f.node})
	}
	for i, f := range fields {
		var read *avroField
		names := []string{f.Name}
		if reader != nil && reader.kind == avroRecord {
			if j := slices.IndexFunc(reader.fields, func(r avroField) bool { return r.name == f.Name }); j >= 0 {
				read = &reader.fields[j]
				names = append(names, read.aliases...)
			}
		}
		from := -1
		for _, name := range names {
			if from < 0 {
				from = slices.IndexFunc(writer.fields, func(w avroField) bool { return w.name == name })
			}
		}
		switch {
		case from >= 0 && op.fields[from].to < 0:
			var inner *avroNode
			if read != nil {
				inner = read.node
			}
			op.fields[from].to, op.fields[from].op = i, compileAvro(writer.fields[from].node, inner, f.Type)
		case read != nil && read.preset != nil:
			op.absent = append(op.absent, avroAbsent{i, read.preset, compileAvro(read.node, nil, f.Type)})
		default:
			op.absent = append(op.absent, avroAbsent{to: i})
		}
	}
	return op
}

// compileAvro compiles the reading of one value.
func compileAvro(n, reader *avroNode, t vector.Type) *avroOp {
	op := &avroOp{node: n}
	switch n.kind {
	case avroNull:
		op.run = runNull
	case avroBoolean:
		if t.Kind == vector.Varchar || isNumeric(t.Kind) {
			op.run = runBool
		}
	case avroInt:
		op.compileInt(t)
	case avroFloat, avroDouble:
		if t.Kind == vector.Varchar || isNumeric(t.Kind) {
			if op.run = runDouble; n.kind == avroFloat {
				op.run = runFloat
			}
		}
	case avroString:
		if !t.IsNested() {
			if op.run = runString; t.Kind == vector.Varchar {
				op.run = runText
			}
		}
	case avroBytes, avroFixed:
		op.compileBytes(t)
	case avroEnum:
		op.compileEnum(t)
	case avroUnion:
		return compileUnion(n, reader, t)
	default:
		return compileNested(n, reader, t)
	}
	return op.orRefuse(t)
}

// orRefuse says why the value cannot be read, if it cannot.
func (op *avroOp) orRefuse(t vector.Type) *avroOp {
	if op.run != runRefuse {
		return op
	}
	what := op.node.name
	if op.node.logical != "" {
		what += " (" + op.node.logical + ")"
	}
	op.why = fmt.Sprintf("%s in the message's schema cannot be read as %s", what, t)
	if op.node.kind == avroInt && isTemporal(t.Kind) && op.node.code() == asJSON {
		op.why += ": the schema does not say what it counts, so declare the column BIGINT and convert it in the query"
	}
	return op
}

// isNumeric says of kinds that numbers become them.
func isNumeric(k vector.Kind) bool {
	return classOf(k) == classInteger || k == vector.Int64 || k == vector.Float64 || k == vector.Float32 || k == vector.Decimal
}

func (op *avroOp) compileInt(t vector.Type) {
	op.unit = op.node.code()
	switch {
	case t.Kind == vector.Int64:
		op.run = runBigint
	case t.Kind == vector.Varchar || isNumeric(t.Kind):
		op.run = runInt
	case op.unit.isInstant() && (t.Kind == vector.Date || isStamp(t.Kind)):
		op.run = runInstant
	case op.unit.isSpan() && (t.Kind == vector.Time || t.Kind == vector.TimeNS || t.Kind == vector.Interval):
		op.run = runSpan
	}
}

func (k codeKind) isInstant() bool { return k >= asDays && k <= asNanos }
func (k codeKind) isSpan() bool    { return k >= asTimeMillis && k <= asNanoDuration }

func isStamp(k vector.Kind) bool {
	switch k {
	case vector.Timestamp, vector.TimestampS, vector.TimestampMS, vector.TimestampNS, vector.TimestampTZ:
		return true
	}
	return false
}

func (op *avroOp) compileBytes(t vector.Type) {
	n := op.node
	op.scale = int64(n.scale)
	switch {
	case t.Kind == vector.Blob:
		op.run = runBytes
	case n.logical == "decimal" && (t.Kind == vector.Varchar || isNumeric(t.Kind)):
		op.run = runDecimal
	case n.kind == avroFixed && n.logical == "duration" && n.size == 12 && t.Kind == vector.Interval:
		op.run = runDuration
	case n.kind == avroFixed && n.size == 16 && t.Kind == vector.UUID:
		op.run = runUUID
	case t.Kind == vector.Varchar:
		op.run = runBytesText
	}
}

func (op *avroOp) compileEnum(t vector.Type) {
	switch {
	case t.Kind == vector.Varchar:
		op.run = runSymbol
	case t.Kind == vector.Enum:
		op.run = runCode
		for _, s := range op.node.symbols {
			op.codes = append(op.codes, int32(slices.Index(t.Values, string(s))))
		}
	case classOf(t.Kind) == classInteger || t.Kind == vector.Int64:
		op.run = runIndex
	}
}

func compileNested(n, reader *avroNode, t vector.Type) *avroOp {
	op := &avroOp{node: n}
	inner := func(kind avroKind) *avroNode {
		if r := reader.alternative(kind); r != nil {
			return r.item
		}
		return nil
	}
	switch {
	case n.kind == avroArray && (t.Kind == vector.List || t.Kind == vector.Array):
		op.run, op.item = runArray, compileAvro(n.item, inner(avroArray), *t.Elem)
	case n.kind == avroMap && t.Kind == vector.Map:
		op.run, op.item = runMap, compileAvro(n.item, inner(avroMap), t.Elem.Fields[1].Type)
	case n.kind == avroRecord && t.Kind == vector.Struct:
		return compileRecord(n, reader, t.Fields)
	case n.kind == avroRecord && n.isVariableDecimal() && (t.Kind == vector.Varchar || isNumeric(t.Kind)):
		op.run = runVariableDecimal
	}
	return op.orRefuse(t)
}

// isVariableDecimal says of a record that it is Debezium's number with a scale of its own.
func (n *avroNode) isVariableDecimal() bool {
	return n.connect == "io.debezium.data.VariableScaleDecimal" && len(n.fields) == 2 &&
		n.fields[0].node.kind == avroInt && n.fields[1].node.kind == avroBytes
}

// compileUnion compiles each branch: into the same column, or into the member of a UNION that has the branch's name.
func compileUnion(n, reader *avroNode, t vector.Type) *avroOp {
	op := &avroOp{run: runUnion, node: n}
	for _, b := range n.of {
		tag, to := -1, t
		if t.Kind == vector.Union && b.kind != avroNull {
			if tag = slices.IndexFunc(t.Fields, func(f vector.Field) bool { return f.Name == b.name }); tag < 0 {
				op.of = append(op.of, &avroOp{node: b, why: fmt.Sprintf("branch %s of a union is no member of %s", b.name, t)})
				op.tags = append(op.tags, -1)
				continue
			}
			to = t.Fields[tag].Type
		}
		op.of = append(op.of, compileAvro(b, reader.alternative(b.kind), to))
		op.tags = append(op.tags, tag)
	}
	return op
}

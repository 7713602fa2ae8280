package decode

import (
	"fmt"
	"strings"

	"github.com/twmb/avro"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
)

// avroKind is the shape of a value in Avro's binary encoding.
type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt // int and long are written alike
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroFixed
	avroEnum
	avroArray
	avroMap
	avroRecord
	avroUnion
)

var avroKinds = map[string]avroKind{"null": avroNull, "boolean": avroBoolean, "int": avroInt, "long": avroInt, "float": avroFloat, "double": avroDouble,
	"bytes": avroBytes, "string": avroString, "fixed": avroFixed, "enum": avroEnum, "array": avroArray, "map": avroMap, "record": avroRecord,
	"error": avroRecord, "union": avroUnion}

// An avroNode is a schema with its references resolved; a recursive one is a cycle.
type avroNode struct {
	kind    avroKind
	name    string // as people say it: of a named type its own, else the primitive's
	logical string
	connect string // the logical type of Kafka Connect, Debezium's among them
	scale   int    // of decimals
	size    int    // of fixed
	symbols [][]byte
	fields  []avroField
	item    *avroNode // of arrays, and the values of maps
	of      []*avroNode
	min     int // the fewest bytes of a value
}

// An avroField is a member of a record.
type avroField struct {
	name    string
	aliases []string
	node    *avroNode
	preset  []byte // the default, encoded; nil if there is none
}

// avroNames are the named types of a schema and those that it refers to.
type avroNames map[string]*avroNode

// parseAvro reads a schema and what it refers to.
func parseAvro(text string, refs []schemaregistry.Reference) (*avroNode, error) {
	var cache avro.SchemaCache
	names := avroNames{}
	for _, ref := range refs {
		s, err := cache.Parse(ref.Text, avro.WithLaxNames(laxName))
		if err != nil {
			return nil, fmt.Errorf("schema %s, which it refers to: %w", ref.Name, err)
		}
		root := s.Root()
		if _, err := names.node(root, ""); err != nil {
			return nil, fmt.Errorf("schema %s, which it refers to: %w", ref.Name, err)
		}
	}
	s, err := cache.Parse(text, avro.WithLaxNames(laxName))
	if err != nil {
		return nil, err
	}
	root := s.Root()
	n, err := names.node(root, "")
	if err != nil {
		return nil, err
	}
	measure(n, map[*avroNode]bool{})
	return n, nil
}

// laxName accepts every name: who wrote the schema has accepted it.
func laxName(string) error { return nil }

// node resolves a parsed schema's names; namespace is that around it.
func (names avroNames) node(s *avro.SchemaNode, namespace string) (*avroNode, error) {
	kind, known := avroKinds[s.Type]
	if !known {
		for _, full := range []string{s.Type, namespace + "." + s.Type} {
			if n := names[full]; n != nil {
				return n, nil
			}
		}
		return nil, fmt.Errorf("type %s is not defined", s.Type)
	}
	n := &avroNode{kind: kind, name: s.Type, logical: s.LogicalType, scale: s.Scale, size: s.Size}
	for _, symbol := range s.Symbols {
		n.symbols = append(n.symbols, []byte(symbol))
	}
	n.connect, _ = s.Props["connect.name"].(string)
	if s.Name != "" {
		full := s.Name
		if s.Namespace != "" && !strings.Contains(full, ".") {
			full = s.Namespace + "." + full
		}
		namespace = full[:max(0, strings.LastIndexByte(full, '.'))]
		n.name = full[strings.LastIndexByte(full, '.')+1:]
		names[full] = n
	}
	var err error
	for i := range s.Fields {
		f := &s.Fields[i]
		member := avroField{name: f.Name, aliases: f.Aliases}
		if member.node, err = names.node(&f.Type, namespace); err != nil {
			return nil, err
		}
		if f.HasDefault {
			if member.preset, err = presetOf(f); err != nil {
				return nil, fmt.Errorf("the default of field %s: %w", f.Name, err)
			}
		}
		n.fields = append(n.fields, member)
	}
	for i := range s.Branches {
		b, err := names.node(&s.Branches[i], namespace)
		if err != nil {
			return nil, err
		}
		n.of = append(n.of, b)
	}
	for _, child := range []*avro.SchemaNode{s.Items, s.Values} {
		if child != nil && (kind == avroArray || kind == avroMap) {
			if n.item, err = names.node(child, namespace); err != nil {
				return nil, err
			}
		}
	}
	return n, nil
}

// presetOf encodes a field's default, so that it is read like any value.
func presetOf(f *avro.SchemaField) ([]byte, error) {
	s, err := f.Type.Schema(avro.WithLaxNames(laxName))
	if err != nil {
		return nil, err
	}
	b, err := s.Encode(f.Default)
	if b == nil {
		b = []byte{}
	}
	return b, err
}

// measure computes the fewest bytes that values take. A record that contains itself has no values, and counts
// as nothing inside itself.
func measure(n *avroNode, seen map[*avroNode]bool) int {
	if seen[n] {
		return n.min
	}
	seen[n] = true
	min := 1
	switch n.kind {
	case avroNull:
		min = 0
	case avroFloat:
		min = 4
	case avroDouble:
		min = 8
	case avroFixed:
		min = n.size
	case avroRecord:
		min = 0
		for _, f := range n.fields {
			min += measure(f.node, seen)
		}
	}
	if n.item != nil {
		measure(n.item, seen)
	}
	for _, b := range n.of {
		measure(b, seen)
	}
	n.min = min
	return min
}

// alternative is the branch of a union that is of a kind, and any other schema itself.
func (n *avroNode) alternative(kind avroKind) *avroNode {
	if n == nil || n.kind != avroUnion {
		return n
	}
	for _, b := range n.of {
		if b.kind == kind {
			return b
		}
	}
	return nil
}

// code is what a number counts by the schema's logical type, asJSON if it says nothing.
func (n *avroNode) code() codeKind {
	if k := logicalTypes[n.connect]; k != asJSON {
		return k
	}
	return avroTimes[n.logical]
}

var avroTimes = map[string]codeKind{"date": asDays, "time-millis": asTimeMillis, "time-micros": asTimeMicros, "time-nanos": asTimeNanos,
	"timestamp-millis": asMillis, "timestamp-micros": asMicros, "timestamp-nanos": asNanos,
	"local-timestamp-millis": asMillis, "local-timestamp-micros": asMicros, "local-timestamp-nanos": asNanos}

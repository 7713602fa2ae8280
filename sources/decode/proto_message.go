package decode

import (
	"fmt"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
)

// protoMessages decodes values in Protobuf's wire format.
type protoMessages struct {
	registered[*protoSchema]
	protoReader
	own  *protoOp // without a registry
	body []byte
}

func newProtoMessages(o MessageOptions) (*protoMessages, error) {
	d, fields := &protoMessages{}, o.dataFields()
	if o.Registry.URL == "" {
		file, err := parseProto(o.ProtobufSchema, nil)
		if err != nil {
			return nil, fmt.Errorf("protobuf_schema = '…' cannot be read: %w", err)
		}
		if d.own, err = (&protoSchema{file: file, fields: fields, only: o.ProtobufMessage}).named(); err != nil {
			return nil, fmt.Errorf("protobuf_schema = '…' does not fit: %w", err)
		}
		return d, nil
	}
	d.typ = schemaregistry.Protobuf
	d.compile = func(s *schemaregistry.Schema) (*protoSchema, error) {
		file, err := parseProto(s.Text, s.References)
		return &protoSchema{file: file, fields: fields, only: o.ProtobufMessage}, err
	}
	var err error
	d.registry, err = schemaregistry.New(o.Registry)
	return d, err
}

func (d *protoMessages) prepare(m *Message, value []byte) (err error) {
	d.body, err = d.find(m, value)
	return err
}

func (d *protoMessages) maxRows() int { return 1 }
func (d *protoMessages) weighs() bool { return false }

func (d *protoMessages) put(_ *Message, _ []byte, b *Builder, cols []*column) (n int, why string) {
	if d.registered.why != "" {
		return 0, d.registered.why
	}
	op, body := d.own, d.body
	if op == nil {
		p, size := d.current.program(body)
		if p.why != "" {
			return 0, p.why
		}
		op, body = p.op, body[size:]
	}
	d.b = b
	if !d.message(op, cols, b.row, body) {
		return 0, d.protoReader.why
	}
	return 1, ""
}

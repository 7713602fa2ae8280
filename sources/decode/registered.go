package decode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
)

// maxPrograms bounds how many schemas' programs a decoder remembers.
const maxPrograms = 1024

// registered finds the program of a message: the one and only, or that of the schema id in front of it.
//
// The wire format is Confluent's: a zero byte and four bytes of the id, the highest first.
type registered[P any] struct {
	registry *schemaregistry.Client // nil without ids
	typ      string                 // of the schemas: "AVRO"
	compile  func(*schemaregistry.Schema) (P, error)

	programs map[uint32]P
	refused  map[uint32]string // why schemas cannot be used
	last     uint32
	current  P
	why      string // why the message has no program
}

const headerBytes = 5

// find sets current, and body to what follows the header; or why. An error is not the message's fault.
func (r *registered[P]) find(m *Message, value []byte) (body []byte, err error) {
	if r.why = ""; r.registry == nil {
		return value, nil
	}
	if len(value) < headerBytes || value[0] != 0 {
		r.why = "the message does not begin with the id of a schema in the registry: a zero byte and four of the id"
		return nil, nil
	}
	id := binary.BigEndian.Uint32(value[1:])
	known := true
	switch {
	case slices.Contains(m.Unknown, id):
		known = r.unknown(id)
	case id != r.last || r.programs == nil:
		if known, err = r.use(id); err != nil {
			return nil, err
		}
	}
	m.Schemas = append(m.Schemas, SchemaUse{id, known})
	return value[headerBytes:], nil
}

// use makes the program of a schema the current one, or sets why. It says whether the registry has the schema.
func (r *registered[P]) use(id uint32) (known bool, err error) {
	if r.why = r.refused[id]; r.why != "" {
		return true, nil
	}
	p, compiled := r.programs[id]
	if !compiled {
		// Why no context: Add has none, and the client bounds its requests.
		s, err := r.registry.ByID(context.Background(), int(id))
		switch {
		case errors.Is(err, schemaregistry.ErrUnknown):
			return r.unknown(id), nil
		case err != nil:
			return false, err
		case s.Type != r.typ:
			return r.refuse(id, fmt.Sprintf("schema %d is %s, not %s", id, s.Type, r.typ)), nil
		}
		if p, err = r.compile(s); err != nil {
			return r.refuse(id, fmt.Sprintf("schema %d cannot be used: %v", id, err)), nil
		}
		if r.programs == nil || len(r.programs) >= maxPrograms {
			r.programs = map[uint32]P{}
		}
		r.programs[id] = p
	}
	r.last, r.current = id, p
	return true, nil
}

// unknown says why a message with the id has no program.
func (r *registered[P]) unknown(id uint32) (known bool) {
	r.why = fmt.Sprintf("schema %d is unknown to the registry", id)
	return false
}

// refuse remembers that a schema cannot be used: it never changes.
func (r *registered[P]) refuse(id uint32, why string) (known bool) {
	if r.refused == nil || len(r.refused) >= maxPrograms {
		r.refused = map[uint32]string{}
	}
	r.refused[id], r.why = why, why
	return true
}

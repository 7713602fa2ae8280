package decode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

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
func (r *registered[P]) find(value []byte) (body []byte, err error) {
	if r.why = ""; r.registry == nil {
		return value, nil
	}
	if len(value) < headerBytes || value[0] != 0 {
		r.why = "the message does not begin with the id of a schema in the registry: a zero byte and four of the id"
		return nil, nil
	}
	id := binary.BigEndian.Uint32(value[1:])
	if id != r.last || r.programs == nil {
		if err := r.use(id); err != nil {
			return nil, err
		}
	}
	return value[headerBytes:], nil
}

func (r *registered[P]) use(id uint32) error {
	if r.why = r.refused[id]; r.why != "" {
		return nil
	}
	p, known := r.programs[id]
	if !known {
		// Why no context: Add has none, and the client bounds its requests.
		s, err := r.registry.ByID(context.Background(), int(id))
		switch {
		case errors.Is(err, schemaregistry.ErrUnknown):
			r.why = fmt.Sprintf("schema %d is unknown to the registry", id)
			return nil
		case err != nil:
			return err
		case s.Type != r.typ:
			return r.refuse(id, fmt.Sprintf("schema %d is %s, not %s", id, s.Type, r.typ))
		}
		if p, err = r.compile(s); err != nil {
			return r.refuse(id, fmt.Sprintf("schema %d cannot be used: %v", id, err))
		}
		if r.programs == nil || len(r.programs) >= maxPrograms {
			r.programs = map[uint32]P{}
		}
		r.programs[id] = p
	}
	r.last, r.current = id, p
	return nil
}

// refuse remembers that a schema cannot be used: it never changes.
func (r *registered[P]) refuse(id uint32, why string) error {
	if r.refused == nil || len(r.refused) >= maxPrograms {
		r.refused = map[uint32]string{}
	}
	r.refused[id], r.why = why, why
	return nil
}

package decode

import (
	"context"
	"errors"
	"fmt"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-sql/sluice/internal/schemaregistry"
	"github.com/sluice-sql/sluice/internal/vector"
)

// mainProto is the path under which a schema itself is compiled; no reference has it.
const mainProto = "sluice/message.proto"

// parseProto compiles the text of a .proto file and of those that it imports. Those of google/protobuf are there.
func parseProto(text string, refs []schemaregistry.Reference) (protoreflect.FileDescriptor, error) {
	sources := map[string]string{mainProto: text}
	for _, ref := range refs {
		sources[ref.Name] = ref.Text
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(sources)})}
	files, err := c.Compile(context.Background(), mainProto)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// A protoSchema is a .proto file with the programs of its messages.
type protoSchema struct {
	file     protoreflect.FileDescriptor
	fields   []vector.Field
	only     string // the full name of the message that is expected, "" for any
	programs map[string]protoProgram
	first    *protoProgram // of the file's first message
}

// A protoProgram is that of a message, or why there is none.
type protoProgram struct {
	op  *protoOp
	why string
}

// program returns that of the message that an index in front of it stands for: numbers in zigzag encoding, their count
// before them, of messages inside each other; just a zero for the first message of the file. size is how long the index is.
func (s *protoSchema) program(body []byte) (p *protoProgram, size int) {
	if len(body) > 0 && body[0] == 0 {
		if s.first == nil {
			first := s.compile([]int64{0})
			s.first = &first
		}
		return s.first, 1
	}
	r := avroReader{buf: body} // whose numbers are written alike
	count, ok := r.long()
	if !ok || count < 0 || count > int64(len(body)) {
		return &protoProgram{why: "the message does not say which of its schema's messages it is"}, 0
	}
	path := make([]int64, 0, 8)
	for range count {
		i, ok := r.long()
		if !ok {
			return &protoProgram{why: "the message does not say which of its schema's messages it is"}, 0
		}
		path = append(path, i)
	}
	known, ok := s.programs[string(body[:r.p])]
	if !ok {
		known = s.compile(path)
		if s.programs == nil || len(s.programs) >= maxPrograms {
			s.programs = map[string]protoProgram{}
		}
		s.programs[string(body[:r.p])] = known
	}
	return &known, r.p
}

// compile compiles the message of a path of indexes.
func (s *protoSchema) compile(path []int64) protoProgram {
	var m protoreflect.MessageDescriptor
	in := s.file.Messages()
	for _, i := range path {
		if i < 0 || i >= int64(in.Len()) {
			return protoProgram{why: fmt.Sprintf("its schema has no message %v", path)}
		}
		m = in.Get(int(i))
		in = m.Messages()
	}
	if s.only != "" && string(m.FullName()) != s.only {
		return protoProgram{why: fmt.Sprintf("the message is a %s, not a %s", m.FullName(), s.only)}
	}
	return protoProgram{op: compileProto(m, s.fields)}
}

// named returns the message of a name, or the only one of the file.
func (s *protoSchema) named() (*protoOp, error) {
	if s.only == "" {
		if n := s.file.Messages().Len(); n != 1 {
			return nil, fmt.Errorf("it has %d messages\nHint: say which one with protobuf_message = 'package.Name'", n)
		}
		return compileProto(s.file.Messages().Get(0), s.fields), nil
	}
	if m := findProto(s.file.Messages(), s.only); m != nil {
		return compileProto(m, s.fields), nil
	}
	return nil, errors.New("it has no message of the name in protobuf_message\nHint: names are written with their package, as in protobuf_message = 'package.Name'")
}

func findProto(in protoreflect.MessageDescriptors, name string) protoreflect.MessageDescriptor {
	for i := range in.Len() {
		m := in.Get(i)
		if string(m.FullName()) == name {
			return m
		}
		if inner := findProto(m.Messages(), name); inner != nil {
			return inner
		}
	}
	return nil
}

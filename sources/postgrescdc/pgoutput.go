package postgrescdc

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Messages of the output plugin pgoutput, protocol version 1. Each is decoded from what the server sent; texts
// alias it.

// A tupleCell is a value of a tuple: a text, NULL, or left out because it is stored out of line and did not change.
type tupleCell struct {
	kind byte // 't', 'n' or 'u'
	text []byte
}

// changed is an insert, update or delete.
type changed struct {
	kind    byte // 'I', 'U' or 'D'
	oid     uint32
	oldKind byte // oldNone, oldKey or oldRow
	old     []tupleCell
	new     []tupleCell
}

// relationColumn is a column of a message that describes a table.
type relationColumn struct {
	identity bool
	name     string
	oid      uint32
	mod      int32
}

// described is a table as it is for the changes that follow.
type described struct {
	oid          uint32
	schema, name string
	identity     byte
	columns      []relationColumn
}

// message reads from the front of a message; what is missing makes it bad.
type message struct {
	b   []byte
	bad bool
}

func (m *message) take(n int) []byte {
	if n < 0 || len(m.b) < n {
		m.bad, m.b = true, nil
		return make([]byte, min(max(n, 0), 8))
	}
	out := m.b[:n:n]
	m.b = m.b[n:]
	return out
}

func (m *message) byte() byte     { return m.take(1)[0] }
func (m *message) uint16() uint16 { return binary.BigEndian.Uint16(m.take(2)) }
func (m *message) uint32() uint32 { return binary.BigEndian.Uint32(m.take(4)) }
func (m *message) uint64() uint64 { return binary.BigEndian.Uint64(m.take(8)) }

func (m *message) string() string {
	s, rest, ok := strings.Cut(string(m.b), "\x00")
	if !ok {
		m.bad = true
	}
	m.b = m.b[len(m.b)-len(rest):]
	return s
}

func (m *message) err(what string) error {
	if m.bad || len(m.b) > 0 {
		return fmt.Errorf("the server's message about %s cannot be read", what)
	}
	return nil
}

func (m *message) tuple() []tupleCell {
	n := int(m.uint16())
	out := make([]tupleCell, 0, min(n, 1664))
	for range n {
		c := tupleCell{kind: m.byte()}
		switch c.kind {
		case 'n', 'u':
		case 't':
			if c.text = m.take(int(m.uint32())); c.text == nil {
				c.text = []byte{}
			}
		default:
			m.bad = true
		}
		if m.bad {
			return out
		}
		out = append(out, c)
	}
	return out
}

func decodeChange(kind byte, b []byte) (c changed, err error) {
	m := &message{b: b}
	c = changed{kind: kind, oid: m.uint32()}
	for len(m.b) > 0 && !m.bad {
		switch part := m.byte(); part {
		case 'K', 'O':
			c.oldKind, c.old = part, m.tuple()
		case 'N':
			c.new = m.tuple()
		default:
			m.bad = true
		}
	}
	if kind != 'D' && c.new == nil || kind == 'D' && c.old == nil {
		m.bad = true
	}
	return c, m.err("a row")
}

func decodeRelation(b []byte) (d described, err error) {
	m := &message{b: b}
	d = described{oid: m.uint32(), schema: m.string(), name: m.string(), identity: m.byte()}
	if d.schema == "" {
		d.schema = "pg_catalog"
	}
	for range m.uint16() {
		d.columns = append(d.columns, relationColumn{identity: m.byte()&1 != 0, name: m.string(), oid: m.uint32(), mod: int32(m.uint32())})
		if m.bad {
			break
		}
	}
	return d, m.err("a table")
}

// decodeBegin returns the LSN and the time of a transaction's commit.
func decodeBegin(b []byte) (at LSN, micros int64, err error) {
	m := &message{b: b}
	at, micros = LSN(m.uint64()), int64(m.uint64())+postgresEpoch
	m.uint32() // the transaction's number
	return at, micros, m.err("a transaction's begin")
}

// decodeCommit returns the LSN after the commit.
func decodeCommit(b []byte) (end LSN, err error) {
	m := &message{b: b}
	m.byte()
	m.uint64()
	end = LSN(m.uint64())
	m.uint64()
	return end, m.err("a commit")
}

func decodeTruncate(b []byte) (oids []uint32, err error) {
	m := &message{b: b}
	n := m.uint32()
	m.byte()
	for range n {
		if oids = append(oids, m.uint32()); m.bad {
			break
		}
	}
	return oids, m.err("a truncate")
}

// postgresEpoch is 2000-01-01, in microseconds since 1970.
const postgresEpoch = 946_684_800_000_000

package decode

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// A metaKey is what a METADATA column is filled from.
type metaKey uint8

const (
	metaNone metaKey = iota
	metaPartition
	metaOffset
	metaTimestamp
	metaKeyBytes
	metaHeaders
	metaTopic
)

var metaKeys = map[string]metaKey{"partition": metaPartition, "offset": metaOffset, "timestamp": metaTimestamp, "key": metaKeyBytes,
	"headers": metaHeaders, "topic": metaTopic}

// A metaColumn is filled from what stands beside a message's value.
type metaColumn struct {
	col int
	key metaKey
	typ vector.Type
}

// checkMetadata says which METADATA columns cannot be filled.
func (o MessageOptions) checkMetadata() (errs []error) {
	for i, f := range o.Fields {
		name := o.metadataOf(i)
		if name == "" {
			continue
		}
		key, known := metaKeys[name]
		switch {
		case !known:
			errs = append(errs, fmt.Errorf("column %s: there is no metadata '%s'\nHint: the keys are 'partition', 'offset', 'timestamp', 'key', 'headers' and 'topic'", f.Name, name))
		case o.Changes == planner.Weighted && key != metaTopic:
			errs = append(errs, fmt.Errorf("column %s: rows that are deleted by value cannot have the metadata '%s': a row and its deletion are two messages\nHint: declare a PRIMARY KEY (…) NOT ENFORCED", f.Name, name))
		case !key.fits(f.Type):
			errs = append(errs, fmt.Errorf("column %s: the metadata '%s' is not %s\nHint: declare it %s", f.Name, name, article(f.Type), key.types()))
		}
	}
	return errs
}

// types names the types that a key may have.
func (k metaKey) types() string {
	return [...]string{"", "INTEGER or BIGINT", "BIGINT", "TIMESTAMP or TIMESTAMPTZ", "VARCHAR or BLOB", "MAP(VARCHAR, VARCHAR) or MAP(VARCHAR, BLOB)", "VARCHAR"}[k]
}

func (k metaKey) fits(t vector.Type) bool {
	switch k {
	case metaPartition:
		return t.Kind == vector.Int32 || t.Kind == vector.Int64
	case metaOffset:
		return t.Kind == vector.Int64
	case metaTimestamp:
		return t.Kind == vector.Timestamp || t.Kind == vector.TimestampTZ
	case metaKeyBytes:
		return t.Kind == vector.Varchar || t.Kind == vector.Blob
	case metaTopic:
		return t.Kind == vector.Varchar
	}
	if t.Kind != vector.Map {
		return false
	}
	entry := t.Elem.Fields
	return entry[0].Type.Kind == vector.Varchar && (entry[1].Type.Kind == vector.Varchar || entry[1].Type.Kind == vector.Blob)
}

// metadata fills a row's METADATA columns and says why it cannot, or "".
func (d *messages) metadata(m *Message, b *Builder, row int) (why string) {
	for _, x := range d.meta {
		c := b.cols[x.col]
		switch x.key {
		case metaPartition:
			c.putInt(row, uint64(int64(m.Partition)))
		case metaOffset:
			c.put64(row, uint64(m.Offset))
		case metaTimestamp:
			c.put64(row, uint64(m.Timestamp))
		case metaKeyBytes:
			why = b.putBytes(c, row, m.Key)
		case metaTopic:
			why = b.putBytes(c, row, []byte(m.Topic))
		case metaHeaders:
			why = b.putHeaders(c, row, m.Headers)
		}
		if why != "" {
			return why
		}
	}
	return ""
}

// putBytes stores bytes in a VARCHAR or BLOB column, nil as NULL, and says why it cannot, or "".
func (b *Builder) putBytes(c *column, row int, s []byte) (why string) {
	if s == nil {
		c.setNull(row)
		return ""
	}
	if c.typ.Kind == vector.Varchar {
		if why = badText(s); why != "" {
			return "column " + c.name + ": " + why
		}
	}
	if len(s) > 12 {
		s = b.copy(s)
	}
	c.putCopied(row, s)
	return ""
}

// badText says why bytes are no text of a database, or "".
func badText(s []byte) string {
	switch {
	case bytes.IndexByte(s, 0) >= 0:
		return "the text has a NUL character, which Postgres cannot store"
	case !utf8.Valid(s):
		return "the text is not valid UTF-8"
	}
	return ""
}

// putHeaders stores headers as a MAP. Of several with one key the last counts, as for Kafka's lastHeader.
func (b *Builder) putHeaders(c *column, row int, headers []Header) (why string) {
	entries := c.kids[0]
	offset, n := entries.n, 0
	last := lastOf(headers)
	for i, h := range headers {
		if !isLast(headers, i, last) {
			continue
		}
		at := entries.push()
		if why = b.putBytes(entries.kids[0], at, []byte(h.Key)); why == "" {
			why = b.putBytes(entries.kids[1], at, h.Value)
		}
		if why != "" {
			return why
		}
		n++
	}
	c.putEntry(row, offset, n)
	return ""
}

// fewHeaders are compared with each other faster than they are looked up.
const fewHeaders = 16

// lastOf has the place of each key's last header; nil for few.
func lastOf(headers []Header) map[string]int {
	if len(headers) <= fewHeaders {
		return nil
	}
	last := make(map[string]int, len(headers))
	for i, h := range headers {
		last[h.Key] = i
	}
	return last
}

// isLast says that no later header has the same key.
func isLast(headers []Header, i int, last map[string]int) bool {
	if last != nil {
		return last[headers[i].Key] == i
	}
	return !slices.ContainsFunc(headers[i+1:], func(h Header) bool { return h.Key == headers[i].Key })
}

package decode

import (
	"bytes"

	"github.com/sluice-sql/sluice/internal/vector"
)

// array decodes the text of a Postgres array, such as {1,NULL,"a,b"} or [0:1]={1,2}: its bounds are dropped.
func (d *PostgresText) array(b *Builder, c *column, row int, s []byte) (reason string) {
	body := s
	if s[0] == '[' {
		body = s[bytes.Index(s, []byte("]={"))+2:]
	}
	rest, why := d.items(b, c, row, body)
	switch {
	case why != "":
		return why
	case len(rest) > 0:
		return quoted(s) + " is not an array"
	}
	return ""
}

// items decodes {…} at the start of s and returns what follows it.
func (d *PostgresText) items(b *Builder, c *column, row int, s []byte) (rest []byte, reason string) {
	if c.typ.Kind != vector.List && c.typ.Kind != vector.Array {
		return nil, quoted(s) + " has more dimensions than " + article(c.typ)
	}
	kid, n := c.kids[0], 0
	offset := kid.n
	whole := s
	for s = s[1:]; len(s) > 0 && s[0] != '}'; n++ {
		at := row*c.typ.Size + n
		if c.typ.Kind == vector.List {
			at = kid.push()
		} else if n >= c.typ.Size {
			return nil, quoted(whole) + " has more items than " + article(c.typ)
		}
		if s, reason = d.item(b, kid, at, s); reason != "" {
			return nil, reason
		}
		if len(s) > 0 && s[0] == ',' {
			s = s[1:]
		}
	}
	if len(s) == 0 {
		return nil, quoted(whole) + " is not an array"
	}
	if c.typ.Kind == vector.List {
		c.putEntry(row, offset, n)
	} else if n != c.typ.Size {
		return nil, quoted(whole) + " has fewer items than " + article(c.typ)
	}
	return s[1:], ""
}

// item decodes one item of an array and returns what follows it.
func (d *PostgresText) item(b *Builder, c *column, row int, s []byte) (rest []byte, reason string) {
	if s[0] == '{' {
		return d.items(b, c, row, s)
	}
	if s[0] != '"' {
		end := bytes.IndexAny(s, ",}")
		if end < 0 {
			return nil, quoted(s) + " is not an array's end"
		}
		if string(s[:end]) == "NULL" {
			c.setNull(row)
			return s[end:], ""
		}
		return s[end:], d.put(b, c, row, s[:end])
	}
	var text []byte
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if text == nil {
				text = []byte{}
			}
			return s[i+1:], d.put(b, c, row, text)
		case '\\':
			if i++; i == len(s) {
				return nil, quoted(s) + " is not an array's end"
			}
		}
		text = append(text, s[i])
	}
	return nil, quoted(s) + " is not an array's end"
}

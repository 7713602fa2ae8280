package decode

import (
	"bytes"

	"github.com/sluice-sql/sluice/internal/vector"
)

// nested decodes an object or list into a nested column.
func (d *JSON) nested(c *column, row, p, depth int) int {
	object := c.typ.Kind != vector.List && c.typ.Kind != vector.Array
	if object != (d.buf[p] == '{') {
		end := d.skip(p, depth)
		if end < 0 {
			return -1
		}
		return d.mismatch(c, p, end)
	}
	switch c.typ.Kind {
	case vector.Struct:
		return d.structValue(c, row, p, depth)
	case vector.Map:
		return d.mapValue(c, row, p, depth)
	case vector.Union:
		return d.unionValue(c, row, p, depth)
	}
	return d.listValue(c, row, p, depth)
}

func (d *JSON) structValue(c *column, row, p, depth int) int {
	if c.gen++; c.gen == 0 {
		clear(c.seen)
		c.gen = 1
	}
	gen, left := c.gen, len(c.kids)
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 {
			return -1
		}
		if p = q; name == nil {
			break
		}
		i, ok := c.field[string(name)]
		if !ok {
			if p = d.skip(p, depth); p < 0 {
				return -1
			}
			continue
		}
		if c.seen[i] == gen {
			return d.fail("column %s: key %s appears twice in an object", c.name, quoted(name))
		}
		c.seen[i] = gen
		left--
		if p = d.slow(c.kids[i], row, p, depth); p < 0 {
			return -1
		}
	}
	if left > 0 {
		for i, k := range c.kids {
			if c.seen[i] != gen {
				k.setNull(row)
			}
		}
	}
	return p
}

// item steps to the next value of a list; done says that there is none and next is after the bracket.
func (d *JSON) item(p int, opening bool) (next int, done bool) {
	p = d.blank(p)
	switch {
	case opening:
	case d.buf[p] == ']':
		return p + 1, true
	case d.buf[p] != ',':
		return d.unexpected(p, "',' or ']'"), true
	}
	if p = d.blank(p + 1); d.buf[p] == ']' {
		return p + 1, true
	}
	return p, false
}

func (d *JSON) listValue(c *column, row, p, depth int) int {
	kid, n := c.kids[0], 0
	array, start := c.typ.Kind == vector.Array, p
	// Items of an inner list may be pushed in between only into other columns, so ours are contiguous.
	offset := kid.n
	for opening := true; ; opening = false {
		q, done := d.item(p, opening)
		if q < 0 {
			return -1
		}
		if p = q; done {
			break
		}
		at := row*c.typ.Size + n
		if !array {
			at = kid.push()
		} else if n >= c.typ.Size {
			if p = d.skip(p, depth); p < 0 {
				return -1
			}
			n++
			continue
		}
		n++
		if p = d.slow(kid, at, p, depth); p < 0 {
			return -1
		}
	}
	if !array {
		c.putEntry(row, offset, n)
	} else if n != c.typ.Size {
		return d.fail("column %s: expected %d items, found %d in %s", c.name, c.typ.Size, n, quoted(d.buf[start:p]))
	}
	return p
}

func (d *JSON) mapValue(c *column, row, p, depth int) int {
	entries := c.kids[0]
	key, val := entries.kids[0], entries.kids[1]
	offset, n := entries.n, 0
	names := map[string]struct{}{}
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 {
			return -1
		}
		if p = q; name == nil {
			break
		}
		// The name may live in scratch memory, which decoding the value overwrites.
		name = d.b.copy(name)
		at := entries.push()
		n++
		if key.class == classNested {
			return d.fail("column %s: a key cannot be read as %s", c.name, article(key.typ))
		}
		if why := key.putText(at, name, true); why != "" {
			return d.fail("column %s: key %s", c.name, why)
		}
		if _, twice := names[string(name)]; twice {
			return d.fail("column %s: key %s appears twice in a map", c.name, quoted(name))
		}
		names[string(name)] = struct{}{}
		if p = d.slow(val, at, p, depth); p < 0 {
			return -1
		}
	}
	c.putEntry(row, offset, n)
	return p
}

// unionValue decodes {"member": value}.
func (d *JSON) unionValue(c *column, row, p, depth int) int {
	name, q := d.name(p, true)
	if q < 0 {
		return -1
	}
	i, ok := c.field[string(name)]
	if name == nil || !ok {
		return d.fail("column %s: expected an object with one key that names a member of the union", c.name)
	}
	for j, k := range c.kids[1:] {
		if j != i {
			k.setNull(row)
		}
	}
	c.kids[0].put8(row, uint64(i))
	if p = d.slow(c.kids[1+i], row, q, depth); p < 0 {
		return -1
	}
	if name, p = d.name(p, false); p >= 0 && name != nil {
		return d.fail("column %s: a union's object must have one key, found another, %s", c.name, quoted(name))
	}
	return p
}

// skip checks the syntax of a value and returns the byte after it.
func (d *JSON) skip(p, depth int) int {
	switch ch := d.buf[p]; {
	case ch == '"':
		return d.skipString(p)
	case ch == 'n' && d.match("null", p), ch == 't' && d.match("true", p):
		return p + 4
	case ch == 'f' && d.match("false", p):
		return p + 5
	case ch != '{' && ch != '[':
		next, _ := d.number(p)
		return next
	case depth >= maxDepth:
		return d.fail("malformed JSON: nested more than %d deep", maxDepth)
	case ch == '[':
		for opening := true; ; opening = false {
			q, done := d.item(p, opening)
			if q < 0 || done {
				return q
			}
			if p = d.skip(q, depth+1); p < 0 {
				return -1
			}
		}
	}
	for opening := true; ; opening = false {
		name, q := d.name(p, opening)
		if q < 0 || name == nil {
			return q
		}
		if p = d.skip(q, depth+1); p < 0 {
			return -1
		}
	}
}

func (d *JSON) skipString(p int) int {
	e, wrong := stringEnd(d.buf, p+1)
	if e < 0 {
		return d.badString(wrong)
	}
	if bytes.IndexByte(d.buf[p+1:e], '\\') >= 0 {
		out, why := unescape(d.scratch[:0], d.buf[p+1:e])
		d.scratch = out
		if why != "" {
			return d.fail("malformed JSON: %s", why)
		}
	}
	return e + 1
}

package decode

import (
	"fmt"

	"github.com/sluice-sql/sluice/internal/vector"
)

func (r *avroReader) array(op *avroOp, c *column, row int) bool {
	kid, n := c.kids[0], 0
	offset, fixed := kid.n, c.typ.Kind == vector.Array
	for {
		count, _, ok := r.block(op.node.item.min)
		if !ok {
			return false
		}
		if count == 0 {
			break
		}
		if fixed && int64(n)+count > int64(c.typ.Size) {
			return r.refuse(c, fmt.Sprintf("expected %d items, found more", c.typ.Size))
		}
		for range count {
			at := row*c.typ.Size + n
			if !fixed {
				at = kid.push()
			}
			n++
			if !r.read(op.item, kid, at) {
				return false
			}
		}
	}
	if !fixed {
		c.putEntry(row, offset, n)
	} else if n != c.typ.Size {
		return r.refuse(c, fmt.Sprintf("expected %d items, found %d", c.typ.Size, n))
	}
	return true
}

func (r *avroReader) mapping(op *avroOp, c *column, row int) bool {
	entries := c.kids[0]
	key, val := entries.kids[0], entries.kids[1]
	offset, n := entries.n, 0
	var keys map[string]struct{} // Why of its own: values may be maps
	for {
		count, _, ok := r.block(1 + op.node.item.min)
		if !ok {
			return false
		}
		if count == 0 {
			break
		}
		for range count {
			s, ok := r.blob()
			if !ok {
				return false
			}
			if keys == nil {
				keys = map[string]struct{}{}
			}
			if _, twice := keys[string(s)]; twice {
				return r.refuse(c, "key "+quoted(s)+" appears twice in a map")
			}
			keys[string(s)] = struct{}{}
			at := entries.push()
			n++
			if why := r.b.putString(key, at, s); why != "" {
				return r.refuse(c, "key "+why)
			}
			if !r.read(op.item, val, at) {
				return false
			}
		}
	}
	c.putEntry(row, offset, n)
	return true
}

// skip steps over a value.
func (r *avroReader) skip(n *avroNode, depth int) (ok bool) {
	if depth > maxAvroDepth {
		return r.fail("the message nests more than %d values in each other", maxAvroDepth)
	}
	switch n.kind {
	case avroNull:
		return true
	case avroBoolean:
		_, ok = r.take(1)
	case avroInt, avroEnum:
		_, ok = r.long()
	case avroFloat:
		_, ok = r.take(4)
	case avroDouble:
		_, ok = r.take(8)
	case avroFixed:
		_, ok = r.take(n.size)
	case avroBytes, avroString:
		_, ok = r.blob()
	case avroRecord:
		for _, f := range n.fields {
			if !r.skip(f.node, depth+1) {
				return false
			}
		}
		return true
	case avroUnion:
		i, ok := r.branch(n)
		return ok && r.skip(n.of[i], depth+1)
	case avroArray, avroMap:
		return r.skipItems(n, depth)
	}
	return ok
}

func (r *avroReader) skipItems(n *avroNode, depth int) bool {
	min := n.item.min
	if n.kind == avroMap {
		min++
	}
	for {
		count, size, ok := r.block(min)
		if !ok || count == 0 {
			return ok
		}
		if size >= 0 {
			r.p += int(size)
			continue
		}
		for range count {
			if n.kind == avroMap {
				if _, ok := r.blob(); !ok {
					return false
				}
			}
			if !r.skip(n.item, depth+1) {
				return false
			}
		}
	}
}

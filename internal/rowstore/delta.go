package rowstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A delta is
//
//	| version 1 | schema hash uint64 | evicted 0/1 | bound varint, if evicted |
//	| keys of removed rows | final images of updated rows | of inserted rows |      each a vector chunk
//
// and is applied in an order that makes it idempotent and keeps the order of rows:
//
//  1. delete the removed keys
//  2. put the updated rows, in place
//  3. evict rows earlier than bound, except those of step 2: what they were before does not count
//  4. put the inserted rows at the end, deleting the key first if it is there
//
// A row that was deleted and inserted again is both removed and inserted. Evicted rows that this batch had
// not touched are named by the bound alone.
const deltaVersion = 1

// change is the net effect of a batch as slots, in the order of first touch.
type change struct {
	removed, updated, inserted []slot
}

func (c *change) rows() int { return len(c.removed) + len(c.updated) + len(c.inserted) }

// changed finds the net effect of the batch.
func (t *Table) changed() *change {
	if t.change != nil {
		return t.change
	}
	c := &change{}
	var evicted []rowID
	for _, op := range t.undo.ops {
		p := t.blocks.at(op.id)
		flag := *t.lay.flag(p)
		switch op.kind {
		case opInsert:
			if flag&flagLive != 0 {
				c.inserted = append(c.inserted, p)
			}
		case opUpdate:
			if flag&flagLive != 0 && t.differs(p, op) {
				c.updated = append(c.updated, p)
			}
		case opDelete:
			if flag&flagNew == 0 {
				c.removed = append(c.removed, p)
			}
		case opEvict:
			if flag&flagNew == 0 && flag&flagDirty != 0 {
				evicted = append(evicted, op.id)
			}
		}
	}
	// Why sort: rows of one time leave in an order that a recovered table does not repeat.
	slices.SortFunc(evicted, func(a, b rowID) int {
		if t.blocks.position(a).before(t.blocks.position(b)) {
			return -1
		}
		return 1
	})
	c.removed = append(c.removed, t.pointers(evicted)...)
	t.change = c
	return c
}

// differs reports whether an updated row is not what it was before. With an eviction in the batch every
// touched row counts, because applying the delta must know that it was touched (step 3).
func (t *Table) differs(p slot, op undoOp) bool {
	if t.undo.evicted {
		return true
	}
	image := t.undo.images[op.image : op.image+t.lay.size]
	now := unsafe.Slice((*byte)(p), t.lay.size)
	values := t.lay.flags
	if t.lay.links >= 0 {
		if !bytes.Equal(image[t.lay.links+8:values], now[t.lay.links+8:values]) {
			return true
		}
		values = t.lay.links
	}
	return !bytes.Equal(image[:values], now[:values]) || !bytes.Equal(image[t.lay.nulls:], now[t.lay.nulls:])
}

// Delta appends the batch's change to dst: nothing if there is none. The same calls in the same order give
// the same bytes.
func (t *Table) Delta(dst []byte) []byte {
	c := t.changed()
	if c.rows() == 0 && !t.undo.evicted {
		return dst
	}
	dst = t.appendHeader(dst, deltaVersion)
	if t.undo.evicted {
		dst = binary.AppendVarint(append(dst, 1), t.undo.bound)
	} else {
		dst = append(dst, 0)
	}
	dst = vector.AppendChunk(dst, t.gather(&t.keyBuf, c.removed, t.spec.NKey))
	dst = vector.AppendChunk(dst, t.gather(&t.keyBuf, c.updated, len(t.lay.cols)))
	return vector.AppendChunk(dst, t.gather(&t.keyBuf, c.inserted, len(t.lay.cols)))
}

// Tags of the parts of a change in its digest.
const (
	tagRow     = 1
	tagRemoved = 2
	tagBound   = 3
)

// DeltaDigest returns how many rows the change has and an order-independent digest of it: final images,
// removed keys and the eviction bound. Re-executing a batch must give the same digest.
func (t *Table) DeltaDigest() (rows int64, sum string) {
	var d vector.Digest
	c := t.changed()
	d.AddTagged(tagRemoved, t.gather(&t.keyBuf, c.removed, t.spec.NKey))
	d.AddTagged(tagRow, t.gather(&t.keyBuf, c.updated, len(t.lay.cols)))
	d.AddTagged(tagRow, t.gather(&t.keyBuf, c.inserted, len(t.lay.cols)))
	if t.undo.evicted {
		v := vector.New(vector.Of(vector.Int64), 1)
		v.PutI64(0, t.undo.bound)
		d.AddTagged(tagBound, &vector.Chunk{N: 1, Cols: []vector.Vector{v}})
	}
	return int64(c.rows()), d.String()
}

func (t *Table) appendHeader(dst []byte, version byte) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, version), t.schema)
}

// readHeader checks what appendHeader wrote and returns the bytes after it.
func (t *Table) readHeader(b []byte, version byte) ([]byte, error) {
	switch {
	case len(b) < 9:
		return nil, errors.New("truncated header")
	case b[0] != version:
		return nil, fmt.Errorf("version %d, this program reads %d", b[0], version)
	case binary.LittleEndian.Uint64(b[1:]) != t.schema:
		return nil, errors.New("it is of a table with other columns or another key")
	}
	return b[9:], nil
}

// A DecodedDelta is a delta as read back.
type DecodedDelta struct {
	empty                      bool
	evicted                    bool
	bound                      int64
	removed, updated, inserted *vector.Chunk
}

// ApplyDelta repeats a batch from its Delta and commits it. It must be called between batches. On an
// error the table is unchanged.
func (t *Table) ApplyDelta(b []byte) error {
	d, err := t.DecodeDelta(b)
	if err == nil {
		t.Apply(d)
	}
	return err
}

// DecodeDelta is the first half of ApplyDelta. It may be called from any goroutine while the table is used: it
// reads nothing that changes. The answer refers to b.
func (t *Table) DecodeDelta(b []byte) (DecodedDelta, error) {
	if len(b) == 0 {
		return DecodedDelta{empty: true}, nil
	}
	d, err := t.decodeDelta(b)
	if err != nil {
		return d, fmt.Errorf("apply delta to state %q: %w", t.spec.Name, err)
	}
	return d, nil
}

// Apply is the second half of ApplyDelta.
func (t *Table) Apply(d DecodedDelta) {
	if len(t.undo.ops) > 0 || t.undo.evicted {
		invariant("state %q: Apply inside a batch", t.spec.Name)
	}
	if d.empty {
		return
	}
	t.inParts(d.removed, t.deleteKeys)
	t.inParts(d.updated, func(c *vector.Chunk) { t.upsert(c, nil) })
	if d.evicted {
		t.evict(d.bound, flagNew|flagDirty)
	}
	t.inParts(d.inserted, t.replace)
	t.Commit()
}

func (t *Table) decodeDelta(b []byte) (d DecodedDelta, err error) {
	if b, err = t.readHeader(b, deltaVersion); err != nil {
		return d, err
	}
	if len(b) == 0 || b[0] > 1 {
		return d, errors.New("bad eviction flag")
	}
	if d.evicted, b = b[0] == 1, b[1:]; d.evicted {
		n := 0
		if d.bound, n = binary.Varint(b); n <= 0 {
			return d, errors.New("bad eviction bound")
		}
		if b = b[n:]; t.spec.EvictColumn < 0 {
			return d, errors.New("an eviction, but the state has no column to evict by")
		}
	}
	if d.removed, b, err = vector.DecodeChunk(t.types[:t.spec.NKey], b); err != nil {
		return d, fmt.Errorf("removed keys: %w", err)
	}
	if d.updated, b, err = t.decodeRows(b); err != nil {
		return d, fmt.Errorf("updated rows: %w", err)
	}
	if d.inserted, b, err = t.decodeRows(b); err != nil {
		return d, fmt.Errorf("inserted rows: %w", err)
	}
	if len(b) != 0 {
		return d, fmt.Errorf("%d bytes left over", len(b))
	}
	return d, nil
}

// decodeRows decodes full rows and checks what the type system does not: weights.
func (t *Table) decodeRows(b []byte) (*vector.Chunk, []byte, error) {
	c, rest, err := vector.DecodeChunk(t.types, b)
	if err != nil || !t.spec.Weighted {
		return c, rest, err
	}
	w := &c.Cols[t.spec.NKey]
	for i := range c.N {
		if w.IsNull(i) || w.I64(i) <= 0 {
			return nil, nil, fmt.Errorf("row %d has weight %s", i, vector.Text(w, i))
		}
	}
	return c, rest, nil
}

package rowstore

import (
	"github.com/sluice-sql/sluice/internal/vector"
)

// since is what changed since the last snapshot began, beside the flags in the slots: it makes the next one
// a delta snapshot, whose size follows the change.
type since struct {
	// on says that flags and removed are complete. It is off until there is a snapshot to be relative to,
	// and after one that came to nothing.
	on bool
	// removed are encoded chunks of the keys of rows that were there when the last snapshot began.
	removed [][]byte
	bytes   int
	rows    int // flagged or removed, about: a row that came and went counts, too
}

const (
	removedRows = 4096
	// maxRemovedBytes bounds the memory of removed keys; beyond it the next snapshot is a full one.
	maxRemovedBytes = 64 << 20
)

// TrackChanges makes the table as it is now what the next delta snapshot is relative to. A recovered table
// calls it when the newest snapshot was loaded and before the logged deltas are applied.
func (t *Table) TrackChanges() {
	if len(t.undo.ops) > 0 || t.snap.active {
		invariant("state %q: TrackChanges inside a batch or a snapshot", t.spec.Name)
	}
	for id := range t.blocks.meta {
		t.blocks.meta[id].changed = false
	}
	t.since = since{on: true}
}

// StopTracking lets go of what changed, so that batches have nothing to note: the next snapshot is a full one. While a
// snapshot runs it must not be called.
func (t *Table) StopTracking() {
	if t.snap.active {
		invariant("state %q: StopTracking inside a snapshot", t.spec.Name)
	}
	t.since = since{}
}

// ChangedRows is about how many rows a delta snapshot would write.
func (t *Table) ChangedRows() int { return t.since.rows }

// Tracks reports whether SnapshotBeginDelta can be called.
func (t *Table) Tracks() bool { return t.since.on }

// track notes what a batch did to rows, before its flags are cleared.
func (t *Table) track() {
	if !t.since.on {
		return
	}
	var gone []slot
	for _, op := range t.undo.ops {
		p := t.blocks.at(op.id)
		flag := t.lay.flag(p)
		switch op.kind {
		case opInsert:
			if *flag&flagLive != 0 {
				*flag |= flagBorn
				t.since.rows++
				t.blocks.block(op.id).changed = true
			}
		case opUpdate:
			if *flag&(flagLive|flagSince) == flagLive {
				*flag |= flagOther
				t.since.rows++
				t.blocks.block(op.id).changed = true
			}
		case opDelete, opEvict:
			if *flag&(flagNew|flagBorn) == 0 {
				gone = append(gone, p)
			}
		}
	}
	t.since.rows += len(gone)
	for len(gone) > 0 && t.since.on {
		n := min(len(gone), removedRows)
		t.forget(vector.AppendChunk(nil, t.gather(&t.keyBuf, gone[:n], t.spec.NKey)))
		gone = gone[n:]
	}
}

func (t *Table) forget(keys []byte) {
	t.since.removed = append(t.since.removed, keys)
	if t.since.bytes += len(keys); t.since.bytes > maxRemovedBytes {
		t.since = since{}
	}
}

// appendSince appends a delta of the given parts, which ApplyDelta reads. removed is an encoded chunk, or
// nil for none.
func (t *Table) appendSince(dst, removed []byte, updated, inserted []slot) []byte {
	dst = append(t.appendHeader(dst, deltaVersion), 0)
	if removed == nil {
		dst = vector.AppendChunk(dst, t.gather(&t.keyBuf, nil, t.spec.NKey))
	} else {
		dst = append(dst, removed...)
	}
	dst = vector.AppendChunk(dst, t.gather(&t.keyBuf, updated, len(t.lay.cols)))
	return vector.AppendChunk(dst, t.gather(&t.keyBuf, inserted, len(t.lay.cols)))
}

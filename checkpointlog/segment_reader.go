package checkpointlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// record is one decoded frame of a segment. Exactly one of the pointers is set, none for a Mark; what
// delta points to is valid until the next record is read.
type record struct {
	typ       frameType
	off       int64
	bytes     int64
	planned   *Planned
	delta     *block
	prepared  *preparedBody
	committed *Committed
}

// segmentReader reads a segment's records and checks everything that can be checked within it:
// checksums, chain, decoding, the order of the protocol, and that deltas are complete.
type segmentReader struct {
	path   string
	file   vfs.File
	head   segmentHead
	frames *frameReader
	size   int64
	seq    sequence
	max    int64 // highest batch of any record
	proven int64 // bytes that a frame witnesses to have been durable
	// group is the delta that is being read: pieces that no Prepared has followed yet.
	group      []deltaIndex
	groupAt    int64
	groupBatch int64
}

// openSegment opens a segment and reads its header. limit is where to stop reading, -1 for the end.
func openSegment(fsys vfs.FS, dir string, seq uint64, limit int64) (*segmentReader, error) {
	path := filepath.Join(dir, segmentName(seq))
	f, err := fsys.Open(path)
	if err != nil {
		return nil, missing(path, err)
	}
	r := &segmentReader{path: path, file: f}
	if err := r.start(seq, limit); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func (r *segmentReader) start(seq uint64, limit int64) error {
	h, err := readHead(r.file, r.path, magicSegment, &r.head)
	if err != nil {
		return err
	}
	if r.size, err = r.file.Size(); err != nil {
		return fmt.Errorf("reading segment: %w", err)
	}
	if limit >= 0 {
		if limit < h.bytes || limit > r.size {
			return corrupt(r.path, r.size, "the segment has %d bytes, %d are expected", r.size, limit)
		}
		r.size = limit
	}
	if r.head.Seq != seq {
		return corrupt(r.path, 0, "it is segment %d", r.head.Seq)
	}
	r.head.FormatVersion = h.version
	r.seq, r.proven = r.head.Base, h.bytes
	r.frames = newFrameReader(r.file, h, r.size)
	return nil
}

func (r *segmentReader) close() error { return r.file.Close() }

// end is where the records read so far end; a delta without its Prepared does not count.
func (r *segmentReader) end() int64 {
	if len(r.group) > 0 {
		return r.groupAt
	}
	return r.frames.off
}

// next returns the next record; io.EOF at the end; a *badFrame where the file stops being readable,
// which may be a torn tail; a *CorruptError for what no crash can leave behind.
func (r *segmentReader) next() (record, error) {
	f, err := r.frames.next()
	if err == io.EOF && len(r.group) > 0 {
		return record{}, &badFrame{r.frames.off, fmt.Sprintf("the state change of batch %d has no Prepared record", r.groupBatch)}
	}
	if err != nil {
		return record{}, err
	}
	r.proven = max(r.proven, f.synced)
	rec := record{typ: f.typ, off: f.off, bytes: f.bytes()}
	if err := r.decode(f, &rec); err != nil {
		return record{}, corrupt(r.path, f.off, "%v", err)
	}
	if err := r.check(&rec); err != nil {
		return record{}, corrupt(r.path, f.off, "%v", err)
	}
	return rec, nil
}

func (r *segmentReader) decode(f *frame, rec *record) error {
	var into any
	switch f.typ {
	case typePlanned:
		rec.planned = new(Planned)
		into = rec.planned
	case typePrepared:
		rec.prepared = new(preparedBody)
		into = rec.prepared
	case typeCommitted:
		rec.committed = new(Committed)
		into = rec.committed
	case typeDelta:
		b, err := decodeBlock(f.body)
		rec.delta = &b
		return err
	case typeMark:
		return nil
	default:
		return fmt.Errorf("%v frame does not belong in a segment", f.typ)
	}
	if err := json.Unmarshal(f.body, into); err != nil {
		return fmt.Errorf("%v record does not decode: %w", f.typ, err)
	}
	if rec.planned != nil {
		for i := range rec.planned.Ranges {
			if from := &rec.planned.Ranges[i].From; string(*from) == "null" {
				*from = nil // as it was written
			}
		}
	}
	return nil
}

// check follows the protocol. Nothing but the batch's own pieces and its Prepared may stand within a
// group, and the record must list exactly the pieces that were read.
func (r *segmentReader) check(rec *record) error {
	if len(r.group) > 0 && rec.typ != typeDelta && rec.typ != typePrepared {
		return fmt.Errorf("a %v record interrupts the state change of batch %d", rec.typ, r.groupBatch)
	}
	switch {
	case rec.planned != nil:
		r.max = max(r.max, rec.planned.Batch)
		return r.seq.planned(rec.planned)
	case rec.committed != nil:
		return r.seq.committed(rec.committed)
	case rec.delta != nil:
		return r.addPiece(rec)
	case rec.prepared != nil:
		r.max = max(r.max, rec.prepared.Batch)
		if err := r.closeGroup(rec.prepared); err != nil {
			return err
		}
		return r.seq.prepared(&rec.prepared.Prepared)
	}
	return nil
}

func (r *segmentReader) addPiece(rec *record) error {
	d := rec.delta
	if len(r.group) == 0 {
		r.groupAt, r.groupBatch = rec.off, d.batch
	}
	if d.batch != r.groupBatch {
		return fmt.Errorf("a state change of batch %d stands within that of batch %d", d.batch, r.groupBatch)
	}
	if n := len(r.group); n == 0 || r.group[n-1].Table != d.name {
		r.group = append(r.group, deltaIndex{Table: d.name})
	}
	g := &r.group[len(r.group)-1]
	g.Bytes += d.raw
	g.Stored += rec.bytes
	g.Pieces++
	return nil
}

func (r *segmentReader) closeGroup(p *preparedBody) error {
	if len(r.group) != len(p.Deltas) || len(r.group) > 0 && r.groupBatch != p.Batch {
		return fmt.Errorf("batch %d lists state changes of %d tables, %d precede it", p.Batch, len(p.Deltas), len(r.group))
	}
	for i, g := range r.group {
		if g != p.Deltas[i] {
			return fmt.Errorf("batch %d lists for table %q %+v, what precedes it is %+v", p.Batch, g.Table, p.Deltas[i], g)
		}
	}
	r.group = r.group[:0]
	return nil
}

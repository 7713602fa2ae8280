package checkpointlog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// A RepairPlan is what a repair would change, and what that means. PlanRepair makes it and changes nothing;
// Apply carries it out.
type RepairPlan struct {
	Dir string
	// From is the first batch that is given up; 0 when none is.
	From int64
	// Torn is an incomplete write at the end, which a start would cut off as well.
	Torn *TornTail
	// Cut is the segment that gets shorter, and CutAt where it ends then; empty when none does.
	Cut      string
	CutAt    int64
	CutBytes int64
	// SetAside are files that the log no longer has. They are renamed to *.bad and kept.
	SetAside []string
	// Lost are the batches given up whose record can be read; Unreadable counts the others.
	Lost       []LostBatch
	Unreadable int64
	// Facts are the log's after the repair, Header its newest segment's.
	Facts  LogFacts
	Header Header
	// Spared is damage that a start does not need to read. It stays as it is.
	Spared []*CorruptError

	fs       vfs.FS
	seq      uint64
	manifest manifest
	rename   bool // the manifest changes
}

// LostBatch is a batch that a repair gives up. If its rows can be had again from the sources, they are.
type LostBatch struct {
	Batch, Rows int64
	Committed   bool
}

// Needed says whether there is anything to do.
func (p *RepairPlan) Needed() bool { return p.CutBytes > 0 || len(p.SetAside) > 0 || p.rename }

// A RepairRefusedError says that a repair would give up batches, or cannot be done as asked.
type RepairRefusedError struct {
	Detail, Hint string
	Damage       *CorruptError // nil when the log reads well
}

func (e *RepairRefusedError) Error() string {
	if e.Damage != nil {
		return fmt.Sprintf("%s: %s at byte %d: %s\nHint: %s", e.Detail, e.Damage.Path, e.Damage.Offset, e.Damage.Reason, e.Hint)
	}
	return e.Detail + "\nHint: " + e.Hint
}

func (e *RepairRefusedError) Unwrap() error {
	if e.Damage == nil {
		return nil
	}
	return e.Damage
}

// PlanRepair finds out what would make a log usable again. Without from, only a torn tail is cut off, as a
// start does. With from, that batch and all later ones are given up: the log then ends with the batch before,
// which must be readable, and whose state must be.
//
// The log may also read well: going back to an earlier batch is what a database that was restored from a
// backup needs.
func PlanRepair(dir string, fsys vfs.FS, from int64) (*RepairPlan, error) {
	m, err := manifestOf(dir, fsys)
	if err != nil {
		return nil, err
	}
	p := &RepairPlan{Dir: dir, From: from, fs: fsys, manifest: m.clone()}
	if from > 0 {
		return p, p.planFrom()
	}
	s := &scan{fs: fsys, dir: dir, manifest: m.clone(), rec: &Recovered{fs: fsys, dir: dir}}
	if err := s.run(); err != nil {
		var bad *CorruptError
		if !errors.As(err, &bad) {
			return nil, err
		}
		return nil, p.refuse(bad)
	}
	p.Facts, p.Header = s.rec.Facts(), s.rec.Header
	if t := s.rec.Torn; t != nil {
		p.Torn, p.seq, p.Cut, p.CutAt, p.CutBytes = t, s.lastSeq(), filepath.Base(t.Path), t.Offset, t.Bytes
	}
	if report, err := Verify(dir, fsys); err != nil {
		p.Spared = report.Bad
	}
	return p, nil
}

// refuse says which batches could be given up so that the rest is usable.
func (p *RepairPlan) refuse(bad *CorruptError) error {
	e := &RepairRefusedError{Detail: "this is damage and no torn tail, and is not repaired without --force-from", Damage: bad,
		Hint: "restore the directory from a replica or a copy; nothing was changed"}
	c, err := p.readable(0)
	if err != nil {
		return err
	}
	// The newest batch whose state can be rebuilt.
	for last := c.seq.Prepared; last >= 0; last-- {
		try := &RepairPlan{Dir: p.Dir, From: last + 1, fs: p.fs, manifest: p.manifest.clone()}
		if try.planFrom() == nil {
			e.Hint = fmt.Sprintf("restore the directory from a replica or a copy; or give up every batch after %d with --force-from %d (--dry-run says what that means)", last, last+1)
			break
		}
		if c.seq.Prepared-last > 1000 {
			break
		}
	}
	return e
}

// planFrom plans to end the log before batch From.
func (p *RepairPlan) planFrom() error {
	c, err := p.readable(p.From)
	if err != nil {
		return err
	}
	if c.seq.Prepared != p.From-1 {
		return p.unreachable(c)
	}
	keep := manifest{Segments: slices.Clone(p.manifest.Segments[:c.segments]), Origin: p.manifest.Origin}
	last := &keep.Segments[c.segments-1]
	p.rename = c.segments < len(p.manifest.Segments)
	last.Bytes, last.MaxBatch = 0, 0
	p.seq, p.Cut, p.CutAt, p.CutBytes = last.Seq, segmentName(last.Seq), c.end, c.size-c.end
	for _, ref := range p.manifest.Snapshots {
		_, err := readSnapshot(p.fs, p.Dir, ref, nil)
		var bad *CorruptError
		switch {
		case err != nil && !errors.As(err, &bad):
			return err
		case err == nil && ref.Batch <= c.seq.Committed && keep.standsOn(ref):
			keep.Snapshots = append(keep.Snapshots, ref)
		default:
			p.rename = true
			p.setAside(snapshotName(ref.Batch))
		}
	}
	for _, ref := range p.manifest.Segments[c.segments:] {
		p.setAside(segmentName(ref.Seq))
	}
	s := &scan{fs: p.fs, dir: p.Dir, manifest: keep.clone(), rec: &Recovered{fs: p.fs, dir: p.Dir}, end: c.end}
	if err := s.run(); err != nil {
		var bad *CorruptError
		if errors.As(err, &bad) {
			return &RepairRefusedError{Detail: fmt.Sprintf("the state after batch %d cannot be rebuilt", p.From-1), Damage: bad,
				Hint: "restore the directory from a replica or a copy, or drop the pipeline and run it anew"}
		}
		return err
	}
	p.Facts, p.Header, p.manifest = s.rec.Facts(), s.rec.Header, keep
	return p.count(c)
}

// unreachable says how far the log reads instead.
func (p *RepairPlan) unreachable(c *cutPoint) error {
	e := &RepairRefusedError{Detail: fmt.Sprintf("the log cannot end with batch %d: it reads up to batch %d", p.From-1, c.seq.Prepared), Damage: c.bad,
		Hint: fmt.Sprintf("the latest batch to give up from is %d, as in --force-from %d", c.seq.Prepared+1, c.seq.Prepared+1)}
	if p.From <= c.base {
		e.Detail = fmt.Sprintf("the log cannot end with batch %d: it begins after batch %d", p.From-1, c.base)
		e.Hint = fmt.Sprintf("give up from batch %d at the earliest", c.base+1)
	}
	return e
}

func (p *RepairPlan) setAside(name string) {
	if f, err := p.fs.Open(filepath.Join(p.Dir, name)); err == nil {
		_ = f.Close() // opened only to see that it is there
		p.SetAside = append(p.SetAside, name)
	}
}

// A cutPoint is how far a log can be read.
type cutPoint struct {
	segments int   // how many are kept
	end      int64 // of the last kept one
	size     int64 // that it has now
	base     int64 // last batch before the first segment
	seq      sequence
	bad      *CorruptError // what ended the reading, nil if it was the end or the batch asked for
}

// readable reads the segments in order, up to the first record that carries out batch from (0: to the end) or
// to the first flaw. It takes no size from the manifest: a repair that crashed has shortened a segment already.
func (p *RepairPlan) readable(from int64) (*cutPoint, error) {
	c := &cutPoint{}
	var before *segmentReader
	var chain uint32
	for i, ref := range p.manifest.Segments {
		r, err := openSegment(p.fs, p.Dir, ref.Seq, -1)
		if err == nil && before != nil && (r.head.PrevBytes != before.size || r.head.PrevChain != chain || r.head.Base != before.seq) {
			err = errors.Join(corrupt(r.path, 0, "it does not continue %s", filepath.Base(before.path)), r.close())
		}
		if errors.As(err, &c.bad) && i > 0 {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			c.base = r.head.Base.Prepared
		}
		stop, err := c.read(r, from)
		if err = errors.Join(err, r.close()); err != nil {
			return nil, err
		}
		c.segments, c.size, c.seq = i+1, r.size, r.seq
		if stop {
			return c, nil
		}
		before, chain = r, r.frames.prev
	}
	return c, nil
}

// read goes through one segment and says whether to stop in it.
func (c *cutPoint) read(r *segmentReader, from int64) (stop bool, err error) {
	c.end = r.frames.off
	for {
		seq := r.seq
		rec, err := r.next()
		var bad *badFrame
		switch {
		case err == io.EOF:
			c.end = r.frames.off
			return false, nil
		case errors.As(err, &bad):
			c.end, c.bad = r.end(), corrupt(r.path, bad.off, "%s", bad.reason)
			return true, nil
		case errors.As(err, &c.bad):
			c.end = min(c.end, r.end())
			return true, nil
		case err != nil:
			return false, err
		}
		batch := int64(0)
		switch {
		case rec.delta != nil:
			batch = rec.delta.batch
		case rec.prepared != nil:
			batch = rec.prepared.Batch
		}
		if from > 0 && batch >= from {
			r.seq = seq // as it was before a Prepared
			return true, nil
		}
		if rec.typ != typeDelta {
			c.end = r.frames.off
		}
	}
}

// count lists what is behind the cut.
func (p *RepairPlan) count(c *cutPoint) error {
	m, err := manifestOf(p.Dir, p.fs)
	if err != nil {
		return err
	}
	lost, last := map[int64]*LostBatch{}, p.From-1
	for _, ref := range m.Segments[c.segments-1:] {
		last = max(last, countSegment(p.fs, p.Dir, ref.Seq, p.From, lost))
	}
	for batch := p.From; batch <= last; batch++ {
		if b := lost[batch]; b != nil {
			p.Lost = append(p.Lost, *b)
		} else {
			p.Unreadable++
		}
	}
	return nil
}

// countSegment notes the batches from one on that a segment speaks of, and returns the last of them. Where the
// segment does not read it goes on at the next frame that does; nothing depends on it but a message.
func countSegment(fsys vfs.FS, dir string, seq uint64, from int64, lost map[int64]*LostBatch) (last int64) {
	r, err := openSegment(fsys, dir, seq, -1)
	if err != nil {
		return 0
	}
	defer r.close()
	last = r.head.Base.Prepared
	for {
		f, err := r.frames.next()
		if err == nil {
			last = max(last, countFrame(f, from, lost))
			continue
		}
		if !r.frames.skip(r.file, r.size) {
			return last
		}
	}
}

// skip goes on at the next frame whose checksum is right; there may be none.
func (r *frameReader) skip(f vfs.File, size int64) bool {
	at, err := findFrame(f, r.seed, r.off, size, func(*frame) bool { return true })
	if err != nil || at < 0 {
		return false
	}
	var h [frameHeaderBytes]byte
	if n, _ := f.ReadAt(h[:], at); n < len(h) {
		return false
	}
	*r = *newFrameReader(f, fileHead{bytes: at, crc: r.seed}, size)
	r.prev = binary.LittleEndian.Uint32(h[8:])
	return true
}

func countFrame(f *frame, from int64, lost map[int64]*LostBatch) int64 {
	var p preparedBody
	switch f.typ {
	case typePrepared:
		if json.Unmarshal(f.body, &p) == nil && p.Batch >= from {
			lost[p.Batch] = &LostBatch{Batch: p.Batch, Rows: p.Counts.RowsIn + p.Counts.RowsLate + p.Counts.RowsBad}
		}
	case typeCommitted:
		if json.Unmarshal(f.body, &p) == nil && lost[p.Batch] != nil {
			lost[p.Batch].Committed = true
		}
	}
	return p.Batch
}

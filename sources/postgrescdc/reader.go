package postgrescdc

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A reader reads the records of a log, of this process or of another.
type reader struct {
	fs  vfs.FS
	dir string
	log *ingestlog.Log // nil: of another process, or of none
	// docs are the documents seen, by position.
	docs map[int64]*document

	// next and stop go on where the last read ended, for logs of others: there, finding a position means
	// reading its segment from the start.
	next   func() (ingestlog.Entry, error, bool)
	stop   func()
	follow int64
	ahead  *ingestlog.Entry
}

func newReader(fs vfs.FS, dir string, log *ingestlog.Log) *reader {
	return &reader{fs: fs, dir: dir, log: log, docs: map[int64]*document{}, stop: func() {}}
}

func (r *reader) close() { r.stop() }

// document returns the one at a position.
func (r *reader) document(at int64) (*document, error) {
	if d := r.docs[at]; d != nil {
		return d, nil
	}
	for e, err := range r.plain(at, at+1) {
		if err != nil {
			return nil, err
		}
		b, err := decodeBlock(e)
		if err != nil || b.docAt != at {
			return nil, fmt.Errorf("read the tables' description at row %d of %s: %w", at, r.dir, errors.Join(err, errNoDocument))
		}
		return r.learn(&b)
	}
	return nil, errNoDocument
}

var errNoDocument = errors.New("it is not there")

func (r *reader) learn(b *block) (*document, error) {
	d := new(document)
	if err := json.Unmarshal(b.doc, d); err != nil {
		return nil, fmt.Errorf("read the tables' description at row %d of %s: %w", b.first, r.dir, err)
	}
	r.docs[b.docAt] = d
	return d, nil
}

func (r *reader) plain(from, to int64) iter.Seq2[ingestlog.Entry, error] {
	if r.log != nil {
		return r.log.Entries(ingestlog.Position(from), ingestlog.Position(to))
	}
	return ingestlog.Entries(r.fs, r.dir, ingestlog.Position(from), ingestlog.Position(to))
}

// entries yields those with the positions [from, to).
func (r *reader) entries(from, to int64) iter.Seq2[ingestlog.Entry, error] {
	if r.log != nil {
		return r.plain(from, to)
	}
	return func(yield func(ingestlog.Entry, error) bool) {
		if from >= to {
			return
		}
		if r.next == nil || r.follow != from {
			r.stop()
			r.next, r.stop = iter.Pull2(r.plain(from, math.MaxInt64))
			r.ahead = nil
		}
		r.follow = -1
		for at := from; at < to; {
			e, err, ok := ingestlog.Entry{}, error(nil), true
			if e, r.ahead = take(r.ahead); e.Rows == 0 {
				e, err, ok = r.next()
			}
			switch {
			case !ok:
				err = fmt.Errorf("read rows %d to %d of ingest log %s: %w row %d", from, to, r.dir, ingestlog.ErrEnd, at)
				fallthrough
			case err != nil:
				r.stop()
				r.next, r.stop = nil, func() {}
				yield(e, err)
				return
			}
			at = int64(e.End())
			if at > to {
				r.ahead = &e
			}
			if !yield(e, nil) {
				return
			}
		}
		r.follow = to
	}
}

func take(e *ingestlog.Entry) (ingestlog.Entry, *ingestlog.Entry) {
	if e == nil {
		return ingestlog.Entry{}, nil
	}
	return *e, nil
}

// A span is what one pass over a range of the log is told about.
type span interface {
	// boundary is called where a batch may end, after the records that came since the last one, which happened:
	// rows of one transaction, or one of the snapshot. It says whether to go on.
	boundary(at offsets, d *document, recs []record) (bool, error)
}

// scan reads the records from a position, at which a batch may end, to another such. What belongs to a
// transaction that never ended is left out.
func (r *reader) scan(entries iter.Seq2[ingestlog.Entry, error], from, to int64, lsn LSN, s span) error {
	var pending []record
	var open *document
	for e, err := range entries {
		if err != nil {
			return r.failed(err)
		}
		b, err := decodeBlock(e)
		if err != nil {
			return fmt.Errorf("read rows %d to %d of %s: %w", e.First, e.End(), r.dir, err)
		}
		var d *document
		if b.docAt == b.first && r.docs[b.docAt] == nil {
			d, err = r.learn(&b)
		} else {
			d, err = r.document(b.docAt)
		}
		if err != nil {
			return err
		}
		// Why: a table that is described anew in the middle of a transaction is decoded by what was said before each row.
		if open != nil && open != d && len(pending) > 0 {
			for i := range pending {
				if pending[i].doc == nil {
					pending[i].doc = open
				}
			}
		}
		open = d
		for pos, rest := b.first, b.records; len(rest) > 0 && pos < to; {
			var rec record
			if rec, rest, err = nextRecord(rest, pos); err != nil {
				return fmt.Errorf("read row %d of %s: %w", pos, r.dir, err)
			}
			if pos += rec.positions(); rec.pos < from {
				continue
			}
			at := offsets{V: 1, At: pos, LSN: lsn, Snapshot: rec.kind == kindNamed || rec.kind == kindCopied}
			switch rec.kind {
			case kindBegin:
				pending = append(pending[:0], rec)
				continue
			case kindInsert, kindUpdate, kindDelete:
				pending = append(pending, rec)
				continue
			case kindCommit, kindEnd, kindBeat:
				lsn, at.LSN = rec.lsn, rec.lsn
				if rec.kind != kindCommit {
					pending = pending[:0]
				}
			case kindCopied:
				pending = append(pending[:0], rec)
				lsn, at.LSN = b.lsn, b.lsn
			default:
				pending = pending[:0]
			}
			more, err := s.boundary(at, d, pending)
			if err != nil || !more {
				return err
			}
			pending = pending[:0]
		}
	}
	if u, ok := s.(interface {
		unfinished(d *document, recs []record) error
	}); ok && len(pending) > 0 {
		return u.unfinished(open, pending)
	}
	return nil
}

// failed marks a range that the log no longer has.
func (r *reader) failed(err error) error {
	if errors.Is(err, ingestlog.ErrEnd) || errors.Is(err, ingestlog.ErrReleased) {
		return fmt.Errorf("%w: %w\nHint: changes are kept for the option retention only; without it they are kept for good", microbatch.ErrRangeChanged, err)
	}
	return err
}

// state is how the log ends.
type state struct {
	block
	doc *document
	end int64
}

// last reads the last entry; nil if there is none.
func (r *reader) last() (*state, error) {
	end := int64(r.log.End())
	if end == 0 || end == int64(r.log.First()) {
		return nil, nil
	}
	var s *state
	for e, err := range r.plain(end-1, end) {
		if err != nil {
			return nil, err
		}
		b, err := decodeBlock(e)
		if err != nil {
			return nil, fmt.Errorf("read the end of %s: %w", r.dir, err)
		}
		s = &state{block: b, end: end}
	}
	var err error
	s.doc, err = r.document(s.docAt)
	return s, err
}

// latest is the document of a log's last entries, of a log that may be another process's; nil if there is none.
func (r *reader) latest() (*document, error) {
	segments, err := ingestlog.Segments(r.fs, r.dir)
	if err != nil {
		return nil, err
	}
	for _, first := range slices.Backward(segments) {
		at := int64(-1)
		for e, err := range ingestlog.Entries(r.fs, r.dir, first, math.MaxInt64) {
			if errors.Is(err, ingestlog.ErrEnd) || err != nil && at >= 0 {
				break // behind a torn tail is nothing that an offset names
			}
			if err != nil {
				return nil, err
			}
			b, err := decodeBlock(e)
			if err != nil {
				return nil, fmt.Errorf("read the end of %s: %w", r.dir, err)
			}
			at = b.docAt
		}
		if at >= 0 {
			return r.document(at)
		}
	}
	return nil, nil
}

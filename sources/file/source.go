package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/file/decode"
)

// Source reads files. It is not safe for concurrent use.
type Source struct {
	opt  Options
	list *listing
	// checked holds, by path, the modification time at which a file that has been read was last found
	// to be unchanged.
	checked map[string]time.Time

	// cache is what the last To decoded to, so that a Poll does not parse its own document again.
	cacheDoc   json.RawMessage
	cacheMarks []mark

	json       *decode.JSON
	pq         *parquet // opened when first needed
	buf        []byte
	blockBytes int
}

var _ microbatch.Source = (*Source)(nil)

// New checks the options and returns a source. Nothing is read yet.
func New(opt Options) (*Source, error) {
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("source %s: %w", opt.withDefaults().Name, err)
	}
	s := &Source{opt: opt.withDefaults(), blockBytes: defaultBlockBytes, checked: map[string]time.Time{}}
	switch s.opt.Format {
	case "json":
		s.json = decode.NewJSON(s.opt.Columns)
	case "csv":
		if err := s.tryHeader(); err != nil {
			return nil, err
		}
	case "parquet":
		if err := s.tryParquet(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close implements microbatch.Source.
func (s *Source) Close() error {
	if s.pq == nil {
		return nil
	}
	err := s.pq.close()
	s.pq = nil
	return err
}

// Ack implements microbatch.Source: files need no acknowledgement.
func (s *Source) Ack(context.Context, json.RawMessage) error { return nil }

// marks returns the decoded form of a document for the caller to change.
func (s *Source) marks(doc json.RawMessage) ([]mark, error) {
	if s.cacheMarks != nil && bytes.Equal(doc, s.cacheDoc) {
		m := s.cacheMarks
		s.cacheMarks, s.cacheDoc = nil, nil
		return m, nil
	}
	m, err := decodeMarks(doc)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	return m, nil
}

// Poll implements microbatch.Source. Files are read one after the other, in the order of discovery.
func (s *Source) Poll(ctx context.Context, from json.RawMessage, lim microbatch.Limits) (*microbatch.Rows, error) {
	marks, err := s.marks(from)
	if err != nil {
		return nil, err
	}
	fresh := s.list == nil || s.opt.Mode == "tail" && time.Since(s.list.at) > refreshEvery
	for {
		if fresh {
			if err := s.refresh(); err != nil {
				return nil, err
			}
			if err := s.checkKnown(marks); err != nil {
				return nil, err
			}
		}
		p := &poll{s: s, b: decode.NewBuilder(s.opt.Columns), marks: marks, lim: lim}
		p.b.MaxRows, p.b.MaxBad = lim.MaxRows, maxBadRows
		if err := p.run(ctx); err != nil {
			return nil, err
		}
		if p.moved || fresh || s.opt.Mode == "bounded" {
			return p.rows(from), nil
		}
		fresh, marks = true, p.marks
	}
}

// checkKnown looks for files that were read and have changed since, by size, inode and, when the
// modification time moved, content.
func (s *Source) checkKnown(marks []mark) error {
	for _, m := range marks {
		f := s.list.byKey[m.path]
		if f == nil || m.offset == 0 || s.opt.Format == "parquet" {
			continue // a Parquet file is checked when it is opened
		}
		if err := s.checkInfo(m, f.size, f.inode); err != nil {
			return err
		}
		if f.mtime.Equal(s.checked[m.path]) || f.size > m.offset {
			continue // unchanged, or checked when it is opened
		}
		if err := s.checkPath(m); err != nil {
			return err
		}
		s.checked[m.path] = f.mtime
	}
	return nil
}

func (s *Source) checkPath(m mark) error {
	f, err := os.Open(s.opt.abs(m.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	defer f.Close()
	return s.checkFile(f, m)
}

// A poll is one Poll on its way.
type poll struct {
	s     *Source
	b     *decode.Builder
	marks []mark
	lim   microbatch.Limits

	bad       []microbatch.BadRow
	bytes     int64
	moved     bool // some offset moved
	limited   bool
	remaining int64
}

// run reads until a limit or the end of what the listing says is there.
func (p *poll) run(ctx context.Context) error {
	known := make(map[string]int, len(p.marks))
	for i, m := range p.marks {
		known[m.path] = i
	}
	for _, f := range p.s.list.files {
		if _, ok := known[f.path]; !ok {
			p.marks = append(p.marks, mark{path: f.path})
		}
	}
	if len(p.marks) > maxFiles {
		return fmt.Errorf("source %s: %d files, and at most %d can be numbered\nHint: merge files", p.s.opt.Name, len(p.marks), maxFiles)
	}
	for i := range p.marks {
		f := p.s.list.byKey[p.marks[i].path]
		if p.s.opt.Format == "parquet" {
			if err := p.parquetNext(ctx, i, f); err != nil {
				return err
			}
			continue
		}
		if f == nil || f.size <= p.marks[i].offset {
			continue
		}
		if !p.limited && !f.exhausted(p.marks[i].offset) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.file(i, f); err != nil {
				return err
			}
		}
		p.remaining += f.size - p.marks[i].offset
	}
	return nil
}

// parquetNext reads a Parquet file that is not finished, unless a limit has been reached.
func (p *poll) parquetNext(ctx context.Context, i int, f *found) error {
	switch m := p.marks[i]; {
	case strings.HasSuffix(m.id, doneMark):
		return nil
	case f == nil && m.offset > 0:
		return p.s.changed(m, "it has vanished before it was read to its end")
	case f == nil:
		return nil
	case p.limited:
		p.remaining += f.size
		return nil
	}
	left, err := p.parquetFile(ctx, i, f)
	p.remaining += left
	return err
}

// file reads what is new in one file.
func (p *poll) file(ordinal int, info *found) error {
	s, m := p.s, &p.marks[ordinal]
	f, err := os.Open(s.opt.abs(m.path))
	if errors.Is(err, fs.ErrNotExist) {
		return s.changed(*m, fmt.Sprintf("it has vanished with %d bytes unread", info.size-m.offset))
	}
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	defer f.Close()
	if err := s.checkFile(f, *m); err != nil {
		return err
	}
	if s.opt.Mode == "bounded" {
		if err := extendToLineEnd(f, info); err != nil {
			return fmt.Errorf("source %s: %w", s.opt.Name, err)
		}
	}
	sc := &scan{s: s, f: f, b: p.b, path: m.path, ordinal: ordinal, end: info.size, final: s.opt.Mode == "bounded"}
	if p.lim.MaxBytes > 0 {
		sc.maxBytes = p.lim.MaxBytes - p.bytes
	}
	end, err := sc.run(m.offset)
	if err != nil {
		return err
	}
	p.bytes += end - m.offset
	p.bad = append(p.bad, sc.bad...)
	p.limited = p.b.Full() || p.lim.MaxBytes > 0 && p.bytes >= p.lim.MaxBytes
	if end > m.offset {
		m.offset, p.moved = end, true
		if m.id, err = identity(f, inodeOf2(f), end); err != nil {
			return s.changed(*m, "it was truncated while being read")
		}
	}
	if !p.limited {
		info.scannedFrom, info.scannedTo = end, info.size
	}
	return nil
}

// rows makes the result.
func (p *poll) rows(from json.RawMessage) *microbatch.Rows {
	r := &microbatch.Rows{
		To: from, Chunks: p.b.Finish(), Bad: p.bad, Count: p.b.Rows(), Bytes: p.bytes,
		More: p.limited && p.remaining > 0, RemainingBytes: p.remaining, RemainingRows: -1,
	}
	r.Done = p.s.opt.Mode == "bounded" && p.remaining == 0
	for len(p.marks) > 0 && p.marks[len(p.marks)-1].id == "" {
		p.marks = p.marks[:len(p.marks)-1]
	}
	if p.moved {
		r.To = encodeMarks(p.marks)
	}
	p.s.cacheDoc, p.s.cacheMarks = r.To, p.marks
	return r
}

// Read implements microbatch.Source.
func (s *Source) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	start, err := decodeMarks(from)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	end, err := decodeMarks(to)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	r := &microbatch.Rows{To: to, RemainingBytes: -1, RemainingRows: -1}
	b := decode.NewBuilder(s.opt.Columns)
	for i, m := range end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		first := int64(0)
		if i < len(start) {
			if first = start[i].offset; start[i].path != m.path {
				return nil, fmt.Errorf("source %s: file %d is %s at the start of the range and %s at its end: the offsets do not belong together", s.opt.Name, i, start[i].path, m.path)
			}
		}
		if m.offset == first {
			continue
		}
		if s.opt.Format == "parquet" {
			if err := s.readParquet(ctx, b, i, first, m, r); err != nil {
				return nil, err
			}
			continue
		}
		bad, err := s.readFile(b, i, first, m)
		if err != nil {
			return nil, err
		}
		r.Bad = append(r.Bad, bad...)
		r.Bytes += m.offset - first
	}
	r.Chunks, r.Count = b.Finish(), b.Rows()
	return r, nil
}

// readFile reads the range [from, m.offset) of a file again.
func (s *Source) readFile(b *decode.Builder, ordinal int, from int64, m mark) ([]microbatch.BadRow, error) {
	f, err := os.Open(s.opt.abs(m.path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s.changed(m, "it is gone")
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	defer f.Close()
	if err := s.checkFile(f, m); err != nil {
		return nil, err
	}
	sc := &scan{s: s, f: f, b: b, path: m.path, ordinal: ordinal, end: m.offset, final: true}
	end, err := sc.run(from)
	if err != nil {
		return nil, err
	}
	if end != m.offset {
		return nil, s.changed(m, fmt.Sprintf("the rows in it now end at byte %d", end))
	}
	return sc.bad, nil
}

// Columns returns the declared columns.
func (s *Source) Columns() []vector.Field { return s.opt.Columns }

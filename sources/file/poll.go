package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

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
		if p.s.opt.Encoding == "parquet" {
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
		if m.id, err = identity(f, openInode(f), end); err != nil {
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
	p.s.remember(p.marks)
	p.s.cacheDoc, p.s.cacheMarks = r.To, p.marks
	return r
}

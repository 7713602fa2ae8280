package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sources/decode"
)

// Source reads files. Only Ack and PartitionName may be called beside its other methods.
type Source struct {
	opt    Options
	closed bool
	// fields are what is looked for in CSV headers and Parquet files: the columns, then _weight if rows say it.
	fields []vector.Field
	list   *listing
	// checked holds, by path, the modification time at which a file that has been read was last found
	// to be unchanged.
	checked map[string]time.Time

	// cache is what the last To decoded to, so that a Poll does not parse its own document again.
	cacheDoc   json.RawMessage
	cacheMarks []mark

	// names are the paths of the files discovered so far, in order.
	names atomic.Pointer[[]string]

	lines      decode.Decoder // of files with an object a line
	pq         *parquet       // opened when first needed
	buf        []byte
	blockBytes int
	rowBytes   int64 // how long the rows of the last block were on average
}

var _ microbatch.Source = (*Source)(nil)

// New checks the options and returns a source. Nothing is read yet.
func New(opt Options) (*Source, error) {
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("source %s: %w", opt.withDefaults().Name, err)
	}
	s := &Source{opt: opt.withDefaults(), blockBytes: defaultBlockBytes, rowBytes: 256, checked: map[string]time.Time{}}
	s.fields = s.opt.Columns
	if s.opt.Format == "changelog" {
		s.fields = append(slices.Clip(s.fields), vector.Field{Name: decode.WeightField, Type: vector.Of(vector.Int64)})
	}
	switch s.opt.Encoding {
	case "json":
		s.lines = s.opt.lineDecoder()
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

// lineDecoder returns the decoder of NDJSON files.
func (o Options) lineDecoder() decode.Decoder {
	switch o.Format {
	case "changelog":
		return decode.NewChangelog(o.Columns)
	case "debezium":
		return decode.NewDebezium(o.Columns, decode.DebeziumOptions{Key: o.Key, TimestampUnit: decode.Units[o.TimestampUnit],
			TimeUnit: decode.Units[o.TimeUnit], TextDecimals: o.DecimalHandlingMode != "precise"})
	}
	return decode.NewJSON(o.Columns)
}

// builder returns an empty builder of the chunks that the plan expects.
func (s *Source) builder() *decode.Builder {
	if s.opt.Changes == planner.AppendOnly {
		return decode.NewBuilder(s.opt.Columns)
	}
	return decode.NewChangeBuilder(s.opt.Columns, s.opt.Key)
}

// Close implements microbatch.Source.
func (s *Source) Close() error {
	s.closed = true
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
	if s.closed {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	if s.opt.Static {
		return s.pollStatic(ctx, from, lim)
	}
	return s.pollFiles(ctx, from, lim)
}

func (s *Source) pollFiles(ctx context.Context, from json.RawMessage, lim microbatch.Limits) (*microbatch.Rows, error) {
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
		p := &poll{s: s, b: s.builder(), marks: marks, lim: lim}
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
		if f == nil || m.offset == 0 || s.opt.Encoding == "parquet" {
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

// Read implements microbatch.Source.
func (s *Source) Read(ctx context.Context, from, to json.RawMessage) (*microbatch.Rows, error) {
	if s.closed {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, microbatch.ErrSourceClosed)
	}
	start, err := decodeMarks(from)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	end, err := decodeMarks(to)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	if seal := sealOf(to); seal != "" {
		if err := s.checkSealed(to, seal); err != nil {
			return nil, err
		}
	}
	r := &microbatch.Rows{To: to, RemainingBytes: -1, RemainingRows: -1}
	b := s.builder()
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
		if s.opt.Encoding == "parquet" {
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
	s.remember(end)
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

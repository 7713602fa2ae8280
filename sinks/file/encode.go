package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
)

// encode writes a part as one file.
func (s *Sink) encode(ctx context.Context, w io.Writer, p *part) error {
	if s.o.Layout.Format == FormatParquet {
		return s.encodeParquet(ctx, w, p)
	}
	w, end, err := compress(w, s.o.Layout.Compression)
	if err != nil {
		return err
	}
	var buf []byte
	line := s.jsonLine
	if s.o.Layout.Format == FormatCSV {
		line = s.csvLine
		if !s.o.Layout.CSV.NoHeader {
			buf = s.csvHeader(buf)
		}
	}
	for _, c := range p.chunks {
		for r := range c.N {
			buf = line(buf, c, r)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return end()
}

// compress wraps a writer; end completes what it holds.
func compress(w io.Writer, how string) (_ io.Writer, end func() error, err error) {
	switch how {
	case "gzip":
		z := gzip.NewWriter(w)
		return z, z.Close, nil
	case "zstd":
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return w, func() error { return nil }, nil
}

func (s *Sink) jsonLine(dst []byte, c *vector.Chunk, r int) []byte {
	for i, f := range s.columns {
		dst = append(dst, "{,"[min(i, 1)])
		dst = append(valuetext.Quote(dst, []byte(f.Name)), ':')
		dst = s.text.JSON(dst, &c.Cols[i], r)
	}
	return append(dst, '}', '\n')
}

func (s *Sink) csvHeader(dst []byte) []byte {
	for i, f := range s.columns {
		if i > 0 {
			dst = append(dst, s.o.Layout.CSV.Delimiter...)
		}
		dst = s.csvField(dst, []byte(f.Name))
	}
	return append(dst, '\n')
}

func (s *Sink) csvLine(dst []byte, c *vector.Chunk, r int) []byte {
	for i := range c.Cols {
		if i > 0 {
			dst = append(dst, s.o.Layout.CSV.Delimiter...)
		}
		if c.Cols[i].IsNull(r) {
			dst = append(dst, s.o.Layout.CSV.Null...)
			continue
		}
		s.scratch = s.text.Text(s.scratch[:0], &c.Cols[i], r)
		dst = s.csvField(dst, s.scratch)
	}
	return append(dst, '\n')
}

// csvField writes a value that is not NULL: in quotes where it would end the field, or be taken for NULL.
func (s *Sink) csvField(dst, text []byte) []byte {
	d := s.o.Layout.CSV
	quote := d.Quote[0]
	if string(text) != d.Null && len(text) > 0 && !bytes.ContainsAny(text, d.Delimiter+d.Quote+"\r\n") && text[0] != ' ' && text[len(text)-1] != ' ' {
		return append(dst, text...)
	}
	dst = append(dst, quote)
	for _, b := range text {
		if b == quote {
			dst = append(dst, quote)
		}
		dst = append(dst, b)
	}
	return append(dst, quote)
}

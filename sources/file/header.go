package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sluice-sql/sluice/sources/decode"
)

// decoder returns the decoder of the file and where its rows begin, at or after from. It is nil when the
// header line is not there yet.
func (sc *scan) decoder(from int64) (decode.Decoder, int64, error) {
	if sc.s.opt.Encoding == "json" {
		return sc.s.lines, from, nil
	}
	columns := make([]int, len(sc.s.fields))
	for i := range columns {
		columns[i] = i
	}
	dialect := sc.s.opt.CSV.dialect()
	if !sc.s.opt.CSV.NoHeader {
		names, end, err := sc.header(dialect)
		if err != nil || names == nil {
			return nil, from, err
		}
		if columns, err = sc.s.match(sc.path, names); err != nil {
			return nil, from, err
		}
		from = max(from, end)
	}
	if sc.s.opt.Format == "changelog" {
		return decode.NewCSVChangelog(dialect, columns), from, nil
	}
	return decode.NewCSV(dialect, columns), from, nil
}

func (c CSVOptions) dialect() decode.CSVDialect {
	return decode.CSVDialect{Delimiter: c.Delimiter[0], Quote: c.Quote[0], Escape: c.Escape[0], Null: c.NullString}
}

// header reads the names in the first record of the file; nil when it is not complete yet.
func (sc *scan) header(dialect decode.CSVDialect) (names []string, end int64, err error) {
	for size := int64(4 << 10); ; size *= 4 {
		size = min(size, sc.s.opt.MaxRowBytes+1)
		b := make([]byte, min(size, sc.end))
		n, err := sc.f.ReadAt(b, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, fmt.Errorf("source %s: read %s: %w", sc.s.opt.Name, sc.path, err)
		}
		b = b[:n]
		skip := 0
		if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
			skip = 3
		}
		if sc.final && int64(n) >= sc.end && len(b) > 0 && b[n-1] != '\n' {
			b = append(b, '\n') // a file that is only a header
		}
		if names, next := dialect.Header(b[skip:]); next >= 0 {
			return names, min(int64(skip+next), sc.end), nil
		}
		if int64(n) >= sc.end {
			return nil, 0, nil
		}
		if size > sc.s.opt.MaxRowBytes {
			return nil, 0, fmt.Errorf("source %s: %s has no header line within %d bytes\nHint: is it a CSV file? header = 'false' reads one without",
				sc.s.opt.Name, sc.path, sc.s.opt.MaxRowBytes)
		}
	}
}

// match finds the declared columns in a header: by exact name, or else by name without regard to case.
// The result has the column of each field, -1 for none.
func (s *Source) match(path string, names []string) ([]int, error) {
	columns := make([]int, len(names))
	for i := range columns {
		columns[i] = -1
	}
	var missing []string
	for c, f := range s.fields {
		at, err := find(names, f.Name)
		if err != nil {
			return nil, fmt.Errorf("source %s: %s: %w", s.opt.Name, path, err)
		}
		if at < 0 {
			missing = append(missing, f.Name)
		} else if columns[at] >= 0 {
			return nil, fmt.Errorf("source %s: %s: columns %s and %s are both its %s", s.opt.Name, path, s.fields[columns[at]].Name, f.Name, names[at])
		} else {
			columns[at] = c
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("source %s: %s has no column %s\nHint: its header has %s; header = 'false' takes the columns by position",
			s.opt.Name, path, strings.Join(missing, ", "), strings.Join(names, ", "))
	}
	return columns, nil
}

func find(names []string, name string) (int, error) {
	at := -1
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for i, n := range names {
			if !same(strings.TrimSpace(n), name) {
				continue
			}
			if at >= 0 {
				return at, fmt.Errorf("the header names column %s twice", name)
			}
			at = i
		}
		if at >= 0 {
			return at, nil
		}
	}
	return -1, nil
}

// tryHeader checks the header of the first file that is there, so that a wrong column list is refused
// before anything runs.
func (s *Source) tryHeader() error {
	if s.opt.CSV.NoHeader {
		return nil
	}
	if err := s.refresh(); err != nil {
		return err
	}
	list := s.list
	s.list = nil
	if len(list.files) == 0 {
		return nil
	}
	first := list.files[0]
	f, err := os.Open(s.opt.abs(first.path))
	if err != nil {
		return fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	defer f.Close()
	sc := &scan{s: s, f: f, path: first.path, end: first.size, final: s.opt.Mode == "bounded"}
	_, _, err = sc.decoder(0)
	return err
}

package file

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sources/decode"
)

// doneMark ends the identity of a Parquet file that was read to its end. Such a file is never opened
// again, except to replay it.
const doneMark = "."

// parquetMemory bounds the DuckDB instance that reads Parquet files; it needs about a row group.
const parquetMemory = "1GB"

// parquet reads Parquet files with DuckDB's reader, in an instance of its own that may use the file
// system (the pipeline's may not).
type parquet struct {
	db *duck.DB
	// meta answers questions; scan runs the one open query, which would end if it were asked any.
	meta, scan *duck.Conn
	open       *parquetScan
	// footers holds what the last file's footer said, as long as the file has not been touched.
	footers struct {
		path  string
		mtime time.Time
		parquetInfo
	}
}

// parquetScan is a query that streams a file's rows, kept open from one Poll to the next.
type parquetScan struct {
	path string
	id   string
	next int64 // the row number that comes next
	rows *duck.Rows
	// chunk holds rows fetched but not used, from at on.
	chunk *vector.Chunk
	at    int
}

func (s *Source) parquet() (*parquet, error) {
	if s.pq != nil {
		return s.pq, nil
	}
	db, err := duck.Open(duck.Options{MemoryLimit: parquetMemory})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
	}
	p := &parquet{db: db}
	if p.meta, err = db.Connect(); err == nil {
		p.scan, err = db.Connect()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("source %s: %w", s.opt.Name, err), p.close())
	}
	s.pq = p
	return p, nil
}

func (p *parquet) close() error {
	err := p.endScan()
	for _, c := range []*duck.Conn{p.meta, p.scan} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return errors.Join(err, p.db.Close())
}

func (p *parquet) endScan() error {
	if p.open == nil {
		return nil
	}
	err := p.open.rows.Close()
	p.open = nil
	return err
}

// parquetInfo is what a file's footer says, and its size.
type parquetInfo struct {
	rows, size int64
	id         string
}

// bytesAt is how many of the file's bytes so many rows stand for.
func (i parquetInfo) bytesAt(row int64) int64 {
	if row >= i.rows {
		row = i.rows
	}
	if i.rows == 0 {
		return 0
	}
	return int64(float64(i.size) * (float64(row) / float64(i.rows)))
}

// errIncomplete marks a file that does not end in a Parquet footer: it may still be being written.
var errIncomplete = errors.New("it has no Parquet footer")

// identify checks that the file looks whole and returns its identity: size, first and last 4 KiB.
func identify(path string) (id string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	size = info.Size()
	n := min(size, edgeBytes)
	edge := make([]byte, 2*n, 2*n+8)
	if _, err := f.ReadAt(edge[:n], 0); err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	if _, err := f.ReadAt(edge[n:], size-n); err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	if size < 12 || string(edge[:4]) != "PAR1" || string(edge[2*n-4:]) != "PAR1" {
		return "", 0, errIncomplete
	}
	edge = binary.LittleEndian.AppendUint64(edge, uint64(size))
	return inodeID(inodeOf(info)) + contentID(xxh3.Hash(edge)), size, nil
}

// parquetInfo reads a file's footer.
func (s *Source) parquetInfo(ctx context.Context, path string) (i parquetInfo, err error) {
	p, err := s.parquet()
	if err != nil {
		return i, err
	}
	info, err := os.Stat(s.opt.abs(path))
	if err != nil {
		return i, err
	}
	if c := &p.footers; c.path == path && c.size == info.Size() && c.mtime.Equal(info.ModTime()) && c.id[:inodeChars] == inodeID(inodeOf(info)) {
		return c.parquetInfo, nil
	}
	if i.id, i.size, err = identify(s.opt.abs(path)); err != nil {
		return i, err
	}
	rows, ok, err := p.meta.QueryValue(ctx, "SELECT num_rows::VARCHAR FROM parquet_file_metadata("+fileLiteral(s.opt.abs(path))+")")
	if err != nil {
		return i, fmt.Errorf("source %s: read %s: %w", s.opt.Name, path, err)
	}
	if _, err := fmt.Sscan(rows, &i.rows); err != nil || !ok {
		return i, fmt.Errorf("source %s: read %s: its footer says it has %q rows", s.opt.Name, path, rows)
	}
	p.footers.path, p.footers.mtime, p.footers.parquetInfo = path, info.ModTime(), i
	return i, nil
}

// parquetFile is poll.file for a Parquet file. All of it is there, or nothing.
func (p *poll) parquetFile(ctx context.Context, ordinal int, f *found) (remaining int64, err error) {
	s, m := p.s, &p.marks[ordinal]
	info, err := s.parquetInfo(ctx, m.path)
	switch {
	case errors.Is(err, errIncomplete) && m.offset == 0 && s.opt.Mode == "tail":
		return 0, nil // look again when it has been written
	case errors.Is(err, errIncomplete) && m.offset == 0:
		return 0, fmt.Errorf("source %s: %s is not a Parquet file, or is not complete\nHint: write to another name and rename when done", s.opt.Name, m.path)
	case errors.Is(err, errIncomplete):
		return 0, s.changed(*m, err.Error())
	case errors.Is(err, fs.ErrNotExist):
		return 0, s.changed(*m, "it has vanished before it was read to its end")
	case err != nil:
		return 0, err
	}
	if err := s.checkParquet(*m, info); err != nil {
		return 0, err
	}
	start := m.offset
	want := info.rows - start
	if p.lim.MaxBytes > 0 && info.rows > 0 {
		perRow := max(1, info.size/info.rows)
		want = min(want, (p.lim.MaxBytes-p.bytes+perRow-1)/perRow)
	}
	before := len(p.b.Bad)
	next, err := s.parquetRows(ctx, p.b, ordinal, m.path, info.id, start, start+want)
	if err != nil {
		return 0, err
	}
	if err := p.s.parquetBad(p.b, before, m.path, &p.bad); err != nil {
		return 0, err
	}
	m.offset, m.id = next, info.id
	if next == info.rows {
		m.id += doneMark
		remaining = 0
	} else {
		remaining = info.size - info.bytesAt(next)
	}
	p.moved = true
	p.bytes += info.bytesAt(next) - info.bytesAt(start)
	p.limited = next < info.rows || p.b.Full() || p.lim.MaxBytes > 0 && p.bytes >= p.lim.MaxBytes
	return remaining, nil
}

// checkParquet compares a file with a mark.
func (s *Source) checkParquet(m mark, info parquetInfo) error {
	want, found := strings.TrimSuffix(m.id, doneMark), info.id
	if m.id == "" {
		return nil
	}
	if s.opt.Identity == "content" && len(want) > inodeChars {
		want, found = want[inodeChars:], found[inodeChars:]
	}
	if want != found || m.offset > info.rows {
		return s.changed(m, "another file now has that name, or it was written again")
	}
	return nil
}

// parquetBad turns the builder's new bad rows into dead letters, or into an error.
func (s *Source) parquetBad(b *decode.Builder, before int, path string, out *[]microbatch.BadRow) error {
	for _, bad := range b.Bad[before:] {
		if s.opt.OnError == "stop" {
			return fmt.Errorf("source %s: %s: row %d: %s\nHint: correct the file, or set on_error = 'dead_letter' to keep such rows aside",
				s.opt.Name, path, bad.Offset, bad.Reason)
		}
		*out = append(*out, microbatch.BadRow{Partition: path, Offset: bad.Offset, Reason: bad.Reason, Raw: bad.Raw})
	}
	return nil
}

// parquetRows appends rows [from, to) of a file and returns the row after the last one used.
func (s *Source) parquetRows(ctx context.Context, b *decode.Builder, ordinal int, path, id string, from, to int64) (int64, error) {
	b.Partition(microbatch.Seq(ordinal, 0))
	for from < to && !b.Full() {
		sc, err := s.parquetScan(ctx, path, id, from)
		if err != nil {
			return from, err
		}
		n := int(min(int64(sc.chunk.N-sc.at), to-from))
		next := appendChecked(b, sc.chunk, s.width(), sc.at, sc.at+n, from)
		from += int64(next - sc.at)
		sc.at, sc.next = next, from
	}
	return from, nil
}

// width is how many columns of the query are the builder's.
func (s *Source) width() int {
	if s.opt.Changes == planner.AppendOnly {
		return len(s.opt.Columns)
	}
	return len(s.opt.Columns) + 1
}

// appendChecked appends rows, refusing those for which the query gave a reason in the column after the
// builder's; the one after that is the row as text.
func appendChecked(b *decode.Builder, c *vector.Chunk, columns, from, to int, offset int64) int {
	why, text := &c.Cols[columns], &c.Cols[columns+1]
	raw := func(row int) []byte { return text.Str(row) }
	for row := from; row < to; {
		if b.Full() {
			return row
		}
		if !why.IsNull(row) {
			b.AddBad(offset+int64(row-from), string(why.Str(row)), raw(row))
			row++
			continue
		}
		end := row + 1
		for end < to && why.IsNull(end) {
			end++
		}
		if row = b.Append(c, row, end, offset+int64(row-from), raw); row < end {
			return row
		}
	}
	return to
}

// parquetScan returns the open query, positioned at a row with at least one row fetched.
func (s *Source) parquetScan(ctx context.Context, path, id string, from int64) (*parquetScan, error) {
	p, err := s.parquet()
	if err != nil {
		return nil, err
	}
	if sc := p.open; sc == nil || sc.path != path || sc.id != id || sc.next != from {
		if err := p.endScan(); err != nil {
			return nil, fmt.Errorf("source %s: %w", s.opt.Name, err)
		}
		sql, err := s.parquetSQL(ctx, path, from)
		if err != nil {
			return nil, err
		}
		// Why: the query outlives this call, so it must not end with this call's context.
		rows, err := p.scan.Query(context.WithoutCancel(ctx), sql)
		if err != nil {
			return nil, fmt.Errorf("source %s: read %s: %w", s.opt.Name, path, err)
		}
		p.open = &parquetScan{path: path, id: id, next: from, rows: rows}
	}
	sc := p.open
	if sc.chunk != nil && sc.at < sc.chunk.N {
		return sc, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !sc.rows.Next() {
		err := sc.rows.Err()
		if err == nil {
			err = fmt.Errorf("it ended before row %d", from)
		}
		return nil, errors.Join(fmt.Errorf("source %s: read %s: %w", s.opt.Name, path, err), p.endScan())
	}
	sc.chunk, sc.at = sc.rows.Chunk().Clone(), 0
	return sc, nil
}

// readParquet is readFile for a Parquet file: rows [from, m.offset).
func (s *Source) readParquet(ctx context.Context, b *decode.Builder, ordinal int, from int64, m mark, r *microbatch.Rows) error {
	info, err := s.parquetInfo(ctx, m.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIncomplete) {
		return s.changed(m, err.Error())
	}
	if err != nil {
		return err
	}
	if err := s.checkParquet(m, info); err != nil {
		return err
	}
	before := len(b.Bad)
	if _, err := s.parquetRows(ctx, b, ordinal, m.path, info.id, from, m.offset); err != nil {
		return err
	}
	r.Bytes += info.bytesAt(m.offset) - info.bytesAt(from)
	return s.parquetBad(b, before, m.path, &r.Bad)
}

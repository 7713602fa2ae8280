package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/decode"
)

// defaultBlockBytes is how much is read at a time.
const defaultBlockBytes = 1 << 20

// maxBadRows ends a Poll that finds many bad rows, so that they do not fill the memory: up to 64 KiB each.
const maxBadRows = 1000

// A scan reads a range of one file, block by block.
type scan struct {
	s        *Source
	f        *os.File
	b        *decode.Builder
	path     string
	ordinal  int
	end      int64 // of the range
	final    bool  // a row without a line end at the end of the range is a row
	maxBytes int64 // stop at the first row boundary at or past so many; 0 for no bound
	bad      []microbatch.BadRow

	data []byte // unread bytes at pos, inside s.buf
}

// run decodes from an offset and returns where it stopped, at a row boundary.
func (sc *scan) run(from int64) (end int64, err error) {
	if sc.end >= maxOffset {
		return from, fmt.Errorf("source %s: %s is larger than 16 TiB", sc.s.opt.Name, sc.path)
	}
	dec, pos, err := sc.decoder(from)
	if err != nil || dec == nil {
		return from, err
	}
	sc.b.Partition(microbatch.Seq(sc.ordinal, 0))
	sc.data = nil
	want := sc.blockSize()
	for pos < sc.end && !sc.full(pos-from) {
		if err := sc.fill(pos, want); err != nil {
			return from, err
		}
		if pos == 0 && bytes.HasPrefix(sc.data, []byte("\xef\xbb\xbf")) {
			pos, sc.data = 3, sc.data[3:]
			continue
		}
		used, err := sc.block(dec, pos, sc.limit(pos-from))
		if err != nil {
			return from, err
		}
		pos += used
		switch {
		case used > 0:
			want = sc.blockSize()
		case pos+int64(len(sc.data)) >= sc.end && !sc.final:
			return pos, nil // the rest of the row is not there yet
		case int64(len(sc.data)) > sc.s.opt.MaxRowBytes:
			next, err := sc.tooLong(pos)
			if err != nil || next == pos {
				return pos, err
			}
			pos, sc.data = next, nil
		default:
			want = min(2*len(sc.data), int(sc.s.opt.MaxRowBytes)+1) // the row is longer than the block
		}
	}
	return pos, nil
}

// blockSize is how much to read next: a block, or less if the rows still wanted are likely to take less.
func (sc *scan) blockSize() int {
	n := int64(sc.s.blockBytes)
	if sc.b.MaxRows > 0 {
		left := sc.b.MaxRows - sc.b.Rows() - int64(len(sc.b.Bad))
		n = min(n, left*sc.s.rowBytes*9/8+sc.s.rowBytes)
	}
	return int(max(n, 1<<9))
}

// full reports whether a limit has been reached after so many bytes.
func (sc *scan) full(bytes int64) bool {
	return sc.b.Full() || sc.maxBytes > 0 && bytes >= sc.maxBytes
}

// limit is how many bytes the next block may use, 0 for any.
func (sc *scan) limit(used int64) int64 {
	if sc.maxBytes == 0 {
		return 0
	}
	return sc.maxBytes - used
}

// fill makes data hold want bytes at pos, fewer at the end of the range. What data held stays in front.
func (sc *scan) fill(pos int64, want int) error {
	have := len(sc.data)
	want = max(int(min(int64(want), sc.end-pos)), have)
	need := want + 1 + decode.PadBytes
	buf := sc.s.buf
	if cap(buf) < need {
		buf = make([]byte, need)
	}
	buf = buf[:cap(buf)]
	copy(buf, sc.data)
	if want > have {
		n, err := sc.f.ReadAt(buf[have:want], pos+int64(have))
		if n < want-have {
			if err == nil || errors.Is(err, io.EOF) {
				return sc.s.changed(mark{path: sc.path, offset: pos + int64(have+n)}, "it ended there: it was truncated while being read")
			}
			return fmt.Errorf("source %s: read %s: %w", sc.s.opt.Name, sc.path, err)
		}
	}
	sc.s.buf, sc.data = buf, buf[:want]
	return nil
}

// block decodes the whole rows of data and returns how many bytes they took; data is then the rest.
func (sc *scan) block(dec decode.Decoder, pos, maxBytes int64) (int64, error) {
	atEnd := pos+int64(len(sc.data)) == sc.end
	n := bytes.LastIndexByte(sc.data, '\n') + 1
	buf := sc.data[:cap(sc.data)]
	if atEnd && sc.final && n < len(sc.data) {
		n = len(sc.data) + 1
		buf[n-1] = '\n'
	}
	if n == 0 {
		return 0, nil
	}
	before, rowsBefore := len(sc.b.Bad), sc.b.Rows()+int64(len(sc.b.Bad))
	used, shared := dec.Decode(&decode.Block{Buf: buf, N: n, Base: pos, MaxBytes: maxBytes,
		MaxRow: int(sc.s.opt.MaxRowBytes), Avail: len(sc.data), Final: atEnd && sc.final}, sc.b)
	if err := sc.collect(before); err != nil {
		return 0, err
	}
	used = min(used, len(sc.data))
	if rows := sc.b.Rows() + int64(len(sc.b.Bad)) - rowsBefore; rows > 0 {
		sc.s.rowBytes = max(1, int64(used)/rows)
	}
	sc.data = sc.data[used:]
	if shared {
		sc.s.buf = nil // the chunks own it now
	}
	return int64(used), nil
}

// collect turns the builder's new bad rows into dead letters, or into an error when they stop the source.
func (sc *scan) collect(before int) error {
	for _, bad := range sc.b.Bad[before:] {
		if sc.s.opt.OnError == "stop" {
			line, err := lineOf(sc.f, bad.Offset)
			if err != nil {
				return fmt.Errorf("source %s: %w", sc.s.opt.Name, err)
			}
			return fmt.Errorf("source %s: %s:%d (byte %d): %s\nHint: correct the row, or set on_error = 'dead_letter' to keep such rows aside",
				sc.s.opt.Name, sc.path, line, bad.Offset, bad.Reason)
		}
		sc.bad = append(sc.bad, microbatch.BadRow{Partition: sc.path, Offset: bad.Offset, Reason: bad.Reason, Raw: bad.Raw})
	}
	return nil
}

// tooLong refuses the row at pos and returns where the next one begins: after the next line end. It
// returns pos when there is none yet.
func (sc *scan) tooLong(pos int64) (next int64, err error) {
	next, ok, err := findLineEnd(sc.f, pos+int64(len(sc.data)), sc.end)
	if err != nil {
		return pos, fmt.Errorf("source %s: %w", sc.s.opt.Name, err)
	}
	if !ok {
		if !sc.final {
			return pos, nil
		}
		next = sc.end
	}
	before := len(sc.b.Bad)
	sc.b.AddBad(pos, decode.TooLong(int(sc.s.opt.MaxRowBytes)), sc.data)
	return next, sc.collect(before)
}

// findLineEnd returns the offset after the first line end in [from, to).
func findLineEnd(f io.ReaderAt, from, to int64) (next int64, ok bool, err error) {
	buf := make([]byte, 256<<10)
	for from < to {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return from + int64(i) + 1, true, nil
		}
		if from += int64(n); err != nil && from < to {
			return from, false, err
		}
	}
	return to, false, nil
}

// extendToLineEnd moves the end of a bounded file that has grown since it was listed to the end of the
// line that the listing cut.
func extendToLineEnd(f *os.File, info *found) error {
	st, err := f.Stat()
	if err != nil || st.Size() <= info.size {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.size-1); err != nil || last[0] == '\n' {
		return err
	}
	info.size, _, err = findLineEnd(f, info.size, st.Size())
	return err
}

// lineOf counts the lines before an offset, from 1.
func lineOf(f io.ReaderAt, offset int64) (line int64, err error) {
	r := io.NewSectionReader(f, 0, offset)
	buf := make([]byte, 256<<10)
	for line = 1; ; {
		n, err := r.Read(buf)
		line += int64(bytes.Count(buf[:n], []byte{'\n'}))
		if err == io.EOF {
			return line, nil
		}
		if err != nil {
			return line, err
		}
	}
}

// openInode returns the inode number of an open file.
func openInode(f *os.File) uint64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return inodeOf(info)
}

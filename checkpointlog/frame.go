package checkpointlog

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// After its header a file is a sequence of frames:
//
//	 0       4        8       12     13      16         24
//	 +-------+--------+-------+------+-------+----------+----------------+
//	 | CRC   | length | prev  | type | zeros | synced   | body           |
//	 +-------+--------+-------+------+-------+----------+----------------+
//
//	CRC     CRC-32C, seeded with the file header's CRC, of bytes 4 to the end of the body
//	length  of the body
//	prev    CRC of the frame before; of the file header for the first. This chains the frames
//	synced  how many bytes of this file were known to be durable when the frame was written
//
// Why synced: a power cut may leave later unsynced pages without earlier ones, so "a valid frame after
// a bad one" does not prove damage. A valid frame that says the bad one was durable does (torn.go).
const frameHeaderBytes = 24

// maxFrameBytes bounds a frame's body.
const maxFrameBytes = 64 << 20

type frameType byte

const (
	typePlanned   frameType = 1
	typeDelta     frameType = 2 // one block of a state table's change; several precede a Prepared
	typePrepared  frameType = 3
	typeCommitted frameType = 4
	typeMark      frameType = 5 // empty; written by Close so that the synced bytes before it are witnessed
	typeBlock     frameType = 6 // snapshots only
	typeFooter    frameType = 7 // snapshots only

	typeFirst, typeLast = typePlanned, typeFooter
)

func (t frameType) String() string {
	names := [...]string{"unknown", "planned", "delta", "prepared", "committed", "mark", "block", "footer"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type %d", byte(t))
}

// frame is a decoded frame. The body is valid until the next one is read.
type frame struct {
	typ    frameType
	body   []byte
	off    int64 // of the frame's first byte
	synced int64
	crc    uint32
}

func (f *frame) bytes() int64 { return frameHeaderBytes + int64(len(f.body)) }

// frameWriter appends frames to a file.
type frameWriter struct {
	file   vfs.File
	path   string
	seed   uint32
	prev   uint32
	size   int64
	synced int64
	buf    []byte // one frame, reused
}

// append writes one frame in one write call; body appends the frame's body to the slice it is given.
// After an error the file's tail is in doubt and the writer must not be used again.
func (w *frameWriter) append(typ frameType, body func([]byte) []byte) error {
	if w.buf == nil {
		w.buf = make([]byte, frameHeaderBytes, 4096)
	}
	b := body(w.buf[:frameHeaderBytes])
	if cap(b) > cap(w.buf) && cap(b) <= maxKeptBuffer {
		w.buf = b[:frameHeaderBytes]
	}
	n := len(b) - frameHeaderBytes
	if n > maxFrameBytes {
		panic(fmt.Sprintf("%v frame of %d bytes: callers keep to %d", typ, n, maxFrameBytes))
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(n))
	binary.LittleEndian.PutUint32(b[8:], w.prev)
	binary.LittleEndian.PutUint32(b[12:], uint32(typ)) // the type and three zeros
	binary.LittleEndian.PutUint64(b[16:], uint64(w.synced))
	crc := crc32.Update(w.seed, castagnoli, b[4:])
	binary.LittleEndian.PutUint32(b, crc)
	if _, err := w.file.Write(b); err != nil {
		return err
	}
	w.prev, w.size = crc, w.size+int64(len(b))
	return nil
}

// maxKeptBuffer bounds the memory a writer holds on to between frames.
const maxKeptBuffer = 8 << 20

// sync makes everything appended so far durable.
func (w *frameWriter) sync() error {
	size := w.size
	if err := w.file.Sync(); err != nil {
		return err
	}
	w.synced = size
	return nil
}

// badFrame says where a file stops being readable. Whether that is a torn tail or damage depends on
// what follows.
type badFrame struct {
	off    int64
	reason string
}

func (b *badFrame) Error() string { return fmt.Sprintf("byte %d: %s", b.off, b.reason) }

// frameReader reads frames in order and checks them.
type frameReader struct {
	r     *bufio.Reader
	off   int64 // of the next frame
	limit int64 // end of what is to be read
	seed  uint32
	prev  uint32
	body  []byte
}

func newFrameReader(f vfs.File, h fileHead, limit int64) *frameReader {
	section := io.NewSectionReader(f, h.bytes, limit-h.bytes)
	buffer := min(limit-h.bytes, 256<<10)
	return &frameReader{r: bufio.NewReaderSize(section, int(buffer)), off: h.bytes, limit: limit, seed: h.crc, prev: h.crc}
}

// next returns the next frame, io.EOF at the limit, a *badFrame, or a reading error.
func (r *frameReader) next() (*frame, error) {
	if r.off == r.limit {
		return nil, io.EOF
	}
	if r.limit-r.off < frameHeaderBytes {
		return nil, &badFrame{r.off, "the file ends within a frame header"}
	}
	var h [frameHeaderBytes]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return nil, readErr(err)
	}
	f, n, reason := parseFrameHeader(h[:], r.off)
	switch {
	case reason != "":
		return nil, &badFrame{r.off, reason}
	case n > r.limit-r.off-frameHeaderBytes:
		return nil, &badFrame{r.off, fmt.Sprintf("the file ends within a frame of %d bytes", n)}
	}
	if int64(cap(r.body)) < n {
		r.body = make([]byte, n)
	}
	f.body = r.body[:n]
	if _, err := io.ReadFull(r.r, f.body); err != nil {
		return nil, readErr(err)
	}
	crc := crc32.Update(crc32.Update(r.seed, castagnoli, h[4:]), castagnoli, f.body)
	if crc != f.crc {
		return nil, &badFrame{r.off, "the frame's checksum does not match"}
	}
	if prev := binary.LittleEndian.Uint32(h[8:]); prev != r.prev {
		return nil, &badFrame{r.off, "the frame does not continue the one before"}
	}
	r.prev, r.off = crc, r.off+f.bytes()
	return &f, nil
}

// readErr turns the short read of a file that shrinks under the reader into a plain error.
func readErr(err error) error { return fmt.Errorf("reading checkpoint log: %w", err) }

// parseFrameHeader decodes a frame header found at off, and says why it cannot be one.
func parseFrameHeader(h []byte, off int64) (f frame, bodyBytes int64, reason string) {
	typ := binary.LittleEndian.Uint32(h[12:])
	n := binary.LittleEndian.Uint32(h[4:])
	synced := binary.LittleEndian.Uint64(h[16:])
	switch {
	case typ < uint32(typeFirst) || typ > uint32(typeLast):
		return f, 0, "not a frame header"
	case n > maxFrameBytes:
		return f, 0, fmt.Sprintf("frame length %d is over the limit", n)
	case synced > uint64(off):
		return f, 0, "the frame claims that bytes after it were durable before it"
	}
	return frame{typ: frameType(typ), off: off, synced: int64(synced), crc: binary.LittleEndian.Uint32(h)}, int64(n), ""
}

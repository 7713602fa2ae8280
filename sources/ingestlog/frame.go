package ingestlog

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/sluice-sql/sluice/internal/vfs"
)

const (
	magic         = "SLUICEIN"
	version       = 1
	headerBytes   = 36
	frameBytes    = 32 // a frame without its body
	maxRows       = 1 << 31
	segmentSuffix = ".ing"
	tornSuffix    = ".torn"
)

// MaxEntryBytes bounds the body of an entry.
const MaxEntryBytes = 64 << 20

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// newHeader returns the header of a segment and its CRC.
func newHeader(first Position) ([]byte, uint32, error) {
	b := make([]byte, headerBytes)
	copy(b, magic)
	le.PutUint32(b[8:], version)
	le.PutUint64(b[16:], uint64(first))
	// Why a salt: bytes of a deleted segment that come back on the same disk blocks must not pass.
	if _, err := rand.Read(b[24:32]); err != nil {
		return nil, 0, err
	}
	crc := crc32.Checksum(b[:32], castagnoli)
	le.PutUint32(b[32:], crc)
	return b, crc, nil
}

// parseHeader returns the seed of the segment's frames, or why it is no header.
func parseHeader(b []byte, first Position) (seed uint32, reason string) {
	switch {
	case len(b) < headerBytes:
		return 0, "the header is cut short"
	case string(b[:8]) != magic:
		return 0, "it does not begin as an ingest log does"
	case crc32.Checksum(b[:32], castagnoli) != le.Uint32(b[32:]):
		return 0, "the header's checksum is wrong"
	case le.Uint32(b[8:]) != version:
		return 0, fmt.Sprintf("format version %d is not known to this release", le.Uint32(b[8:]))
	case Position(le.Uint64(b[16:])) != first:
		return 0, fmt.Sprintf("it begins at row %d, and its name says otherwise", le.Uint64(b[16:]))
	}
	return le.Uint32(b[32:]), ""
}

// frame is a frame's header, decoded.
type frame struct {
	crc    uint32
	length int64
	rows   int64
	more   bool
	first  Position
	synced int64
}

func (f frame) bytes() int64 { return frameBytes + f.length }

// appendFrame appends an encoded frame to dst.
func appendFrame(dst []byte, seed uint32, f frame, body []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, frameBytes)...)
	b := dst[at:]
	le.PutUint32(b[4:], uint32(len(body)))
	le.PutUint32(b[8:], uint32(f.rows))
	if f.more {
		b[12] = 1
	}
	le.PutUint64(b[16:], uint64(f.first))
	le.PutUint64(b[24:], uint64(f.synced))
	crc := crc32.Update(crc32.Update(seed, castagnoli, b[4:]), castagnoli, body)
	le.PutUint32(b, crc)
	return append(dst, body...)
}

// parseFrame decodes a frame's header; ok is false if it cannot be one.
func parseFrame(b []byte) (f frame, ok bool) {
	f = frame{crc: le.Uint32(b), length: int64(le.Uint32(b[4:])), rows: int64(le.Uint32(b[8:])), more: b[12] == 1,
		first: Position(le.Uint64(b[16:])), synced: int64(le.Uint64(b[24:]))}
	ok = b[12] <= 1 && b[13] == 0 && b[14] == 0 && b[15] == 0 && f.length <= MaxEntryBytes && f.rows < maxRows && f.first >= 0 && f.synced >= headerBytes
	return f, ok
}

// readFrame reads the frame at an offset. The error is a *badFrame if there is none, io.EOF at the end.
func readFrame(file vfs.File, seed uint32, off, size int64) (f frame, body []byte, err error) {
	if off == size {
		return f, nil, io.EOF
	}
	if off+frameBytes > size {
		return f, nil, &badFrame{off, "a record's header is cut short"}
	}
	head := make([]byte, frameBytes)
	if _, err := file.ReadAt(head, off); err != nil {
		return f, nil, err
	}
	f, ok := parseFrame(head)
	switch {
	case !ok:
		return f, nil, &badFrame{off, "there is no record"}
	case off+f.bytes() > size:
		return f, nil, &badFrame{off, "a record is cut short"}
	}
	if body = make([]byte, f.length); len(body) > 0 {
		if _, err := file.ReadAt(body, off+frameBytes); err != nil {
			return f, nil, err
		}
	}
	if crc32.Update(crc32.Update(seed, castagnoli, head[4:]), castagnoli, body) != f.crc {
		return f, nil, &badFrame{off, "a record's checksum is wrong"}
	}
	return f, body, nil
}

// badFrame says where a segment stops being readable; what that means depends on what follows.
type badFrame struct {
	off    int64
	reason string
}

func (b *badFrame) Error() string { return fmt.Sprintf("%s at byte %d", b.reason, b.off) }

package checkpointlog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// FormatVersion is what this program writes. It reads every version from 1 to this.
const FormatVersion = 2

// Header says whose log it is and who wrote it.
type Header struct {
	Pipeline string `json:"pipeline"`
	DuckDB   string `json:"duckdb"` // version; encoded state may depend on it
	Plan     string `json:"plan"`   // fingerprint of the planner's program
	// Operators are the fingerprints of the program's parts, as its maker writes them; logs of older programs
	// have none. The log does not look inside.
	Operators json.RawMessage `json:"operators,omitempty"`
	// FormatVersion is filled in when a file is read and ignored when one is written.
	FormatVersion int `json:"-"`
}

// same compares what a caller can choose.
func (h Header) same(o Header) bool {
	return h.Pipeline == o.Pipeline && h.DuckDB == o.DuckDB && h.Plan == o.Plan && bytes.Equal(h.Operators, o.Operators)
}

// Segments and snapshots begin alike:
//
//	0        8         12        16           16+n     20+n
//	+--------+---------+---------+------------+--------+
//	| magic  | version | n       | JSON head  | CRC    |   little-endian; CRC-32C of all before it
//	+--------+---------+---------+------------+--------+
//
// The CRC also seeds the checksums of the file's frames. The head holds a random salt, so a frame of
// another file (or of an earlier file whose blocks were reused) is never valid here.
const (
	magicSegment   = "SLUICELG"
	magicSnapshot  = "SLUICESN"
	headFixedBytes = 16
	maxHeadBytes   = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentHead is the JSON head of a segment: the log's state where the segment begins, so that any
// suffix of the segments can be read on its own, and what the one before must end with.
type segmentHead struct {
	Header
	Seq       uint64    `json:"seq"`
	Salt      string    `json:"salt"`
	CreatedAt time.Time `json:"created_at"`
	Base      sequence  `json:"base"`
	// PrevBytes and PrevChain are the size and last checksum of segment Seq-1.
	PrevBytes int64  `json:"prev_bytes"`
	PrevChain uint32 `json:"prev_chain"`
}

// snapshotHead is the JSON head of a snapshot.
type snapshotHead struct {
	Header
	Batch int64 `json:"batch"`
	Epoch int64 `json:"epoch"`
	// Base and BaseChain are the batch and the last checksum of the snapshot that a delta snapshot is
	// relative to; 0 for a full one.
	Base       int64                      `json:"base,omitempty"`
	BaseChain  uint32                     `json:"base_chain,omitempty"`
	Salt       string                     `json:"salt"`
	CreatedAt  time.Time                  `json:"created_at"`
	Watermarks map[string]int64           `json:"watermarks,omitempty"`
	Offsets    map[string]json.RawMessage `json:"offsets,omitempty"`
	// Prepared is the batch's own record, for a log whose segments up to it are deleted.
	Prepared *Prepared `json:"prepared"`
}

// newSalt returns 8 random bytes in hex.
func newSalt() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}

// encodeHead returns a file's first bytes and the CRC that ends them.
func encodeHead(magic string, head any) ([]byte, uint32, error) {
	body, err := json.Marshal(head)
	if err != nil {
		return nil, 0, fmt.Errorf("encoding file header: %w", err)
	}
	if len(body) > maxHeadBytes {
		return nil, 0, fmt.Errorf("encoding file header: %d bytes are more than the limit of %d", len(body), maxHeadBytes)
	}
	b := make([]byte, 0, headFixedBytes+len(body)+4)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, FormatVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	crc := crc32.Checksum(b, castagnoli)
	return binary.LittleEndian.AppendUint32(b, crc), crc, nil
}

// fileHead is a decoded file header: its length in bytes, its CRC and its version.
type fileHead struct {
	bytes   int64
	crc     uint32
	version int
}

// readHead reads a file's header into head. Damage is a *CorruptError: a live file's header was synced
// before anything named the file.
func readHead(f vfs.File, path, magic string, head any) (fileHead, error) {
	var fixed [headFixedBytes]byte
	if n, err := f.ReadAt(fixed[:], 0); err != nil {
		if err == io.EOF {
			return fileHead{}, corrupt(path, int64(n), "the file ends within its header")
		}
		return fileHead{}, fmt.Errorf("reading checkpoint log header: %w", err)
	}
	if string(fixed[:8]) != magic {
		return fileHead{}, corrupt(path, 0, "it does not begin with %s", magic)
	}
	n := binary.LittleEndian.Uint32(fixed[12:])
	if n > maxHeadBytes {
		return fileHead{}, corrupt(path, 12, "header length %d is beyond the limit", n)
	}
	size, err := f.Size()
	if err != nil {
		return fileHead{}, fmt.Errorf("reading checkpoint log header: %w", err)
	}
	if size < headFixedBytes+int64(n)+4 {
		return fileHead{}, corrupt(path, 12, "the file ends within its header of %d bytes", n)
	}
	rest := make([]byte, n+4)
	if _, err := f.ReadAt(rest, headFixedBytes); err != nil && err != io.EOF {
		return fileHead{}, fmt.Errorf("reading checkpoint log header: %w", err)
	}
	crc := crc32.Update(crc32.Checksum(fixed[:], castagnoli), castagnoli, rest[:n])
	if crc != binary.LittleEndian.Uint32(rest[n:]) {
		return fileHead{}, corrupt(path, 0, "the header's checksum does not match")
	}
	h := fileHead{bytes: headFixedBytes + int64(n) + 4, crc: crc, version: int(binary.LittleEndian.Uint32(fixed[8:]))}
	if h.version < 1 || h.version > FormatVersion {
		return fileHead{}, fmt.Errorf("%s has format version %d, this program reads 1 to %d: %w\nHint: open it with the version of sluice that wrote it or a later one", path, h.version, FormatVersion, ErrVersion)
	}
	if err := json.Unmarshal(rest[:n], head); err != nil {
		return fileHead{}, corrupt(path, headFixedBytes, "the header does not decode: %v", err)
	}
	return h, nil
}

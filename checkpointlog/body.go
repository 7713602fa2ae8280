package checkpointlog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/klauspost/compress/s2"
)

// Planned, Prepared, Committed and Footer frames have JSON bodies. Delta and Block frames carry one
// piece of encoded state:
//
//	 0        8        16        20      21          23     23+m
//	 +--------+--------+---------+-------+-----------+------+----------------+
//	 | batch  | total  | raw     | codec | m         | name | payload        |
//	 +--------+--------+---------+-------+-----------+------+----------------+
//
//	total   raw bytes of the whole delta of this table (a snapshot block: of this block)
//	raw     raw bytes of this piece
//	codec   0 stored, 1 S2 block format
//
// A delta larger than one piece is cut; pieces of one table follow each other.
const (
	blockFixedBytes = 23
	deltaPieceBytes = 4 << 20 // raw bytes in one Delta frame
	// MaxBlockBytes bounds a snapshot block.
	MaxBlockBytes = maxFrameBytes - 128<<10
	maxNameBytes  = 1 << 15

	codecStored = 0
	codecS2     = 1
)

// block is a decoded Delta or Block body.
type block struct {
	batch   int64
	total   int64
	raw     int64
	codec   byte
	name    string
	payload []byte
}

// appendBlock appends a Delta or Block body to dst, compressing straight into it.
func appendBlock(dst []byte, batch, total int64, name string, piece []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(batch))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(total))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(piece)))
	codecAt := len(dst)
	dst = append(dst, codecS2)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(name)))
	dst = append(dst, name...)
	if need := len(dst) + s2.MaxEncodedLen(len(piece)); cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	packed := s2.Encode(dst[len(dst):cap(dst)], piece)
	if len(packed) >= len(piece) {
		dst[codecAt] = codecStored
		return append(dst, piece...)
	}
	return dst[:len(dst)+len(packed)]
}

func decodeBlock(body []byte) (block, error) {
	if len(body) < blockFixedBytes {
		return block{}, fmt.Errorf("state block of %d bytes is too short", len(body))
	}
	b := block{
		batch: int64(binary.LittleEndian.Uint64(body)),
		total: int64(binary.LittleEndian.Uint64(body[8:])),
		raw:   int64(binary.LittleEndian.Uint32(body[16:])),
		codec: body[20],
	}
	name := int(binary.LittleEndian.Uint16(body[21:]))
	if len(body) < blockFixedBytes+name {
		return block{}, fmt.Errorf("state block ends within its name")
	}
	b.name, b.payload = string(body[blockFixedBytes:blockFixedBytes+name]), body[blockFixedBytes+name:]
	switch b.codec {
	case codecStored:
		if int64(len(b.payload)) != b.raw {
			return block{}, fmt.Errorf("state block holds %d bytes, its header says %d", len(b.payload), b.raw)
		}
	case codecS2:
		if n, err := s2.DecodedLen(b.payload); err != nil || int64(n) != b.raw || n > maxFrameBytes {
			return block{}, fmt.Errorf("state block's compressed length is not %d", b.raw)
		}
	default:
		return block{}, fmt.Errorf("state block has unknown codec %d", b.codec)
	}
	if b.total < b.raw {
		return block{}, fmt.Errorf("state block of %d bytes is part of only %d", b.raw, b.total)
	}
	return b, nil
}

// appendRaw appends the block's raw bytes to dst.
func (b *block) appendRaw(dst []byte) ([]byte, error) {
	if b.codec == codecStored {
		return append(dst, b.payload...), nil
	}
	n := len(dst)
	if need := n + int(b.raw); cap(dst) < need {
		grown := make([]byte, n, max(need, min(2*cap(dst), need+deltaPieceBytes*16)))
		dst = grown[:copy(grown[:n], dst)]
	}
	dst = dst[:n+int(b.raw)]
	if _, err := s2.Decode(dst[n:], b.payload); err != nil {
		return nil, fmt.Errorf("decompressing state block of %q: %w", b.name, err)
	}
	return dst, nil
}

// deltaIndex is one table of a Prepared's delta, listed in the record so that a missing piece shows.
type deltaIndex struct {
	Table  string `json:"table"`
	Bytes  int64  `json:"bytes"`  // raw
	Stored int64  `json:"stored"` // in frames, headers included
	Pieces int    `json:"pieces"`
}

// preparedBody is a Prepared record as written.
type preparedBody struct {
	Prepared
	Deltas []deltaIndex `json:"deltas,omitempty"`
}

// encodeJSON encodes a record's body, before anything is written.
func encodeJSON(typ frameType, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %v record: %w", typ, err)
	}
	if len(b) > maxFrameBytes {
		return nil, fmt.Errorf("encoding %v record: %d bytes are over the limit of %d", typ, len(b), maxFrameBytes)
	}
	return b, nil
}

// verbatim appends an encoded body.
func verbatim(b []byte) func([]byte) []byte {
	return func(dst []byte) []byte { return append(dst, b...) }
}

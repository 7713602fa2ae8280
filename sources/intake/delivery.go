package intake

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A Delivery is what arrives together and is acknowledged together.
type Delivery struct {
	// Key names the delivery: another one with the same key is a retry of it. Defaults to none, and then a retry
	// is another delivery.
	Key string
	// Rows are the rows as they came, each for the source's format to decode. At least one; none is longer than
	// MaxRowBytes.
	Rows [][]byte
}

// MaxRowBytes is the longest row, MaxKeyBytes the longest key.
const (
	MaxRowBytes = ingestlog.MaxEntryBytes - 4096
	MaxKeyBytes = 255
)

// Entries are kept small, because who begins to read in the middle of one has to skip what is before.
const (
	maxEntryRows  = 2048
	maxEntryBytes = 256 << 10
)

const entryVersion = 1

type digest [16]byte

// digest identifies the rows, one by one.
func (d Delivery) digest() digest {
	h := xxh3.New()
	var length [8]byte
	for _, row := range d.Rows {
		binary.LittleEndian.PutUint64(length[:], uint64(len(row)))
		_, _ = h.Write(length[:]) // never fails
		_, _ = h.Write(row)
	}
	return h.Sum128().Bytes()
}

// entries encodes a delivery for the log.
func (d Delivery) entries(sum digest, received int64) []ingestlog.Entry {
	var out []ingestlog.Entry
	for at := 0; at < len(d.Rows); {
		body := d.head(nil, sum, received, len(out))
		n := 0
		for at+n < len(d.Rows) && n < maxEntryRows && (n == 0 || len(body)+len(d.Rows[at+n]) < maxEntryBytes) {
			row := d.Rows[at+n]
			body = append(binary.AppendUvarint(body, uint64(len(row))), row...)
			n++
		}
		out = append(out, ingestlog.Entry{Rows: int64(n), Body: body})
		at += n
	}
	return out
}

func (d Delivery) head(b []byte, sum digest, received int64, part int) []byte {
	b = append(b, entryVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(received))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(part)), uint64(len(d.Rows)))
	b = append(b, sum[:]...)
	return append(binary.AppendUvarint(b, uint64(len(d.Key))), d.Key...)
}

// entry is an entry of the log, decoded up to its rows.
type entry struct {
	received    int64
	part, total int64
	sum         digest
	key         []byte // nil without
	rows        []byte
}

var errNotOurs = errors.New("it is not an entry of an intake log")

func decodeEntry(body []byte) (e entry, err error) {
	r := reader{rest: body}
	if version := r.bytes(1); r.err == nil && version[0] != entryVersion {
		return e, fmt.Errorf("entry version %d is not known to this release", version[0])
	}
	if received := r.bytes(8); r.err == nil {
		e.received = int64(binary.LittleEndian.Uint64(received))
	}
	e.part, e.total = int64(r.uvarint()), int64(r.uvarint())
	copy(e.sum[:], r.bytes(len(e.sum)))
	if n := r.uvarint(); n > 0 {
		e.key = r.bytes(int(min(n, 1<<20)))
	}
	e.rows = r.rest
	return e, r.err
}

// next takes the next row.
func (e *entry) next() ([]byte, error) {
	r := reader{rest: e.rows}
	row := r.bytes(int(min(r.uvarint(), 1<<31)))
	e.rows = r.rest
	return row, r.err
}

// reader takes an encoding apart; after an error everything is empty.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) bytes(n int) []byte {
	if r.err == nil && n > len(r.rest) {
		r.err = errNotOurs
	}
	if r.err != nil {
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.err == nil && n <= 0 {
		r.err = errNotOurs
	}
	if r.err != nil {
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

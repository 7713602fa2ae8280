package intake

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// keyed is a delivery with a key that is in the log.
type keyed struct {
	key      string
	sum      digest
	from, to ingestlog.Position
	received int64
}

// keyTable knows the deliveries with keys: the newest ones, as many and as old as its bounds say.
type keyTable struct {
	max     int
	age     int64 // microseconds, 0: any
	byKey   map[string]*keyed
	byAge   []*keyed // oldest first
	dropped int      // how many of byAge are gone from the front
}

func newKeyTable(max int, age int64) *keyTable {
	return &keyTable{max: max, age: age, byKey: map[string]*keyed{}}
}

func (t *keyTable) get(key string, now int64) *keyed {
	t.forget(now)
	return t.byKey[key]
}

func (t *keyTable) add(k *keyed) {
	if old := t.byKey[k.key]; old != nil && old.from == k.from {
		return // read from the file and from the log
	}
	t.byKey[k.key] = k
	t.byAge = append(t.byAge, k)
	t.forget(k.received)
}

// forget drops what is out of bounds.
func (t *keyTable) forget(now int64) {
	for t.dropped < len(t.byAge) {
		oldest := t.byAge[t.dropped]
		if len(t.byAge)-t.dropped <= t.max && (t.age == 0 || oldest.received >= now-t.age) {
			break
		}
		// Why compare: a key that was forgotten and used again has a newer delivery.
		if t.byKey[oldest.key] == oldest {
			delete(t.byKey, oldest.key)
		}
		t.byAge[t.dropped] = nil
		t.dropped++
	}
	if t.dropped > 1024 && t.dropped > len(t.byAge)/2 {
		t.byAge = append([]*keyed(nil), t.byAge[t.dropped:]...)
		t.dropped = 0
	}
}

// The file "keys":
//
//	magic      8 bytes "SLUICEKY"
//	version    4 bytes, 1
//	position   8 bytes: what is after it, the log tells
//	acked      8 bytes: up to where an engine had committed
//	count      4 bytes
//	deliveries each: key length 2 bytes, key, digest 16, from 8, rows 8, received 8
//	CRC-32C    4 bytes, of all before
const (
	keysFile    = "keys"
	keysMagic   = "SLUICEKY"
	keysVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeKeys writes the table as it is at a position.
func (t *keyTable) encode(at, acked ingestlog.Position) []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, 64+80*(len(t.byAge)-t.dropped)), keysMagic...)
	b = le.AppendUint32(b, keysVersion)
	b = le.AppendUint64(le.AppendUint64(b, uint64(at)), uint64(acked))
	b = le.AppendUint32(b, uint32(len(t.byAge)-t.dropped))
	for _, k := range t.byAge[t.dropped:] {
		b = append(le.AppendUint16(b, uint16(len(k.key))), k.key...)
		b = append(b, k.sum[:]...)
		b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, uint64(k.from)), uint64(k.to-k.from)), uint64(k.received))
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode adds what a file says of the log up to an end.
//
// Why an end: a copy of the directory that was made beside an open Inbox may have a file that is newer than the
// segments beside it.
func (t *keyTable) decode(b []byte, end ingestlog.Position) (at, acked ingestlog.Position, err error) {
	le := binary.LittleEndian
	if len(b) < 36 || string(b[:8]) != keysMagic || crc32.Checksum(b[:len(b)-4], castagnoli) != le.Uint32(b[len(b)-4:]) {
		return 0, 0, fmt.Errorf("its checksum is wrong")
	}
	if v := le.Uint32(b[8:]); v != keysVersion {
		return 0, 0, fmt.Errorf("format version %d is not known to this release", v)
	}
	at, acked = ingestlog.Position(le.Uint64(b[12:])), ingestlog.Position(le.Uint64(b[20:]))
	r := reader{rest: b[32 : len(b)-4]}
	number := func() int64 {
		if n := r.bytes(8); r.err == nil {
			return int64(le.Uint64(n))
		}
		return 0
	}
	for range le.Uint32(b[28:]) {
		k := &keyed{}
		if n := r.bytes(2); r.err == nil {
			k.key = string(r.bytes(int(le.Uint16(n))))
		}
		copy(k.sum[:], r.bytes(len(k.sum)))
		k.from = ingestlog.Position(number())
		k.to = k.from + ingestlog.Position(number())
		if k.received = number(); r.err != nil {
			return 0, 0, r.err
		}
		if k.to <= end {
			t.add(k)
		}
	}
	return min(at, end), min(acked, end), nil
}

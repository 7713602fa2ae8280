package rowstore

import "unsafe"

// An index maps 64-bit hashes to rows. It has 64 shards by the top bits of the hash; a shard is an
// array of entries with linear probing and backward-shift deletion:
//
//	| tag: the next 32 bits of the hash | rowID 32 |      0 is empty (row 0 does not exist)
//
// The home position of an entry is the top bits of its tag, so growing or shrinking a shard needs the
// entries alone and never stalls on rows. Different keys may share a tag: the caller compares keys.
type index struct {
	shards [numShards]shard
	n      int
	mapped int
	// touched keeps the compiler from leaving the reads of touch out.
	touched uint64
}

const (
	numShards     = 64
	minShardSlots = 8
	// A shard's array moves off the Go heap when it is this big, so that growth leaves no garbage.
	mapShardBytes = 64 << 10
)

type shard struct {
	entries []uint64
	n       int
	limit   int   // grow when n reaches it
	shift   uint8 // home = tag >> shift
	mapping []byte
}

type rowID = uint32

// emptyShard makes probing an unused shard need no special case. It is never written.
var emptyShard = make([]uint64, 2)

func newIndex() *index {
	x := &index{}
	for i := range x.shards {
		x.shards[i] = shard{entries: emptyShard, shift: 31}
	}
	return x
}

func (x *index) shard(h uint64) *shard { return &x.shards[h>>58] }

func tagOf(h uint64) uint32 { return uint32(h >> 26) }

// touch reads the home entries of hashes. Nothing depends on what it reads, so the processor waits for many cache
// misses at once, and the probes that follow find the entries near.
func (x *index) touch(hashes []uint64) {
	var all uint64
	for _, h := range hashes {
		s := x.shard(h)
		all |= s.entries[(tagOf(h)>>s.shift)&uint32(len(s.entries)-1)]
	}
	x.touched = all
}

// A probe walks the entries that may have a hash.
type probe struct {
	entries []uint64
	pos     uint32
	tag     uint32
}

func (x *index) probe(h uint64) probe {
	s, tag := x.shard(h), tagOf(h)
	return probe{s.entries, tag >> s.shift, tag}
}

// next returns the next row with the probe's tag, 0 after the last.
func (p *probe) next() rowID {
	mask := uint32(len(p.entries) - 1)
	for {
		e := p.entries[p.pos&mask]
		if e == 0 {
			return 0
		}
		p.pos++
		if uint32(e>>32) == p.tag {
			return rowID(e)
		}
	}
}

func (x *index) insert(h uint64, id rowID) {
	s := x.shard(h)
	if s.n >= s.limit {
		x.resize(s, max(minShardSlots, 2*len(s.entries)))
	}
	s.put(uint64(tagOf(h))<<32 | uint64(id))
	s.n++
	x.n++
}

func (s *shard) put(e uint64) {
	mask := uint32(len(s.entries) - 1)
	pos := uint32(e>>32) >> s.shift
	for s.entries[pos&mask] != 0 {
		pos++
	}
	s.entries[pos&mask] = e
}

// position returns where the entry of (h, id) is. Invariant: it exists.
func (s *shard) position(h uint64, id rowID) uint32 {
	e := uint64(tagOf(h))<<32 | uint64(id)
	mask := uint32(len(s.entries) - 1)
	for pos := tagOf(h) >> s.shift; ; pos++ {
		switch s.entries[pos&mask] {
		case e:
			return pos & mask
		case 0:
			invariant("row %d with hash %#x is not in its index", id, h)
		}
	}
}

func (x *index) replace(h uint64, old, id rowID) {
	s := x.shard(h)
	s.entries[s.position(h, old)] = uint64(tagOf(h))<<32 | uint64(id)
}

func (x *index) remove(h uint64, id rowID) {
	s := x.shard(h)
	mask := uint32(len(s.entries) - 1)
	hole := s.position(h, id)
	// Move back every later entry of the run that may live at the hole.
	for pos := (hole + 1) & mask; s.entries[pos] != 0; pos = (pos + 1) & mask {
		home := uint32(s.entries[pos]>>32) >> s.shift
		if (pos-home)&mask >= (pos-hole)&mask {
			s.entries[hole] = s.entries[pos]
			hole = pos
		}
	}
	s.entries[hole] = 0
	s.n--
	x.n--
	// Why an eighth: far enough from the growth limit that a row coming and going never resizes twice.
	if len(s.entries) > minShardSlots && s.n < len(s.entries)/8 {
		x.resize(s, len(s.entries)/2)
	}
}

func (x *index) resize(s *shard, slots int) {
	old := *s
	bits := uint8(0)
	for 1<<bits < slots {
		bits++
	}
	*s = shard{n: old.n, limit: slots - slots/4, shift: 32 - bits}
	if slots*8 >= mapShardBytes {
		s.mapping = mustMap(slots * 8)
		s.entries = unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(s.mapping))), slots)
	} else {
		s.entries = make([]uint64, slots)
	}
	for _, e := range old.entries {
		if e != 0 {
			s.put(e)
		}
	}
	x.mapped += slots * 8
	if old.limit > 0 {
		x.mapped -= len(old.entries) * 8
	}
	if old.mapping != nil {
		mustUnmap(old.mapping)
	}
}

func (x *index) close() {
	for i := range x.shards {
		if m := x.shards[i].mapping; m != nil {
			mustUnmap(m)
		}
	}
	*x = index{}
}

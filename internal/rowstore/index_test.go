package rowstore

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestIndexModel fills few shards with hashes that crowd the same and the last positions, so that runs
// are long, wrap round the end and are shifted back, while shards grow and shrink.
func TestIndexModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		x := newIndex()
		have := map[rowID]uint64{}
		hash := func() uint64 {
			shard := uint64(r.IntN(2)) << 58
			tag := []uint64{0, 1, 0xffffffff, 0xfffffffe, 0x80000000, uint64(r.Uint32()), 0xffffff00 + uint64(r.IntN(256))}[r.IntN(7)]
			return shard | tag<<26
		}
		var next rowID
		for step := range 6000 {
			grow := step/1000%2 == 0
			switch id := rowID(0); {
			case len(have) == 0 || r.IntN(10) < 7 == grow:
				next++
				have[next] = hash()
				x.insert(have[next], next)
			case r.IntN(5) == 0:
				id = anyKey(have)
				next++
				x.replace(have[id], id, next)
				have[next] = have[id]
				delete(have, id)
			default:
				id = anyKey(have)
				x.remove(have[id], id)
				delete(have, id)
			}
			if step%100 == 0 {
				checkIndex(t, x, have)
			}
			if t.Failed() {
				t.Fatalf("failed with seed %d at step %d", seed, step)
			}
		}
		for id, h := range have {
			x.remove(h, id)
		}
		for i := range x.shards {
			if s := &x.shards[i]; s.n != 0 || len(s.entries) > minShardSlots {
				t.Errorf("an emptied shard has %d entries in %d slots", s.n, len(s.entries))
			}
		}
		x.close()
	}
}

func anyKey(m map[rowID]uint64) rowID {
	for id := range m {
		return id
	}
	return 0
}

func checkIndex(t *testing.T, x *index, have map[rowID]uint64) {
	t.Helper()
	want := map[uint64][]rowID{}
	for id, h := range have {
		want[h] = append(want[h], id)
	}
	for h, ids := range want {
		got := []rowID{}
		for p := x.probe(h); ; {
			id := p.next()
			if id == 0 {
				break
			}
			got = append(got, id)
		}
		slices.Sort(got)
		slices.Sort(ids)
		if !slices.Equal(got, ids) {
			t.Errorf("hash %#x: rows %v, want %v", h, got, ids)
		}
	}
	if x.n != len(have) {
		t.Errorf("%d entries, want %d (%v)", x.n, len(have), slices.Sorted(maps.Keys(have)))
	}
}

package rowstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

func mustNew(t *testing.T, spec Spec) *Table {
	t.Helper()
	tab, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tab.Close)
	return tab
}

func TestSizeClasses(t *testing.T) {
	last, lastSize := -1, inlineLen
	for n := inlineLen + 1; n <= maxClassBytes; n++ {
		k, size := class(n)
		switch {
		case size < n || size > n+max(15, n/4) || size%16 != 0:
			t.Fatalf("%d bytes in a class of %d", n, size)
		case k != last && (k != last+1 || lastSize != n-1), k == last && size != lastSize:
			t.Fatalf("%d bytes in class %d of %d, after class %d of %d", n, k, size, last, lastSize)
		}
		last, lastSize = k, size
	}
	if last != numClasses-1 {
		t.Errorf("largest class is %d of %d", last, numClasses)
	}
}

// Texts of all sizes, the huge ones mapped alone included, come back whole and are freed.
func TestTextSizes(t *testing.T) {
	tab := mustNew(t, Spec{Name: "s", Cols: []vector.Field{{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.Of(vector.Blob)}}, NKey: 1, EvictColumn: -1})
	sizes := []int{0, 12, 13, 128, 129, 4096, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20}
	rows := func(fill byte) *vector.Chunk {
		c := vector.NewChunk(tab.types, len(sizes))
		for i, n := range sizes {
			b := bytes.Repeat([]byte{fill}, n)
			c.Keep = append(c.Keep, b)
			c.Cols[0].PutI64(i, int64(i))
			c.Cols[1].PutStr(i, b)
		}
		return c
	}
	check := func(fill byte) {
		t.Helper()
		got, _ := tab.Get(rows(0))
		if !bytes.Equal(vector.AppendChunk(nil, got), vector.AppendChunk(nil, rows(fill))) {
			t.Errorf("texts of %q came back changed", fill)
		}
	}
	tab.Upsert(rows('a'), nil)
	tab.Commit()
	size := tab.Stats().ArenaBytes
	for _, fill := range []byte("bcd") {
		tab.Upsert(rows(fill), nil)
		check(fill)
		tab.Rollback()
		check('a')
	}
	tab.Upsert(rows('e'), nil)
	tab.Commit()
	check('e')
	if got := tab.Stats().ArenaBytes; got != size {
		t.Errorf("%d bytes of text, want %d", got, size)
	}
	checkArena(t, tab)
}

// Memory follows the rows that are kept, not those that ever were: whether rows leave in the order they
// came or at random.
func TestMemoryIsReused(t *testing.T) {
	const kept, rounds, step = 20_000, 100, 2000
	for _, inOrder := range []bool{true, false} {
		t.Run(fmt.Sprintf("inOrder=%v", inOrder), func(t *testing.T) {
			tab := mustNew(t, Spec{Name: "s", Cols: []vector.Field{{Name: "at", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.Of(vector.Varchar)}}, NKey: 1, EvictColumn: 0})
			r := rand.New(rand.NewPCG(1, 1))
			have := []int64{}
			next := int64(0)
			for round := range rounds + kept/step {
				in := vector.NewChunk(tab.types, step)
				for i := range step {
					have = append(have, next)
					in.Cols[0].PutI64(i, next)
					b := fmt.Appendf(nil, "a text outside the row %d", next)
					in.Keep = append(in.Keep, b)
					in.Cols[1].PutStr(i, b)
					next++
				}
				tab.Upsert(in, nil)
				if round >= kept/step {
					have = leave(tab, r, have, step, inOrder)
				}
				tab.Commit()
			}
			s := tab.Stats()
			if s.Rows != int64(len(have)) {
				t.Fatalf("%d rows, want %d", s.Rows, len(have))
			}
			row := int64(tab.lay.size)
			if limit := s.Rows * row * 3; s.RowBytes > limit {
				t.Errorf("%d rows of %d bytes take %d", s.Rows, row, s.RowBytes)
			}
			if s.ArenaBytes+s.ArenaWaste > 3*48*s.Rows || s.OrderBytes > 16*(2*s.Rows+3*orderSlack) {
				t.Errorf("%d rows: %+v", s.Rows, s)
			}
		})
	}
}

// leave takes n rows out of the table and returns the keys that stay.
func leave(tab *Table, r *rand.Rand, have []int64, n int, inOrder bool) []int64 {
	if inOrder {
		tab.Evict(have[n])
		return have[n:]
	}
	out := vector.NewChunk(tab.types, n)
	for i := range n {
		j := r.IntN(len(have))
		out.Cols[0].PutI64(i, have[j])
		have[j] = have[len(have)-1]
		have = have[:len(have)-1]
	}
	tab.Upsert(out, make([]bool, n))
	return have
}

// A snapshot's end once freed all texts that had been replaced beside it, in one slice: a second of waiting with
// some millions. Each commit frees a few.
func TestSnapshotEndsInSmallSteps(t *testing.T) {
	tab, err := New(Spec{Name: "s", Cols: []vector.Field{{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.Of(vector.Varchar)}}, NKey: 1, EvictColumn: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	const rows = 3 * idleReleases
	put := func() {
		c := vector.NewChunk(tab.types, rows)
		long := []byte("a text of more than twelve bytes")
		c.Keep = append(c.Keep, long)
		for i := range c.N {
			c.Cols[0].PutI64(i, int64(i))
			c.Cols[1].PutStr(i, long)
		}
		tab.Upsert(c, nil)
		tab.Commit()
	}
	put()
	one := tab.Stats().ArenaBytes
	tab.SnapshotBegin()
	tab.deleteKeys(allKeys(tab))
	tab.Commit()
	put()
	for done := false; !done; {
		before := tab.Stats().ArenaBytes
		if _, done = tab.SnapshotNext(nil, 1<<14); tab.Stats().ArenaBytes != before {
			t.Error("a slice of a snapshot freed texts")
		}
	}
	for tab.Stats().ArenaBytes > one {
		before := tab.Stats().ArenaBytes
		tab.Commit()
		if freed := (before - tab.Stats().ArenaBytes) / (one / rows); freed == 0 || freed > idleReleases {
			t.Fatalf("an empty commit freed %d texts, of %d bytes in use where %d are needed", freed, before, one)
		}
	}
}

// allKeys are copied: the table may change.
func allKeys(tab *Table) *vector.Chunk {
	var ids []rowID
	tab.blocks.walk(tab.blocks.start(), func(id rowID, p slot) bool {
		if tab.lay.live(p) {
			ids = append(ids, id)
		}
		return true
	})
	return tab.gather(&buffer{}, tab.pointers(ids), tab.spec.NKey)
}

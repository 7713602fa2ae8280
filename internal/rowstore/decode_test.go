package rowstore

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
)

func decodeSpec(weighted bool) Spec {
	pair := vector.Type{Kind: vector.Struct, Fields: []vector.Field{
		{Name: "a", Type: vector.Of(vector.Varchar)}, {Name: "b", Type: vector.Type{Kind: vector.Enum, Values: []string{"x", "y"}}},
	}}
	s := Spec{Name: "d", NKey: 3, NPrefix: 1, EvictColumn: 1, Weighted: weighted, Cols: []vector.Field{
		{Name: "k", Type: vector.Of(vector.Varchar)}, {Name: "at", Type: vector.Of(vector.Timestamp)},
		{Name: "l", Type: vector.ListOf(pair)}, {Name: "n", Type: vector.Of(vector.Int64)},
	}}
	return s
}

// image is a table's whole content.
func image(t *Table) []byte {
	var b []byte
	for next := t.Scan(); ; {
		c := next()
		if c == nil {
			return b
		}
		b = vector.AppendChunk(b, c)
	}
}

// filled returns a table with rows, and the delta of one more batch with an eviction.
func filled(t testing.TB, weighted bool) (*Table, []byte) {
	t.Helper()
	tab, err := New(decodeSpec(weighted))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 5))
	put := func() {
		c := vectortest.Chunk(r, tab.types, 60, 9)
		if !weighted {
			tab.Upsert(c, nil)
			return
		}
		for i := range c.N {
			c.Cols[3].PutI64(i, 1)
		}
		c.Cols[3].Valid = nil
		tab.Add(c)
	}
	put()
	tab.Commit()
	put()
	tab.Evict(2)
	return tab, tab.Delta(nil)
}

// Whatever a delta or snapshot holds, reading it gives an error or a table that works; a delta that fails
// leaves the table as it was.
func TestDamagedInputIsRefused(t *testing.T) {
	for _, weighted := range []bool{false, true} {
		tab, delta := filled(t, weighted)
		tab.Commit()
		tab.SnapshotBegin()
		block, done := tab.SnapshotNext(nil, 1000)
		if !done {
			t.Fatal("a snapshot of a small table took more than one block")
		}
		r := rand.New(rand.NewPCG(1, 1))
		for i := range 300 {
			damagedDelta(t, tab, damage(r, delta))
			other, err := New(tab.spec)
			if err != nil {
				t.Fatal(err)
			}
			if other.Load(damage(r, block)) == nil {
				image(other)
			}
			other.Close()
			if t.Failed() {
				t.Fatalf("weighted %v, step %d", weighted, i)
			}
		}
		tab.Close()
	}
}

func damagedDelta(t *testing.T, tab *Table, b []byte) {
	before := image(tab)
	if err := tab.ApplyDelta(b); err != nil {
		if !bytes.Equal(image(tab), before) {
			t.Errorf("a failed delta changed the table: %v", err)
		}
		return
	}
	image(tab)
}

func damage(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		b[9+r.IntN(len(b)-9)] = byte(r.IntN(256))
	}
	if r.IntN(3) == 0 {
		b = b[:r.IntN(len(b))]
	}
	return b
}

func FuzzApplyDelta(f *testing.F) {
	tab, delta := filled(f, false)
	tab.Close()
	f.Add(delta[9:])
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := New(decodeSpec(false))
		if err != nil {
			t.Fatal(err)
		}
		defer tab.Close()
		damagedDelta(t, tab, append(tab.appendHeader(nil, deltaVersion), b...))
		if tab.Load(append(tab.appendHeader(nil, snapshotVersion), b...)) == nil {
			image(tab)
		}
	})
}

func TestAnotherTablesDeltaIsRefused(t *testing.T) {
	tab, delta := filled(t, false)
	defer tab.Close()
	spec := decodeSpec(false)
	spec.NKey = 2
	other, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.ApplyDelta(delta); err == nil || !strings.Contains(err.Error(), "other columns or another key") {
		t.Errorf("error %v", err)
	}
}

func TestImpossibleSpecs(t *testing.T) {
	i64, text := vector.Of(vector.Int64), vector.Of(vector.Varchar)
	cols := func(types ...vector.Type) []vector.Field {
		out := make([]vector.Field, len(types))
		for i := range types {
			out[i] = vector.Field{Name: "c", Type: types[i]}
		}
		return out
	}
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Name: "s"}, `state "s" has no columns`},
		{Spec{Name: "s", Cols: cols(i64), NKey: 2}, "key columns of 1"},
		{Spec{Name: "s", Cols: cols(i64, i64), NKey: 1, NPrefix: 2}, "2 prefix"},
		{Spec{Name: "s", Cols: cols(i64, text), NKey: 1, Weighted: true}, "a BIGINT"},
		{Spec{Name: "s", Cols: cols(i64, i64), NKey: 1, Weighted: true, EvictColumn: 1}, "to evict by"},
		{Spec{Name: "s", Cols: cols(i64, text), NKey: 1, EvictColumn: 1}, "not a date, timestamp or integer"},
		{Spec{Name: "s", Cols: cols(vector.Type{}), EvictColumn: -1}, "type"},
	} {
		if _, err := New(c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.spec, err, c.want)
		}
	}
}

func TestNegativeWeightPanicsAndRollsBack(t *testing.T) {
	tab, err := New(Spec{Name: "z", Cols: []vector.Field{{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "_w", Type: vector.Of(vector.Int64)}}, NKey: 1, NPrefix: 1, Weighted: true, EvictColumn: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	add := func(pairs ...int64) {
		c := vector.NewChunk(tab.types, len(pairs)/2)
		for i := range c.N {
			c.Cols[0].PutI64(i, pairs[2*i])
			c.Cols[1].PutI64(i, pairs[2*i+1])
		}
		tab.Add(c)
	}
	add(1, 2, 2, 1)
	tab.Commit()
	before := image(tab)
	for _, pairs := range [][]int64{{1, -2, 2, -2}, {3, -1}, {1, 1<<63 - 1}} {
		func() {
			defer func() {
				var bad *InvariantError
				if err, _ := recover().(error); !errors.As(err, &bad) || !strings.Contains(err.Error(), "weight") {
					t.Errorf("%v: recovered %v", pairs, err)
				}
			}()
			add(pairs...)
		}()
		tab.Rollback()
		if !bytes.Equal(image(tab), before) {
			t.Errorf("%v: not rolled back", pairs)
		}
	}
}

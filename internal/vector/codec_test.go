package vector_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
)

func randomTypes(r *rand.Rand) []vector.Type {
	types := make([]vector.Type, 1+r.IntN(4))
	for i := range types {
		types[i] = vectortest.Type(r, 3)
	}
	return types
}

// forSeeds runs f with a generator for each of n seeds and names the seed of a failure.
func forSeeds(t *testing.T, n uint64, f func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range n {
		f(t, rand.New(rand.NewPCG(seed, 7)))
		if t.Failed() {
			t.Fatalf("failed with seed %d", seed)
		}
	}
}

func rowsEqual(t *testing.T, want, got *vector.Chunk) {
	t.Helper()
	if want.N != got.N {
		t.Fatalf("%d rows, want %d", got.N, want.N)
	}
	for k := range want.Cols {
		for i := range want.N {
			if w, g := vector.Text(&want.Cols[k], i), vector.Text(&got.Cols[k], i); w != g {
				t.Fatalf("column %d (%s) row %d: %s, want %s", k, want.Cols[k].Type, i, g, w)
			}
			if !vector.EqualValue(&want.Cols[k], i, &got.Cols[k], i) {
				t.Fatalf("column %d (%s) row %d: not equal", k, want.Cols[k].Type, i)
			}
		}
	}
}

func TestChunkRoundTrip(t *testing.T) {
	forSeeds(t, 300, func(t *testing.T, r *rand.Rand) {
		types := randomTypes(r)
		c := vectortest.Chunk(r, types, r.IntN(100), 20)
		b := vector.AppendChunk([]byte("before"), c)
		got, rest, err := vector.DecodeChunk(types, append(b, "after"...)[6:])
		if err != nil || string(rest) != "after" {
			t.Fatalf("rest %q, error %v", rest, err)
		}
		rowsEqual(t, c, got)
		if again := vector.AppendChunk(nil, got); !bytes.Equal(again, b[6:]) {
			t.Error("encoding of the decoded chunk differs")
		}
	})
}

// Equal content gives equal bytes and digests whatever the layout: rows shuffled and put back, sliced,
// filtered or cloned.
func TestLayoutDoesNotMatter(t *testing.T) {
	forSeeds(t, 200, func(t *testing.T, r *rand.Rand) {
		types := randomTypes(r)
		n := 1 + r.IntN(80)
		c := vectortest.Chunk(r, types, n, 20)
		perm, back := make([]int32, n), make([]int32, n)
		for i, p := range r.Perm(n) {
			perm[i], back[p] = int32(p), int32(i)
		}
		want := string(vector.AppendChunk(nil, c))
		shuffled := vector.Gather(c, perm)
		all := make([]bool, n)
		for i := range all {
			all[i] = true
		}
		for name, d := range map[string]*vector.Chunk{
			"gather": vector.Gather(shuffled, back), "clone": c.Clone(), "slice": c.Slice(0, n), "filter": vector.Filter(c, all),
		} {
			if string(vector.AppendChunk(nil, d)) != want {
				t.Errorf("%s: encoding differs", name)
			}
		}
		var a, b vector.Digest
		a.AddChunk(c)
		cut := r.IntN(n + 1)
		b.AddChunk(shuffled.Slice(cut, n))
		b.AddChunk(shuffled.Slice(0, cut))
		if a.String() != b.String() || a.Rows() != b.Rows() {
			t.Errorf("digest of shuffled rows is %v (%d rows), want %v (%d)", b.String(), b.Rows(), a.String(), a.Rows())
		}
	})
}

func TestValuesConcatenate(t *testing.T) {
	forSeeds(t, 200, func(t *testing.T, r *rand.Rand) {
		typ := vectortest.Type(r, 3)
		c := vectortest.Chunk(r, []vector.Type{typ}, 40, 20)
		rd := vector.NewValueReader(typ)
		got := &vector.Chunk{N: c.N}
		for i := range c.N {
			b := vector.AppendValue(nil, &c.Cols[0], i)
			got.Keep = append(got.Keep, b)
			if c.Cols[0].IsNull(i) && i%2 == 0 {
				rd.AppendNull()
			} else if err := rd.Append(b); err != nil {
				t.Fatal(err)
			}
		}
		got.Cols = []vector.Vector{rd.Out}
		rowsEqual(t, c, got)
		if !bytes.Equal(vector.AppendChunk(nil, got), vector.AppendChunk(nil, c)) {
			t.Error("encoding of the concatenated values differs")
		}
	})
}

func TestTypesRoundTrip(t *testing.T) {
	forSeeds(t, 300, func(t *testing.T, r *rand.Rand) {
		types := randomTypes(r)
		got, rest, err := vector.DecodeTypes(append(vector.AppendTypes(nil, types), 'x'))
		if err != nil || string(rest) != "x" {
			t.Fatalf("rest %q, error %v", rest, err)
		}
		if diff := cmp.Diff(types, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestChunkWithoutColumns(t *testing.T) {
	c, rest, err := vector.DecodeChunk(nil, vector.AppendChunk(nil, &vector.Chunk{N: 5000}))
	if err != nil || len(rest) != 0 || c.N != 5000 {
		t.Fatalf("%+v, %d left, %v", c, len(rest), err)
	}
}

func FuzzDecode(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		types := randomTypes(r)
		f.Add(vector.AppendTypes(nil, types), vector.AppendChunk(nil, vectortest.Chunk(r, types, r.IntN(20), 9)))
	}
	f.Fuzz(func(t *testing.T, typ, data []byte) {
		types, _, err := vector.DecodeTypes(typ)
		if err != nil {
			return
		}
		c, rest, err := vector.DecodeChunk(types, data)
		if err != nil {
			return
		}
		b := vector.AppendChunk(nil, c)
		again, left, err := vector.DecodeChunk(types, b)
		if err != nil || len(left) != 0 {
			t.Fatalf("decode of an encoded chunk: %v, %d bytes left", err, len(left))
		}
		if !bytes.Equal(vector.AppendChunk(nil, again), b) {
			t.Fatal("encoding is not canonical")
		}
		_ = rest
		for k := range c.Cols {
			for i := range min(c.N, 50) {
				_ = vector.Text(&c.Cols[k], i)
			}
		}
		var d vector.Digest
		d.AddChunk(c)
	})
}

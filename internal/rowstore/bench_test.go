//go:build unix

package rowstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
)

// benchTable returns a table of n rows of a BIGINT or VARCHAR key and three BIGINT partials.
func benchTable(b *testing.B, n int, key vector.Kind) *Table {
	b.Helper()
	i64 := vector.Of(vector.Int64)
	tab, err := New(Spec{Name: "g", Cols: []vector.Field{{Name: "k", Type: vector.Of(key)}, {Name: "n", Type: i64}, {Name: "s", Type: i64}, {Name: "m", Type: i64}}, NKey: 1, EvictColumn: -1})
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < n; from += vector.Size {
		c := benchRows(tab, min(vector.Size, n-from), func(i int) int { return from + i })
		tab.Upsert(c, nil)
		tab.Commit()
	}
	return tab
}

func benchRows(tab *Table, n int, key func(int) int) *vector.Chunk {
	c := vector.NewChunk(tab.types, n)
	for i := range n {
		k := key(i)
		if c.Cols[0].Type.IsString() {
			s := []byte(fmt.Sprintf("customer-%012d", k))
			c.Keep = append(c.Keep, s)
			c.Cols[0].PutStr(i, s)
		} else {
			c.Cols[0].PutI64(i, int64(uint64(k)*0x9e3779b97f4a7c15))
		}
		for j := 1; j < 4; j++ {
			c.Cols[j].PutI64(i, int64(k+j))
		}
	}
	return c
}

// BenchmarkBatch is a batch of a grouped aggregate: old rows out, new rows in, delta encoded, commit; 80 %
// of the touched keys exist.
func BenchmarkBatch(b *testing.B) {
	for _, key := range []vector.Kind{vector.Int64, vector.Varchar} {
		for _, rows := range []int{100_000, 1_000_000, 10_000_000} {
			if rows > 1_000_000 && testing.Short() {
				continue
			}
			var tab *Table
			for _, touched := range []int{1000, 10_000, 100_000} {
				b.Run(fmt.Sprintf("%s/rows=%s/touched=%s", vector.Of(key), short(rows), short(touched)), func(b *testing.B) {
					if tab == nil {
						tab = benchTable(b, rows, key)
					}
					benchBatches(b, tab, rows, touched)
				})
			}
			if tab != nil {
				s := tab.Stats()
				b.Logf("%s: %d rows, %d bytes a row", vector.Of(key), s.Rows, s.Bytes/max(1, s.Rows))
				tab.Close()
			}
		}
	}
}

func short(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprint(n/1_000_000, "M")
	}
	return fmt.Sprint(n/1000, "k")
}

func benchBatches(b *testing.B, tab *Table, rows, touched int) {
	r := rand.New(rand.NewPCG(1, uint64(touched)))
	var delta []byte
	var cpu time.Duration
	batch := func() []*vector.Chunk {
		var chunks []*vector.Chunk
		for from := 0; from < touched; from += vector.Size {
			c := benchRows(tab, min(vector.Size, touched-from), func(int) int { return r.IntN(rows * 5 / 4) })
			for i := range c.N {
				c.Cols[1].PutI64(i, r.Int64())
			}
			chunks = append(chunks, c)
		}
		return chunks
	}
	// The first batch is not timed: it grows the memory that later ones reuse.
	for n := 0; n == 0 || b.Loop(); n++ {
		b.StopTimer()
		chunks := batch()
		if n > 0 {
			b.StartTimer()
		}
		from := cpuTime(b)
		for _, c := range chunks {
			tab.Get(&vector.Chunk{N: c.N, Cols: c.Cols[:1], Keep: c.Keep})
			tab.Upsert(c, nil)
		}
		delta = tab.Delta(delta[:0])
		tab.DeltaDigest()
		tab.Commit()
		b.StopTimer()
		if n > 0 {
			cpu += cpuTime(b) - from
		}
		for _, c := range chunks {
			tab.Upsert(c, added(c, rows))
		}
		tab.Commit()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*touched), "ns/row")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N*touched), "cpu-ns/row")
	b.ReportMetric(float64(len(delta))/float64(touched), "deltaB/row")
}

// cpuTime is what the process has used so far: on a busy machine it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRows fetches prefixes with five rows each, as a join does.
func BenchmarkRows(b *testing.B) {
	i64 := vector.Of(vector.Int64)
	const prefixes, fanOut = 400_000, 5
	tab, err := New(Spec{Name: "j", Cols: []vector.Field{{Name: "p", Type: i64}, {Name: "k", Type: i64}, {Name: "v", Type: i64}}, NKey: 2, NPrefix: 1, EvictColumn: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer tab.Close()
	for k := range fanOut {
		for from := 0; from < prefixes; from += 2000 {
			c := vector.NewChunk(tab.types, 2000)
			for i := range c.N {
				c.Cols[0].PutI64(i, int64(from+i))
				c.Cols[1].PutI64(i, int64(k))
			}
			tab.Upsert(c, nil)
		}
		tab.Commit()
	}
	r := rand.New(rand.NewPCG(1, 1))
	c := vector.NewChunk(tab.types[:1], 1000)
	found := 0
	for b.Loop() {
		for i := range c.N {
			c.Cols[0].PutI64(i, r.Int64N(prefixes))
		}
		rows, _ := tab.Rows(c)
		found += rows.N
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(found), "ns/row")
	b.ReportMetric(float64(tab.Stats().Bytes)/float64(tab.Len()), "B/row")
}

// BenchmarkNested updates and reads back rows with a LIST of STRUCT, the costliest kind of column.
func BenchmarkNested(b *testing.B) {
	pair := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "a", Type: vector.Of(vector.Int64)}, {Name: "b", Type: vector.Of(vector.Varchar)}}}
	tab, err := New(Spec{Name: "l", Cols: []vector.Field{{Name: "k", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.ListOf(pair)}}, NKey: 1, EvictColumn: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer tab.Close()
	r := rand.New(rand.NewPCG(1, 1))
	c := vectortest.Chunk(r, tab.types, vector.Size, 20)
	c.Cols[0].Valid = nil
	for i := range c.N {
		c.Cols[0].PutI64(i, int64(i))
	}
	other := vectortest.Chunk(r, tab.types, vector.Size, 20)
	other.Cols[0] = c.Cols[0]
	for b.Loop() {
		c, other = other, c
		tab.Get(&vector.Chunk{N: c.N, Cols: c.Cols[:1]})
		tab.Upsert(c, nil)
		tab.Delta(nil)
		tab.Commit()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*vector.Size), "ns/row")
}

// BenchmarkWindows is the life of a windowed state: each batch inserts rows of later times and evicts as
// many earlier ones out of a million.
func BenchmarkWindows(b *testing.B) {
	i64 := vector.Of(vector.Int64)
	tab, err := New(Spec{Name: "w", Cols: []vector.Field{{Name: "at", Type: vector.Of(vector.Timestamp)}, {Name: "k", Type: i64}, {Name: "n", Type: i64}}, NKey: 2, EvictColumn: 0})
	if err != nil {
		b.Fatal(err)
	}
	defer tab.Close()
	const kept, touched = 1_000_000, 2000
	now := 0
	step := func() int {
		c := vector.NewChunk(tab.types, touched)
		for i := range c.N {
			now++
			c.Cols[0].PutI64(i, int64(now/100)*1_000_000)
			c.Cols[1].PutI64(i, int64(now%100))
		}
		tab.Upsert(c, nil)
		n := tab.Evict(int64((now-kept)/100) * 1_000_000)
		tab.Delta(nil)
		tab.Commit()
		return n
	}
	for now < kept {
		step()
	}
	evicted := 0
	for b.Loop() {
		evicted += step()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(1, evicted)), "ns/evicted")
	b.ReportMetric(float64(tab.Stats().Bytes)/float64(tab.Len()), "B/row")
}

// BenchmarkGrow inserts a million rows and reports the longest batch of 2,000: growth must not stall.
func BenchmarkGrow(b *testing.B) {
	const rows = 1_000_000
	var longest time.Duration
	for b.Loop() {
		tab := benchTable(b, 0, vector.Int64)
		for from := 0; from < rows; from += 2000 {
			c := benchRows(tab, 2000, func(i int) int { return from + i })
			at := time.Now()
			tab.Upsert(c, nil)
			tab.Commit()
			longest = max(longest, time.Since(at))
		}
		tab.Close()
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
}

// BenchmarkSnapshot writes and loads a million rows.
func BenchmarkSnapshot(b *testing.B) {
	const rows = 1_000_000
	tab := benchTable(b, rows, vector.Varchar)
	defer tab.Close()
	var longest, loading time.Duration
	size := 0
	for b.Loop() {
		other := benchTable(b, 0, vector.Varchar)
		tab.SnapshotBegin()
		for done := false; !done; {
			var block []byte
			at := time.Now()
			block, done = tab.SnapshotNext(nil, 16<<10)
			longest = max(longest, time.Since(at))
			size += len(block)
			at = time.Now()
			if err := other.Load(block); err != nil {
				b.Fatal(err)
			}
			loading += time.Since(at)
		}
		other.Close()
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
	b.ReportMetric(float64((b.Elapsed()-loading).Nanoseconds())/float64(b.N*rows), "ns/row-out")
	b.ReportMetric(float64(loading.Nanoseconds())/float64(b.N*rows), "ns/row-in")
	b.ReportMetric(float64(size)/float64(b.N*rows), "B/row")
}

// added is false for the rows that the bench's table did not have at first, so that it can delete them.
func added(c *vector.Chunk, rows int) []bool {
	live := make([]bool, c.N)
	for i := range live {
		live[i] = c.Cols[2].I64(i) < int64(rows+2)
	}
	return live
}

package nexmark

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/file"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

func open(t testing.TB, opt Options) *Source {
	t.Helper()
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	for typ, rows := range map[string]int64{"person": 100, "auction": 300, "bid": 4600} {
		t.Run(typ, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Config{
				Columns: Columns(typ), Rows: rows, Bad: 0,
				Open: func(t testing.TB) microbatch.Source {
					return open(t, Options{Type: typ, Columns: Columns(typ), Events: 5000, Seed: 42})
				},
				Lost: map[string]func(testing.TB) sourcetest.Losable{"another seed": func(testing.TB) sourcetest.Losable {
					opt := Options{Type: typ, Columns: Columns(typ), Events: 1000}
					return sourcetest.Losable{Open: func(t testing.TB) microbatch.Source { return open(t, opt) }, Lose: func(testing.TB) { opt.Seed = 9 }}
				}},
			})
		})
	}
}

// A column's values do not depend on which other columns are declared.
func TestSubsetOfColumns(t *testing.T) {
	for _, typ := range []string{"person", "auction", "bid"} {
		all := drain(t, open(t, Options{Type: typ, Columns: Columns(typ), Events: 1000}))
		for i, f := range Columns(typ) {
			one := drain(t, open(t, Options{Type: typ, Columns: []vector.Field{f}, Events: 1000}))
			for r := range all {
				if want := strings.Split(all[r], " | ")[i]; strings.Split(one[r], " | ")[0] != want {
					t.Fatalf("%s.%s row %d: %s alone, %s with the others", typ, f.Name, r, one[r], want)
				}
			}
		}
	}
}

func drain(t *testing.T, s *Source) []string {
	t.Helper()
	r, err := s.Poll(context.Background(), nil, microbatch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Done {
		t.Fatal("not at the end")
	}
	return sourcetest.RenderAll(r.Chunks)
}

// The proportions that the queries rely on: ids in range, hot keys hot, prices log-uniform.
func TestDistributions(t *testing.T) {
	g := newGenerator(Options{Seed: 7}.withDefaults())
	var hotAuction, hotBidder, cheap, n int
	for row := range int64(100_000) {
		event := tables["bid"].eventOf(row + 1000)
		a, p := g.bidAuction(event), g.bidder(event)
		newest := firstAuctionID + lastAuction(event)
		if a < firstAuctionID || a > newest+auctionIDLead || a < newest-200 {
			t.Fatalf("bid %d is on auction %d, the newest is %d", event, a, newest)
		}
		if p < firstPersonID || p > firstPersonID+lastPerson(event)+personIDLead {
			t.Fatalf("bid %d is by %d", event, p)
		}
		if (a-firstAuctionID)%hotEvery == 0 {
			hotAuction++
		}
		if (p-firstPersonID)%hotEvery == 1 {
			hotBidder++
		}
		c := price(g.draw(event, drawPrice))
		if c < 100 || c > 100_000_000 {
			t.Fatalf("price %d", c)
		}
		if c < 100_000 {
			cheap++
		}
		n++
	}
	for name, got := range map[string]struct{ share, want float64 }{
		"hot auctions":   {float64(hotAuction) / float64(n), 0.505},
		"hot bidders":    {float64(hotBidder) / float64(n), 0.7525},
		"prices < 1,000": {float64(cheap) / float64(n), 0.5},
	} {
		if d := got.share - got.want; d > 0.01 || d < -0.01 {
			t.Errorf("%s: share %.3f, want %.3f", name, got.share, got.want)
		}
	}
}

var update = flag.Bool("update", false, "write testdata anew")

// The stream must never change: recorded offsets point into it.
func TestGolden(t *testing.T) {
	for _, typ := range []string{"person", "auction", "bid"} {
		var buf bytes.Buffer
		if err := WriteNDJSON(&buf, Options{Type: typ, Seed: 1}, 5); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", typ+".ndjson")
		if *update {
			if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), buf.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", typ, diff)
		}
	}
}

// What WriteNDJSON writes, the file source reads back as the same rows.
func TestNDJSONRoundTrip(t *testing.T) {
	for _, typ := range []string{"person", "auction", "bid"} {
		opt := Options{Type: typ, Columns: Columns(typ), Events: 100_000}
		path := filepath.Join(t.TempDir(), typ+".ndjson")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteNDJSON(f, opt, 1000); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		src, err := file.New(file.Options{Path: path, Columns: opt.Columns})
		if err != nil {
			t.Fatal(err)
		}
		got, err := src.Poll(context.Background(), nil, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := open(t, opt).Poll(context.Background(), nil, microbatch.Limits{MaxRows: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(withoutSeq(want.Chunks), withoutSeq(got.Chunks)); diff != "" {
			t.Errorf("%s: (-generated +read back):\n%s", typ, diff)
		}
	}
}

func withoutSeq(chunks []*vector.Chunk) []string {
	rows := sourcetest.RenderAll(chunks)
	for i, r := range rows {
		rows[i] = r[:strings.LastIndex(r, " | ")]
	}
	return rows
}

// The rate says how far Poll may go, and nothing about the events.
func TestRate(t *testing.T) {
	now := time.Unix(1000, 0)
	s := open(t, Options{Type: "bid", Columns: Columns("bid"), Rate: 500, Events: 2000})
	s.now = func() time.Time { return now }
	var from json.RawMessage
	for i, want := range []int64{0, 46, 46 * 9, 46 * 30, 0} {
		r, err := s.Poll(context.Background(), from, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Count != want {
			t.Errorf("poll %d: %d rows, want %d", i, r.Count, want)
		}
		if r.Done != (i >= 3) {
			t.Errorf("poll %d: Done is %v", i, r.Done)
		}
		from = r.To
		now = now.Add([]time.Duration{100 * time.Millisecond, 900 * time.Millisecond, time.Hour, 0, 0}[i])
	}
}

func TestOtherStreamIsRangeChanged(t *testing.T) {
	a := open(t, Options{Type: "bid", Columns: Columns("bid"), Events: 1000})
	r, err := a.Poll(context.Background(), nil, microbatch.Limits{MaxRows: 10})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, Options{Type: "bid", Columns: Columns("bid"), Events: 1000, Seed: 9})
	_, err = b.Read(context.Background(), nil, r.To)
	sourcetest.RangeChanged(t, err)
	_, err = b.Poll(context.Background(), r.To, microbatch.Limits{})
	sourcetest.RangeChanged(t, err)
	// More events, or a rate, are no change.
	c := open(t, Options{Type: "bid", Columns: Columns("bid"), Events: 5000, Rate: 1e6})
	if _, err := c.Read(context.Background(), nil, r.To); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	col := func(name string, k vector.Kind) []vector.Field {
		return []vector.Field{{Name: name, Type: vector.Of(k)}}
	}
	for _, tc := range []struct {
		opt  Options
		want []string
	}{
		{Options{Type: "bid", Columns: col("prise", vector.Int64)}, []string{"has no column prise", "did you mean price?"}},
		{Options{Type: "bid", Columns: col("zzz", vector.Int64)}, []string{"has no column zzz", "it has auction, bidder"}},
		{Options{Type: "bid", Columns: col("price", vector.Int32)}, []string{"declared INTEGER, but nexmark's is BIGINT"}},
		{Options{Type: "bids", Columns: col("price", vector.Int64)}, []string{"type = 'bids' is not known"}},
		{Options{Name: "events", Columns: col("price", vector.Int64)}, []string{"source events:", "type = '' is not known"}},
		{Options{Type: "bid", Columns: col("price", vector.Int64), HotAuctionRatio: -1, Events: -5, Rate: -1},
			[]string{"hot_auction_ratio = -1", "events = -5", "rate = -1"}},
		{Options{Type: "bid"}, []string{"no columns"}},
	} {
		_, err := New(tc.opt)
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want %q in it", tc.opt, err, want)
			}
		}
	}
	if s := open(t, Options{Name: "Bid", Columns: col("price", vector.Int64)}); s.opt.Type != "bid" {
		t.Error("the type does not default to the name")
	}
}

func BenchmarkBid(b *testing.B) {
	for name, cols := range map[string][]vector.Field{
		"numeric": {Columns("bid")[0], Columns("bid")[1], Columns("bid")[2], Columns("bid")[5]},
		"all":     Columns("bid"),
	} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Options{Type: "bid", Columns: cols})
			var rows int64
			for b.Loop() {
				r, err := s.Poll(context.Background(), nil, microbatch.Limits{MaxRows: 100_000})
				if err != nil {
					b.Fatal(err)
				}
				rows += r.Count
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

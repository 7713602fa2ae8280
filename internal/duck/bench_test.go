package duck

import (
	"context"
	"fmt"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

const benchRows = 100_000

// bids is seven columns with strings, like an event of the usual benchmarks.
const bids = `SELECT hash(i) %% 1000 AS auction, i AS bidder, i %% 9999 AS price, 'channel-' || i %% 20 AS channel,
	'https://www.example.com/item/' || i AS url, TIMESTAMP '2024-01-01' + to_milliseconds(i) AS date_time, i AS _seq
	FROM (SELECT i::BIGINT AS i FROM range(%d) t(i))`

func benchInput(b *testing.B, c *Conn) *Input {
	b.Helper()
	chunks, fields, err := c.Collect(context.Background(), fmt.Sprintf(bids, benchRows))
	if err != nil {
		b.Fatal(err)
	}
	in, err := c.RegisterInput("in_bid", fields)
	if err != nil {
		b.Fatal(err)
	}
	in.Set(chunks)
	return in
}

func BenchmarkInput(b *testing.B) {
	c := connect(b, Options{})
	benchInput(b, c)
	for _, q := range []struct{ name, sql string }{
		{"table", "CREATE OR REPLACE TEMP TABLE d AS FROM in_bid()"},
		{"group by int", "SELECT auction, count(*) FROM in_bid() GROUP BY auction"},
		{"group by string", "SELECT channel, count(*) FROM in_bid() GROUP BY channel"},
		{"sum", "SELECT sum(price) FROM in_bid()"},
		{"count", "SELECT count(*) FROM in_bid()"},
	} {
		b.Run(q.name, func(b *testing.B) {
			s, err := c.Prepare(context.Background(), q.sql)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for b.Loop() {
				if err := s.Exec(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			rate(b, benchRows)
		})
	}
}

func BenchmarkRows(b *testing.B) {
	c := connect(b, Options{})
	exec(b, c, fmt.Sprintf("CREATE TABLE bid AS "+bids, benchRows))
	exec(b, c, "CREATE TABLE nested AS SELECT i, [i, i] AS l, {'a': i, 'b': 'string number ' || i} AS s FROM (SELECT bidder AS i FROM bid)")
	for _, table := range []string{"bid", "nested"} {
		b.Run(table, func(b *testing.B) {
			s, err := c.Prepare(context.Background(), "FROM "+table)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.Run("stream", func(b *testing.B) {
				for b.Loop() {
					r, err := s.Query(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					for r.Next() {
					}
					r.Close()
				}
				rate(b, benchRows)
			})
			b.Run("collect", func(b *testing.B) {
				for b.Loop() {
					if _, _, err := s.Collect(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
				rate(b, benchRows)
			})
		})
	}
}

// sameState answers every lookup with the same chunk, so that only the crossing is measured.
type sameState struct {
	rows  *vector.Chunk
	found []bool
	start []int
}

func (s *sameState) Get(*vector.Chunk) (*vector.Chunk, []bool) { return s.rows, s.found }
func (s *sameState) Rows(*vector.Chunk) (*vector.Chunk, []int) { return s.rows, s.start }
func (s *sameState) Scan() func() *vector.Chunk                { return func() *vector.Chunk { return nil } }

func BenchmarkLookup(b *testing.B) {
	c := connect(b, Options{})
	chunks, fields, err := c.Collect(context.Background(), "SELECT i AS k, i AS a, i AS b, 'string number ' || i AS s FROM range(2048) t(i)")
	if err != nil {
		b.Fatal(err)
	}
	st := &sameState{rows: chunks[0], found: make([]bool, vector.Size), start: make([]int, vector.Size+1)}
	for i := range st.found {
		st.found[i], st.start[i+1] = true, i+1
	}
	if err := c.RegisterState("st", fields, 1, 1, st); err != nil {
		b.Fatal(err)
	}
	exec(b, c, "CREATE TABLE keys AS SELECT i AS k FROM range(204800) t(i)")
	for _, q := range []struct{ name, sql string }{
		{"base", "SELECT sum(k) FROM keys"},
		{"get", "SELECT sum(k), count(st_get(k)) FROM keys"},
		{"rows", "SELECT sum(k), count(st_rows(k)) FROM keys"},
	} {
		b.Run(q.name, func(b *testing.B) {
			s, err := c.Prepare(context.Background(), q.sql)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for b.Loop() {
				if err := s.Exec(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			rate(b, 204800)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "us/vector")
		})
	}
}

func BenchmarkFixed(b *testing.B) {
	c := connect(b, Options{})
	in, err := c.RegisterInput("in_one", abc)
	if err != nil {
		b.Fatal(err)
	}
	in.Set(abcRows(b, c, 1))
	s, err := c.Prepare(context.Background(), "FROM in_one()")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, run := range map[string]func() error{
		"prepared": func() error { _, _, err := s.Collect(ctx); return err },
		"query":    func() error { _, _, err := c.Collect(ctx, "FROM in_one()"); return err },
		"table":    func() error { return c.Exec(ctx, "CREATE OR REPLACE TEMP TABLE d AS FROM in_one()") },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func rate(b *testing.B, rows int) {
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

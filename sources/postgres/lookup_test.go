package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var columns = []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "name", Type: vector.Of(vector.Varchar)}, {Name: "rate", Type: vector.Of(vector.Float64)}}

func options(url string, key ...int) Options {
	return Options{Name: "rates", Columns: columns, Key: key, URL: url, Dir: "/tables/rates", FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)}
}

func mustOpen(t *testing.T, opt Options) *refresher {
	t.Helper()
	r, err := open(opt.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// relation is what the log's rows up to its end amount to, by the contract of weighted and keyed sources.
func relation(t *testing.T, r *Lookup, key []int) []string {
	t.Helper()
	rows, err := r.Poll(context.Background(), nil, microbatch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int64{}
	byKey := map[string]string{}
	for _, c := range rows.Chunks {
		for i := range c.N {
			var row, k []string
			for col := range len(c.Cols) - 2 {
				text := "NULL"
				if !c.Cols[col].IsNull(i) {
					text = vector.Text(&c.Cols[col], i)
				}
				row = append(row, text)
				if slices.Contains(key, col) {
					k = append(k, text)
				}
			}
			w, text := c.Cols[len(c.Cols)-2].I64(i), strings.Join(row, "|")
			switch {
			case key == nil:
				if have[text] += w; have[text] < 0 {
					t.Fatalf("row %s is deleted and not there", text)
				}
			case w < 0:
				delete(byKey, strings.Join(k, "|"))
			default:
				byKey[strings.Join(k, "|")] = text
			}
		}
	}
	out := slices.Collect(maps.Values(byKey))
	for row, n := range have {
		for range n {
			out = append(out, row)
		}
	}
	slices.Sort(out)
	return out
}

// TestVersions changes a table at random and refreshes: the log's rows always amount to the table, also after the
// log was opened again, and a table that did not change appends nothing.
func TestVersions(t *testing.T) {
	ctx := context.Background()
	for name, key := range map[string][]int{"multiset": nil, "keyed": {0}} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.URL(t)
			pgtest.Exec(t, url, "CREATE TABLE rates (name text, extra int, rate float8, id bigint)")
			if key != nil {
				pgtest.Exec(t, url, "CREATE UNIQUE INDEX ON rates (id) NULLS NOT DISTINCT")
			}
			opt := options(url, key...)
			r := mustOpen(t, opt)
			for round := range 25 {
				id := func() string {
					if n := rand.IntN(12); n > 0 {
						return fmt.Sprint(n)
					}
					return "NULL"
				}
				for range rand.IntN(4) {
					name := []string{"NULL", "'x'", "'a longer name than twelve bytes'", "''"}[rand.IntN(4)]
					switch op := rand.IntN(8); {
					case op < 4:
						pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO rates VALUES (%s, 1, %d, %s) ON CONFLICT DO NOTHING", name, rand.IntN(3), id()))
					case op < 5:
						pgtest.Exec(t, url, "DELETE FROM rates WHERE id IS NOT DISTINCT FROM "+id())
					case op < 6:
						pgtest.Exec(t, url, fmt.Sprintf("UPDATE rates SET rate = %d WHERE id > %d", rand.IntN(3), rand.IntN(12)))
					case op < 7 && key == nil:
						pgtest.Exec(t, url, "UPDATE rates SET id = id + 1")
					case op < 7:
						pgtest.Exec(t, url, "UPDATE rates SET id = id + (SELECT 1 + max(id) - min(id) FROM rates)")
					case rand.IntN(5) == 0:
						pgtest.Exec(t, url, "TRUNCATE rates")
					}
				}
				if err := r.refresh(ctx); err != nil {
					t.Fatal(err)
				}
				want := pgtest.Rows(t, url, "SELECT coalesce(id::text, 'NULL'), coalesce(name, 'NULL'), rate || '.0' FROM rates")
				slices.Sort(want)
				if diff := cmp.Diff(append([]string{}, want...), append([]string{}, relation(t, r.Lookup, key)...)); diff != "" {
					t.Fatalf("round %d (-table +log):\n%s", round, diff)
				}
				end := r.log.End()
				if round%5 == 4 {
					if err := r.Close(); err != nil {
						t.Fatal(err)
					}
					r = mustOpen(t, opt)
				}
				if err := r.refresh(ctx); err != nil || r.log.End() != end {
					t.Fatalf("round %d: a table that did not change appended %d rows: %v", round, r.log.End()-end, err)
				}
			}
		})
	}
}

func TestConformance(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE rates (id bigint, name text, rate float8)", "INSERT INTO rates SELECT i, repeat('n', i % 20), i / 7.0 FROM generate_series(1, 5000) i")
	opt := options(url, 0)
	r := mustOpen(t, opt)
	for _, change := range []string{"SELECT", "UPDATE rates SET rate = -rate WHERE id % 10 = 3", "DELETE FROM rates WHERE id % 7 = 2"} {
		pgtest.Exec(t, url, change)
		if err := r.refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	rows := int64(r.log.End())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	openOn := func(t testing.TB, m *vfs.Mem) microbatch.Source {
		again := opt
		again.Bounded = true
		again.FS = m.CrashClone(vfs.Crash{KeepPercent: 100})
		r, err := open(again.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		return r.Lookup
	}
	sourcetest.Run(t, sourcetest.Config{Columns: columns, Weighted: true, Keyed: true, Rows: rows, Bounded: true,
		Open: func(t testing.TB) microbatch.Source { return openOn(t, opt.FS.(*vfs.Mem)) },
		Lost: map[string]func(testing.TB) sourcetest.Losable{"directory gone": func(testing.TB) sourcetest.Losable {
			on := opt.FS.(*vfs.Mem)
			return sourcetest.Losable{Open: func(t testing.TB) microbatch.Source { return openOn(t, on) }, Lose: func(testing.TB) { on = vfs.NewMem() }}
		}},
	})
}

func TestRefusedTables(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE rates (id integer, name varchar(20), rate numeric)", "CREATE TABLE cities (id bigint, name text, rate float8)",
		"INSERT INTO cities VALUES (1, 'a', 1), (1, 'b', 2)", "CREATE TABLE events (id bigint, name text, rate timestamptz)")
	for _, tc := range []struct {
		name string
		edit func(*Options)
		want string // of the error; empty if it fits
	}{
		{"fits with implicit casts", func(o *Options) {}, ""},
		{"a query", func(o *Options) { o.Query = "SELECT id, name, 1.5::float8 AS \"RATE\" FROM cities;" }, ""},
		{"no such table", func(o *Options) { o.Table = "rate" }, "there is no table rate in database"},
		{"hint", func(o *Options) { o.Table = "rate" }, "Hint: it has cities, events, rates"},
		{"no such schema", func(o *Options) { o.Table = "nowhere.rates" }, "there is no table nowhere.rates"},
		{"no such column", func(o *Options) { o.Query = "SELECT id, rate FROM rates" }, "column name is not among its columns\nHint: it has id, rate"},
		{"wrong type", func(o *Options) { o.Table = "events" }, "column rate is declared as DOUBLE and is timestamp with time zone there\nHint: declare it as TIMESTAMPTZ"},
		{"broken query", func(o *Options) { o.Query = "SELEC 1" }, "syntax error"},
		{"a query that writes", func(o *Options) {
			o.Query = "WITH d AS (DELETE FROM cities RETURNING *) SELECT * FROM d"
		}, "SQLSTATE"},
		{"equal keys", func(o *Options) { o.Table, o.Key = "cities", []int{0} }, "two rows have the declared PRIMARY KEY (id), one of them (1)"},
		{"no server", func(o *Options) { o.URL = "postgres://127.0.0.1:1/x" }, "is the server running"},
		{"table and query", func(o *Options) { o.Table, o.Query = "x", "SELECT 1" }, "are both given"},
		{"too often", func(o *Options) { o.Refresh = 1 }, "refresh = 1ns is less than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			o := options(url)
			tc.edit(&o)
			l, err := New(context.Background(), o)
			if err == nil {
				err = l.Close()
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
	if found, err := Check(context.Background(), options(url)); err != nil || found != "its columns fit; it has 0 rows" {
		t.Errorf("check: %q, %v", found, err)
	}
}

// TestServerDown: the first start is refused without a server; a later one goes on with the last version, says so, and
// sees the table again when the server is back.
func TestServerDown(t *testing.T) {
	server := pgtest.New(t)
	url := server.Database(t)
	pgtest.Exec(t, url, "CREATE TABLE rates (id bigint, name text, rate float8)", "INSERT INTO rates VALUES (1, 'a', 1)")
	opt := options(url, 0)
	var said bytes.Buffer
	opt.Logger = slog.New(slog.NewTextHandler(&said, nil))
	server.Stop(t)
	if _, err := New(context.Background(), opt); err == nil || !strings.Contains(err.Error(), "is the server running") {
		t.Fatalf("the first start without a server: %v", err)
	}
	server.Start(t)
	l, err := New(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if l, err = New(context.Background(), opt); err != nil {
		t.Fatal(err)
	}
	if got := relation(t, l, opt.Key); !slices.Equal(got, []string{"1|a|1.0"}) {
		t.Errorf("the last version is %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "its last version stays") {
		t.Errorf("nothing was said: %s", &said)
	}
	server.Start(t)
	pgtest.Exec(t, url, "UPDATE rates SET name = 'b'")
	if l, err = New(context.Background(), opt); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := relation(t, l, opt.Key); !slices.Equal(got, []string{"1|b|1.0"}) {
		t.Errorf("the version after the server came back is %q", got)
	}
}

func TestLogThatIsGone(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE rates (id bigint, name text, rate float8)", "INSERT INTO rates VALUES (1, 'a', 1), (2, 'b', 2)")
	opt := options(url, 0)
	l, err := New(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Poll(context.Background(), nil, microbatch.Limits{})
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "DELETE FROM rates WHERE id = 1")
	opt.FS = vfs.NewMem()
	if l, err = New(context.Background(), opt); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Poll(context.Background(), r.To, microbatch.Limits{}); !errors.Is(err, microbatch.ErrRangeChanged) {
		t.Errorf("a log that was made anew: %v", err)
	}
	if _, err := NewReader(opt).Read(context.Background(), nil, r.To); !errors.Is(err, microbatch.ErrRangeChanged) {
		t.Errorf("a replay from a log that was made anew: %v", err)
	}
}

package postgrescdc

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func field(name string, k vector.Kind) vector.Field {
	return vector.Field{Name: name, Type: vector.Of(k)}
}

// options are those of a capture in a fresh directory.
func options(t testing.TB, url string, tables ...Table) Options {
	return Options{Pipeline: "Test-1", URL: url, Tables: tables, Dir: t.TempDir() + "/cdc", Logger: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, o Options) *Capture {
	t.Helper()
	g, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A replica is what a target of one source would have.
type replica struct {
	t    testing.TB
	tab  Table
	from json.RawMessage
	rows map[string]int64  // weighted: how often a row is there
	last map[string]string // keyed: the row of a key
}

func newReplica(t testing.TB, tab Table) *replica {
	return &replica{t: t, tab: tab, rows: map[string]int64{}, last: map[string]string{}}
}

// apply takes the rows of a Poll or Read over.
func (r *replica) apply(rows *microbatch.Rows) {
	r.t.Helper()
	n := len(r.tab.Columns)
	for _, c := range rows.Chunks {
		for i := range c.N {
			w := c.Cols[n].I64(i)
			row := texts(c, i, nil, n)
			if r.tab.Key == nil {
				if r.rows[row] += w; r.rows[row] == 0 {
					delete(r.rows, row)
				} else if r.rows[row] < 0 {
					r.t.Errorf("row %s is there %d times", row, r.rows[row])
				}
				continue
			}
			key := texts(c, i, r.tab.Key, n)
			if w < 0 {
				delete(r.last, key)
			} else {
				r.last[key] = row
			}
		}
	}
	r.from = rows.To
}

func texts(c *vector.Chunk, row int, columns []int, n int) string {
	var parts []string
	for i := range n {
		if columns != nil && !slices.Contains(columns, i) {
			continue
		}
		if c.Cols[i].IsNull(row) {
			parts = append(parts, "∅")
			continue
		}
		parts = append(parts, vector.Text(&c.Cols[i], row))
	}
	return strings.Join(parts, "|")
}

// list is the replica's rows, sorted.
func (r *replica) list() []string {
	var out []string
	for _, row := range r.last {
		out = append(out, row)
	}
	for row, n := range r.rows {
		for range n {
			out = append(out, row)
		}
	}
	slices.Sort(out)
	return out
}

// catchUp opens a capture that ends with what is committed, and reads the sources to their end.
func catchUp(t testing.TB, o Options, replicas ...*replica) {
	t.Helper()
	o.Bounded = true
	g := open(t, o)
	drain(t, g, microbatch.Limits{MaxRows: 100}, replicas...)
}

// drain reads sources to their end, acknowledges and closes them.
func drain(t testing.TB, g *Capture, max microbatch.Limits, replicas ...*replica) {
	t.Helper()
	var sources []*Source
	for _, r := range replicas {
		s := g.Source(r.tab.Name)
		defer closing(t, s)
		sources = append(sources, s)
	}
	for done := 0; done < len(replicas); {
		done = 0
		for i, r := range replicas {
			rows, err := sources[i].Poll(context.Background(), r.from, max)
			if err != nil {
				t.Fatal(err)
			}
			r.apply(rows)
			if rows.Done {
				done++
			}
			if err := sources[i].Ack(context.Background(), r.from); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func closing(t testing.TB, s microbatch.Source) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// equal compares a replica with the rows of a query, whose columns are texts as a replica has them.
func (r *replica) equal(url, query string) {
	r.t.Helper()
	want := pgtest.Rows(r.t, url, query)
	slices.Sort(want)
	if diff := cmp.Diff(want, r.list()); diff != "" {
		r.t.Errorf("source %s is not what the table has (-table +replica):\n%s", r.tab.Name, diff)
	}
	for i, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range r.last {
			if !yield(k) {
				return
			}
		}
	}) {
		if row := r.last[k]; i < 3 && row == "" {
			r.t.Errorf("key %s has no row", k)
		}
	}
}

// reread has another reader give the whole range again, in one piece.
func (r *replica) reread(o Options) {
	r.t.Helper()
	s := NewReader(o, r.tab.Name)
	defer closing(r.t, s)
	again := newReplica(r.t, r.tab)
	rows, err := s.Read(context.Background(), nil, r.from)
	if err != nil {
		r.t.Fatal(err)
	}
	again.apply(rows)
	if diff := cmp.Diff(r.list(), again.list()); diff != "" {
		r.t.Errorf("source %s, read again, differs (-first +again):\n%s", r.tab.Name, diff)
	}
}

// connect opens a session that ends with the test.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func mustContain(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not contain %q:\n%v", p, err)
		}
	}
}

func slots(t testing.TB, url string) []string {
	t.Helper()
	return pgtest.Rows(t, url, "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1")
}

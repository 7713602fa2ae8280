package duck

import (
	"context"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

func connect(t testing.TB, o Options) *Conn {
	t.Helper()
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); db.Close() })
	return c
}

func exec(t testing.TB, c *Conn, sql string) {
	t.Helper()
	if err := c.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// text returns a query's only column as strings, NULL as "NULL".
func text(t testing.TB, c *Conn, sql string) []string {
	t.Helper()
	r, err := c.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer r.Close()
	return textOf(t, sql, r)
}

func textOf(t testing.TB, sql string, r *Rows) []string {
	t.Helper()
	var out []string
	for r.Next() {
		ch := r.Chunk()
		for i := range ch.N {
			if ch.Cols[0].IsNull(i) {
				out = append(out, "NULL")
				continue
			}
			out = append(out, string(ch.Cols[0].Str(i)))
		}
	}
	if r.Err() != nil {
		t.Fatalf("%s: %v", sql, r.Err())
	}
	return out
}

func one(t testing.TB, c *Conn, sql string) string {
	t.Helper()
	v, ok, err := c.QueryValue(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if !ok {
		return "NULL"
	}
	return v
}

func TestSmoke(t *testing.T) {
	c := connect(t, Options{})
	if got := one(t, c, "SELECT (40+2)::VARCHAR"); got != "42" {
		t.Fatal(got)
	}
	in, err := c.RegisterInput("in_t", []vector.Field{{Name: "a", Type: vector.Of(vector.Int64)}, {Name: "s", Type: vector.Of(vector.Varchar)}})
	if err != nil {
		t.Fatal(err)
	}
	ch, _, err := c.Collect(context.Background(), "SELECT i AS a, 'a long string with number ' || i AS s FROM range(5000) t(i)")
	if err != nil {
		t.Fatal(err)
	}
	in.Set(ch)
	if got := one(t, c, "SELECT (count(*), sum(a), min(s), max(s))::VARCHAR FROM in_t()"); got != "(5000, 12497500, a long string with number 0, a long string with number 999)" {
		t.Fatal(got)
	}
	if got := one(t, c, "SELECT count(*)::VARCHAR FROM in_t()"); got != "5000" {
		t.Fatal(got)
	}
}

package postgrescdc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

var doc = Table{Name: "doc", Columns: []vector.Field{field("id", vector.Int64), field("n", vector.Int64), field("body", vector.Varchar), field("more", vector.Varchar)}, Key: []int{0}}

const docQuery = "SELECT id, n, body, more FROM doc"

// bigBodies make rows whose values are stored out of line.
func bigBodies(t testing.TB, url, identity string) {
	t.Helper()
	pgtest.Exec(t, url, "CREATE TABLE doc (id int PRIMARY KEY, n int, body text, more text)", "ALTER TABLE doc ALTER body SET STORAGE EXTERNAL", "ALTER TABLE doc ALTER more SET STORAGE EXTERNAL",
		"ALTER TABLE doc REPLICA IDENTITY "+identity, "INSERT INTO doc SELECT i, 0, repeat(md5(i::text), 200), CASE WHEN i % 2 = 0 THEN repeat('m', 4000) END FROM generate_series(1, 20) i")
}

// Updates leave out what is stored out of line and did not change.
func TestUnchangedToast(t *testing.T) {
	t.Parallel()
	for _, identity := range []string{"DEFAULT", "FULL"} {
		t.Run(identity, func(t *testing.T) {
			url := pgtest.URL(t)
			bigBodies(t, url, identity)
			o := options(t, url, doc)
			r := newReplica(t, doc)
			catchUp(t, o, r)
			for _, sql := range [][]string{
				{"UPDATE doc SET n = 1"}, // of rows in the snapshot
				{"UPDATE doc SET n = 2, more = NULL WHERE id < 5", "UPDATE doc SET n = 3 WHERE id < 9"},
				{"UPDATE doc SET body = repeat('new', 2000) WHERE id = 1", "UPDATE doc SET n = 4 WHERE id = 1", "UPDATE doc SET id = 100 WHERE id = 1", "UPDATE doc SET n = 5 WHERE id = 100"},
				{"BEGIN; INSERT INTO doc VALUES (50, 0, repeat('in', 3000), repeat('tx', 3000)); UPDATE doc SET n = 6 WHERE id = 50; UPDATE doc SET id = 51 WHERE id = 50; UPDATE doc SET n = 7 WHERE id = 51; COMMIT"},
				{"ALTER TABLE doc ADD extra int DEFAULT 5", "UPDATE doc SET n = 8 WHERE id < 4", "UPDATE doc SET extra = 6", "UPDATE doc SET n = 9 WHERE id > 10"},
				{"ALTER TABLE doc DROP extra", "UPDATE doc SET n = 10"},
				{"DELETE FROM doc WHERE id % 3 = 0", "INSERT INTO doc SELECT i, 1, repeat('again', 900), NULL FROM generate_series(3, 12, 3) i", "UPDATE doc SET n = n + 1"},
			} {
				pgtest.Exec(t, url, sql...)
				catchUp(t, o, r)
				r.equal(url, docQuery)
			}
			r.reread(o)
		})
	}
}

// What retention has deleted cannot be looked up: the capture stops, and says how it will not.
func TestToastThatWasReleased(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	bigBodies(t, url, "DEFAULT")
	o := options(t, url, doc)
	o.Retention = time.Nanosecond
	o.segmentBytes = 4 << 10
	r := newReplica(t, doc)
	for i := range 3 {
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO doc SELECT %d00 + i, 0, repeat(md5(i::text), 200), NULL FROM generate_series(1, 20) i", i+1))
		catchUp(t, o, r)
		r.equal(url, docQuery)
	}
	read := NewReader(o, "doc")
	_, err := read.Read(context.Background(), nil, r.from)
	closing(t, read)
	sourcetest.RangeChanged(t, err)
	mustContain(t, err, "retention")
	pgtest.Exec(t, url, "UPDATE doc SET n = 1 WHERE id = 1")
	err = catchUpError(t, o, r)
	sourcetest.RangeChanged(t, err)
	mustContain(t, err, "leaves out body", `ALTER TABLE "public"."doc" REPLICA IDENTITY FULL`)
}

// catchUpError is catchUp for a capture that stops.
func catchUpError(t testing.TB, o Options, r *replica) error {
	t.Helper()
	o.Bounded = true
	g, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	s := g.Source(r.tab.Name)
	defer closing(t, s)
	for {
		rows, err := s.Poll(context.Background(), r.from, microbatch.Limits{})
		if err != nil {
			return err
		}
		if r.apply(rows); rows.Done {
			t.Fatal("the source came to its end without an error")
		}
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	bag := Table{Name: "bag", Columns: []vector.Field{field("a", vector.Int64), field("b", vector.Varchar)}}
	child := Table{Name: "child", Columns: []vector.Field{field("id", vector.Int64), field("parent", vector.Int64)}, Key: []int{0}}
	pgtest.Exec(t, url, "CREATE TABLE doc (id int PRIMARY KEY, n int, body text, more text)", "CREATE TABLE bag (a int, b text)", "ALTER TABLE bag REPLICA IDENTITY FULL",
		"CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES doc)", "INSERT INTO doc SELECT i FROM generate_series(1, 500) i", "INSERT INTO child SELECT i, i FROM generate_series(1, 9) i",
		"INSERT INTO bag SELECT i % 7, CASE WHEN i % 2 = 0 THEN 'even' END FROM generate_series(1, 200) i")
	o := options(t, url, doc, bag, child)
	d, b, c := newReplica(t, doc), newReplica(t, bag), newReplica(t, child)
	for _, sql := range [][]string{
		nil,
		{"TRUNCATE bag"},
		{"INSERT INTO bag VALUES (1, 'x'), (1, 'x')", "BEGIN; INSERT INTO bag VALUES (2); DELETE FROM bag WHERE a = 1; TRUNCATE bag; INSERT INTO bag VALUES (3); COMMIT"},
		{"BEGIN; TRUNCATE doc CASCADE; ROLLBACK", "DELETE FROM child WHERE id = 5", "UPDATE child SET id = 77 WHERE id = 7"},
		{"BEGIN; TRUNCATE doc, child RESTART IDENTITY; INSERT INTO doc VALUES (1, 2); COMMIT", "TRUNCATE bag"},
		{"INSERT INTO doc SELECT i FROM generate_series(2, 9) i", "INSERT INTO child VALUES (1, 1)", "TRUNCATE doc CASCADE", "INSERT INTO doc VALUES (4)"},
		// Rows that are older than a column are rows like the others.
		{"INSERT INTO bag VALUES (1, 'old'), (1, 'old'), (2, 'old')", "ALTER TABLE bag ADD extra int DEFAULT 7", "DELETE FROM bag WHERE a = 2", "INSERT INTO bag VALUES (1, 'old', 7), (3, 'new', 8)"},
		{"UPDATE bag SET extra = 9 WHERE ctid = (SELECT min(ctid) FROM bag)", "INSERT INTO bag VALUES (5, 'new')"},
		{"TRUNCATE bag", "INSERT INTO bag VALUES (1, 'last')"},
	} {
		pgtest.Exec(t, url, sql...)
		catchUp(t, o, d, b, c)
		d.equal(url, docQuery)
		b.equal(url, "SELECT a, b FROM bag")
		c.equal(url, "SELECT id, parent FROM child")
	}
	d.reread(o)
	b.reread(o)
}

// Values of every type are in the snapshot what they are in the stream, or a row could not be deleted.
func TestTypes(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	arrayOf := func(k vector.Kind) vector.Type { e := vector.Of(k); return vector.Type{Kind: vector.List, Elem: &e} }
	types := []struct {
		sql string
		typ vector.Type
	}{
		{"boolean", vector.Of(vector.Bool)}, {"smallint", vector.Of(vector.Int16)}, {"int", vector.Of(vector.Int64)}, {"bigint", vector.Of(vector.Int64)},
		{"real", vector.Of(vector.Float32)}, {"double precision", vector.Of(vector.Float64)}, {"numeric(12,3)", vector.Type{Kind: vector.Decimal, Width: 12, Scale: 3}},
		{"text", vector.Of(vector.Varchar)}, {"char(5)", vector.Of(vector.Varchar)}, {"bytea", vector.Of(vector.Blob)}, {"date", vector.Of(vector.Date)},
		{"time", vector.Of(vector.Time)}, {"timestamp", vector.Of(vector.Timestamp)}, {"timestamptz", vector.Of(vector.TimestampTZ)}, {"interval", vector.Of(vector.Interval)},
		{"uuid", vector.Of(vector.UUID)}, {"jsonb", vector.Of(vector.Varchar)}, {"int[]", arrayOf(vector.Int32)}, {"text[]", arrayOf(vector.Varchar)}, {"inet", vector.Of(vector.Varchar)},
		{"mood", vector.Of(vector.Varchar)}, {"positive", vector.Of(vector.Int32)}, {"jsonb", vector.Type{Kind: vector.Struct, Fields: []vector.Field{field("a", vector.Int64), field("b", vector.Varchar)}}},
	}
	tab := Table{Name: "typed"}
	create := "CREATE TABLE typed ("
	for i, c := range types {
		name := fmt.Sprintf("c%d", i)
		tab.Columns = append(tab.Columns, vector.Field{Name: name, Type: c.typ})
		create += name + " " + c.sql + ", "
	}
	row := `true, -7, 42, 9007199254740993, 0.1, -1e300, 123456.789, E'a\tb\nc\\N', 'ab', '\x00ff', '2024-02-29', '23:59:59.999999', '2024-02-29 12:00', '2024-02-29 12:00+05', '-1 year 3 days -04:05:06.7',
'00112233-4455-6677-8899-aabbccddeeff', '{"k": [1, "two"]}', '{1,NULL,-3}', '{"a,b","c\"d",NULL,""}', '10.0.0.1', 'sad', 5, '{"b": "x\ny", "a": 7, "c": 0}'`
	insert := []string{"INSERT INTO typed VALUES (" + row + ")", "INSERT INTO typed (c7, c9, c17) VALUES ('', '', '{}')", "INSERT INTO typed (c5, c10, c12, c13) VALUES ('NaN', '0044-03-15 BC', '0044-03-15 00:00 BC', 'infinity')",
		"INSERT INTO typed DEFAULT VALUES"}
	pgtest.Exec(t, url, "CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE DOMAIN positive AS int CHECK (VALUE > 0)", create[:len(create)-2]+")", "ALTER TABLE typed REPLICA IDENTITY FULL",
		"ALTER DATABASE "+pgtest.Rows(t, url, "SELECT current_database()")[0]+" SET datestyle = 'German'", "ALTER ROLE postgres SET intervalstyle = 'sql_standard'")
	t.Cleanup(func() { pgtest.Exec(t, url, "ALTER ROLE postgres RESET intervalstyle") })
	pgtest.Exec(t, url, insert...)
	o := options(t, url, tab)
	r := newReplica(t, tab)
	catchUp(t, o, r)
	copied := r.list()
	if len(copied) != 4 {
		t.Fatalf("%d rows were copied", len(copied))
	}
	pgtest.Exec(t, url, insert...)
	catchUp(t, o, r)
	for row, n := range r.rows {
		if n != 2 {
			t.Errorf("the stream and the snapshot do not agree about a row:\n%s", row)
		}
	}
	pgtest.Exec(t, url, "UPDATE typed SET c0 = false", "DELETE FROM typed WHERE c1 IS NULL", "UPDATE typed SET c0 = true")
	catchUp(t, o, r)
	at := slices.IndexFunc(copied, func(row string) bool { return strings.HasPrefix(row, "true|") })
	if diff := cmp.Diff([]string{copied[at], copied[at]}, r.list()); diff != "" {
		t.Errorf("after updates and deletes (-want +got):\n%s", diff)
	}
	pgtest.Exec(t, url, "DELETE FROM typed")
	catchUp(t, o, r)
	if got := r.list(); len(got) > 0 {
		t.Errorf("rows are left: %q", got)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	bag := Table{Name: "bag", Columns: []vector.Field{field("a", vector.Int64), field("b", vector.Varchar), {Name: "t", Type: vector.Of(vector.Varchar)}}, Metadata: []string{"", "", MetaTable}}
	keyed := Table{Name: "doc", Columns: []vector.Field{field("id", vector.Int64), field("body", vector.Varchar), field("lsn", vector.Varchar), field("at", vector.TimestampTZ)},
		Metadata: []string{"", "", MetaLSN, MetaCommit}, Key: []int{0}}
	pgtest.Exec(t, url, "CREATE TABLE doc (id int PRIMARY KEY, body text)", "CREATE TABLE bag (a int, b text)", "ALTER TABLE bag REPLICA IDENTITY FULL",
		"INSERT INTO doc SELECT i, repeat('x', i % 50) FROM generate_series(1, 3000) i", "INSERT INTO bag SELECT i, 'y' FROM generate_series(1, 300) i")
	for _, tab := range []Table{keyed, bag} {
		t.Run(tab.Name, func(t *testing.T) {
			o := options(t, url, tab)
			catchUp(t, o, newReplica(t, tab))
			for i := range 40 {
				pgtest.Exec(t, url, fmt.Sprintf("UPDATE doc SET id = -id WHERE id %% 100 = %d AND id < 300", i), fmt.Sprintf("DELETE FROM bag WHERE a %% 50 = %d", i), fmt.Sprintf("INSERT INTO bag VALUES (%d, 'new'), (%[1]d, 'new')", i))
			}
			o.Bounded = true
			g := open(t, o)
			defer closing(t, g.Source(tab.Name)) // which keeps it open
			sourcetest.Run(t, sourcetest.Config{Columns: tab.Columns, Weighted: true, Keyed: tab.Key != nil, Rows: -1, Bad: 0, Together: 100,
				Open: func(t testing.TB) microbatch.Source {
					<-g.settled
					return g.Source(tab.Name)
				}})
		})
	}
}

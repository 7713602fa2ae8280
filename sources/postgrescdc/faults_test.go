package postgrescdc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sources/ingestlog"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

// openError opens a capture that cannot be.
func openError(t testing.TB, o Options) error {
	t.Helper()
	g, err := Open(context.Background(), o)
	if err == nil {
		t.Error(g.Close())
	}
	return err
}

// What keeps a table from being captured is said before anything is made, with what to run.
func TestRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE keyed (id int PRIMARY KEY, n numeric, t timestamptz)", "CREATE TABLE bare (a int)", "CREATE TABLE nothing (id int PRIMARY KEY)", "ALTER TABLE nothing REPLICA IDENTITY NOTHING",
		"CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY)", "CREATE VIEW seen AS TABLE keyed", "CREATE TABLE full_one (id int NOT NULL)", "ALTER TABLE full_one REPLICA IDENTITY FULL",
		"CREATE PUBLICATION others FOR TABLE bare", "CREATE PUBLICATION inserts FOR TABLE keyed WITH (publish = 'insert')", "CREATE PUBLICATION filtered FOR TABLE keyed WHERE (id > 3)", "CREATE PUBLICATION thin FOR TABLE keyed (id, t)",
		"SELECT pg_create_logical_replication_slot('taken_"+suffix(t, url)+"', 'pgoutput')")
	id := []vector.Field{field("id", vector.Int64)}
	for _, c := range []struct {
		name   string
		table  Table
		change func(*Options)
		want   []string
	}{
		{"missing", Table{Table: "keyd", Columns: id, Key: []int{0}}, nil, []string{"there is no table keyd", "did you mean table = 'keyed'?"}},
		{"view", Table{Table: "seen", Columns: id, Key: []int{0}}, nil, []string{"public.seen is not an ordinary table"}},
		{"partitioned", Table{Table: "parts", Columns: id, Key: []int{0}}, nil, []string{"is partitioned", "UNION ALL"}},
		{"unlogged", Table{Table: "scratch", Columns: id, Key: []int{0}}, nil, []string{`ALTER TABLE "public"."scratch" SET LOGGED`}},
		{"column", Table{Table: "keyed", Columns: []vector.Field{id[0], field("tt", vector.Varchar)}, Key: []int{0}}, nil, []string{"column tt is not among the columns", `did you mean "t"?`}},
		{"type", Table{Table: "keyed", Columns: []vector.Field{id[0], field("n", vector.Float64)}, Key: []int{0}}, nil, []string{"column n is declared as DOUBLE and is numeric there", "declare it as DECIMAL"}},
		{"no key declared", Table{Table: "keyed", Columns: id}, nil, []string{"declares no PRIMARY KEY", "PRIMARY KEY (id) NOT ENFORCED", `ALTER TABLE "public"."keyed" REPLICA IDENTITY FULL`}},
		{"other key", Table{Table: "keyed", Columns: []vector.Field{id[0], field("t", vector.TimestampTZ)}, Key: []int{1}}, nil, []string{"declares PRIMARY KEY (t)", "have (id)"}},
		{"no key there", Table{Table: "bare", Columns: []vector.Field{field("a", vector.Int64)}}, nil, []string{"has no primary key", `ALTER TABLE "public"."bare" REPLICA IDENTITY FULL`}},
		{"nothing", Table{Table: "nothing", Columns: id, Key: []int{0}}, nil, []string{"REPLICA IDENTITY NOTHING", "REPLICA IDENTITY DEFAULT"}},
		{"key not unique", Table{Table: "full_one", Columns: id, Key: []int{0}}, nil, []string{"no unique index", "CREATE UNIQUE INDEX"}},
		{"no publication", Table{Table: "keyed", Columns: id, Key: []int{0}}, func(o *Options) { o.Publication = "none" }, []string{"there is no publication none", "CREATE PUBLICATION"}},
		{"not published", Table{Table: "keyed", Columns: id, Key: []int{0}}, func(o *Options) { o.Publication = "others" }, []string{"publication others has not table public.keyed", `ALTER PUBLICATION "others" ADD TABLE ONLY "public"."keyed"`}},
		{"inserts only", Table{Table: "keyed", Columns: id, Key: []int{0}}, func(o *Options) { o.Publication = "inserts" }, []string{"leaves some kinds of changes out", "SET (publish"}},
		{"filtered", Table{Table: "keyed", Columns: id, Key: []int{0}}, func(o *Options) { o.Publication = "filtered" }, []string{"only the rows of table public.keyed for which (id > 3)"}},
		{"thin", Table{Table: "keyed", Columns: []vector.Field{id[0], field("n", vector.Varchar)}, Key: []int{0}}, func(o *Options) { o.Publication = "thin" }, []string{"publication thin leaves out column n"}},
		{"slot", Table{Table: "keyed", Columns: id, Key: []int{0}}, func(o *Options) { o.Slot = "taken_" + suffix(t, url) }, []string{"is there already", "SELECT pg_drop_replication_slot('taken_"}},
		{"password", Table{Table: "keyed", Columns: id, Key: []int{0}}, func(o *Options) { o.URL = strings.Replace(url, "user=", "user=nobody_of_this_name ignored_", 1) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.table.Name = "src"
			o := options(t, url, c.table)
			if c.change != nil {
				c.change(&o)
			}
			err := openError(t, o)
			mustContain(t, err, c.want...)
			if _, check := Check(context.Background(), o); check == nil {
				t.Error("Check finds nothing wrong")
			}
		})
	}
	if got := slots(t, url); len(got) != 1 {
		t.Errorf("slots were made: %v", got)
	}
	if got := pgtest.Rows(t, url, "SELECT pubname FROM pg_publication WHERE pubname LIKE 'sluice%'"); len(got) != 0 {
		t.Errorf("publications were made: %v", got)
	}
}

// suffix makes names of a server unique to a test's database.
func suffix(t testing.TB, url string) string {
	return pgtest.Rows(t, url, "SELECT current_database()")[0]
}

func TestExistingPublication(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint, secret text)", "INSERT INTO account VALUES (1, 'a', 2, 'x')", "CREATE TABLE more (x int)",
		"CREATE PUBLICATION mine FOR TABLE account (id, owner, amount)")
	o := options(t, url, account)
	o.Publication, o.Slot = "mine", "mine_"+suffix(t, url)
	r := newReplica(t, account)
	catchUp(t, o, r)
	pgtest.Exec(t, url, "INSERT INTO account VALUES (2, 'b', 3, 'y')", "UPDATE account SET secret = 'z', amount = 9")
	catchUp(t, o, r)
	r.equal(url, "SELECT id, owner, amount FROM account")
	if name, err := Drop(context.Background(), o); err != nil || name != o.Slot {
		t.Errorf("Drop: %q, %v", name, err)
	}
	if got := pgtest.Rows(t, url, "SELECT pubname FROM pg_publication"); len(got) != 1 {
		t.Errorf("the user's publication is gone: %v", got)
	}
}

// A user who does not own the tables is told what their owner has to run, and then goes on with it.
func TestNotTheOwner(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	role := "reader_" + suffix(t, url)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 2)", "CREATE ROLE "+role+" LOGIN REPLICATION",
		"GRANT CREATE ON DATABASE "+suffix(t, url)+" TO "+role)
	t.Cleanup(func() { pgtest.Exec(t, url, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	o := options(t, strings.Replace(url, "user=postgres", "user="+role, 1), account)
	_, err := Check(context.Background(), o)
	mustContain(t, err, "permission denied")
	pgtest.Exec(t, url, "GRANT SELECT ON account TO "+role)
	err = openError(t, o)
	mustContain(t, err, "create a publication", "have the owner of the tables run: CREATE PUBLICATION ", "publication = '")
	_, after, _ := strings.Cut(err.Error(), "tables run: ")
	create, _, _ := strings.Cut(after, ";")
	_, after, _ = strings.Cut(after, "publication = '")
	pgtest.Exec(t, url, create)
	o.Publication, _, _ = strings.Cut(after, "'")
	r := newReplica(t, account)
	catchUp(t, o, r)
	pgtest.Exec(t, url, "UPDATE account SET amount = 3")
	catchUp(t, o, r)
	r.equal(url, "SELECT id, owner, amount FROM account")
	if _, err := Drop(context.Background(), o); err != nil {
		t.Error(err)
	}
}

// What nobody declared may change; what was declared stops the capture, and says why.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change []string
		want   string // empty: it goes on
	}{
		"column added":       {[]string{"ALTER TABLE account ADD extra text DEFAULT 'x'", "ALTER TABLE account ADD other int"}, ""},
		"undeclared dropped": {[]string{"ALTER TABLE account DROP unused", "UPDATE account SET amount = 5"}, ""},
		"undeclared retyped": {[]string{"ALTER TABLE account ALTER unused TYPE bigint"}, ""},
		"limit raised":       {[]string{"ALTER TABLE account ALTER owner TYPE varchar(99)", "ALTER TABLE account ALTER owner TYPE varchar"}, ""},
		"renamed table":      {[]string{"ALTER TABLE account RENAME TO konto", "UPDATE konto SET amount = 5", "ALTER TABLE konto RENAME TO account"}, ""},
		"index":              {[]string{"CREATE INDEX ON account (owner)", "ANALYZE account"}, ""},
		"dropped":            {[]string{"ALTER TABLE account DROP amount"}, "column amount of table public.account was dropped or renamed"},
		"renamed":            {[]string{"ALTER TABLE account RENAME amount TO amt"}, "column amount of table public.account was dropped or renamed"},
		"retyped":            {[]string{"ALTER TABLE account ALTER amount TYPE int USING amount * 2"}, "column amount of table public.account has another type"},
		"shortened":          {[]string{"ALTER TABLE account ALTER owner TYPE varchar(20) USING upper(owner)"}, "has another length or precision"},
		"dropped and added":  {[]string{"ALTER TABLE account DROP amount", "ALTER TABLE account ADD amount bigint"}, "was dropped, and another of its name was added"},
		"identity":           {[]string{"ALTER TABLE account ADD UNIQUE (owner)", "ALTER TABLE account REPLICA IDENTITY USING INDEX account_owner_key"}, "the replica identity of table public.account is now (owner)"},
		"identity nothing":   {[]string{"ALTER TABLE account REPLICA IDENTITY NOTHING"}, "has REPLICA IDENTITY NOTHING now"},
		"identity full":      {[]string{"ALTER TABLE account REPLICA IDENTITY FULL", "UPDATE account SET id = id + 10"}, ""},
		"table recreated":    {[]string{"DROP TABLE account", "CREATE TABLE account (id int PRIMARY KEY, owner varchar(50) NOT NULL, amount bigint, unused int)"}, "has not table public.account"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner varchar(50) NOT NULL, amount bigint, unused int)", "INSERT INTO account VALUES (1, 'a', 1, 1), (2, 'b', 2, 2)")
			o := options(t, url, account)
			r := newReplica(t, account)
			catchUp(t, o, r)
			pgtest.Exec(t, url, append(c.change, "INSERT INTO account (id, owner) VALUES (3, 'c')")...)
			if c.want == "" {
				catchUp(t, o, r)
				r.equal(url, "SELECT id, owner, amount FROM account")
				r.reread(o)
				return
			}
			err := catchUpError(t, o, r)
			sourcetest.RangeChanged(t, err)
			mustContain(t, err, c.want)
			if err := catchUpError(t, o, r); err == nil {
				t.Error("the next start goes on")
			}
		})
	}
}

// A slot that is gone, invalidated or made anew has lost changes: the capture stops for good.
func TestLostSlot(t *testing.T) {
	t.Parallel()
	s := pgtest.New(t, "max_slot_wal_keep_size=1MB", "max_wal_size=32MB", "min_wal_size=32MB")
	for _, c := range []struct {
		name, want string
		lose       func(t *testing.T, url, slot string)
	}{
		{"dropped", "is not there any more", func(t *testing.T, url, slot string) {
			pgtest.Exec(t, url, "SELECT pg_drop_replication_slot('"+slot+"')")
		}},
		{"made anew", "another one was made in its place", func(t *testing.T, url, slot string) {
			pgtest.Exec(t, url, "SELECT pg_drop_replication_slot('"+slot+"')", "INSERT INTO account VALUES (7)", "SELECT pg_create_logical_replication_slot('"+slot+"', 'pgoutput')")
		}},
		{"invalidated", "was invalidated", func(t *testing.T, url, slot string) {
			for range 8 {
				pgtest.Exec(t, url, "INSERT INTO account SELECT coalesce(max(id), 0) + 1 FROM account", "SELECT pg_switch_wal()", "CHECKPOINT")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := s.Database(t)
			pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 1)")
			o := options(t, url, account)
			r := newReplica(t, account)
			catchUp(t, o, r)
			c.lose(t, url, slots(t, url)[0])
			err := catchUpError(t, o, r)
			sourcetest.RangeChanged(t, err)
			mustContain(t, err, c.want, "drop the pipeline and start it again")
			if _, err := Check(context.Background(), o); err == nil && c.name != "made anew" {
				t.Error("Check finds nothing wrong")
			}
			r.reread(o) // what was captured can still be read
		})
	}
}

// A second engine is told who has the slot.
func TestSlotInUse(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)")
	o := options(t, url, account)
	catchUp(t, o, newReplica(t, account))
	w, err := o.connectReplication(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(w.PgConn)
	s := &stream{g: &Capture{opt: o.withDefaults()}}
	g := open(t, o)
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	last, err := g.read.last()
	if err != nil {
		t.Fatal(err)
	}
	s.w = newWriter(g.log, *last.doc)
	// The capture has it, or is about to: whoever comes second is refused.
	for {
		if pid := pgtest.Rows(t, url, "SELECT active_pid FROM pg_replication_slots WHERE active AND database = current_database()"); len(pid) == 1 {
			err := s.start(context.Background())
			mustContain(t, err, "is active for PID "+pid[0], "pg_stat_replication")
			hangUp(s.wire.PgConn)
			return
		}
	}
}

// An engine that reads takes the slot from an older one that still has it, because it is paused or its machine is gone.
func TestSlotTakenOver(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 1)")
	o := options(t, url, account)
	r := newReplica(t, account)
	catchUp(t, o, r)
	g := open(t, o)
	last, err := g.read.last()
	if err != nil {
		t.Fatal(err)
	}
	older := &stream{g: &Capture{opt: o.withDefaults()}, w: newWriter(g.log, *last.doc)}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for err = older.start(t.Context()); code(err) == "55006"; err = older.start(t.Context()) { // the server is about to notice
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { hangUp(older.wire.PgConn) }()
	pgtest.Exec(t, url, "INSERT INTO account VALUES (2, 'b', 2)")
	src := open(t, o).Source("account")
	defer closing(t, src)
	for len(r.last) < 2 {
		rows, err := src.Poll(t.Context(), r.from, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		r.apply(rows)
	}
	r.equal(url, "SELECT id, owner, amount FROM account")
}

// The slot forgets what was acknowledged and nothing else, however often the server is told how things stand; that of an
// idle table in a busy database moves on.
func TestConfirmed(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "CREATE TABLE other (x int)")
	o := options(t, url, account)
	o.Heartbeat = 10 * time.Millisecond
	r := newReplica(t, account)
	src := open(t, o).Source("account")
	defer closing(t, src)
	is := func(condition string) bool {
		return pgtest.Rows(t, url, "SELECT "+condition+" FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE database = current_database()")[0] == "t"
	}
	poll := func() {
		rows, err := src.Poll(t.Context(), r.from, microbatch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		r.apply(rows)
	}
	pgtest.Exec(t, url, "INSERT INTO account VALUES (1, 'a', 1)")
	for len(r.last) < 1 {
		poll()
	}
	at, err := decodeOffsets(r.from)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		seen := pgtest.Rows(t, url, "SELECT clock_timestamp()")[0]
		pgtest.Exec(t, url, "INSERT INTO other VALUES (1)")
		for !is("coalesce(reply_time > '" + seen + "', false)") {
			poll()
		}
		if is("confirmed_flush_lsn >= '" + at.LSN.String() + "'") {
			t.Fatal("the server may forget what was not acknowledged")
		}
	}
	if err := src.Ack(t.Context(), r.from); err != nil {
		t.Fatal(err)
	}
	end := pgtest.Rows(t, url, "SELECT pg_current_wal_lsn()")[0]
	for !is("confirmed_flush_lsn >= '" + end + "'") {
		pgtest.Exec(t, url, "INSERT INTO other SELECT generate_series(1, 100)")
		poll()
	}
}

// The server is killed and restarted while changes are received; nothing is lost and nothing comes twice, and a server
// that shuts down does not wait for a batch that is not committed.
func TestServerRestarted(t *testing.T) {
	t.Parallel()
	s := pgtest.New(t)
	url := s.URL()
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account SELECT i, 'x', i FROM generate_series(1, 100) i")
	o := options(t, url, account)
	g := open(t, o)
	src := g.Source("account")
	r := newReplica(t, account)
	poll := func(until int, ack bool) {
		for len(r.last) != until {
			rows, err := src.Poll(context.Background(), r.from, microbatch.Limits{MaxRows: 10})
			if err != nil {
				t.Fatal(err)
			}
			if r.apply(rows); !ack {
				continue
			}
			if err := src.Ack(context.Background(), r.from); err != nil {
				t.Fatal(err)
			}
		}
	}
	poll(100, true)
	for round := range 4 {
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO account SELECT i, 'y', i FROM generate_series(%d, %d) i", 1000*(round+1), 1000*(round+1)+49), "UPDATE account SET amount = amount + 1 WHERE id % 7 = 0")
		if round != 1 {
			poll(100+50*(round+1), round < 2)
		}
		if round < 2 {
			s.Kill(t)
		} else {
			s.Stop(t) // waits for what is sent to be confirmed, and nobody will
		}
		s.Start(t)
	}
	pgtest.Exec(t, url, "DELETE FROM account WHERE id < 50")
	poll(100+200-49, true)
	r.equal(url, "SELECT id, owner, amount FROM account")
	closing(t, src)
	catchUp(t, o, r)
	r.equal(url, "SELECT id, owner, amount FROM account")
	r.reread(o)
}

// A network that breaks, stands still or crawls delays changes and loses none, and no Poll waits for it.
func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{pgtest.Broken, pgtest.Stalled, pgtest.Slow} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account SELECT i, 'x', i FROM generate_series(1, 100) i")
			proxy := pgtest.NewProxy(t, url)
			o := options(t, proxy.URL(), account)
			src := open(t, o).Source("account")
			defer closing(t, src)
			r := newReplica(t, account)
			poll := func() {
				rows, err := src.Poll(context.Background(), r.from, microbatch.Limits{MaxRows: 30})
				if err != nil {
					t.Fatal(err)
				}
				r.apply(rows)
				if err := src.Ack(context.Background(), r.from); err != nil {
					t.Fatal(err)
				}
			}
			for round := range 3 {
				for len(r.last) != 100*(round+1) {
					poll()
				}
				mend := proxy.Set(mode)
				pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO account SELECT i, 'y', i FROM generate_series(%d, %d) i", 1000*(round+1), 1000*(round+1)+99), "UPDATE account SET amount = amount + 1 WHERE id % 7 = 0")
				for range 3 {
					poll()
				}
				mend()
			}
			pgtest.Exec(t, url, "DELETE FROM account WHERE id < 50")
			for len(r.last) != 400-49 {
				poll()
			}
			r.equal(url, "SELECT id, owner, amount FROM account")
			r.reread(o)
		})
	}
}

// A table that is taken out of the publication is noticed, also when it is there again.
func TestPublicationChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, want string }{
		"left out":       {"ALTER PUBLICATION mine DROP TABLE account", "publication mine has not table public.account"},
		"added again":    {"ALTER PUBLICATION mine DROP TABLE account; INSERT INTO account VALUES (2); ALTER PUBLICATION mine ADD TABLE account", "was taken out of publication mine and added again"},
		"without DELETE": {"ALTER PUBLICATION mine SET (publish = 'insert, update, truncate')", "leaves some kinds of changes out"},
		"dropped":        {"DROP PUBLICATION mine", "there is no publication mine"},
		"made anew":      {"DROP PUBLICATION mine; INSERT INTO account VALUES (2); CREATE PUBLICATION mine FOR TABLE account", "publication mine"},
	} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/running=%t", name, running), func(t *testing.T) {
				t.Parallel()
				url := pgtest.URL(t)
				pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 1)", "CREATE PUBLICATION mine FOR TABLE account")
				o := options(t, url, account)
				o.Publication, o.watchEvery = "mine", 10*time.Millisecond
				r := newReplica(t, account)
				catchUp(t, o, r)
				if !running {
					pgtest.Exec(t, url, strings.Split(c.change, "; ")...)
					err := catchUpError(t, o, r)
					sourcetest.RangeChanged(t, err)
					mustContain(t, err, c.want)
					return
				}
				src := open(t, o).Source("account")
				defer closing(t, src)
				pgtest.Exec(t, url, strings.Split(c.change, "; ")...)
				for {
					rows, err := src.Poll(context.Background(), r.from, microbatch.Limits{})
					if err != nil {
						sourcetest.RangeChanged(t, err)
						mustContain(t, err, c.want)
						return
					}
					r.apply(rows)
				}
			})
		}
	}
}

// A server that writes no logical log is refused before anything is made, with what to run.
func TestWALLevel(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, "wal_level=replica").URL()
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)")
	o := options(t, url, account)
	for _, err := range []error{openError(t, o), func() error { _, err := Check(context.Background(), o); return err }()} {
		mustContain(t, err, "the server's wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'; then restart")
	}
	if got := pgtest.Rows(t, url, "SELECT pubname FROM pg_publication"); len(got) != 0 {
		t.Errorf("publications were made: %v", got)
	}
	// What the tables are now can be answered all the same.
	o.Once = true
	if err := open(t, o).Close(); err != nil {
		t.Error(err)
	}
}

// Which command makes the slot depends on the server.
func TestCreateSQL(t *testing.T) {
	for _, c := range []struct {
		failover  bool
		version   int
		want, err string
	}{
		{false, 120000, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput EXPORT_SNAPSHOT`, ""},
		{false, 180001, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput EXPORT_SNAPSHOT`, ""},
		{true, 170002, `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)`, ""},
		{true, 160009, "", "option failover needs PostgreSQL 17, and the server is 16"},
	} {
		got, err := Options{Failover: c.failover}.createSQL("s", c.version)
		if got != c.want {
			t.Errorf("failover %t, server %d: %q", c.failover, c.version, got)
		}
		if c.err == "" && err == nil {
			continue
		}
		mustContain(t, err, c.err)
	}
}

// What a slot that cannot be gone on from says of itself, on servers of all ages.
func TestSlotCheck(t *testing.T) {
	at := func(n LSN) *LSN { return &n }
	for _, c := range []struct {
		slot *slot
		want string
	}{
		{nil, "is not there any more"},
		{&slot{plugin: "pgoutput", confirmed: at(5), walStatus: "lost"}, "max_slot_wal_keep_size"},
		{&slot{plugin: "pgoutput", confirmed: at(5), walStatus: "lost", invalid: "wal_removed"}, "max_slot_wal_keep_size"},
		{&slot{plugin: "pgoutput", confirmed: at(5), invalid: "idle_timeout"}, "was invalidated by the server (idle_timeout)"},
		{&slot{plugin: "pgoutput", confirmed: at(5), invalid: "wal_level_insufficient"}, "(wal_level_insufficient)"},
		{&slot{plugin: "pgoutput"}, "was invalidated"},
		{&slot{plugin: "pgoutput", confirmed: at(11)}, "begins at LSN 0/B, and the log ends at 0/A"},
		{&slot{plugin: "test_decoding", confirmed: at(5)}, "is of output plugin test_decoding"},
	} {
		mustContain(t, c.slot.check("s", 10), "replication slot s ", c.want)
	}
	if err := (&slot{plugin: "pgoutput", confirmed: at(10), walStatus: "extended"}).check("s", 10); err != nil {
		t.Error(err)
	}
}

// A changed file that declares what is not captured is refused before it runs.
func TestCheckOfAnotherVersion(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "CREATE TABLE more (id int PRIMARY KEY)")
	o := options(t, url, account)
	catchUp(t, o, newReplica(t, account))
	src := open(t, o).Source("account")
	defer closing(t, src)
	if r, ok := src.Retained(); !ok || r.By != "replication slot "+slots(t, url)[0] || r.Bytes <= 0 || r.LeftBytes != -1 || r.State != "reserved" {
		t.Errorf("retained: %+v, %t", r, ok)
	}
	if found, err := Check(context.Background(), o); err != nil || !strings.Contains(found, "of the server's log") {
		t.Errorf("%s, %v", found, err)
	}
	pgtest.Exec(t, url, "ALTER TABLE account ADD extra int")
	wide := account
	wide.Columns = append(wide.Columns[:3:3], field("extra", vector.Int64))
	for _, c := range []struct {
		table Table
		want  string
	}{
		{Table{Name: "more", Columns: account.Columns[:1], Key: []int{0}}, `source "more" is not among those whose tables are captured over slot sluice_test_1_`},
		{wide, "column extra is not among the columns of table public.account that are captured"},
	} {
		o.Tables = []Table{c.table}
		_, err := Check(context.Background(), o)
		mustContain(t, err, c.want)
	}
}

// A daemon that is taken over from confirms nothing any more: the slot must have all that the copy of its log has not.
func TestMovedLogConfirmsNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 2)")
	o := options(t, url, account)
	g, r := open(t, o), newReplica(t, account)
	s := g.Source(account.Name)
	next := func(r *replica, rows int) {
		for len(r.last) < rows {
			got, err := s.Poll(t.Context(), r.from, microbatch.Limits{})
			if errors.Is(err, ingestlog.ErrMoved) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			r.apply(got)
		}
		if err := s.Ack(t.Context(), r.from); err != nil {
			t.Fatal(err)
		}
	}
	next(r, 1)
	if err := ingestlog.MarkMoved(vfs.OS{}, o.Dir); err != nil {
		t.Fatal(err)
	}
	taken := o
	taken.Dir = t.TempDir() + "/cdc"
	if err := os.CopyFS(taken.Dir, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "INSERT INTO account VALUES (2, 'b', 3)")
	late := newReplica(t, account)
	late.from = r.from
	next(late, 1) // by the old one
	for n := 0; n < 300 && g.failure() == nil; n++ {
		pgtest.Exec(t, url, "SELECT pg_sleep(0.01)")
	}
	if err := g.failure(); !errors.Is(err, ingestlog.ErrMoved) {
		t.Errorf("it ended with: %v", err)
	}
	closing(t, s)
	catchUp(t, taken, r)
	r.equal(url, "SELECT id, owner, amount FROM account")
}

// A copy of the log in a bucket lacks the newest beat for a moment. The slot must have what is behind the one before.
func TestNewestBeatIsNotConfirmed(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 2)", "CREATE TABLE noise (x int)")
	o := options(t, url, account)
	r := newReplica(t, account)
	catchUp(t, o, r)
	copied := o
	copied.Dir = t.TempDir() + "/cdc"
	if err := os.CopyFS(copied.Dir, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "INSERT INTO noise VALUES (1)")
	o.Bounded = true
	g := open(t, o)
	s := g.Source(account.Name)
	for done := false; !done; {
		rows, err := s.Poll(t.Context(), r.from, microbatch.Limits{})
		if err = errors.Join(err, s.Ack(t.Context(), r.from)); err != nil {
			t.Fatal(err)
		}
		done = rows.Done
	}
	for range 20 { // it would be confirmed by now
		pgtest.Exec(t, url, "SELECT pg_sleep(0.01)")
	}
	closing(t, s)
	pgtest.Exec(t, url, "UPDATE account SET amount = 3")
	catchUp(t, copied, r)
	r.equal(url, "SELECT id, owner, amount FROM account")
}

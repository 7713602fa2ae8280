package postgrescdc

import (
	"context"
	"testing"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
)

// TestAddedColumn: a column that was added is picked up by a later version of the file, which reads the log from its
// beginning; rows from before have what the server says they have, or the version is refused.
func TestAddedColumn(t *testing.T) {
	t.Parallel()
	const refused = "were captured before it was added, or changed"
	for name, c := range map[string]struct {
		change []string // between a row and the next
		want   string
	}{
		"without default": {[]string{"ALTER TABLE account ADD extra int"}, ""},
		"default":         {[]string{"ALTER TABLE account ADD extra int DEFAULT 7"}, ""},
		"default changed": {[]string{"ALTER TABLE account ADD extra int DEFAULT 7", "ALTER TABLE account ALTER extra SET DEFAULT 8"}, ""},
		"set later":       {[]string{"ALTER TABLE account ADD extra int", "UPDATE account SET extra = 5", "ALTER TABLE account ALTER extra SET DEFAULT 8"}, ""},
		"two of them":     {[]string{"ALTER TABLE account ADD other int DEFAULT 1", "UPDATE account SET amount = 5", "ALTER TABLE account ADD extra int DEFAULT 2"}, ""},
		"moved":           {[]string{"ALTER TABLE account DROP unused", "UPDATE account SET amount = 5", "ALTER TABLE account ADD extra int DEFAULT 3"}, ""},
		"dropped between": {[]string{"ALTER TABLE account ADD extra int DEFAULT 7", "UPDATE account SET amount = 5", "ALTER TABLE account DROP extra", "UPDATE account SET amount = 6", "ALTER TABLE account ADD extra int DEFAULT 9"}, ""},
		"written anew":    {[]string{"ALTER TABLE account ADD extra int DEFAULT floor(100 * random())"}, refused},
		"clustered":       {[]string{"ALTER TABLE account ADD extra int DEFAULT 7", "VACUUM FULL account"}, refused},
		"retyped":         {[]string{"ALTER TABLE account ADD extra text", "UPDATE account SET amount = 5", "ALTER TABLE account ALTER extra TYPE int USING 3"}, refused},
		"retyped unused":  {[]string{"ALTER TABLE account ALTER unused TYPE bigint USING unused * 2", "ALTER TABLE account RENAME unused TO extra"}, refused},
	} {
		for _, identity := range []string{"DEFAULT", "FULL"} {
			if identity == "FULL" && name != "default" && name != "moved" && name != "dropped between" {
				continue
			}
			t.Run(name+"/"+identity, func(t *testing.T) {
				t.Parallel()
				url := pgtest.URL(t)
				pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint, unused int DEFAULT 1)", "INSERT INTO account VALUES (1, 'a', 1), (2, 'b', 2)", "ALTER TABLE account REPLICA IDENTITY "+identity)
				narrow := account
				if identity == "FULL" {
					narrow.Key = nil
				}
				o := options(t, url, narrow)
				r := newReplica(t, narrow)
				catchUp(t, o, r)
				pgtest.Exec(t, url, "INSERT INTO account VALUES (3, 'c', 3)", "UPDATE account SET amount = 10 WHERE id = 2")
				pgtest.Exec(t, url, c.change...)
				pgtest.Exec(t, url, "INSERT INTO account VALUES (4, 'd', 4)", "UPDATE account SET amount = 30, extra = 31 WHERE id = 3", "DELETE FROM account WHERE id = 2")
				catchUp(t, o, r)
				pgtest.Exec(t, url, "VACUUM FULL account", "UPDATE account SET amount = 20 WHERE id = 1") // forgets what it noted of added columns
				catchUp(t, o, r)
				r.equal(url, "SELECT id, owner, amount FROM account")
				wide := narrow
				wide.Columns = append(wide.Columns[:3:3], field("extra", vector.Int64))
				o.Tables = []Table{wide}
				if _, err := Check(context.Background(), o); c.want != "" {
					mustContain(t, err, c.want)
					mustContain(t, openError(t, o), c.want)
					_, err := NewReader(o, "account").Read(context.Background(), nil, r.from)
					mustContain(t, err, c.want)
					return
				} else if err != nil {
					t.Error(err)
				}
				again := newReplica(t, wide)
				catchUp(t, o, again)
				again.equal(url, "SELECT id, owner, amount, extra FROM account")
				pgtest.Exec(t, url, "UPDATE account SET extra = 50", "TRUNCATE account", "INSERT INTO account (id, extra) VALUES (1, 9)")
				catchUp(t, o, again)
				again.equal(url, "SELECT id, owner, amount, extra FROM account")
				again.reread(o)
			})
		}
	}
}

// A table that is written anew while it is about to be copied hides its rows from the snapshot.
func TestWrittenAnewBeforeTheCopy(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)", "INSERT INTO account VALUES (1, 'a', 1)")
	o := options(t, url, account).withDefaults()
	conn := connect(t, url)
	tables, err := o.resolve(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"ALTER TABLE account ALTER amount TYPE bigint USING amount * 2", "ALTER TABLE account ADD extra int", "VACUUM FULL account"} {
		if _, err := conn.Exec(context.Background(), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1"); err != nil {
			t.Fatal(err)
		}
		if change == "ALTER TABLE account ADD extra int" { // before the snapshot, which sees it
			if _, err := conn.Exec(context.Background(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, url, change)
			if _, err := conn.Exec(context.Background(), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
				t.Fatal(err)
			}
		} else {
			pgtest.Exec(t, url, change)
		}
		mustContain(t, pin(context.Background(), conn, tables), "table public.account was changed while it was about to be copied", "start the pipeline again")
		if _, err := conn.Exec(context.Background(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
}

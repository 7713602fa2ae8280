package postgrescdc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
)

var account = Table{Name: "account", Columns: []vector.Field{field("id", vector.Int64), field("owner", vector.Varchar), field("amount", vector.Int64)}, Key: []int{0}}

func TestSnapshotThenStream(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint)",
		`INSERT INTO account VALUES (1, E'a\tb\n\\\\', 10), (2, NULL, 20), (3, '', NULL), (4, '\N', 0)`)
	o := options(t, url, account)
	r := newReplica(t, account)
	query := "SELECT id, owner, amount FROM account"
	catchUp(t, o, r)
	r.equal(url, query)
	pgtest.Exec(t, url, "INSERT INTO account VALUES (5, 'new', 1)", "UPDATE account SET amount = 11 WHERE id = 1", "DELETE FROM account WHERE id = 2",
		"UPDATE account SET id = 33 WHERE id = 3", "BEGIN; INSERT INTO account VALUES (6); ROLLBACK",
		"BEGIN; INSERT INTO account VALUES (7); SAVEPOINT s; UPDATE account SET amount = 7; ROLLBACK TO s; COMMIT")
	catchUp(t, o, r)
	r.equal(url, query)
	r.reread(o)
	if got := slots(t, url); len(got) != 1 || !strings.HasPrefix(got[0], "sluice_test_1_") {
		t.Errorf("the slots are %v", got)
	}
	fork := o
	fork.Pipeline = "other" // as one that was made from a savepoint
	mustContain(t, openError(t, fork), "the tables were captured by pipeline Test-1, and its slot sluice_test_1_")
	if name, err := Drop(context.Background(), fork); err != nil || name != "" {
		t.Errorf("Drop of another pipeline: %q, %v", name, err)
	}
	catchUp(t, o, r)
	if name, err := Drop(context.Background(), o); err != nil || name == "" {
		t.Errorf("Drop: %q, %v", name, err)
	}
	if got := slots(t, url); len(got) != 0 {
		t.Errorf("after Drop, the slots are %v", got)
	}
	if got := pgtest.Rows(t, url, "SELECT pubname FROM pg_publication"); len(got) != 0 {
		t.Errorf("after Drop, the publications are %v", got)
	}
}

// TestRandomTransactions writes from several sessions, while the tables are copied and after it, and compares at
// random moments. Money is moved between two tables, so that every cut must have all of it.
func TestRandomTransactions(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	url := pgtest.URL(t)
	loose := Table{Name: "loose", Columns: []vector.Field{field("note", vector.Varchar), field("amount", vector.Int64)}}
	pgtest.Exec(t, url, "CREATE TABLE account (id int PRIMARY KEY, owner text, amount bigint NOT NULL)", "CREATE TABLE loose (note text, amount bigint NOT NULL)",
		"ALTER TABLE loose REPLICA IDENTITY FULL", "CREATE TABLE other (x int)",
		"INSERT INTO account SELECT i, 'owner ' || i, 100 FROM generate_series(1, 300) i", "INSERT INTO loose SELECT 'note', 100 FROM generate_series(1, 50)")
	o := options(t, url, account, loose)
	a, l := newReplica(t, account), newReplica(t, loose)
	for round := range 4 {
		writers := 3
		var wg sync.WaitGroup
		enough := make(chan struct{})
		for i := range writers {
			conn := connect(t, url)
			rng := rand.New(rand.NewPCG(seed, uint64(round*writers+i)))
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-enough:
						if n >= 20 {
							return
						}
					default:
					}
					if err := randomTransaction(conn, rng); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		o := o
		o.Bounded = true
		g := open(t, o)
		drainConserving(t, g, rand.New(rand.NewPCG(seed, uint64(round))), a, l)
		close(enough)
		wg.Wait()
		catchUp(t, o, a, l)
		a.equal(url, "SELECT id, owner, amount FROM account")
		l.equal(url, "SELECT note, amount FROM loose")
	}
	a.reread(o)
	l.reread(o)
}

// randomTransaction moves money, and what else may happen between.
func randomTransaction(conn *pgx.Conn, rng *rand.Rand) error {
	ctx := context.Background()
	var sql []string
	for range 1 + rng.IntN(6) {
		id, by := rng.IntN(400), rng.IntN(50)
		switch rng.IntN(9) {
		case 0:
			sql = append(sql, fmt.Sprintf("WITH d AS (UPDATE account SET amount = amount - %d WHERE id = %d RETURNING 1) INSERT INTO loose SELECT 'from %d', %d FROM d", by, id, id, by))
		case 1:
			sql = append(sql, "WITH d AS (DELETE FROM loose WHERE ctid = (SELECT ctid FROM loose ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING amount), u AS (UPDATE account SET amount = amount + (SELECT amount FROM d) WHERE id = (SELECT min(id) FROM account) AND EXISTS (SELECT FROM d) RETURNING 1) "+
				"INSERT INTO loose SELECT 'kept', amount FROM d WHERE NOT EXISTS (SELECT FROM u)") // the account may be gone once its lock is free
		case 2:
			sql = append(sql, fmt.Sprintf("INSERT INTO account VALUES (%d, 'new', 0) ON CONFLICT (id) DO UPDATE SET owner = 'again'", id))
		case 3:
			sql = append(sql, fmt.Sprintf("UPDATE account SET id = %d WHERE id = %d AND NOT EXISTS (SELECT FROM account WHERE id = %d)", id+1000, id, id+1000))
		case 4:
			sql = append(sql, fmt.Sprintf("WITH d AS (DELETE FROM account WHERE id = %d RETURNING amount) INSERT INTO loose SELECT 'of %d', amount FROM d", id, id))
		case 5:
			sql = append(sql, "SAVEPOINT s", fmt.Sprintf("UPDATE account SET amount = amount + 1000 WHERE id = %d", id), "ROLLBACK TO s")
		case 6:
			sql = append(sql, "INSERT INTO other VALUES (1)")
		case 7:
			sql = append(sql, "INSERT INTO loose VALUES ('zero', 0)", "UPDATE loose SET note = note || '.' WHERE amount = 0 AND length(note) < 8")
		case 8:
			sql = append(sql, fmt.Sprintf("WITH d AS (DELETE FROM account WHERE id BETWEEN 1000 AND %d RETURNING amount) INSERT INTO loose SELECT 'many', coalesce(sum(amount), 0) FROM d", 1000+id))
		}
	}
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	for _, s := range sql {
		if _, err := conn.Exec(ctx, s); err != nil {
			// Deadlocks and the like: the whole transaction did not happen.
			_, err = conn.Exec(ctx, "ROLLBACK")
			return err
		}
	}
	end := "COMMIT"
	if rng.IntN(5) == 0 {
		end = "ROLLBACK"
	}
	_, err := conn.Exec(ctx, end)
	return err
}

// drainConserving reads batches of random size and checks after each that all the money is there.
func drainConserving(t *testing.T, g *Capture, rng *rand.Rand, a, l *replica) {
	t.Helper()
	const money = 300*100 + 50*100
	sa, sl := g.Source("account"), g.Source("loose")
	defer closing(t, sa)
	defer closing(t, sl)
	for {
		max := microbatch.Limits{MaxRows: 1 + rng.Int64N(40)}
		ra, err := sa.Poll(context.Background(), a.from, max)
		if err != nil {
			t.Fatal(err)
		}
		rl, err := sl.Poll(context.Background(), l.from, max)
		if err != nil {
			t.Fatal(err)
		}
		a.apply(ra)
		l.apply(rl)
		if string(a.from) != string(l.from) {
			t.Fatalf("the sources are at %s and %s", a.from, l.from)
		}
		at, err := decodeOffsets(a.from)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, r := range []*replica{a, l} {
			for _, row := range r.list() {
				var n int64
				if _, err := fmt.Sscan(row[strings.LastIndex(row, "|")+1:], &n); err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
		if !at.Snapshot && sum != money {
			t.Fatalf("at %s the tables have %d, and there is %d", a.from, sum, money)
		}
		if ra.Done && rl.Done {
			return
		}
	}
}

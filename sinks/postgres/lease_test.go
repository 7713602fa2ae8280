package postgres

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/microbatch"
)

// TestLeaseWatch: a lease has run out only when the server's clock and the observer's own both say so, whatever
// either clock shows.
func TestLeaseWatch(t *testing.T) {
	type look struct {
		after    time.Duration // since the first look, by the observer's clock
		renewals int64
		age      time.Duration // by the server's clock
		released bool
		server   string
		blind    bool
		expired  bool
	}
	for _, tc := range []struct {
		name  string
		looks []look
	}{
		{"nobody renews", []look{{0, 5, 0, false, "", false, false}, {2 * time.Second, 5, 2 * time.Second, false, "", false, false}, {3 * time.Second, 5, 3 * time.Second, false, "", false, true}}},
		{"old at the first look: the owner gets its time", []look{{0, 5, time.Hour, false, "", false, false}, {3 * time.Second, 5, time.Hour, false, "", false, true}}},
		{"renewed in between", []look{{0, 5, 0, false, "", false, false}, {2 * time.Second, 6, 0, false, "", false, false}, {4 * time.Second, 6, 2 * time.Second, false, "", false, false}, {5 * time.Second, 6, 3 * time.Second, false, "", false, true}}},
		{"the observer's clock runs fast", []look{{0, 5, 0, false, "", false, false}, {time.Hour, 5, time.Second, false, "", false, false}}},
		{"the observer was paused", []look{{0, 5, 0, false, "", false, false}, {time.Hour, 99, 0, false, "", false, false}}},
		{"the server was away", []look{{0, 5, 0, false, "", false, false}, {2 * time.Second, 0, 0, false, "", true, false}, {4 * time.Second, 5, 4 * time.Second, false, "", false, false}, {7 * time.Second, 5, 7 * time.Second, false, "", false, true}}},
		{"the server was restarted", []look{{0, 5, 0, false, "", false, false}, {4 * time.Second, 5, 4 * time.Second, false, "again", false, false}}},
		{"released", []look{{0, 5, 0, true, "", false, true}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Now()
			var w LeaseWatch
			for i, l := range tc.looks {
				if l.blind {
					w.Blind()
					continue
				}
				got := w.Expired(Lease{Epoch: 1, Owner: "o", Renewals: l.renewals, Age: l.age, Released: l.released, server: l.server}, start.Add(l.after))
				if got != l.expired {
					t.Errorf("look %d: expired is %t", i, got)
				}
			}
		})
	}
}

// TestClaim: of two standbys that see the same lease one gets it, none gets a living one, and the owner before is
// told at once and can commit nothing.
func TestClaim(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	o := testOptions(url)
	o.Owner, o.Directory = "one:1:a", "/one"
	old := newEngineWith(t, o, oneOut...)
	standby := func(name string) *Leases {
		l, err := NewLeases(Options{URL: url, Owner: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	a, b := standby("a:1:x"), standby("b:1:y")
	seen, err := a.Read(t.Context(), "p")
	if err != nil || seen == nil || seen.Owner != o.Owner || seen.Directory != "/one" || !seen.Fresh() {
		t.Fatalf("%+v %v", seen, err)
	}
	if got, err := a.Claim(t.Context(), *seen); got || err != nil {
		t.Fatalf("a living lease was claimed: %t %v", got, err)
	}
	old.sink.keeper.stop() // as if it were paused
	<-old.sink.keeper.done
	pgtest.Exec(t, url, "UPDATE sluice.lease SET renewed_at = renewed_at - interval '1 minute', released = false")
	if seen, err = a.Read(t.Context(), "p"); err != nil || seen.Fresh() {
		t.Fatalf("%+v %v", seen, err)
	}
	old.sink.keepLease()
	first, err := a.Claim(t.Context(), *seen)
	second, err2 := b.Claim(t.Context(), *seen)
	if !first || second || err != nil || err2 != nil {
		t.Fatalf("claims: %t %v, %t %v", first, err, second, err2)
	}
	if err := <-old.sink.Lost(); !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("the owner before was told %v", err)
	}
	if err := old.sink.Stage(t.Context(), batchOf(t, 1, oneOut, []row{r(1, 1, "old")})); !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("stage of the owner before: %v", err)
	}
	got := strings.Join(pgtest.Rows(t, url, "SELECT l.owner, l.directory, l.epoch = g.epoch FROM sluice.lease l, sluice.ledger g"), ";")
	if want := "a:1:x|/one|t"; got != want {
		t.Errorf("the lease is %s, want %s", got, want)
	}
	if err := b.Hold(t.Context(), "p", nil); !errors.Is(err, microbatch.ErrFenced) {
		t.Errorf("the slower one holds it: %v", err)
	}
}

// TestCommitOnRestoredLedger: the ledger went back and forth again under a living engine, up to its own epoch and
// batch number, with another batch. The model of the protocol found that this went unnoticed.
func TestCommitOnRestoredLedger(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	e := newEngine(t, url, oneOut...)
	e.run(batchOf(t, 1, oneOut, []row{r(1, 1, "mine")}))
	pgtest.Exec(t, url, "UPDATE sluice.ledger SET content_hash = 'of another batch 1'")
	b := batchOf(t, 2, oneOut, []row{r(1, 2, "mine")})
	if err := e.sink.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	err := e.sink.Commit(t.Context(), e.Prepare(b), info(b))
	if err == nil || !strings.Contains(err.Error(), "not the one that this engine goes on from") {
		t.Errorf("the commit: %v", err)
	}
}

// TestLeaseInARestoredDatabase: an engine whose database is put back to an older state between two batches is not told
// that a newer engine has fenced it off, for there is none.
func TestLeaseInARestoredDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	o := testOptions(url)
	o.Owner = "one:1:a"
	newEngineWith(t, o, oneOut...).sink.Close()
	o.Owner = "two:1:a"
	e := newEngineWith(t, o, oneOut...)
	pgtest.Exec(t, url, "BEGIN; UPDATE sluice.ledger SET epoch = 1; UPDATE sluice.lease SET epoch = 1, owner = 'one:1:a'; COMMIT")
	if err := <-e.sink.Lost(); !errors.Is(err, errDisagree) || !strings.Contains(err.Error(), "restored from a backup") {
		t.Errorf("the engine was told %v", err)
	}
}

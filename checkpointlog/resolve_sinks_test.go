package checkpointlog

import (
	"strings"
	"testing"
)

// Two sinks at every pair of ledgers that a crash can leave: what is decided does for both.
func TestResolveSinks(t *testing.T) {
	sink := func(f Facts, name string, staged bool) SinkFacts { return SinkFacts{name, f.Ledger, staged} }
	for _, p := range []int64{0, 1, 5} {
		for c := max(p-1, 0); c <= p; c++ {
			for _, a := range []int64{-1, p - 1, p, p + 1} {
				for _, b := range []int64{-1, p - 1, p, p + 1} {
					for staged := range 4 {
						fa, fb := facts(p, c, a), facts(p, c, b)
						fa.Staged, fb.Staged = staged&1 != 0, staged&2 != 0
						da, err := Resolve(fa)
						if err != nil {
							t.Fatal(err)
						}
						db, err := Resolve(fb)
						if err != nil {
							t.Fatal(err)
						}
						got, err := ResolveSinks("p1", fa.Log, []SinkFacts{sink(fa, "a", fa.Staged), sink(fb, "b", fb.Staged)})
						if err != nil {
							t.Fatal(err)
						}
						want := da
						switch {
						case da.Action == Refuse:
						case db.Action == Refuse, db.Action == Reexecute, db.Action == RollForward && da.Action != Reexecute:
							want = db
						}
						if got.Action != want.Action || got.Batch != want.Batch || got.Reason != want.Reason || got.RecordCommit != want.RecordCommit {
							t.Errorf("P=%d C=%d ledgers %d (staged %t) and %d (staged %t): %v %d, want %v %d", p, c, a, fa.Staged, b, fb.Staged,
								got.Action, got.Batch, want.Action, want.Batch)
						}
						if got.Action == RollForward && !got.Permit.Valid() {
							t.Error("a roll forward without a permit")
						}
					}
				}
			}
		}
	}
}

func TestResolveSinksNamesTheOneThatRefuses(t *testing.T) {
	good, bad := facts(5, 5, 5), facts(5, 5, 3)
	d, err := ResolveSinks("p1", good.Log, []SinkFacts{{"PostgreSQL", good.Ledger, false}, {"directory out", bad.Ledger, false}})
	if err != nil || d.Reason != ReasonLedgerBehind || !strings.HasPrefix(d.Detail, "directory out: ") {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := ResolveSinks("p1", good.Log, nil); err == nil {
		t.Error("resolved without a sink")
	}
}

package checkpointlog

import (
	"strings"
	"testing"
)

// facts builds a row: P and C are the log's prepared and committed batches, L the ledger's (-1: the
// ledger does not know the pipeline). The ledger agrees with the log on content, the epoch is fresh and
// the plan unchanged unless the row says otherwise.
func facts(p, c, l int64) Facts {
	f := Facts{Plan: "p1", Log: LogFacts{Plan: "p1", Committed: c, Planned: p + 1}}
	f.Ledger = LedgerFacts{Found: l >= 0, Batch: max(l, 0), Epoch: 9, Plan: "p1"}
	if p > 0 {
		prepared, prev, plan := preparedOf(p, 5), preparedOf(p-1, 5), planOf(p, 5)
		f.Log.Prepared, f.Log.PreparedPlan, f.Log.Epoch = &prepared, &plan, 5
		if p > 1 {
			f.Log.PrevContentHash = ContentHash(&prev)
		}
	}
	if l > 0 {
		committed := preparedOf(l, 5)
		f.Ledger.ContentHash = ContentHash(&committed)
	}
	return f
}

func with(f Facts, change func(*Facts)) Facts { change(&f); return f }

func TestResolve(t *testing.T) {
	staged := func(f *Facts) { f.Staged = true }
	otherContent := func(f *Facts) { f.Ledger.ContentHash = "other" }
	noHash := func(f *Facts) { f.Ledger.ContentHash = "" }
	sameEpoch := func(f *Facts) { f.Ledger.Epoch = 5 }
	lowEpoch := func(f *Facts) { f.Ledger.Epoch = 2 }
	noFence := func(f *Facts) { f.Ledger.Epoch = 0 }
	newPlan := func(f *Facts) { f.Plan = "p2" }
	otherLedgerPlan := func(f *Facts) { f.Ledger.Plan = "p0" }
	for _, tc := range []struct {
		name   string
		facts  Facts
		action Action
		batch  int64
		reason Reason
	}{
		// Nothing prepared.
		{"first start", facts(0, 0, -1), Start, 1, ""},
		{"crash after the ledger row was made", facts(0, 0, 0), Start, 1, ""},
		{"crash with batch 1 staged but not prepared", with(facts(0, 0, 0), staged), Start, 1, ""},
		{"first start with an edited file", with(facts(0, 0, 0), newPlan), Start, 1, ""},
		{"log deleted", facts(0, 0, 1), Refuse, 0, ReasonLogMissing},
		{"log deleted, much later", facts(0, 0, 7), Refuse, 0, ReasonLogMissing},

		// One batch prepared.
		{"crash in commit of batch 1, staged", with(facts(1, 0, 0), staged), RollForward, 1, ""},
		{"crash in commit of batch 1, staging lost", facts(1, 0, 0), Reexecute, 1, ""},
		{"database dropped before batch 1 was committed", facts(1, 0, -1), Reexecute, 1, ""},
		{"the same, and its epochs begin again", with(facts(1, 0, -1), sameEpoch), Reexecute, 1, ""},
		{"the same, and they are behind the log's", with(facts(1, 0, -1), lowEpoch), Refuse, 0, ReasonEpochBehind},
		{"crash before Committed was durable", facts(1, 0, 1), Resume, 2, ""},
		{"clean stop after batch 1", facts(1, 1, 1), Resume, 2, ""},
		{"ledger dropped", facts(1, 1, -1), Refuse, 0, ReasonLedgerMissing},
		{"ledger emptied", facts(1, 1, 0), Refuse, 0, ReasonLedgerMissing},
		{"older copy of the log", facts(1, 1, 2), Refuse, 0, ReasonLedgerAhead},
		{"older copy of the log, uncommitted end", facts(1, 0, 2), Refuse, 0, ReasonLedgerAhead},
		{"much older copy of the log", facts(1, 1, 9), Refuse, 0, ReasonLedgerAhead},

		// Many batches.
		{"crash in commit, staged", with(facts(5, 4, 4), staged), RollForward, 5, ""},
		{"crash in commit, staging lost", facts(5, 4, 4), Reexecute, 5, ""},
		{"crash after commit", facts(5, 4, 5), Resume, 6, ""},
		{"crash after commit, staging not cleaned up", with(facts(5, 4, 5), staged), Resume, 6, ""},
		{"clean stop", facts(5, 5, 5), Resume, 6, ""},
		{"database lost the last commit", facts(5, 5, 4), Refuse, 0, ReasonLedgerBehind},
		{"the same, staging still there", with(facts(5, 5, 4), staged), Refuse, 0, ReasonLedgerBehind},
		{"database restored from a backup", facts(5, 5, 3), Refuse, 0, ReasonLedgerBehind},
		{"database restored, batch 5 uncommitted", facts(5, 4, 3), Refuse, 0, ReasonLedgerBehind},
		{"database recreated", facts(5, 5, -1), Refuse, 0, ReasonLedgerMissing},
		{"database recreated, batch 5 uncommitted", facts(5, 4, 0), Refuse, 0, ReasonLedgerMissing},
		{"a second engine went on from a copy", facts(5, 5, 6), Refuse, 0, ReasonLedgerAhead},
		{"a second engine committed another batch 5", with(facts(5, 4, 5), otherContent), Refuse, 0, ReasonDifferentContent},
		{"the same after a clean stop", with(facts(5, 5, 5), otherContent), Refuse, 0, ReasonDifferentContent},
		{"a second engine committed another batch 4", with(facts(5, 4, 4), otherContent), Refuse, 0, ReasonDifferentContent},
		{"the same, staged", with(with(facts(5, 4, 4), otherContent), staged), Refuse, 0, ReasonDifferentContent},
		{"batch 4 is no longer in the log", with(with(facts(5, 4, 4), otherContent), func(f *Facts) { f.Log.PrevContentHash = "" }), Reexecute, 5, ""},

		// Sinks that keep less.
		{"no content hash", with(facts(5, 4, 5), noHash), Resume, 6, ""},
		{"no content hash, another plan", with(with(facts(5, 4, 5), noHash), otherLedgerPlan), Refuse, 0, ReasonDifferentContent},
		{"no content hash, no plan", with(with(facts(5, 4, 5), noHash), func(f *Facts) { f.Ledger.Plan = "" }), Resume, 6, ""},
		{"same content, committed by an older plan", with(facts(5, 5, 5), otherLedgerPlan), Resume, 6, ""},
		{"no fence", with(facts(5, 5, 5), noFence), Resume, 6, ""},

		// The fence.
		{"epoch not above the log's", with(facts(5, 5, 5), sameEpoch), Refuse, 0, ReasonEpochBehind},
		{"epoch below the log's", with(facts(5, 5, 5), lowEpoch), Refuse, 0, ReasonEpochBehind},
		{"epoch below the log's, staged", with(with(facts(5, 4, 4), lowEpoch), staged), Refuse, 0, ReasonEpochBehind},
		{"a worse reason goes first", with(facts(5, 5, 3), lowEpoch), Refuse, 0, ReasonLedgerBehind},

		// The program.
		{"edited file", with(facts(5, 5, 5), newPlan), Refuse, 0, ReasonPlanChanged},
		{"edited file, batch 5 uncommitted", with(with(facts(5, 4, 4), newPlan), staged), Refuse, 0, ReasonPlanChanged},
		{"edited file and an old log", with(facts(5, 5, 6), newPlan), Refuse, 0, ReasonLedgerAhead},
	} {
		d, err := Resolve(tc.facts)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if d.Action != tc.action || d.Batch != tc.batch || d.Reason != tc.reason {
			t.Errorf("%s: %v batch %d %q, want %v batch %d %q", tc.name, d.Action, d.Batch, d.Reason, tc.action, tc.batch, tc.reason)
		}
		if err := checkDecision(tc.facts, d); err != "" {
			t.Errorf("%s: %s: %+v", tc.name, err, d)
		}
	}
}

// checkDecision checks what holds for every decision whatever the facts, and returns what does not.
func checkDecision(f Facts, d Decision) string {
	p, l := f.Log.preparedBatch(), f.Ledger.Batch
	switch {
	case (d.Action == Refuse) != (d.Reason != ReasonNone) || (d.Err() != nil) != (d.Action == Refuse):
		return "a reason goes with Refuse and with nothing else"
	case d.Action == Refuse && (d.Detail == "" || d.Hint == ""):
		return "a refusal must say why and what to do"
	case d.Permit.Valid() != (d.Action == RollForward):
		return "a permit goes with RollForward and with nothing else"
	case d.Action == Start && (p != 0 || l != 0 || d.Batch != 1):
		return "started although something has happened"
	case d.Action == Resume && (l != p || d.Batch != p+1 || d.RecordCommit != (f.Log.Committed < p)):
		return "resumed although the last prepared batch is not the ledger's"
	case d.Action == RollForward && (!f.Staged || d.Permit.Batch() != p || d.Permit.ContentHash() != ContentHash(f.Log.Prepared)):
		return "rolled forward what is not staged"
	case (d.Action == RollForward || d.Action == Reexecute) && (l != p-1 || f.Log.Committed == p || d.Batch != p):
		return "a batch that may be in the ledger would be committed again"
	case d.Action == Reexecute && (d.Plan == nil || d.Plan.Batch != p || f.Log.Snapshot >= p):
		return "re-execution without a plan or the state before"
	}
	return ""
}

// TestResolveEveryCombination walks all facts over small numbers, impossible ones included: none makes a
// decision that could lose or repeat a batch.
func TestResolveEveryCombination(t *testing.T) {
	var decided, impossible int
	for p := int64(0); p <= 4; p++ {
		for c := int64(0); c <= 5; c++ {
			for l := int64(-1); l <= 6; l++ {
				for s := int64(0); s <= 5; s++ {
					for flags := range 64 {
						f := facts(p, c, l)
						f.Log.Snapshot = s
						f.Staged = flags&1 != 0
						if flags&2 != 0 {
							f.Ledger.ContentHash = "other"
						}
						if flags&4 != 0 {
							f.Ledger.Epoch = 5
						}
						if flags&8 != 0 {
							f.Plan = "p2"
						}
						if flags&16 != 0 {
							f.Log.PreparedPlan = nil
						}
						if flags&32 != 0 {
							f.Ledger.Found = !f.Ledger.Found
						}
						d, err := Resolve(f)
						if err != nil {
							impossible++
							continue
						}
						decided++
						if why := checkDecision(f, d); why != "" {
							t.Fatalf("%s: %+v: %+v", why, f, d)
						}
					}
				}
			}
		}
	}
	t.Logf("%d decisions, %d impossible", decided, impossible)
}

func TestResolveImpossible(t *testing.T) {
	for _, tc := range []struct {
		name  string
		facts Facts
		want  string
	}{
		{"committed ahead of prepared", facts(1, 2, 1), "prepared batch 1 and committed batch 2"},
		{"two uncommitted", facts(5, 3, 3), "prepared batch 5 and committed batch 3"},
		{"snapshot of an uncommitted batch", with(facts(5, 4, 4), func(f *Facts) { f.Log.Snapshot = 5 }), "snapshot of batch 5"},
		{"no plan to execute again", with(facts(5, 4, 4), func(f *Facts) { f.Log.PreparedPlan = nil }), "its plan is missing"},
		{"another batch's plan", with(facts(5, 4, 4), func(f *Facts) { f.Log.PreparedPlan.Batch = 4 }), "its plan is missing"},
		{"batch without a ledger", with(facts(5, 5, 5), func(f *Facts) { f.Ledger.Found = false }), "not found but has batch"},
		{"negative batch", with(facts(0, 0, 0), func(f *Facts) { f.Ledger.Batch = -1 }), "negative"},
		{"batch zero prepared", with(facts(0, 0, 0), func(f *Facts) { f.Log.Prepared = &Prepared{} }), "negative or zero"},
	} {
		if _, err := Resolve(tc.facts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestPermitFor(t *testing.T) {
	d, err := Resolve(facts(5, 4, 4))
	must(t, err)
	if p, err := d.PermitFor([]OutputDigest{{Output: "hot", Rows: 5, Sum: "other"}}); err == nil || p.Valid() {
		t.Errorf("a permit for other outputs: %v", err)
	}
	p, err := d.PermitFor(d.Outputs)
	must(t, err)
	if p.Batch() != 5 || p.Epoch() != 5 || len(p.Outputs()) != 1 {
		t.Errorf("%+v", p)
	}
	if _, err := (Decision{Action: Resume}).PermitFor(nil); err == nil {
		t.Error("a permit where nothing is re-executed")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero permit has a batch")
		}
	}()
	CommitPermit{}.Batch()
}

func TestContentHash(t *testing.T) {
	a, b := preparedOf(3, 1), preparedOf(3, 2)
	b.Counts.RowsIn++
	if ContentHash(&a) != ContentHash(&b) {
		t.Error("the epoch or the counts matter")
	}
	a.Outputs = append(a.Outputs, OutputDigest{Output: "cold"})
	b.Outputs = append([]OutputDigest{{Output: "cold"}}, b.Outputs...)
	if ContentHash(&a) != ContentHash(&b) {
		t.Error("the order matters")
	}
	for name, change := range map[string]func(*Prepared){
		"batch": func(p *Prepared) { p.Batch++ }, "sum": func(p *Prepared) { p.Outputs[0].Sum = "x" },
		"rows": func(p *Prepared) { p.Outputs[0].Rows++ }, "state": func(p *Prepared) { p.States[0].Sum = "x" },
	} {
		c := preparedOf(3, 1)
		before := ContentHash(&c)
		if change(&c); ContentHash(&c) == before {
			t.Errorf("%s does not matter", name)
		}
	}
}

package checkpointlog

import "fmt"

// Resolve decides what a restart has to do, from what the log and the ledger say and from nothing else.
// It is a pure function; its test has a row for every combination.
//
// Let P be the log's last prepared batch, C its last committed one (P or P-1) and L the ledger's:
//
//	P = 0            L = 0    start                  L > 0    refuse: log missing
//	L > P            refuse: ledger ahead
//	L = P            resume at P+1 if the content hashes agree, refuse if not
//	L = P-1, C = P-1 roll forward if staged, re-execute if not
//	L = P-1, C = P   refuse: ledger behind (missing if L = 0)
//	L < P-1          refuse: ledger behind (missing if L = 0)
//
// The error is for facts that no log can give: a defect of the caller.
func Resolve(f Facts) (Decision, error) {
	if err := f.impossible(); err != nil {
		return Decision{}, err
	}
	d := f.resolve()
	switch {
	case d.Action == Refuse || d.Action == Start:
		return d, nil
	case f.fenceWentBack():
		return refuse(ReasonEpochBehind,
			fmt.Sprintf("the ledger's epoch is now %d, but the log holds batches of epoch %d", f.Ledger.Epoch, f.Log.Epoch),
			"the database or directory was restored from an older backup or is another one; point the pipeline at what it was writing to"), nil
	case f.Plan != f.Log.Plan:
		// The file was edited (or sluice was upgraded) while the pipeline was stopped.
		return refuse(ReasonPlanChanged,
			fmt.Sprintf("the pipeline's program changed: its fingerprint is %s, the state in the log was made by %s", f.Plan, f.Log.Plan),
			"run the old file to continue, or give the changed pipeline a name of its own"), nil
	}
	return d, nil
}

// resolve decides by batch numbers and content.
func (f *Facts) resolve() Decision {
	prepared, ledger := f.Log.preparedBatch(), f.Ledger.Batch
	switch {
	case prepared == 0 && ledger == 0:
		// A first start; or a crash before the first Prepared was durable, whatever had been planned,
		// executed or staged by then.
		return Decision{Action: Start, Batch: 1}
	case prepared == 0:
		// The state directory was deleted, or another one is used.
		return refuse(ReasonLogMissing,
			fmt.Sprintf("the ledger says that batch %d is committed%s, but the log has no batch", ledger, f.Ledger.madeBy()),
			"start with the state directory that the pipeline had, restore it from a replica, or drop the pipeline to begin again")
	case ledger > prepared:
		// An older copy of the state directory, a disk that lost what it had synced, or a second engine
		// that went on from a copy.
		return refuse(ReasonLedgerAhead,
			fmt.Sprintf("the ledger says that batch %d is committed%s, but the log ends at batch %d: it is not the newest one", ledger, f.Ledger.madeBy(), prepared),
			"start with the newest state directory or replica")
	case ledger == prepared:
		return f.atLedger()
	case ledger == prepared-1 && f.Log.Committed < prepared:
		return f.beforeCommit()
	case ledger == 0:
		// The database was created anew, or the ledger was dropped.
		return refuse(ReasonLedgerMissing,
			fmt.Sprintf("the log says that batch %d is committed, but the ledger knows no batch of this pipeline", f.Log.Committed),
			"point the pipeline at the database or directory it was writing to, or drop the pipeline to begin again in this one")
	default:
		// The database was restored from a backup, or failed over to a replica that lacked the last
		// commits, or lost them because synchronous_commit was off.
		return refuse(ReasonLedgerBehind,
			fmt.Sprintf("the ledger ends at batch %d, but the log says that batch %d is committed: commits were lost", ledger, f.Log.Committed),
			"restore a newer backup of the database or directory, or a savepoint of the pipeline from before the backup")
	}
}

// atLedger: the ledger has the last prepared batch. The crash came after the sink's commit and before
// the log's Committed was durable, or at any time after that.
func (f *Facts) atLedger() Decision {
	if !f.sameContent(ContentHash(f.Log.Prepared)) {
		// Two engines went on from copies of one log; this directory is not the one that committed.
		return f.refuseContent(f.Ledger.Batch)
	}
	return Decision{Action: Resume, Batch: f.Ledger.Batch + 1, RecordCommit: f.Log.Committed < f.Ledger.Batch}
}

// beforeCommit: the last prepared batch is not in the ledger. The crash came after Prepared was durable
// and before the sink's commit, or the commit was rolled back.
func (f *Facts) beforeCommit() Decision {
	p := f.Log.Prepared
	switch {
	case f.Ledger.Batch > 0 && f.Log.PrevContentHash != "" && !f.sameContent(f.Log.PrevContentHash):
		return f.refuseContent(f.Ledger.Batch)
	case f.Staged:
		return Decision{Action: RollForward, Batch: p.Batch, Permit: permitFor(p)}
	default:
		// The sink's server crashed too and its staging was unlogged, or someone emptied it.
		return Decision{Action: Reexecute, Batch: p.Batch, Plan: f.Log.PreparedPlan, Outputs: permitFor(p).Outputs(), prepared: p}
	}
}

// sameContent compares the ledger's batch with the log's. A sink that cannot keep a hash is compared by
// plan, and one that keeps neither is believed.
func (f *Facts) sameContent(hash string) bool {
	if f.Ledger.ContentHash != "" {
		return f.Ledger.ContentHash == hash
	}
	return f.Ledger.Plan == "" || f.Ledger.Plan == f.Log.Plan
}

func (f *Facts) refuseContent(batch int64) Decision {
	return refuse(ReasonDifferentContent,
		fmt.Sprintf("batch %d in the ledger%s is not the batch %d in the log: the log belongs to another history", batch, f.Ledger.madeBy(), batch),
		"start with the state directory of the engine that wrote to this database last")
}

// fenceWentBack: this engine raised the epoch, so it is above that of every batch in the log, unless the
// ledger is not the one that the log was written with. A ledger that never saw the pipeline counts from
// the beginning.
func (f *Facts) fenceWentBack() bool {
	if f.Ledger.Epoch == 0 {
		return false
	}
	if !f.Ledger.Found {
		return f.Ledger.Epoch < f.Log.Epoch
	}
	return f.Ledger.Epoch <= f.Log.Epoch
}

func (l LedgerFacts) madeBy() string {
	if l.Plan == "" {
		return ""
	}
	return " (plan " + l.Plan + ")"
}

func (l LogFacts) preparedBatch() int64 {
	if l.Prepared == nil {
		return 0
	}
	return l.Prepared.Batch
}

func refuse(reason Reason, detail, hint string) Decision {
	return Decision{Action: Refuse, Reason: reason, Detail: detail, Hint: hint}
}

// impossible checks what Open guarantees and what a ledger cannot say.
func (f *Facts) impossible() error {
	p, c, s := f.Log.preparedBatch(), f.Log.Committed, f.Log.Snapshot
	switch {
	case p < 0 || c < 0 || s < 0 || f.Ledger.Batch < 0 || f.Log.Epoch < 0 || f.Ledger.Epoch < 0,
		f.Log.Prepared != nil && p == 0:
		return fmt.Errorf("resolving restart: negative or zero batch or epoch: %+v", *f)
	case c > p || c < p-1:
		return fmt.Errorf("resolving restart: the log ends at prepared batch %d and committed batch %d", p, c)
	case s > c:
		return fmt.Errorf("resolving restart: the snapshot of batch %d is ahead of committed batch %d", s, c)
	case p > c && (f.Log.PreparedPlan == nil || f.Log.PreparedPlan.Batch != p):
		return fmt.Errorf("resolving restart: batch %d is prepared and its plan is missing", p)
	case !f.Ledger.Found && f.Ledger.Batch > 0:
		return fmt.Errorf("resolving restart: the ledger was not found but has batch %d", f.Ledger.Batch)
	}
	return nil
}

// PermitFor gives the permit of a Reexecute decision once the batch was executed again, if the outputs
// are what the log says.
func (d Decision) PermitFor(outputs []OutputDigest) (CommitPermit, error) {
	if d.Action != Reexecute {
		return CommitPermit{}, fmt.Errorf("a permit for re-executed outputs was asked for, but the decision is to %v", d.Action)
	}
	if !sameOutputs(outputs, d.prepared.Outputs) {
		return CommitPermit{}, fmt.Errorf("batch %d gave other outputs when it was executed again: %+v, the log says %+v\nHint: a source changed what it had given, or a function in the query is not deterministic; `sluice replay` shows where", d.Batch, outputs, d.prepared.Outputs)
	}
	return permitFor(d.prepared), nil
}

package checkpointlog

// Facts are everything that Resolve decides on.
type Facts struct {
	// Plan is the fingerprint of the program that is about to run.
	Plan   string
	Log    LogFacts
	Ledger LedgerFacts
	// Staged says that the sink's staging area holds exactly the last prepared batch, with the logged
	// digests. It matters only when the ledger is one batch behind the log.
	Staged bool
}

// LogFacts are what the log says; Recovered.Facts makes them. Zero means none.
type LogFacts struct {
	Plan         string    // of the header
	Epoch        int64     // highest of a Prepared or Committed
	Planned      int64     // last planned batch; decides nothing, a plan alone never happened
	Prepared     *Prepared // last prepared, without Delta
	PreparedPlan *Planned  // what it read
	Committed    int64
	Snapshot     int64
	// PrevContentHash identifies the batch before Prepared; empty when the log no longer holds it.
	PrevContentHash string
}

// LedgerFacts are what the sink's own record says, read after this engine has raised the epoch.
type LedgerFacts struct {
	Found       bool  // false for a pipeline the sink has never seen
	Batch       int64 // last committed, 0 if none
	Epoch       int64 // the one this engine now holds; 0 for a sink that has no fence
	Plan        string
	ContentHash string // of Batch
}

// Action is what a restart has to do.
type Action int

const (
	// Refuse: stop with Reason, Detail and Hint.
	Refuse Action = iota
	// Start: nothing has happened; begin with batch 1 and empty state.
	Start
	// Resume: the last prepared batch is committed; plan Decision.Batch next.
	Resume
	// RollForward: commit Decision.Batch, which is staged, with Decision.Permit.
	RollForward
	// Reexecute: restore the state before Decision.Batch, execute the ranges of Decision.Plan again, get
	// the permit with PermitFor, stage and commit.
	Reexecute
)

func (a Action) String() string {
	return [...]string{"refuse", "start", "resume", "roll forward", "re-execute"}[a]
}

// Reason says why a restart is refused.
type Reason string

const (
	ReasonNone             Reason = ""
	ReasonLogMissing       Reason = "log missing"       // the ledger has batches, the log has none
	ReasonLedgerMissing    Reason = "ledger missing"    // the log has committed batches, the ledger none
	ReasonLedgerAhead      Reason = "ledger ahead"      // the log is not the newest one
	ReasonLedgerBehind     Reason = "ledger behind"     // the database is older than the log
	ReasonDifferentContent Reason = "different content" // same batch number, another history
	ReasonEpochBehind      Reason = "epoch behind"      // the fence has gone back in time
	ReasonPlanChanged      Reason = "plan changed"      // the state was made by another program
)

// Decision is what Resolve returns.
type Decision struct {
	Action Action
	// Batch is the next batch to plan (Start, Resume) or the one to commit (RollForward, Reexecute).
	Batch int64
	// RecordCommit says that the log lacks the Committed of batch Batch-1 (Resume): append it first,
	// since the log prepares no batch before the one before it is recorded as committed.
	RecordCommit bool
	// Permit is for RollForward.
	Permit CommitPermit
	// Plan and Outputs are for Reexecute: what to read, and what it must give.
	Plan    *Planned
	Outputs []OutputDigest

	Reason       Reason
	Detail, Hint string

	prepared *Prepared
}

// RefusedError is a Refuse decision as an error.
type RefusedError struct {
	Reason       Reason
	Detail, Hint string
}

func (e *RefusedError) Error() string {
	return "cannot resume: " + e.Detail + "\nHint: " + e.Hint
}

// Err is a *RefusedError when the decision is Refuse, nil otherwise.
func (d Decision) Err() error {
	if d.Action != Refuse {
		return nil
	}
	return &RefusedError{d.Reason, d.Detail, d.Hint}
}

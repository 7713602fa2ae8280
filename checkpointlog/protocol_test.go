package checkpointlog

import (
	"fmt"
	"slices"
)

// This file models everything round Resolve: two engines with a log each, a PostgreSQL, and what may go wrong with
// them. Resolve, PermitFor and ContentHash are the real ones. What a batch contains is modelled by the rows that it
// reads, a span of the input; who plans a batch chooses where it ends, so two engines that go on from copies of one log
// part. protocol_explore_test.go visits every state.

// protocolBatches is the most that a model may have; its input has one row more, so that batches can be cut in two ways.
const protocolBatches = 3

// span is what a batch reads: rows from to to-1 of the input. The zero span is none.
type span struct{ from, to int8 }

// protocolLog is an engine's own log directory.
type protocolLog struct {
	prepared, committed int8
	records             [protocolBatches + 1]span // of prepared batches, by number
	epochs              [protocolBatches + 1]int8 // of their Prepared records
	committedEpoch      int8
	// What is written and not synced: a crash keeps all of it, the older part, or nothing.
	unsyncedPrepared, unsyncedCommitted bool
	// older says that the directory was replaced by a copy of the other's: it need not be the newest any more.
	older bool
}

// phase is where an engine is. The order is that of a batch.
type phase int8

const (
	down phase = iota
	opened
	idle
	planned
	staged
	written // Prepared is in the log and not synced
	prepared
	committing // its transaction is open
	committed
)

type protocolEngine struct {
	phase phase
	epoch int8
	// start is the number of its start among all, which nobody in the system knows: who took over last.
	start int8
	batch int8
	what  span
	// restage: staging is lost and the engine has the rows still.
	restage bool
	// What the ledger said when the engine opened.
	found       bool
	ledgerBatch int8
	ledgerWhat  span
}

// protocolDB is PostgreSQL's durable side.
type protocolDB struct {
	found  bool
	epoch  int8
	batch  int8
	what   span                      // of batch: the ledger's content hash
	tables [protocolBatches + 2]span // what was applied, in order
	n      int8
}

// protocolTx is the transaction that shows a batch, between BEGIN and COMMIT. It holds the ledger's row.
type protocolTx struct {
	open    bool
	engine  int8 // -1: the process is dead, and its COMMIT may still arrive
	start   int8
	epoch   int8
	batch   int8
	what    span
	nothing bool // the staged rows were not looked for, and are gone
}

type protocolState struct {
	log    [2]protocolLog
	engine [2]protocolEngine
	db     protocolDB
	tx     protocolTx
	// The unlogged staging tables.
	isStaged    bool
	stagedBatch int8
	stagedWhat  span
	// via is the engine that committed the ledger's batch, -1 for none.
	via int8
	// A backup of the database, and whether it was put back.
	backup              protocolDB
	hasBackup, restored bool
	starts, copies      int8
	before              protocolDB // the database before the last commit, for servers that lose one
	beforeSet           bool
}

// mutation breaks the protocol in one way, to see that the model notices.
type mutation struct {
	commitBeforePrepared bool
	skipSync             bool // Prepared is not synced before the commit
	skipEpochCheck       bool
	skipRaise            bool // a start leaves the epoch as it is
	skipRowLock          bool // a commit does not hold the ledger's row
	skipLedgerInCommit   bool // a commit that is tried again does not look whether the first one worked
	skipHeadCheck        bool // a commit does not look which batch it builds on
	ignoreLostStaging    bool
	forgetContent        bool // the ledger keeps no content hash
	replan               bool // re-execution chooses ranges of its own
	ledgerApart          bool // tables and ledger in two transactions
	answerBeforeDurable  bool // synchronous_commit = off
}

// model is a protocol with its environment's bounds.
type model struct {
	mutation
	batches, maxStarts, maxCopies int8
	backups                       bool
	// resolved keeps what Resolve said, which is pure: the same facts are asked about once.
	resolved map[resolveKey]Decision
}

// move is a successor of a state with what led to it.
type move struct {
	what string
	next protocolState
	// bad says which promise the move itself breaks.
	bad string
}

func (m *model) moves(s protocolState) (out []move) {
	add := func(next protocolState, bad, format string, args ...any) {
		out = append(out, move{fmt.Sprintf(format, args...), next, bad})
	}
	for i := range s.engine {
		m.engineMoves(s, i, add)
	}
	m.serverMoves(s, add)
	return out
}

type addMove func(next protocolState, bad, format string, args ...any)

// engineMoves are the next steps of one engine, and its death.
func (m *model) engineMoves(s protocolState, i int, add addMove) {
	e := s.engine[i]
	next := s
	ne, nl := &next.engine[i], &next.log[i]
	switch e.phase {
	case down:
		m.start(s, i, add)
		return
	case opened:
		m.resolve(s, i, add)
	case idle:
		if e.batch == m.batches {
			break
		}
		for to := e.what.to + 1; to <= min(e.what.to+2, m.batches+1); to++ {
			next := s
			next.engine[i].phase, next.engine[i].batch, next.engine[i].what = planned, e.batch+1, span{e.what.to, to}
			add(next, "", "%d plans batch %d up to row %d", i, e.batch+1, to)
		}
	case planned:
		m.stage(s, i, staged, add)
	case staged:
		if m.commitBeforePrepared {
			m.begin(s, i, add)
			break
		}
		nl.write(e)
		ne.phase = written
		add(next, "", "%d writes Prepared %d", i, e.batch)
	case written:
		if !m.skipSync {
			nl.unsyncedPrepared, nl.unsyncedCommitted = false, false
		}
		ne.phase = prepared
		add(next, "", "%d syncs it", i)
	case prepared:
		if e.restage {
			m.stage(s, i, prepared, add)
		} else {
			m.begin(s, i, add)
		}
	case committed:
		if m.commitBeforePrepared && nl.prepared < e.batch {
			nl.write(e)
			nl.unsyncedPrepared = false
		}
		nl.committed, nl.committedEpoch, nl.unsyncedCommitted = e.batch, e.epoch, true
		ne.phase = idle
		add(next, "", "%d records the commit of batch %d", i, e.batch)
	}
	m.crash(s, i, add)
}

func (l *protocolLog) write(e protocolEngine) {
	l.prepared, l.records[e.batch], l.epochs[e.batch] = e.batch, e.what, e.epoch
	l.unsyncedPrepared = true
}

// crash ends an engine. What it had written and not synced survives or does not, in order. Its open
// transaction stays with the server, which may or may not get the COMMIT.
func (m *model) crash(s protocolState, i int, add addMove) {
	s.engine[i] = protocolEngine{}
	if s.tx.open && s.tx.engine == int8(i) {
		s.tx.engine = -1
	}
	l := s.log[i]
	kept := s
	kept.log[i].unsyncedPrepared, kept.log[i].unsyncedCommitted = false, false
	add(kept, "", "%d dies", i)
	if l.unsyncedPrepared {
		lost := kept
		lost.log[i].dropPrepared()
		add(lost, "", "%d dies, its last Prepared is lost", i)
		if l.unsyncedCommitted {
			lost.log[i].committed--
			add(lost, "", "%d dies, its last Prepared and Committed are lost", i)
		}
	} else if l.unsyncedCommitted {
		kept.log[i].committed--
		add(kept, "", "%d dies, its last Committed is lost", i)
	}
}

func (l *protocolLog) dropPrepared() {
	l.records[l.prepared], l.epochs[l.prepared] = span{}, 0
	l.prepared--
	l.committed = min(l.committed, l.prepared)
}

// ends is an engine that stops by itself: what it wrote is in the kernel.
func (s protocolState) ends(i int) protocolState {
	s.engine[i] = protocolEngine{}
	if s.tx.open && s.tx.engine == int8(i) {
		s.tx = protocolTx{}
	}
	s.log[i].unsyncedPrepared, s.log[i].unsyncedCommitted = false, false
	return s
}

// start is Open up to the raised epoch; before it, the log may be replaced by a copy of the other's.
func (m *model) start(s protocolState, i int, add addMove) {
	other := 1 - i
	if s.copies < m.maxCopies && s.log[i] != s.log[other] {
		next := s
		next.copies++
		next.log[i] = s.log[other]
		next.log[i].unsyncedPrepared, next.log[i].unsyncedCommitted, next.log[i].older = false, false, true
		add(next, "", "%d gets a copy of %d's log", i, other)
	}
	if s.starts == m.maxStarts {
		return
	}
	next := s
	if s.tx.open && !m.skipRowLock {
		// The open transaction has the ledger's row: its session is ended.
		if s.tx.engine >= 0 {
			next.engine[s.tx.engine].phase = prepared
		}
		next.tx = protocolTx{}
	}
	next.starts++
	found := s.db.found
	if !m.skipRaise || !found {
		next.db.epoch++
	}
	next.db.found = true
	next.engine[i] = protocolEngine{phase: opened, epoch: next.db.epoch, start: next.starts, found: found, ledgerBatch: next.db.batch, ledgerWhat: next.db.what}
	add(next, "", "%d starts with epoch %d", i, next.db.epoch)
}

// resolve asks the real Resolve, and does what it says.
func (m *model) resolve(s protocolState, i int, add addMove) {
	e, l := s.engine[i], s.log[i]
	d, err := m.ask(e, l, m.ignoreLostStaging || s.isStaged && s.stagedBatch == l.prepared && s.stagedWhat == l.records[l.prepared])
	if err != nil {
		add(s, err.Error(), "%d resolves", i)
		return
	}
	ne := &s.engine[i]
	bad := ""
	switch d.Action {
	case Refuse:
		if e.start == s.starts && !s.restored && !l.older && (s.via == int8(i) || s.via < 0) {
			bad = fmt.Sprintf("the newest log is refused: %s", d.Detail)
		}
		add(s.ends(i), bad, "%d is refused: %s", i, d.Reason)
		return
	case Start:
		ne.phase, ne.batch, ne.what = idle, 0, span{}
	case Resume:
		ne.phase, ne.batch, ne.what = idle, l.prepared, l.records[l.prepared]
		if d.RecordCommit {
			ne.phase = committed
		}
	case RollForward:
		ne.phase, ne.batch, ne.what = prepared, l.prepared, l.records[l.prepared]
	case Reexecute:
		ne.phase, ne.batch, ne.what, ne.restage = prepared, l.prepared, l.records[l.prepared], true
		if m.replan {
			ne.what.to = ne.what.from + 1
		} else if _, err := d.PermitFor(outputsOf(ne.what)); err != nil {
			bad = err.Error()
		}
	}
	add(s, bad, "%d resolves: %s %d", i, d.Action, d.Batch)
}

// stage is phase 1: a transaction of its own that looks at the fence.
func (m *model) stage(s protocolState, i int, then phase, add addMove) {
	e := s.engine[i]
	if s.tx.open && !m.skipRowLock {
		return // waits for the row
	}
	if m.stale(s, e) || s.db.batch >= e.batch {
		add(s.ends(i), "", "%d is fenced while it stages", i)
		return
	}
	s.isStaged, s.stagedBatch, s.stagedWhat = true, e.batch, e.what
	s.engine[i].phase, s.engine[i].restage = then, false
	add(s, "", "%d stages batch %d", i, e.batch)
}

func (m *model) stale(s protocolState, e protocolEngine) bool {
	return !m.skipEpochCheck && s.db.epoch != e.epoch
}

// begin is phase 2 up to its COMMIT: lock the row, check epoch, batch, what it builds on and what is staged.
func (m *model) begin(s protocolState, i int, add addMove) {
	e := s.engine[i]
	if s.tx.open {
		return // waits for the row; or, without that lock, one at a time is enough to go wrong
	}
	was := span{}
	if e.batch > 1 {
		was = s.log[i].records[e.batch-1]
	}
	switch {
	case m.stale(s, e):
		add(s.ends(i), "", "%d is fenced in its commit", i)
		return
	case !m.skipLedgerInCommit && s.db.batch == e.batch && (s.db.what == e.what || m.forgetContent):
		s.engine[i].phase = committed
		add(s, "", "%d finds batch %d committed", i, e.batch)
		return
	case !m.skipLedgerInCommit && s.db.batch != e.batch-1:
		add(s.ends(i), "", "%d and the ledger disagree", i)
		return
	case !m.skipLedgerInCommit && !m.skipHeadCheck && !m.forgetContent && s.db.what != was:
		add(s.ends(i), "", "%d builds on another batch than the ledger's", i)
		return
	}
	there := s.isStaged && s.stagedBatch == e.batch
	switch {
	case !there && !m.ignoreLostStaging:
		again := s
		again.engine[i].restage = e.phase == prepared
		if again.engine[i].restage {
			add(again, "", "%d finds its staging lost, and has the rows", i)
		}
		add(s.ends(i), "", "%d finds its staging lost, and ends", i)
		return
	case there && s.stagedWhat != e.what:
		add(s.ends(i), "", "%d finds other rows staged", i)
		return
	}
	what := e.what
	if there {
		what = s.stagedWhat
	}
	s.tx = protocolTx{open: true, engine: int8(i), start: e.start, epoch: e.epoch, batch: e.batch, what: what, nothing: !there}
	s.engine[i].phase = committing
	add(s, "", "%d applies batch %d and sends COMMIT", i, e.batch)
}

// serverMoves are what PostgreSQL does by itself, and what happens to it.
func (m *model) serverMoves(s protocolState, add addMove) {
	if s.tx.open {
		m.commit(s, add)
		next := s
		next.closeTx(prepared)
		add(next, "", "the connection breaks before COMMIT")
	}
	crashed := s
	crashed.closeTx(prepared)
	crashed.isStaged, crashed.stagedBatch, crashed.stagedWhat = false, 0, span{}
	if crashed != s {
		add(crashed, "", "PostgreSQL crashes and loses its staging")
	}
	if m.answerBeforeDurable && s.beforeSet {
		crashed.db.tables, crashed.db.n, crashed.db.batch, crashed.db.what = s.before.tables, s.before.n, s.before.batch, s.before.what
		crashed.before, crashed.beforeSet = protocolDB{}, false
		add(crashed, "", "PostgreSQL crashes and loses a commit it had confirmed")
	}
	if m.backups && !s.hasBackup && s.db.found {
		next := s
		next.hasBackup, next.backup = true, s.db
		add(next, "", "the database is backed up")
	}
	if m.backups && s.hasBackup && !s.restored && s.backup != s.db {
		next := s
		next.closeTx(prepared)
		next.db, next.restored = s.backup, true
		next.isStaged, next.stagedBatch, next.stagedWhat = false, 0, span{}
		add(next, "", "the database is restored from the backup")
	}
}

// closeTx ends the open transaction; its engine goes on in phase p.
func (s *protocolState) closeTx(p phase) {
	if s.tx.open && s.tx.engine >= 0 {
		s.engine[s.tx.engine].phase = p
	}
	s.tx = protocolTx{}
}

// commit is COMMIT arriving at the server. The engine hears of it or does not.
func (m *model) commit(s protocolState, add addMove) {
	t := s.tx
	bad := ""
	// Why not after a restore: the fence went back with the database, and nobody can know who was last.
	if t.start != s.starts && !s.restored {
		bad = fmt.Sprintf("an engine that was taken over committed batch %d", t.batch)
	}
	if m.answerBeforeDurable {
		s.before, s.beforeSet = s.db, true
	}
	if !t.nothing {
		s.db.tables[s.db.n] = t.what
		s.db.n++
	}
	if m.ledgerApart {
		torn := s
		torn.closeTx(prepared)
		add(torn, bad, "the tables have batch %d, the ledger not yet", t.batch)
	}
	s.db.batch, s.db.what, s.via = t.batch, t.what, max(t.engine, -1)
	if t.engine < 0 {
		s.via = viaDead // its log may have been replaced since: nothing is promised about whose log is the newest
	}
	deaf := s
	s.closeTx(committed)
	add(s, bad, "COMMIT of batch %d", t.batch)
	if t.engine >= 0 {
		deaf.closeTx(prepared)
		add(deaf, bad, "COMMIT of batch %d, and its answer is lost", t.batch)
	}
}

// viaDead marks a batch whose engine died before its COMMIT arrived.
const viaDead = 2

// broken is the one guarantee: the applied batches are a prefix of the input, each row once, and the ledger
// says how many.
func (s *protocolState) broken() string {
	applied := s.db.tables[:s.db.n]
	at := int8(0)
	for i, b := range applied {
		if b.from != at {
			return fmt.Sprintf("batch %d begins at row %d, and the tables hold %d rows", i+1, b.from, at)
		}
		at = b.to
	}
	if int(s.db.batch) != len(applied) {
		return fmt.Sprintf("the ledger is at batch %d, and %d were applied", s.db.batch, len(applied))
	}
	return ""
}

// resolveKey is everything that the facts are made of.
type resolveKey struct {
	engine protocolEngine
	log    protocolLog
	staged bool
}

// ask makes the facts and has the real Resolve decide.
func (m *model) ask(e protocolEngine, l protocolLog, isStaged bool) (Decision, error) {
	e.start = 0
	key := resolveKey{e, l, isStaged}
	if d, ok := m.resolved[key]; ok {
		return d, nil
	}
	f := Facts{Plan: "p", Staged: isStaged, Log: LogFacts{Plan: "p", Committed: int64(l.committed), Epoch: int64(max(slices.Max(l.epochs[:]), l.committedEpoch))}}
	f.Ledger = LedgerFacts{Found: e.found, Epoch: int64(e.epoch), Batch: int64(e.ledgerBatch)}
	if l.prepared > 0 {
		f.Log.Prepared = recordOf(l.prepared, l.records[l.prepared])
		f.Log.PreparedPlan = &Planned{Batch: int64(l.prepared)}
	}
	if l.prepared > 1 {
		f.Log.PrevContentHash = ContentHash(recordOf(l.prepared-1, l.records[l.prepared-1]))
	}
	if e.ledgerBatch > 0 && !m.forgetContent {
		f.Ledger.ContentHash = ContentHash(recordOf(e.ledgerBatch, e.ledgerWhat))
	}
	d, err := Resolve(f)
	if err == nil {
		m.resolved[key] = d
	}
	return d, err
}

func recordOf(batch int8, what span) *Prepared {
	return &Prepared{Batch: int64(batch), Outputs: outputsOf(what), States: []StateDigest{{State: "s", Rows: int64(what.to), Sum: fmt.Sprint(what)}}}
}

func outputsOf(what span) []OutputDigest {
	return []OutputDigest{{Output: "o", Rows: int64(what.to - what.from), Sum: fmt.Sprint(what)}}
}

package sinktest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
)

// An engine does with a sink and a log what microbatch does, a step at a time.
type engine struct {
	*Diary
	t      testing.TB
	target *Target
	sink   microbatch.Sink
	ledger microbatch.Ledger // as it was found
	// batches are those that have happened, and what executing them again gives.
	batches []content
}

func newEngine(t testing.TB, target *Target) *engine {
	t.Helper()
	e := &engine{Diary: NewDiary(t), t: t, target: target}
	e.start()
	return e
}

func targets() []microbatch.Target { return []microbatch.Target{{Output: Output}} }

// start starts an engine where the log and the ledger are, as after a crash: the sink before is forgotten.
func (e *engine) start() {
	e.t.Helper()
	if err := e.restart(context.Background()); err != nil {
		e.t.Fatalf("start: %v", err)
	}
}

func (e *engine) restart(ctx context.Context) error {
	if err := e.reopen(); err != nil {
		return err
	}
	s := e.target.Sink(e.t)
	e.t.Cleanup(func() { _ = s.Close() })
	e.sink = s
	var err error
	if e.ledger, err = e.sink.Open(ctx, Pipeline, targets()); err != nil {
		return err
	}
	l, last, staged := e.ledger, e.rec.LastPrepared, false
	if last != nil && l.Batch == last.Batch-1 {
		if staged, err = e.sink.HasStaged(ctx, last.Batch, last.Outputs); err != nil {
			return err
		}
	}
	d, err := checkpointlog.Resolve(checkpointlog.Facts{Plan: plan, Log: e.rec.Facts(), Staged: staged,
		Ledger: checkpointlog.LedgerFacts{Found: l.Found, Epoch: l.Epoch, Batch: l.Batch, Plan: l.Plan, ContentHash: l.ContentHash}})
	if err != nil {
		return err
	}
	return e.settle(ctx, d)
}

// settle does what Resolve decided.
func (e *engine) settle(ctx context.Context, d checkpointlog.Decision) (err error) {
	switch d.Action {
	case checkpointlog.Refuse:
		return d.Err()
	case checkpointlog.Start:
		return nil
	case checkpointlog.Resume:
		if d.RecordCommit {
			return e.done(d.Batch - 1)
		}
		return nil
	case checkpointlog.RollForward:
		e.Permit = d.Permit
	case checkpointlog.Reexecute:
		b := e.batches[d.Batch-1].batch(d.Batch)
		if e.Permit, err = d.PermitFor(digests(b)); err != nil {
			return err
		}
		if err := e.sink.Stage(ctx, b); err != nil {
			return err
		}
	}
	if err := e.sink.Commit(ctx, e.Permit, infoOf(d.Batch)); err != nil {
		return err
	}
	return e.done(d.Batch)
}

// next adds a batch, whatever becomes of it.
func (e *engine) next(c content) *microbatch.StagedBatch {
	e.batches = append(e.batches[:e.Committed], c)
	return c.batch(e.Committed + 1)
}

// run takes a batch through both phases.
func (e *engine) run(c content) {
	e.t.Helper()
	b := e.next(c)
	if err := e.put(context.Background(), e.sink, b, infoOf(b.Batch)); err != nil {
		e.t.Fatal(err)
	}
}

// stage is phase 1 of a batch.
func (e *engine) stage(b *microbatch.StagedBatch) {
	e.t.Helper()
	if err := e.sink.Stage(context.Background(), b); err != nil {
		e.t.Fatal(err)
	}
}

// commit is phase 2 of the batch that was prepared last.
func (e *engine) commit() {
	e.t.Helper()
	if err := e.sink.Commit(context.Background(), e.Permit, infoOf(e.Permit.Batch())); err != nil {
		e.t.Fatal(err)
	}
	if e.Committed < e.Permit.Batch() {
		e.Done(e.Permit.Batch())
	}
}

// has checks what HasStaged says.
func (e *engine) has(batch int64, outputs []checkpointlog.OutputDigest, want bool) {
	e.t.Helper()
	if got, err := e.sink.HasStaged(context.Background(), batch, outputs); got != want || err != nil {
		e.t.Errorf("HasStaged of batch %d is %t, %v; want %t", batch, got, err, want)
	}
}

// found checks the ledger that a start found against the last batch that was committed.
func (e *engine) found(epoch int64) {
	e.t.Helper()
	l := e.ledger
	if want := epoch > 1; l.Found != want || l.Epoch != epoch {
		e.t.Errorf("the ledger is %+v; want epoch %d", l, epoch)
	}
	hash := ""
	if e.rec.LastPrepared != nil && e.rec.LastPrepared.Batch == e.Committed {
		hash = checkpointlog.ContentHash(e.rec.LastPrepared)
	}
	if l.Batch != e.Committed || l.ContentHash != hash {
		e.t.Errorf("the ledger is at batch %d with content %q; want %d with %q", l.Batch, l.ContentHash, e.Committed, hash)
	}
	if e.Committed > 0 && (l.Plan != plan || !sameJSON(l.Offsets, infoOf(e.Committed).Offsets)) {
		e.t.Errorf("the ledger has plan %q and offsets %s", l.Plan, l.Offsets)
	}
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// shows checks that exactly the committed batches are visible, at rest.
func (e *engine) shows() {
	e.t.Helper()
	if err := e.compare(); err != nil {
		e.t.Fatal(err)
	}
}

func (e *engine) compare() error {
	var want content
	for _, c := range e.batches[:e.Committed] {
		want.rows = append(want.rows, c.rows...)
		want.letters = append(want.letters, c.letters...)
	}
	if e.target.Settle != nil {
		if err := e.target.Settle(context.Background()); err != nil {
			return err
		}
	}
	got, err := e.target.Rows(context.Background())
	if err != nil {
		return err
	}
	if diff := different(want.rows, got); diff != "" {
		return fmt.Errorf("after batch %d the target shows other rows (-want +got):\n%s", e.Committed, diff)
	}
	if e.target.DeadLetters == nil {
		return nil
	}
	letters, err := e.target.DeadLetters(context.Background())
	if err != nil {
		return err
	}
	if diff := different(texts(want.letters), texts(letters)); diff != "" {
		return fmt.Errorf("after batch %d the target shows other dead letters (-want +got):\n%s", e.Committed, diff)
	}
	return nil
}

package sinktest

import (
	"context"
	"testing"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
)

// Pipeline is the name of the suite's pipeline.
const Pipeline = "p"

const plan = "f" // of the log's header

// A Diary issues permits as the engine's log does, because it is one.
type Diary struct {
	// Permit and Committed are the last ones.
	Permit    checkpointlog.CommitPermit
	Committed int64

	t   testing.TB
	fs  vfs.FS
	log *checkpointlog.Log
	rec *checkpointlog.Recovered // as the log was last opened
}

// NewDiary opens a log in memory.
func NewDiary(t testing.TB) *Diary {
	t.Helper()
	d := &Diary{t: t, fs: vfs.NewMem()}
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.log.Close() })
	return d
}

func (d *Diary) open() (err error) {
	d.log, d.rec, err = checkpointlog.Open("/log", checkpointlog.Header{Pipeline: Pipeline, DuckDB: "1", Plan: plan}, checkpointlog.Options{FS: d.fs})
	return err
}

// reopen reads the log as a start does.
func (d *Diary) reopen() error {
	if err := d.log.Close(); err != nil {
		return err
	}
	return d.open()
}

// Prepare logs a batch as prepared.
func (d *Diary) Prepare(b *microbatch.StagedBatch) checkpointlog.CommitPermit {
	d.t.Helper()
	if err := d.prepare(b); err != nil {
		d.t.Fatal(err)
	}
	return d.Permit
}

// prepare is Prepare for any goroutine.
func (d *Diary) prepare(b *microbatch.StagedBatch) (err error) {
	if err := d.log.Plan(checkpointlog.Planned{Batch: b.Batch, Epoch: 1, At: time.Unix(0, 0)}); err != nil {
		return err
	}
	d.Permit, err = d.log.Prepare(checkpointlog.Prepared{Batch: b.Batch, Epoch: 1, Outputs: digests(b)})
	return err
}

// Done logs a batch as committed.
func (d *Diary) Done(batch int64) {
	d.t.Helper()
	if err := d.done(batch); err != nil {
		d.t.Fatal(err)
	}
}

func (d *Diary) done(batch int64) error {
	if err := d.log.Commit(checkpointlog.Committed{Batch: batch, Epoch: 1}); err != nil {
		return err
	}
	d.Committed = batch
	return nil
}

// Put takes a batch through both phases.
func (d *Diary) Put(s microbatch.Sink, b *microbatch.StagedBatch) {
	d.t.Helper()
	if err := d.put(context.Background(), s, b, Info); err != nil {
		d.t.Fatal(err)
	}
}

// put fails at the first step that does.
func (d *Diary) put(ctx context.Context, s microbatch.Sink, b *microbatch.StagedBatch, info microbatch.CommitInfo) error {
	if err := s.Stage(ctx, b); err != nil {
		return err
	}
	if err := d.prepare(b); err != nil {
		return err
	}
	if err := s.Commit(ctx, d.Permit, info); err != nil {
		return err
	}
	return d.done(b.Batch)
}

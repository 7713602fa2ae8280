package file

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var (
	fpCommitBeforeRename = failpoint.New("filesink.commit.before_rename")
	fpCommitAfterRename  = failpoint.New("filesink.commit.after_rename")
	fpCommitAfterLedger  = failpoint.New("filesink.commit.after_ledger")
)

// Commit implements microbatch.Sink.
func (s *Sink) Commit(ctx context.Context, permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	if c.ContentHash == "" {
		c.ContentHash = permit.ContentHash()
	}
	if err := s.locked(ctx, func() error { return s.commit(permit, c) }); err != nil {
		return s.explain(fmt.Sprintf("commit batch %d", permit.Batch()), err)
	}
	return fpCommitAfterLedger.Hit()
}

// commit is phase 2. Invariant: the lock is held, so the epoch that is read stays the newest until the end.
func (s *Sink) commit(permit checkpointlog.CommitPermit, c microbatch.CommitInfo) error {
	l, err := s.own()
	if err != nil {
		return err
	}
	batch := permit.Batch()
	switch {
	case l.Batch == batch && l.ContentHash == c.ContentHash:
		return nil
	case l.Batch == batch:
		return fmt.Errorf("%w: the ledger has that batch with content %s, the log with content %s\nHint: two state directories feed one pipeline; keep the one whose log is newest", ErrDisagree, l.ContentHash, c.ContentHash)
	case l.Batch != batch-1:
		return fmt.Errorf("%w: the ledger is at batch %d", ErrDisagree, l.Batch)
	}
	there, err := s.renamedBefore(batch, c.ContentHash)
	if err != nil {
		return err
	}
	if there == nil {
		if there, err = s.show(permit, c, l); err != nil {
			return err
		}
	}
	l.position = *there
	if err := s.writeDocument(s.ledgerPath(), l); err != nil {
		return err
	}
	// What is left of the batch in staging is litter; if it cannot be deleted, the next Open tries again.
	_ = s.forget(batch)
	return nil
}

// renamedBefore finds the batch's directory in place, left by a commit that failed between rename and ledger.
func (s *Sink) renamedBefore(batch int64, hash string) (*position, error) {
	dir := s.batchDir(batch)
	if _, err := s.fs.ReadDir(dir); err != nil {
		return nil, nil
	}
	m, err := s.readManifest(dir)
	if err != nil {
		return nil, fmt.Errorf("%w\nHint: move it away", err)
	}
	if m.Pipeline != s.pipeline || m.Position == nil || m.Position.ContentHash != hash {
		return nil, fmt.Errorf("%w: %s is there, with other content\nHint: move it away", ErrDisagree, dir)
	}
	return m.Position, s.fs.SyncDir(s.o.Dir)
}

// show renames the staged batch into place, if it has anything to show, and returns where that gets the
// ledger.
func (s *Sink) show(permit checkpointlog.CommitPermit, c microbatch.CommitInfo, l *ledger) (*position, error) {
	batch := permit.Batch()
	dir, m, err := s.findStaged(batch, permit.Outputs())
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, fmt.Errorf("the staged files are gone from %s\nHint: restart the pipeline, which executes the batch again", s.stagingDir())
	}
	at := &position{Batch: batch, Offsets: c.Offsets, Plan: c.Plan, ContentHash: c.ContentHash, Directory: l.Directory, Rows: l.Rows,
		Watermark: c.Watermark, Watermarks: c.Watermarks, CommittedAt: time.Now().UTC()}
	if at.Times, err = s.keepTime(l.Times, batch, c); err != nil {
		return nil, err
	}
	if m.empty() {
		return at, nil
	}
	at.Directory = batch
	for _, f := range m.Files {
		at.Rows += f.Rows
	}
	m.Position = at
	if err := s.writeDocument(filepath.Join(dir, manifestName), m); err != nil {
		return nil, err
	}
	if err := fpCommitBeforeRename.Hit(); err != nil {
		return nil, err
	}
	if err := s.fs.Rename(dir, s.batchDir(batch)); err != nil {
		// Why look again: on a network file system the answer to a rename that worked can be lost.
		there, again := s.renamedBefore(batch, c.ContentHash)
		if again != nil || there == nil {
			return nil, err
		}
	}
	for _, parent := range []string{s.o.Dir, s.stagingDir()} {
		if err := s.fs.SyncDir(parent); err != nil {
			return nil, err
		}
	}
	return at, fpCommitAfterRename.Hit()
}

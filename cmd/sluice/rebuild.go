package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/change"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// A rebuild runs the new version of a pipeline from the beginning of its sources, as a pipeline of its own beside
// the old one: with a log in rebuild/, tables in schema sluice, and a ledger row of its own. When it has read what the
// old version's ledger names, one transaction swaps tables and ledger rows, and then the logs are exchanged
// (rebuilddir.go). The decision is the transaction's: before it everything is the old version's, after it everything
// is the new one's, whatever crashes.

var (
	fpRebuildFilled = failpoint.New("change.rebuild.after_backfill")
	fpRebuildReady  = failpoint.New("change.rebuild.after_ready")
)

// A rebuilder does one rebuild.
type rebuilder struct {
	l   *loaded
	p   place
	old microbatch.Ledger
	// columns are those that the old version wrote, by view.
	columns map[string][]string
	dir     rebuildDir
	line    *term.Progress
	tell    func(format string, args ...any)
}

// rebuild makes the tables and the log those of this version, if they cannot be gone on with. It says whether
// there was anything to do.
func (l *loaded) rebuild(ctx context.Context, p place, tell func(string, ...any), line *term.Progress) (done bool, err error) {
	r := &rebuilder{l: l, p: p, dir: rebuildDir{base: p.dir, fs: vfs.OS{}}, tell: tell, line: line}
	unlock, err := r.dir.lock()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock.Close()) }()
	if err := r.dir.settle(ctx, l, p); err != nil {
		return false, err
	}
	needed, err := r.needed()
	if err != nil || !needed {
		return false, err
	}
	sink, err := postgres.New(postgres.Options{URL: p.url(), Shadow: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	return true, r.run(ctx, sink)
}

// needed says whether the log is of a version that this one cannot go on from, and refuses what cannot be rebuilt.
func (r *rebuilder) needed() (bool, error) {
	if !exists(r.p.dir.logDir()) {
		return false, nil
	}
	report, err := checkpointlog.Inspect(r.p.dir.logDir(), vfs.OS{})
	if err != nil || report.LastPrepared == nil {
		return false, err
	}
	logged, err := change.Decode(report.Header.Operators)
	if err != nil {
		return false, err
	}
	var outputs []change.Output
	if logged == nil {
		if report.Header.Plan == r.l.plan.Program.Fingerprint {
			return false, nil
		}
	} else {
		diff := change.Compare(logged, r.l.version())
		if diff.Verdict <= change.Compatible {
			return false, nil
		}
		if diff.Verdict == change.Incompatible {
			return false, &microbatch.ChangedError{Pipeline: r.l.Name, Diff: diff}
		}
		outputs = logged.Outputs
		r.columns = map[string][]string{}
		for _, o := range outputs {
			for _, c := range o.Columns {
				r.columns[o.Name] = append(r.columns[o.Name], c.Name)
			}
		}
	}
	for _, o := range append(outputs, r.l.version().Outputs...) {
		if slices.ContainsFunc(o.Sinks, func(s change.Sink) bool { return s.Kept && s.Kind != "postgres" }) {
			return false, fmt.Errorf("pipeline %s cannot be rebuilt: view %s goes to files or to Kafka, and what readers have seen there does not change\n"+
				"hint: give the changed pipeline a name and directories or topics of its own", r.l.Name, o.Name)
		}
	}
	if !r.l.needsPostgres() {
		return false, fmt.Errorf("pipeline %s cannot be rebuilt: no view goes to PostgreSQL, so there is nothing to swap\nhint: run the changed pipeline under another --name", r.l.Name)
	}
	return true, nil
}

func (r *rebuilder) run(ctx context.Context, sink *postgres.Sink) (err error) {
	// Whoever has the log locked runs the old version.
	held, err := vfs.OS{}.Lock(filepath.Join(r.p.dir.logDir(), "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("rebuild pipeline %s: %w\nhint: stop the engine that runs it first; its tables can be read meanwhile", r.l.Name, err)
	}
	if err != nil {
		return fmt.Errorf("rebuild pipeline %s: %w", r.l.Name, err)
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	if r.old, err = sink.ReadLedger(ctx, r.l.Name); err != nil {
		return err
	}
	own, err := postgres.New(postgres.Options{URL: r.p.url()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	if err := own.CheckSwap(ctx, r.l.Name, r.l.targets(toPostgres), postgres.SwapInfo{Columns: r.columns}); err != nil {
		return err
	}
	if err := errors.Join(r.dir.remove(), sink.DropShadow(ctx, r.l.Name)); err != nil {
		return err
	}
	r.tell("rebuilding %s up to the offsets of batch %s; the tables answer as before until they are swapped", r.l.Name, term.Count(r.old.Batch))
	if err := r.fill(ctx, sink); err != nil {
		return fmt.Errorf("rebuild pipeline %s: %w", r.l.Name, err)
	}
	if err := fpRebuildFilled.Hit(); err != nil {
		return err
	}
	id := rand.Text()
	if err := r.dir.ready(id, r.l, r.p); err != nil {
		return err
	}
	if err := fpRebuildReady.Hit(); err != nil {
		return err
	}
	if err := own.Swap(ctx, r.l.Name, r.l.targets(toPostgres), postgres.SwapInfo{ID: id, Old: r.old, Columns: r.columns}); err != nil {
		return err
	}
	for _, w := range own.Warnings() {
		r.tell("warning: %s", w)
	}
	return r.dir.exchange(ctx, r.l, r.p)
}

// fill runs the new version from the beginning up to where the old one's ledger is.
func (r *rebuilder) fill(ctx context.Context, sink *postgres.Sink) (err error) {
	sources, err := r.sources(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSources(sources)) }()
	if err := r.dir.make(); err != nil {
		return err
	}
	bound := []microbatch.BoundSink{{Sink: sink, Name: "PostgreSQL", Targets: r.l.targets(toPostgres)}}
	cfg := r.l.config(r.p, sources, bound)
	cfg.LogDir, cfg.TempDir, cfg.UntilEnd = r.dir.logDir(), r.dir.tempDir(), true
	e, err := microbatch.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			return r.arrived(e.Progress().Offsets)
		case <-tick.C:
			at := e.Progress()
			if r.line != nil {
				r.line.Update(term.Snapshot{Phase: "rebuilding", Batch: at.Batch, Rows: at.RowsIn + at.RowsLate + at.RowsBad, CommittedAt: at.CommittedAt, Watermark: at.Watermark})
			}
		}
	}
}

// sources opens every source such that it ends where the old version's ledger is.
func (r *rebuilder) sources(ctx context.Context) (map[string]microbatch.Source, error) {
	var ends map[string]json.RawMessage
	if err := json.Unmarshal(r.old.Offsets, &ends); err != nil {
		return nil, fmt.Errorf("read the ledger's offsets: %w", err)
	}
	sources, err := r.l.openSources(ctx, purpose{kind: toReadAgain, dir: r.p.dir, url: r.p.url(), log: r.p.log})
	if err != nil {
		return nil, err
	}
	steps := logSteps(r.p.dir.logDir())
	for name, s := range sources {
		sources[name] = readUpTo(s, ends[name], cuts(steps[name], ends[name]))
	}
	return sources, nil
}

// arrived checks that the rebuild answers for the old version's prefix of every source that both read.
func (r *rebuilder) arrived(offsets json.RawMessage) error {
	var want, got map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(r.old.Offsets, &want), json.Unmarshal(offsets, &got)); err != nil {
		return fmt.Errorf("compare the rebuild's offsets with the ledger's: %w", err)
	}
	for _, b := range r.l.sources {
		if !sameJSON(want[b.Name], got[b.Name]) {
			return fmt.Errorf("source %q was read up to %s, and the ledger is at %s", b.Name, got[b.Name], want[b.Name])
		}
	}
	return nil
}

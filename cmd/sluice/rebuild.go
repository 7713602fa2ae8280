package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/change"
	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// A rebuild runs the new version of a pipeline from the beginning of its sources, as a pipeline of its own beside
// the old one: with a log in rebuild/, tables in schema sluice, and a ledger row of its own. It reads what the
// old version's ledger names; in a daemon, where the old version goes on meanwhile, it follows that ledger until little
// is left, has the old version stopped after a batch, and reads the rest. Then one transaction swaps tables and ledger
// rows, and the logs are exchanged (rebuilddir.go). The decision is the transaction's: before it everything is the old
// version's, after it everything is the new one's, whatever crashes.

var (
	fpRebuildCaughtUp = failpoint.New("change.rebuild.after_catch_up")
	fpRebuildStopped  = failpoint.New("change.rebuild.after_stop")
	fpRebuildFilled   = failpoint.New("change.rebuild.after_backfill")
	fpRebuildReady    = failpoint.New("change.rebuild.after_ready")
)

// A rebuilder does one rebuild.
type rebuilder struct {
	l   *loaded
	p   place
	old microbatch.Ledger
	// why says what asks for a rebuild, once needed has said that something does.
	why error
	// columns are those that the old version wrote, by view.
	columns map[string][]string
	dir     rebuildDir
	phase   server.ReplacementState
	watch   func(server.RebuildProgress)
	tell    func(format string, args ...any)
	// beside: the old version runs, or may be started, until handover has stopped it; handover keeps every other engine
	// away while exchange runs. Without it nothing may run from the start.
	beside   bool
	handover func(ctx context.Context, exchange func(context.Context) error) error
	held     io.Closer // the old log's lock
}

// rebuild makes the tables and the log those of this version, if they cannot be gone on with. It says whether
// there was anything to do. No engine may run the pipeline.
func (l *loaded) rebuild(ctx context.Context, p place, tell func(string, ...any), line *term.Progress) (done bool, err error) {
	r := newRebuilder(l, p)
	r.tell, r.watch = tell, func(at server.RebuildProgress) { line.Update(rebuildSnapshot(at)) }
	unlock, err := r.dir.lock()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock.Close()) }()
	if err := r.settle(ctx); err != nil {
		return false, err
	}
	needed, err := r.needed()
	if err != nil || !needed {
		return false, err
	}
	return true, r.run(ctx)
}

func newRebuilder(l *loaded, p place) *rebuilder {
	return &rebuilder{l: l, p: p, dir: rebuildDir{base: p.dir, fs: vfs.OS{}}, phase: server.Backfilling, watch: func(server.RebuildProgress) {},
		handover: func(ctx context.Context, exchange func(context.Context) error) error { return exchange(ctx) }}
}

// rebuildSnapshot is what a progress line shows of a rebuild.
func rebuildSnapshot(at server.RebuildProgress) term.Snapshot {
	phase := "rebuilding"
	switch at.Phase {
	case server.Backfilling:
	case server.Replaced:
		phase = "rebuilt"
	default:
		phase += ", " + strings.ReplaceAll(string(at.Phase), "_", " ")
	}
	return term.Snapshot{Phase: phase, Batch: at.Batch, Rows: at.Rows, Done: at.StepsDone, Total: at.Steps}
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
		r.why = &microbatch.ChangedError{Pipeline: r.l.Name, Unknown: true}
	} else {
		diff := change.Compare(logged, r.l.version())
		if diff.Verdict <= change.Compatible {
			return false, nil
		}
		if diff.Verdict == change.Incompatible {
			return false, &microbatch.ChangedError{Pipeline: r.l.Name, Diff: diff}
		}
		r.why = &microbatch.ChangedError{Pipeline: r.l.Name, Diff: diff}
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

func (r *rebuilder) run(ctx context.Context) (err error) {
	shadow, err := postgres.New(postgres.Options{URL: r.p.url(), Shadow: true})
	if err != nil {
		return err
	}
	own, err := postgres.New(postgres.Options{URL: r.p.url()})
	if err != nil {
		return errors.Join(err, shadow.Close())
	}
	// Why the lock last: what is cleared away or exchanged after a failure is the old log's business.
	defer func() { err = errors.Join(err, r.release()) }()
	defer func() {
		if err = errors.Join(err, shadow.Close(), own.Close()); err != nil && r.beside {
			err = errors.Join(err, r.clear(ctx))
		}
	}()
	if !r.beside {
		if err := r.hold(); err != nil {
			return err
		}
	}
	if r.old, err = shadow.ReadLedger(ctx, r.l.Name); err != nil {
		return err
	}
	if err := own.CheckSwap(ctx, r.l.Name, r.l.targets(toPostgres), postgres.SwapInfo{Columns: r.columns}); err != nil {
		return err
	}
	if err := errors.Join(r.dir.remove(), shadow.DropShadow(ctx, r.l.Name)); err != nil {
		return err
	}
	r.tell("rebuilding %s up to the offsets of batch %s; the tables answer as before until they are swapped", r.l.Name, term.Count(r.old.Batch))
	b, err := r.fill(ctx, shadow)
	if err != nil {
		return fmt.Errorf("rebuild pipeline %s: %w", r.l.Name, err)
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if r.beside {
		if err := b.catchUp(ctx, func(ctx context.Context) (microbatch.Ledger, error) { return own.ReadLedger(ctx, r.l.Name) }); err != nil {
			return fmt.Errorf("rebuild pipeline %s: %w", r.l.Name, err)
		}
	}
	if err := fpRebuildCaughtUp.Hit(); err != nil {
		return err
	}
	return r.handover(ctx, func(ctx context.Context) error { return r.exchange(ctx, own, b) })
}

// exchange puts the new version in the old one's place, whose engine has ended.
func (r *rebuilder) exchange(ctx context.Context, own *postgres.Sink, b *backfill) error {
	if r.beside {
		if err := r.hold(); err != nil {
			return err
		}
		old, err := own.ReadLedger(ctx, r.l.Name)
		if err != nil {
			return err
		}
		if r.old = old; old.Batch != b.target.Batch {
			if err := b.follow([]microbatch.Ledger{old}); err != nil {
				return err
			}
		}
	}
	if err := fpRebuildStopped.Hit(); err != nil {
		return err
	}
	r.phase = server.Swapping
	if err := b.finish(); err != nil {
		return fmt.Errorf("rebuild pipeline %s: %w", r.l.Name, err)
	}
	if err := fpRebuildFilled.Hit(); err != nil {
		return err
	}
	id := rand.Text()
	if err := r.dir.ready(id, r.l.Text, r.l.record(r.p)); err != nil {
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
	return r.dir.exchange(ctx, r.l.Name, own)
}

// hold keeps engines of this directory away: whoever has the log locked runs the old version.
func (r *rebuilder) hold() (err error) {
	r.held, err = vfs.OS{}.Lock(filepath.Join(r.p.dir.logDir(), "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("rebuild pipeline %s: %w\nhint: stop the engine that runs it first; its tables can be read meanwhile", r.l.Name, err)
	}
	if err != nil {
		return fmt.Errorf("rebuild pipeline %s: %w", r.l.Name, err)
	}
	return nil
}

func (r *rebuilder) release() error {
	if r.held == nil {
		return nil
	}
	return r.held.Close()
}

// settle completes a swap that was committed, and clears away a rebuild that was not.
func (r *rebuilder) settle(ctx context.Context) (err error) {
	var db swapMarks
	if r.p.db != nil {
		sink, serr := postgres.New(postgres.Options{URL: r.p.url()})
		if serr != nil {
			return serr
		}
		defer func() { err = errors.Join(err, sink.Close()) }()
		db = sink
	}
	return r.dir.settle(ctx, r.l.Name, db)
}

const clearTimeout = time.Minute

// clear is settle after a failure, of which the context may be a part. What cannot be done now the next start of the
// pipeline does.
func (r *rebuilder) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout)
	defer cancel()
	return r.settle(ctx)
}

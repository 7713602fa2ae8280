package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sinks/stdout"
)

// A place is where a pipeline runs.
type place struct {
	dir pipelineDir
	// db may be nil when no view goes to Postgres.
	db *database
	// out is where views without a table go; nil discards them, as under a daemon.
	out *term.Stream
	log *slog.Logger
	// inboxes take the rows that are posted to the pipeline's sources; nil where nobody can post.
	inboxes *inboxes
	// note shows people what happens before the pipeline runs; nil writes it to log.
	note func(format string, args ...any)
	// keepLease is postgres.Options' of that name; it may be nil.
	keepLease func() bool
	// besideRebuild: a rebuild of this process fills rebuild/ meanwhile, and will stop this engine before it changes more.
	besideRebuild bool
	// restoring is told how many bytes of the log were restored, and of how many; it may be nil.
	restoring func(done, total int64)
}

// url is the connection string of the pipeline's own Postgres, empty if there is none.
func (p place) url() string {
	if p.db == nil {
		return ""
	}
	return p.db.url
}

// notice logs what a sink waits for.
func (p place) notice(pipeline string) func(string) {
	log := p.log
	if log == nil {
		return nil
	}
	return func(text string) { log.Warn(text, "pipeline", pipeline) }
}

// An engine is an open pipeline with everything that it reads and writes.
type engine struct {
	*microbatch.Pipeline
	warnings []string

	dir     pipelineDir
	inboxes *inboxes
	name    string
	sources map[string]microbatch.Source
	sinks   []microbatch.BoundSink
}

// open takes the pipeline over. A batch that another version of it left in flight is settled by that version.
func (l *loaded) open(ctx context.Context, p place) (*engine, error) {
	if err := l.settleRebuild(ctx, p); err != nil {
		return nil, err
	}
	e, err := l.openOnce(ctx, p)
	var unsettled *microbatch.UnsettledError
	if !errors.As(err, &unsettled) {
		return e, err
	}
	if err := l.settle(ctx, p); err != nil {
		return nil, fmt.Errorf("settle batch %d with the version that made it: %w", unsettled.Batch, err)
	}
	return l.openOnce(ctx, p)
}

// settleRebuild completes a rebuild that was swapped in, or clears away one that was not.
func (l *loaded) settleRebuild(ctx context.Context, p place) (err error) {
	r := newRebuilder(l, p)
	if p.besideRebuild {
		return nil
	}
	if pending, err := r.dir.pending(); err != nil || !pending {
		return err
	}
	unlock, err := r.dir.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock.Close()) }()
	return r.settle(ctx)
}

// settle opens and closes the version that ran last.
func (l *loaded) settle(ctx context.Context, p place) error {
	was, _, _, err := l.app.reload(ctx, string(p.dir.state()), string(p.dir))
	if err != nil {
		return err
	}
	p.out = nil // what it prints was printed
	was.copies, was.copying = l.copies, l.copying
	e, err := was.openOnce(ctx, p)
	if err != nil {
		return err
	}
	return e.Close()
}

// openOnce takes the pipeline over, settles what its last engine left, and then records what runs, so that
// verify and replay can find it.
func (l *loaded) openOnce(ctx context.Context, p place) (_ *engine, err error) {
	e := &engine{dir: p.dir, inboxes: p.inboxes, name: l.Name}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if err := os.MkdirAll(p.dir.tempDir(), 0o700); err != nil {
		return nil, fmt.Errorf("create the pipeline's directory: %w", err)
	}
	if err := p.inboxes.attach(l, p.dir, asOwner); err != nil {
		return nil, err
	}
	if e.sources, err = l.openSources(ctx, purpose{kind: toRun, dir: p.dir, url: p.url(), log: p.log, inboxes: p.inboxes}); err != nil {
		return nil, err
	}
	pg, err := l.openSinks(e, p)
	if err != nil {
		return nil, err
	}
	cfg := l.config(p, e.sources, e.sinks)
	if cfg.Mirrors, err = l.mirrors(p); err != nil {
		return nil, err
	}
	pipeline, err := microbatch.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	e.Pipeline = pipeline
	if pg != nil {
		e.warnings = pg.Warnings()
	}
	// Only now: a file that was refused must not replace the one that the log belongs to.
	return e, p.dir.save(l.Text, l.record(p))
}

// openSinks constructs one sink a database, one a directory and one a topic.
func (l *loaded) openSinks(e *engine, p place) (pg *postgres.Sink, err error) {
	if targets := l.targets(toPostgres); len(targets) > 0 {
		if pg, err = postgres.New(postgres.Options{URL: p.db.url, Owner: engineOwner(), Directory: p.dir.leaseDirectory(), KeepLease: p.keepLease, Notice: p.notice(l.Name)}); err != nil {
			return nil, err
		}
		e.sinks = append(e.sinks, microbatch.BoundSink{Sink: pg, Name: "PostgreSQL", Targets: targets})
	}
	files, err := l.openFileSinks(p.dir.tempDir())
	e.sinks = append(e.sinks, files...)
	if err != nil {
		return nil, err
	}
	topics, err := l.openKafkaSinks()
	e.sinks = append(e.sinks, topics...)
	if err != nil {
		return nil, err
	}
	if targets := l.targets(toStdout); len(targets) > 0 && p.out != nil {
		out, err := stdout.New(stdoutOptionsOf(p))
		if err != nil {
			return nil, err
		}
		e.sinks = append(e.sinks, microbatch.BoundSink{Sink: out, Targets: targets, Ephemeral: true})
	}
	return pg, nil
}

func (l *loaded) config(p place, sources map[string]microbatch.Source, sinks []microbatch.BoundSink) microbatch.Config {
	return microbatch.Config{
		Name: l.Name, Plan: l.plan, Version: l.version(), SinksRestored: l.restored, Sources: sources, Sinks: sinks, LogDir: p.dir.logDir(), TempDir: p.dir.tempDir(),
		TriggerInterval: l.settings.Duration(ddl.TriggerInterval), MaxBatchRows: l.settings.Int(ddl.MaxBatchRows),
		MaxBatchBytes: l.settings.Bytes(ddl.MaxBatchBytes), MemoryLimit: ddl.FormatBytes(l.settings.Bytes(ddl.MemoryLimit)),
		SnapshotLogBytes: l.settings.Bytes(ddl.SnapshotLogBytes), KeepSnapshots: int(l.settings.Int(ddl.KeepSnapshots)),
		SnapshotInterval: l.settings.Duration(ddl.SnapshotInterval), KeepSnapshotsFor: l.settings.Duration(ddl.KeepSnapshotsFor),
		LogSegmentBytes: l.settings.Bytes(ddl.LogSegmentBytes),
		UntilEnd:        l.UntilEnd, Logger: p.log, DuckDBVersion: duck.Version(),
	}
}

func (l *loaded) record(p place) record {
	r := record{Name: l.Name, File: l.File, BaseDir: l.BaseDir, UntilEnd: l.UntilEnd, Settings: l.Settings, Scratch: l.Scratch,
		StartedAt: time.Now().UTC(), CreatedAt: time.Now().UTC(), Version: version()}
	if p.db != nil {
		if r.Embedded = p.db.cluster != nil; !r.Embedded {
			r.Postgres = withoutPassword(p.db.url)
		}
	}
	return r
}

// Close releases everything; Run has returned.
func (e *engine) Close() error {
	e.inboxes.ended(e.name)
	var errs []error
	if e.Pipeline != nil {
		errs = append(errs, e.Pipeline.Close())
	}
	for _, s := range e.sinks {
		errs = append(errs, s.Sink.Close())
	}
	errs = append(errs, closeSources(e.sources), os.RemoveAll(e.dir.tempDir()))
	return errors.Join(errs...)
}

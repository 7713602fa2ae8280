package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/checkpointstore"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/savepoint"
	"github.com/sluice-sql/sluice/server"
	"github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// A launcher makes the daemon's pipelines. They share one state directory and one database.
type launcher struct {
	app   *app
	state stateDir
	url   string // empty: the embedded cluster, started with the first pipeline that needs it
	log   *slog.Logger
	// standbyFor is the state directory of the daemon to stand by for; empty for none.
	standbyFor string
	// peers is nil unless other daemons are known by a bucket.
	peers *peers
	// defaults are pipeline options for files that do not set them.
	defaults map[string]string

	// inboxes take posted rows, for pipelines that run and for those that do not.
	inboxes *inboxes

	mu sync.Mutex
	db *database
	// rebuilt are the pipelines that this process rebuilds beside their engines.
	rebuilt map[string]bool
	// replaced are those whose engine ends to make way for another of this process.
	replaced map[string]bool
}

var _ server.Launcher = (*launcher)(nil)

func newLauncher(a *app, state stateDir, url string, log *slog.Logger) *launcher {
	return &launcher{app: a, state: state, url: url, log: log, inboxes: newInboxes(log), rebuilt: map[string]bool{}, replaced: map[string]bool{}}
}

// Close stops the embedded cluster, if this process is the last to use it.
func (n *launcher) Close() error {
	err := n.inboxes.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(err, n.db.Close())
}

// database starts the embedded cluster, or starts it again if it has ended.
func (n *launcher) database(ctx context.Context) (*database, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.db != nil && (n.db.cluster == nil || reachable(ctx, n.db.url)) {
		return n.db, nil
	}
	db, err := openDatabase(ctx, n.url, n.state)
	if err != nil {
		return nil, err
	}
	// The old claim, if there is one, is given up only now, so that nobody stops what was just started.
	err = n.db.Close()
	n.db = db
	return db, err
}

// databaseFor is nil for a pipeline that needs none.
func (n *launcher) databaseFor(ctx context.Context, l *loaded) (*database, error) {
	if !l.needsPostgres() && !l.looksUpHere() {
		return nil, nil
	}
	return n.database(ctx)
}

func reachable(ctx context.Context, url string) bool {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return false
	}
	return conn.Close(ctx) == nil
}

func (n *launcher) load(ctx context.Context, s server.Spec) (*loaded, error) {
	l, err := n.app.load(ctx, spec{Name: s.Name, Text: []byte(s.SQL), File: s.File, BaseDir: s.Dir,
		UntilEnd: s.Options.UntilEnd, Settings: s.Options.Settings, Defaults: n.defaults})
	if err != nil {
		return nil, err
	}
	return l, errors.Join(l.refuseStdout(), l.checkEnd())
}

// refuseStdout says which views would go where nobody looks.
func (l *loaded) refuseStdout() error {
	var problems []error
	for _, st := range l.file.Statements {
		if q, ok := st.(*ddl.Query); ok {
			problems = append(problems, l.file.Errorf(l.file.SpanAt(q.Start), "a SELECT without CREATE goes to standard output, and a daemon has none").
				WithHint("give it a name: CREATE MATERIALIZED VIEW name AS SELECT …; or use sluice run"))
		}
	}
	for _, b := range l.sinks {
		if b.kind == toStdout && b.Decl != nil {
			problems = append(problems, b.Decl.With.Errorf("connector", "sink %q goes to standard output, and a daemon has none", b.Name).
				WithHint("use connector = 'postgres', or sluice run"))
		}
	}
	return ddl.Join(problems...)
}

// Check implements server.Launcher.
func (n *launcher) Check(ctx context.Context, s server.Spec) (server.Description, error) {
	l, err := n.load(ctx, s)
	if err != nil {
		return server.Description{}, err
	}
	db, err := n.databaseFor(ctx, l)
	if err != nil {
		return server.Description{}, err
	}
	if err := n.checkSavepoint(l, s); err != nil {
		return server.Description{}, err
	}
	r := &checkReport{}
	if err := l.checkSources(ctx, r, n.state.pipeline(l.Name), place{db: db}.url()); err != nil {
		return server.Description{}, err
	}
	if db != nil {
		if err := l.checkTargets(ctx, db); err != nil {
			return server.Description{}, err
		}
	}
	if err := l.checkFileSinks(); err != nil {
		return server.Description{}, err
	}
	if err := l.checkKafkaSinks(ctx, func(string, string) {}); err != nil {
		return server.Description{}, err
	}
	if err := l.checkCopies(ctx, r, place{dir: n.state.pipeline(l.Name), log: n.log}); err != nil {
		return server.Description{}, err
	}
	return l.describe(db), checkLog(l, n.state.pipeline(l.Name), r)
}

func (l *loaded) describe(db *database) server.Description {
	d := server.Description{Plan: l.plan.Program.Fingerprint, Tables: l.tables(), Files: l.globs(), Topics: l.topics()}
	if db != nil {
		d.Psql = db.psqlNow()
	}
	for _, v := range l.plan.Views {
		if v.Fallback != "" {
			d.Warnings = append(d.Warnings, fmt.Sprintf("view %s is recomputed in full every batch: %s", v.Name, v.Fallback))
		}
	}
	return d
}

// runner is an engine with what the daemon wants to know of it.
type runner struct {
	*engine
	about server.Description
	// closing is called before the engine gives up its lease.
	closing func()
	// lost looks at what the run ended with.
	lost func(error) error
}

// Run shadows the engine's.
func (r *runner) Run(ctx context.Context) error { return r.lost(r.engine.Run(ctx)) }

func (r *runner) Describe() server.Description { return r.about }

// Close shadows the engine's.
func (r *runner) Close() error {
	r.closing()
	return r.engine.Close()
}

// Launch implements server.Launcher.
func (n *launcher) Launch(ctx context.Context, s server.Spec) (server.Runner, error) {
	r, err := n.launch(ctx, s)
	if err != nil {
		return nil, n.lost(s.Name, err)
	}
	return r, nil
}

// lost has nobody acknowledge rows here for a pipeline that somebody else runs: they would go into a log that is no
// longer the pipeline's. A start that takes it over again ends that.
func (n *launcher) lost(name string, err error) error {
	if !errors.Is(err, microbatch.ErrFenced) && !errors.Is(err, errElsewhere) {
		return err
	}
	return errors.Join(err, n.inboxes.remove(name), markMoved(n.state.pipeline(name)))
}

func (n *launcher) launch(ctx context.Context, s server.Spec) (*runner, error) {
	l, err := n.load(ctx, s)
	if err != nil {
		return nil, err
	}
	db, err := n.databaseFor(ctx, l)
	if err != nil {
		return nil, err
	}
	if len(l.targets(toPostgres)) > 0 {
		if err := n.elsewhere(ctx, l.Name); err != nil {
			return nil, err
		}
	}
	p := place{dir: n.state.pipeline(l.Name), db: db, log: n.log, inboxes: n.inboxes, besideRebuild: n.has(n.rebuilt, l.Name),
		keepLease: func() bool { return n.has(n.replaced, l.Name) }}
	if err := n.restore(ctx, l, s, p); err != nil {
		return nil, err
	}
	e, err := l.openNewest(ctx, p)
	if err != nil {
		return nil, err
	}
	about := l.describe(db)
	about.Warnings = append(about.Warnings, e.warnings...)
	return &runner{e, about, n.known(ctx, s.Name), func(err error) error { return n.lost(s.Name, err) }}, nil
}

// known tells other daemons that the pipeline runs here, and returns what is to be done before its lease is given up: whether
// it was stopped must be known by then, because a standby goes by it.
func (n *launcher) known(ctx context.Context, name string) (closing func()) {
	if n.peers == nil {
		return func() {}
	}
	n.peers.tell(name, n.peers.hold(ctx, name))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), closingTimeout)
		defer cancel()
		n.peers.tell(name, n.peers.publish(ctx, name))
	}
}

// checkSavepoint refuses a submission from a savepoint that it cannot start from.
func (n *launcher) checkSavepoint(l *loaded, s server.Spec) error {
	if s.Options.FromSavepoint == "" {
		return nil
	}
	dir, err := findSavepoint(n.state, s.Options.FromSavepoint)
	if err != nil {
		return err
	}
	info, err := savepoint.Open(vfs.OS{}, dir)
	if err != nil {
		return err
	}
	return (&restoration{loaded: l, dir: dir, info: info}).check()
}

// restore puts a pipeline that has no log yet to its savepoint: the first start, or one after a crash of the first.
// Later starts go on from where it is, and the savepoint may be gone then.
func (n *launcher) restore(ctx context.Context, l *loaded, s server.Spec, p place) error {
	if s.Options.FromSavepoint == "" || exists(filepath.Join(p.dir.logDir(), manifestName)) {
		return nil
	}
	dir, err := findSavepoint(n.state, s.Options.FromSavepoint)
	if err != nil {
		return err
	}
	return l.restoreFrom(ctx, p, dir, false)
}

// Drop implements server.Launcher.
func (n *launcher) Drop(ctx context.Context, s server.Spec, how server.DropOptions) ([]string, error) {
	dir := n.state.pipeline(s.Name)
	if err := n.inboxes.remove(s.Name); err != nil {
		return nil, err
	}
	var dropped []string
	url := n.url
	if n.url != "" || exists(filepath.Join(string(n.state), "postgres")) {
		db, err := n.database(ctx)
		if err != nil {
			return nil, err
		}
		if dropped, err = dropTables(ctx, db, s.Name, how.Tables); err != nil {
			return nil, err
		}
		url = db.url
	}
	captures, err := n.app.dropCaptures(ctx, s, dir, url)
	dropped = append(dropped, captures...)
	if err != nil {
		return dropped, err
	}
	files, err := n.app.dropFiles(s, how.Tables)
	dropped = append(dropped, files...)
	if err != nil {
		return dropped, err
	}
	topics, err := n.app.dropTopics(ctx, s, how.Tables)
	dropped = append(dropped, topics...)
	if err != nil {
		return dropped, err
	}
	if n.peers != nil {
		if err := n.peers.drop(ctx, s.Name); err != nil && !how.KeepRemote {
			return dropped, err
		}
	}
	if !how.KeepRemote {
		copies, err := n.app.dropCopies(ctx, s, n.defaults)
		dropped = append(dropped, copies...)
		if err != nil {
			return dropped, fmt.Errorf("remove the copies of the log: %w\nhint: try again when the bucket can be reached, or with --keep-remote, which leaves them", err)
		}
	}
	// The log goes last: while it is there, a drop that was interrupted can be seen and repeated.
	for _, path := range []string{dir.tempDir(), filepath.Join(string(dir), "rebuild"), dir.recordFile(), dir.tablesDir(), dir.logDir()} {
		if err := os.RemoveAll(path); err != nil {
			return dropped, fmt.Errorf("remove what pipeline %s kept: %w", s.Name, err)
		}
	}
	return dropped, nil
}

func dropTables(ctx context.Context, db *database, pipeline string, tables server.Tables) (dropped []string, err error) {
	sink, err := postgres.New(postgres.Options{URL: db.url})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	which := postgres.KeepTables
	if tables == server.DropTables {
		which = postgres.DropTables
	}
	dropped, err = sink.Drop(ctx, pipeline, which)
	if errors.Is(err, postgres.ErrUnknownPipeline) {
		return nil, nil // never started, or dropped before
	}
	return dropped, err
}

// Classify implements server.Launcher: what lies outside the engine may pass.
func (n *launcher) Classify(err error) server.Fault {
	if f := server.Classify(err); f != server.Unknown {
		return f
	}
	var ingest *ingestlog.CorruptError
	if errors.As(err, &ingest) {
		return server.Permanent
	}
	if checkpointstore.Refused(err) {
		return server.Permanent // the bucket or the credentials must be seen to
	}
	if checkpointstore.Answered(err) {
		return server.Transient
	}
	var connect *pgconn.ConnectError
	var network net.Error
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		switch pg.Code[:2] {
		case "08", "53", "57", "58": // connection, resources, shutdown, system error
			return server.Transient
		}
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, checkpointlog.ErrLocked), errors.Is(err, errElsewhere):
		return server.Transient
	}
	return server.Unknown
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/savepoint"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// A restoration is a savepoint that a pipeline is to go on from.
type restoration struct {
	*loaded
	dir    string // the savepoint's
	info   *savepoint.Info
	place  place
	rewind bool
}

// fromSavepointFlag adds --from-savepoint.
func (a *app) fromSavepointFlag(cmd *cobra.Command, from, state *string) {
	cmd.Flags().StringVar(from, "from-savepoint", "", "go on from this savepoint: a name in the state directory, or a directory")
	if err := cmd.RegisterFlagCompletionFunc("from-savepoint", a.savepointNames(state)); err != nil {
		panic("sluice: completion of --from-savepoint: " + err.Error())
	}
}

// findSavepoint resolves a name or a directory.
func findSavepoint(state stateDir, arg string) (string, error) {
	if strings.ContainsRune(arg, filepath.Separator) {
		return filepath.Abs(arg)
	}
	if dir := filepath.Join(state.savepoints(), arg); exists(dir) {
		return dir, nil
	}
	return "", noSavepoint(state, arg)
}

// restoreFrom makes the pipeline what it was at a savepoint, if it has nothing yet, or if it may be put back.
func (l *loaded) restoreFrom(ctx context.Context, p place, dir string, rewind bool) error {
	info, err := savepoint.Open(vfs.OS{}, dir)
	if err != nil {
		return err
	}
	r := &restoration{loaded: l, dir: dir, info: info, place: p, rewind: rewind}
	if err := r.check(); err != nil {
		return err
	}
	facts, err := r.facts(ctx)
	if err != nil {
		return err
	}
	what, err := r.decide(facts)
	if err != nil {
		return err
	}
	l.restored = true
	if what == goOn {
		return nil
	}
	if err := savepoint.Verify(vfs.OS{}, dir, info); err != nil {
		return err
	}
	between := func() error { return nil }
	if what == restoreAll {
		between = func() error { return r.restoreSinks(ctx) }
	}
	// Why the sinks between: the new log is known to be complete before the tables change, and an engine that
	// finds the tables changed and the old log refuses to start.
	return savepoint.Install(vfs.OS{}, dir, string(p.dir), l.Name, between)
}

// check refuses what cannot go on from this savepoint.
func (r *restoration) check() error {
	if want := r.plan.Program.Fingerprint; r.info.Plan != want {
		return fmt.Errorf("the savepoint's state was made by another program: its fingerprint is %s, that of %s is %s\nhint: run the text that it was made by, %s", r.info.Plan, r.File, want, filepath.Join(r.dir, savepoint.SQLFile))
	}
	if topics := r.topics(); len(topics) > 0 {
		return fmt.Errorf("the pipeline writes to topic %s, and a savepoint has no records to put back there\nhint: run it from the beginning, under another name and into another topic", topics[0])
	}
	return nil
}

// restoreFacts are what a pipeline has now. Without a durable sink its log is its own ledger.
type restoreFacts struct {
	log     int64 // last prepared batch, 0 if there is no log
	ledgers []ledgerFact
}

// ledgerFact is a sink's ledger; batch 0 is none.
type ledgerFact struct {
	batch int64
	hash  string // content of the batch
	// restoring says that a restoration of the sink was not completed.
	restoring bool
}

// at says that every ledger is at the savepoint, elsewhere that one is at another batch.
func (f *restoreFacts) at(info *savepoint.Info) (all, elsewhere bool) {
	all = true
	for _, l := range f.ledgers {
		there := !l.restoring && l.batch == info.Batch && l.hash == info.ContentHash
		all = all && there
		elsewhere = elsewhere || !there && !l.restoring && l.batch > 0
	}
	return all, elsewhere
}

// newest is the newest batch of all that the pipeline has.
func (f *restoreFacts) newest() int64 {
	n := f.log
	for _, l := range f.ledgers {
		n = max(n, l.batch)
	}
	return n
}

func (r *restoration) facts(ctx context.Context) (f restoreFacts, err error) {
	var own ledgerFact
	if exists(filepath.Join(r.place.dir.logDir(), manifestName)) {
		report, err := checkpointlog.Inspect(r.place.dir.logDir(), vfs.OS{})
		if err != nil && !r.rewind {
			return f, err
		}
		if p := report.LastPrepared; p != nil {
			f.log, own = p.Batch, ledgerFact{batch: p.Batch, hash: checkpointlog.ContentHash(p)}
		}
	}
	if !r.durable() {
		f.ledgers = append(f.ledgers, own)
		return f, nil
	}
	err = r.eachFileSink(func(_ int, s *filesink.Sink, t microbatch.Target) error {
		at, err := s.State(r.Name, t)
		f.ledgers = append(f.ledgers, ledgerFact{at.Batch, at.ContentHash, at.Restoring})
		return err
	})
	if err != nil || !r.needsPostgres() {
		return f, err
	}
	sink, err := postgres.New(postgres.Options{URL: r.place.db.url})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	ledger, err := sink.ReadLedger(ctx, r.Name)
	if errors.Is(err, postgres.ErrUnknownPipeline) {
		err = nil
	}
	f.ledgers = append(f.ledgers, ledgerFact{batch: ledger.Batch, hash: ledger.ContentHash})
	return f, err
}

type restoreAction int

const (
	goOn       restoreAction = iota // the pipeline is at the savepoint already
	installLog                      // its tables are, its log is not
	restoreAll
)

// decide says what it takes to be at the savepoint. It is pure.
//
//	every sink at the savepoint   log at it          nothing to do
//	every sink at the savepoint   log elsewhere      exchange the log: another machine, or a restoration that crashed
//	no sink elsewhere             no log             everything: a new pipeline, or a restoration of one that crashed
//	anything else                                    everything, if --rewind says so
func (r *restoration) decide(f restoreFacts) (restoreAction, error) {
	at, elsewhere := f.at(r.info)
	switch {
	case at && f.log == r.info.Batch:
		return goOn, nil
	case at && (f.log < r.info.Batch || r.rewind):
		return installLog, nil
	case !elsewhere && f.log == 0, r.rewind:
		return restoreAll, nil
	}
	return goOn, &startedError{r.Name, f.newest(), r.info}
}

// startedError says that a pipeline has batches that going back would undo.
type startedError struct {
	name  string
	batch int64
	info  *savepoint.Info
}

func (e *startedError) Error() string {
	return fmt.Sprintf("pipeline %s is at batch %d, and the savepoint at batch %d of pipeline %s\n"+
		"hint: leave --from-savepoint out to go on from where the pipeline is; --rewind puts its tables, its files and its log back to the savepoint; --name starts another pipeline from it",
		e.name, e.batch, e.info.Batch, e.info.Pipeline)
}

// restoreSinks puts back what the sinks have, PostgreSQL last: it is where people look first.
func (r *restoration) restoreSinks(ctx context.Context) error {
	if len(r.fileSinks()) > 0 {
		if err := r.restoreFiles(ctx); err != nil {
			return err
		}
	}
	if !r.needsPostgres() {
		return nil
	}
	return r.restoreRows(ctx)
}

// restoreRows fills the tables in one transaction.
func (r *restoration) restoreRows(ctx context.Context) (err error) {
	in, err := r.info.Reader(vfs.OS{}, r.dir, rowsIndex)
	if err != nil {
		return fmt.Errorf("the savepoint has no rows of tables in PostgreSQL: %w", err)
	}
	doc, err := io.ReadAll(in)
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	rows := new(postgres.Rows)
	if err := json.Unmarshal(doc, rows); err != nil {
		return fmt.Errorf("read %s: %w", rowsIndex, err)
	}
	sink, err := postgres.New(postgres.Options{URL: r.place.db.url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	var targets []microbatch.Target
	targets = append(targets, r.targets(toPostgres)...)
	return sink.RestoreRows(ctx, r.Name, targets, rows, r.info.Epoch, func(name string) (io.ReadCloser, error) {
		f, err := r.info.Reader(vfs.OS{}, r.dir, savepoint.RowsDir+"/"+name)
		if err != nil {
			return nil, err
		}
		return &unpackedRows{s2.NewReader(f), f}, nil
	})
}

// unpackedRows reads a compressed file.
type unpackedRows struct {
	io.Reader
	io.Closer
}

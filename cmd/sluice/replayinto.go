package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// intoReport is what replay --into prints as JSON.
type intoReport struct {
	Name        string    `json:"name"`
	Schema      string    `json:"schema"`
	Batch       int64     `json:"batch"`
	CommittedAt time.Time `json:"committed_at,omitzero"`
	// OtherVersion says that the batch was made by another version of the file; the tables are the present one's.
	OtherVersion bool  `json:"other_version,omitempty"`
	RowsRead     int64 `json:"rows_read"`
	ElapsedMS    int64 `json:"elapsed_ms"`
	// Views are the tables made, and how many rows each has.
	Views map[string]int64 `json:"views"`
	// LeftOut says of views why they were not made.
	LeftOut map[string]string `json:"left_out,omitempty"`
	Compare string            `json:"compare"`
}

// replayInto answers the views over the input up to a point, and shows them in a schema of their own.
func (o *replayOptions) replayInto(ctx context.Context, arg string) (err error) {
	start := time.Now()
	l, dir, rec, err := o.reload(ctx, o.state, arg)
	if err != nil {
		return err
	}
	if !l.needsPostgres() {
		return fmt.Errorf("no view of pipeline %s is in PostgreSQL\nhint: `sluice replay %s` without --into executes its batches again", l.Name, arg)
	}
	db, err := o.recordedDatabase(ctx, o.postgres, dir, rec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkShadow(ctx, db.url, o.into, o.replace); err != nil {
		return err
	}
	ledger, err := readLedger(ctx, db.url, l.Name)
	if err != nil {
		return err
	}
	if ledger.Batch == 0 {
		return fmt.Errorf("pipeline %s has committed no batch yet", l.Name)
	}
	now := point{batch: ledger.Batch, offsets: ledger.Offsets, watermarks: ledger.Watermarks}
	if now.at, err = committedAt(ctx, db.url, l.Name); err != nil {
		return err
	}
	at, changed, err := until(o.until, dir.logDir(), now)
	if err != nil {
		return err
	}
	r := &intoReport{Name: l.Name, Schema: o.into, Batch: at.batch, CommittedAt: at.at, OtherVersion: changed, Views: map[string]int64{}, LeftOut: map[string]string{}}
	outputs, err := o.answers(ctx, l, dir, db, at, r)
	if err != nil {
		return fmt.Errorf("read the input up to batch %d again: %w", at.batch, err)
	}
	if err := show(ctx, l, db.url, o.into, outputs); err != nil {
		return err
	}
	r.ElapsedMS, r.Compare = time.Since(start).Milliseconds(), o.compareCommand(l, arg, db)
	if o.json {
		return o.writeJSON(r)
	}
	return o.printInto(l, r)
}

func (o *replayOptions) printInto(l *loaded, r *intoReport) error {
	t := term.NewTable(o.streams.Out, "TABLE", "ROWS").AlignRight(1)
	for _, target := range l.targets(toPostgres) {
		if n, ok := r.Views[target.Output.Name]; ok {
			t.Row(psqlIdent(r.Schema)+"."+psqlIdent(target.Output.Name), fmt.Sprint(n))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	w := o.streams.Err
	for view, why := range r.LeftOut {
		fmt.Fprintf(w, "left out: %s: %s\n", view, why)
	}
	when := ""
	if !r.CommittedAt.IsZero() {
		when = " of " + exactInstant(r.CommittedAt) + " UTC"
	}
	fmt.Fprintf(w, "%s: the tables as they were after batch %s%s: %s rows read again in %s\n", r.Name, term.Count(r.Batch), when, term.Count(r.RowsRead),
		term.Duration(time.Duration(r.ElapsedMS)*time.Millisecond))
	if r.OtherVersion {
		fmt.Fprintln(w, "  another version of the pipeline made that batch; the tables answer the file as it is now")
	}
	fmt.Fprintf(w, "  compare: %s\n", r.Compare)
	return nil
}

// answers reads the input up to a point and answers every view that goes to PostgreSQL.
func (o *replayOptions) answers(ctx context.Context, l *loaded, dir pipelineDir, db *database, at point, r *intoReport) (out []microbatch.OutputDelta, err error) {
	tmp, err := os.MkdirTemp("", "sluice-replay-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	past := &shownViews{late: map[lateRow]bool{}}
	if err := past.readLate(ctx, l.Name, at.batch, db.url); err != nil {
		return nil, err
	}
	if l.hasBatchTime() {
		if past.times, err = readBatchTimes(ctx, db.url, l.Name, at.batch); err != nil {
			return nil, err
		}
	}
	one, err := oracle.New(ctx, l.plan, duck.Options{MemoryLimit: ddl.FormatBytes(l.settings.Bytes(ddl.MemoryLimit)), TempDir: tmp, Locked: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	line := term.NewProgress(o.streams.Err)
	defer line.Done()
	read := &verifyReport{}
	p := &prefix{l: l, dir: dir, one: one, late: past.late, times: past.times, report: read, steps: logSteps(dir.logDir()), line: line}
	if err := p.load(ctx, at.offsets); err != nil {
		return nil, err
	}
	r.RowsRead = read.RowsRead
	one.SetWatermarks(at.watermarks)
	for _, target := range l.targets(toPostgres) {
		if why := l.loses(target.Output.Name); why != "" {
			r.LeftOut[target.Output.Name] = "state_ttl lets it differ from its query: " + why
			continue
		}
		d := microbatch.OutputDelta{Name: target.Output.Name}
		if d.Chunks, err = one.Answer(ctx, target.Output); err != nil {
			return nil, err
		}
		for _, c := range d.Chunks {
			d.Rows += int64(c.N)
			for i := range c.N {
				r.Views[d.Name] += c.Cols[len(c.Cols)-1].I64(i)
			}
		}
		if r.Views[d.Name] == 0 {
			r.Views[d.Name] = 0 // it is there, and empty
		}
		d.Digest = checkpointlog.OutputDigest{Output: d.Name, Rows: d.Rows}
		out = append(out, d)
	}
	return out, nil
}

// committedAt is when the ledger's batch was committed.
func committedAt(ctx context.Context, url, pipeline string) (at time.Time, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return at, fmt.Errorf("read the ledger: %w", err)
	}
	if err = conn.QueryRow(ctx, "SELECT committed_at FROM sluice.ledger WHERE pipeline = $1", pipeline).Scan(&at); err != nil {
		err = fmt.Errorf("read the ledger: %w", err)
	}
	return at, errors.Join(err, conn.Close(ctx))
}

func readBatchTimes(ctx context.Context, url, pipeline string, upTo int64) ([]postgres.BatchTime, error) {
	sink, err := postgres.New(postgres.Options{URL: url})
	if err != nil {
		return nil, err
	}
	times, err := sink.ReadBatchTimes(ctx, pipeline, upTo)
	return times, errors.Join(err, sink.Close())
}

// show writes the views as one batch of a pipeline of its own into a schema with a name that nobody knows, makes
// them ordinary tables, and renames the schema: a reader sees all of it, or what was there before.
func show(ctx context.Context, l *loaded, url, schema string, outputs []microbatch.OutputDelta) (err error) {
	name, building := "replay_"+randomHex(), "sluice_replay_"+randomHex()
	var targets []microbatch.Target
	for _, t := range l.targets(toPostgres) {
		for _, d := range outputs {
			if d.Name == t.Output.Name {
				targets = append(targets, microbatch.Target{Output: t.Output, Options: map[string]string{"schema": building, "table": d.Name}})
			}
		}
	}
	if len(targets) == 0 {
		return errors.New("there is no view to show")
	}
	sink, err := postgres.New(postgres.Options{URL: url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	if err = write(ctx, sink, name, targets, outputs); err == nil {
		_, err = sink.Drop(ctx, name, postgres.KeepTables)
	}
	if err == nil {
		err = publish(ctx, url, building, schema, l.Name)
	}
	if err != nil {
		clean := context.WithoutCancel(ctx)
		_, dropped := sink.Drop(clean, name, postgres.DropTables)
		if errors.Is(dropped, postgres.ErrUnknownPipeline) {
			dropped = nil
		}
		return errors.Join(fmt.Errorf("show the views in schema %s: %w", schema, err), dropped, dropSchema(clean, url, building))
	}
	return nil
}

// write stages and commits one batch. The permit comes from a log in memory: what is committed is decided here
// and now, and a crash leaves a schema without meaning.
func write(ctx context.Context, sink *postgres.Sink, name string, targets []microbatch.Target, outputs []microbatch.OutputDelta) error {
	ledger, err := sink.Open(ctx, name, targets)
	if err != nil {
		return err
	}
	if err := sink.Stage(ctx, &microbatch.StagedBatch{Batch: 1, Outputs: outputs}); err != nil {
		return err
	}
	log, _, err := checkpointlog.Open("replay", checkpointlog.Header{Pipeline: name}, checkpointlog.Options{FS: vfs.NewMem()})
	if err != nil {
		return err
	}
	prepared := checkpointlog.Prepared{Batch: 1, Epoch: ledger.Epoch}
	for _, d := range outputs {
		prepared.Outputs = append(prepared.Outputs, d.Digest)
	}
	if err := log.Plan(checkpointlog.Planned{Batch: 1, Epoch: ledger.Epoch}); err != nil {
		return errors.Join(err, log.Close())
	}
	permit, err := log.Prepare(prepared)
	if err == nil {
		err = sink.Commit(ctx, permit, microbatch.CommitInfo{Offsets: []byte("{}"), ContentHash: permit.ContentHash(), PlannedAt: time.Now()})
	}
	return errors.Join(err, log.Close())
}

// madeByReplay marks a schema that --replace may drop.
const madeByReplay = "made by sluice replay --into from pipeline "

// checkShadow refuses a schema that has something in it, unless a replay made it and is told to replace it.
func checkShadow(ctx context.Context, url, schema string, replace bool) error {
	if schema == "public" || schema == "sluice" || schema == "information_schema" || strings.HasPrefix(schema, "pg_") {
		return usagef("sluice replay", "--into %s: the views need a schema of their own", schema)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("look at schema %s: %w", schema, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return judgeShadow(ctx, conn, schema, replace)
}

func judgeShadow(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, schema string, replace bool) error {
	var things int64
	var comment string
	err := q.QueryRow(ctx, `SELECT coalesce(obj_description(n.oid, 'pg_namespace'), ''),
  (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) + (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid) + (SELECT count(*) FROM pg_type WHERE typnamespace = n.oid)
FROM pg_namespace n WHERE nspname = $1`, schema).Scan(&comment, &things)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look at schema %s: %w", schema, err)
	case things == 0:
		return nil
	case !strings.HasPrefix(comment, madeByReplay):
		return fmt.Errorf("schema %s is not empty, and no replay made it\nhint: name another with --into", schema)
	case !replace:
		return fmt.Errorf("schema %s has the views of an earlier replay\nhint: --replace drops it, with all that is in it, and puts the new ones in its place", schema)
	}
	return nil
}

// publish gives the schema its name, in place of an older one.
func publish(ctx context.Context, url, building, schema, pipeline string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Again: somebody may have put something there meanwhile. An earlier replay's was found fit to be
		// replaced before the work began.
		if err := judgeShadow(ctx, tx, schema, true); err != nil {
			return err
		}
		from, to := pgx.Identifier{building}.Sanitize(), pgx.Identifier{schema}.Sanitize()
		for _, sql := range []string{"DROP SCHEMA IF EXISTS " + to + " CASCADE", "ALTER SCHEMA " + from + " RENAME TO " + to,
			"COMMENT ON SCHEMA " + to + " IS '" + strings.ReplaceAll(madeByReplay+pipeline, "'", "''") + "'"} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

func dropSchema(ctx context.Context, url, schema string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize())
	return errors.Join(err, conn.Close(ctx))
}

// compareCommand shows the rows of the first view that one side has and the other lacks.
func (o *replayOptions) compareCommand(l *loaded, arg string, db *database) string {
	shadow := psqlIdent(o.into) + "." + psqlIdent(l.targets(toPostgres)[0].Output.Name)
	now := l.tables()[0]
	sql := fmt.Sprintf("(TABLE %s EXCEPT ALL TABLE %s) UNION ALL (TABLE %s EXCEPT ALL TABLE %s)", now, shadow, shadow, now)
	where := arg
	if o.state != "" {
		where += " --state-dir " + shellQuote(o.state)
	}
	if o.postgres != "" && withoutPassword(db.url) == db.url {
		where += " --postgres " + shellQuote(o.postgres)
	}
	return "sluice psql " + where + " -- -c " + shellQuote(sql)
}

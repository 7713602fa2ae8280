package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vfs"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/server"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// A drill is a scratch copy of a pipeline that is killed again and again.
type drill struct {
	o      *drillOptions
	spec   spec
	root   stateDir
	schema string
	db     *database
	url    string
	rand   *mathrand.Rand
	line   *term.Progress
	report *drillReport

	// The copy at hand; fresh begins another when the input has been read.
	name string
	dir  pipelineDir
	used bool
	// span is how long an engine is interesting, for random instants.
	span time.Duration
}

// undisturbedFor bounds the run that tells how much input there is.
const undisturbedFor = 3 * time.Second

// copyOf reads a file, or a pipeline as it ran last.
func (o *drillOptions) copyOf(ctx context.Context, arg string) (s spec, err error) {
	if strings.HasSuffix(arg, ".sql") || arg == "-" {
		if s, err = o.readSpec(arg, ""); err != nil {
			return s, err
		}
	} else {
		l, _, _, err := o.reload(ctx, o.state, arg)
		if err != nil {
			return s, err
		}
		s = l.spec
	}
	s.UntilEnd, s.Scratch = true, &scratch{Events: o.events}
	l, err := o.load(ctx, s)
	if err != nil {
		return s, err
	}
	if !l.durable() {
		return s, fmt.Errorf("no view of pipeline %s goes to PostgreSQL, to files or to Kafka, so there is nothing that a crash could break\nhint: sinks with connector = 'stdout' keep no state", s.Name)
	}
	return s, nil
}

func (o *drillOptions) newDrill(ctx context.Context, s spec) (_ *drill, err error) {
	root, err := os.MkdirTemp("", "sluice-drill-*")
	if err != nil {
		return nil, err
	}
	d := &drill{o: o, spec: s, root: stateDir(root), schema: "sluice_drill_" + randomHex(), url: o.postgresURL(o.postgres),
		rand: mathrand.New(mathrand.NewPCG(o.seed, 1)), line: term.NewProgress(o.streams.Err),
		report: &drillReport{Name: s.Name, OK: true, Seed: o.seed, Rounds: []drillRound{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(false, nil))
		}
	}()
	if err := os.Chmod(root, 0o755); err != nil { // the embedded server's user must get in
		return nil, err
	}
	l, err := o.load(ctx, s)
	if err != nil {
		return nil, err
	}
	if l.looksUpHere() && d.url == "" {
		return nil, fmt.Errorf("pipeline %s looks up in its own PostgreSQL, and the scratch copy's is empty\nhint: name the server with --postgres; the drill then uses a schema of its own there", s.Name)
	}
	if l.needsPostgres() {
		if d.url == "" && o.streams.Err.IsTTY() {
			fmt.Fprintln(d.line, o.streams.Err.Styled(term.Dim, "starting the embedded PostgreSQL"))
		}
		if d.db, err = openDatabase(ctx, d.url, d.root); err != nil {
			return nil, err
		}
		d.url = d.db.url
	}
	return d, nil
}

func randomHex() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// fresh drops the copy and begins another.
func (d *drill) fresh(ctx context.Context) error {
	if err := d.drop(ctx); err != nil {
		return err
	}
	d.name, d.used = "drill_"+randomHex(), false
	d.dir = d.root.pipeline(d.name)
	if err := os.MkdirAll(string(d.dir), 0o700); err != nil {
		return err
	}
	s := &scratch{Schema: d.schema, Dir: filepath.Join(string(d.root), "files", d.name), Events: d.o.events}
	settings := map[string]string{}
	for k, v := range d.spec.Settings {
		settings[k] = v
	}
	if d.report.MaxBatchRows > 0 {
		settings[ddl.MaxBatchRows] = fmt.Sprint(d.report.MaxBatchRows)
	}
	return d.dir.save(d.spec.Text, record{Name: d.name, File: d.spec.File, BaseDir: d.spec.BaseDir, UntilEnd: true, Settings: settings,
		Scratch: s, Postgres: withoutPassword(d.url), CreatedAt: time.Now().UTC(), Version: version()})
}

// drop removes what the copy has in PostgreSQL and Kafka; its files go with the directory.
func (d *drill) drop(ctx context.Context) error {
	if d.name == "" {
		return nil
	}
	_, err := d.o.dropCaptures(ctx, server.Spec{Name: d.name, File: d.spec.File, SQL: string(d.spec.Text), Dir: d.spec.BaseDir}, d.dir, d.url)
	if err == nil {
		_, err = d.o.dropTopics(ctx, server.Spec{Name: d.name, File: d.spec.File, Dir: d.spec.BaseDir, SQL: string(d.spec.Text)}, server.DropTables)
	}
	if err != nil || d.db == nil {
		return err
	}
	sink, err := postgres.New(postgres.Options{URL: d.url})
	if err != nil {
		return err
	}
	_, err = sink.Drop(ctx, d.name, postgres.DropTables)
	if errors.Is(err, postgres.ErrUnknownPipeline) {
		err = nil
	}
	return errors.Join(err, sink.Close())
}

// close removes the scratch copy, or says where it is kept.
func (d *drill) close(keep bool, r *drillReport) error {
	d.line.Done()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if keep {
		r.Kept = string(d.dir)
		return d.db.Close()
	}
	errs := []error{d.drop(ctx)}
	if d.db != nil && d.db.cluster == nil {
		errs = append(errs, dropSchema(ctx, d.url, d.schema))
	}
	errs = append(errs, d.db.Close())
	// As root the cluster may lie elsewhere, behind a link.
	if far, err := os.Readlink(filepath.Join(string(d.root), "postgres")); err == nil {
		errs = append(errs, os.RemoveAll(far))
	}
	return errors.Join(append(errs, os.RemoveAll(string(d.root)))...)
}

// run is the drill's course: an undisturbed run, a kill at each step, kills at random instants, and the end.
func (d *drill) run(ctx context.Context, steps []string, rounds int) (*drillReport, error) {
	start := time.Now()
	r := d.report
	defer func() { r.ElapsedMS = time.Since(start).Milliseconds() }()
	if err := d.undisturbed(ctx, len(steps)+rounds); err != nil {
		return r, err
	}
	if err := d.fresh(ctx); err != nil {
		return r, err
	}
	for _, step := range steps {
		if err := d.round(ctx, &drillRound{Step: step}, d.stepPlans(step)); err != nil || !r.OK {
			return r, err
		}
	}
	for range rounds {
		after := time.Duration(1 + d.rand.Int64N(int64(d.span)))
		// An engine that has read everything by then is killed earlier.
		plans := []lifePlan{{after: after}, {after: after / 2}, {after: after / 4}, {after: after / 16}}
		if err := d.round(ctx, &drillRound{Step: "random", AfterMS: after.Milliseconds()}, plans); err != nil || !r.OK {
			return r, err
		}
	}
	if !r.WholeInput {
		return r, nil
	}
	if _, err := d.live(ctx, d.shown("to the end", lifePlan{})); err != nil {
		return r, err
	}
	_, problem, err := d.prove(ctx)
	if err == nil && problem != "" {
		r.OK = false
		r.Rounds = append(r.Rounds, drillRound{Step: "end", Problem: problem})
	}
	return r, err
}

// undisturbed finds out how much input there is and how long an engine takes, and chooses batches small enough
// for so many kills.
func (d *drill) undisturbed(ctx context.Context, kills int) error {
	if err := d.fresh(ctx); err != nil {
		return err
	}
	start := time.Now()
	enough := func(l *life) bool { return len(l.commits) > 0 && time.Since(start) > l.opened+undisturbedFor }
	l, err := d.live(ctx, d.shown("undisturbed", lifePlan{until: enough}))
	if err != nil {
		return err
	}
	r := d.report
	r.WholeInput = !l.killed
	if r.Rows, r.Batches, err = d.logged(0); err != nil {
		return err
	}
	_, problem, err := d.prove(ctx)
	if err != nil {
		return err
	}
	if problem != "" {
		return fmt.Errorf("the tables are wrong before anything was killed: %s", problem)
	}
	settings := d.spec.Settings[ddl.MaxBatchRows]
	loaded, err := d.o.load(ctx, d.spec)
	if err != nil {
		return err
	}
	own := loaded.settings.Int(ddl.MaxBatchRows)
	r.MaxBatchRows = max(1, r.Rows/int64(4*kills+4))
	if own > 0 && own < r.MaxBatchRows || settings != "" && own < r.MaxBatchRows {
		r.MaxBatchRows = own
	}
	d.span = l.opened + max(l.opened/2, 300*time.Millisecond)
	return nil
}

// stepPlans kill an engine after a step: in its second batch if there is one, with one before it in the tables.
func (d *drill) stepPlans(step string) []lifePlan {
	at := slices.IndexFunc(drillSteps, func(s struct{ name, point string }) bool { return s.name == step })
	point := drillSteps[at].point
	return []lifePlan{{failpoints: point + "=exit:2"}, {failpoints: point + "=exit:2"}, {failpoints: point + "=exit"}}
}

// round kills an engine as the first plan says that works out: where the input ends too early, the copy begins
// anew for the next. Then the next engine recovers.
func (d *drill) round(ctx context.Context, x *drillRound, plans []lifePlan) error {
	r := d.report
	defer func() { r.Rounds = append(r.Rounds, *x); r.OK = r.OK && x.OK }()
	var dead *life
	for i, plan := range plans {
		if i > 0 && d.used {
			if err := d.fresh(ctx); err != nil {
				return err
			}
		}
		l, err := d.live(ctx, d.shown(x.Step, plan))
		if err != nil {
			return d.failed(ctx, x, err)
		}
		d.used = true
		if l.killed {
			dead = l
			if x.Step == "random" {
				x.AfterMS = plan.after.Milliseconds()
			}
			break
		}
	}
	if dead == nil {
		x.Problem = "no engine came to this step before the input ended"
		return nil
	}
	r.Kills++
	again, err := d.unlogged(dead)
	if err != nil {
		return err
	}
	batch, problem, err := d.prove(ctx)
	if err != nil {
		return err
	}
	if x.Batch = batch; problem != "" {
		x.Problem = "where the engine died: " + problem
		return nil
	}
	return d.recover(ctx, x, again)
}

// recover lets the next engine get to its first new commit, and kills it there.
func (d *drill) recover(ctx context.Context, x *drillRound, again int64) error {
	next, err := d.live(ctx, d.shown(x.Step+", recovering", lifePlan{until: func(l *life) bool { _, ok := l.firstNew(x.Batch); return ok }}))
	if err != nil {
		return d.failed(ctx, x, err)
	}
	if next.killed {
		d.report.Kills++
	}
	if took, ok := next.firstNew(x.Batch); ok {
		ms := float64(took.Microseconds()) / 1000
		x.RecoveryMS = &ms
	}
	x.RowsReadAgain = again + next.readBefore
	_, problem, err := d.prove(ctx)
	if err != nil {
		return err
	}
	if problem != "" {
		x.Problem = "after the recovery: " + problem
	}
	x.OK = problem == ""
	return nil
}

// failed takes an engine that ended by itself as the drill's result; an interrupted drill has none.
func (d *drill) failed(ctx context.Context, x *drillRound, err error) error {
	if ctx.Err() != nil {
		return err
	}
	x.Problem = err.Error()
	return nil
}

// shown adds progress to a life.
func (d *drill) shown(what string, plan lifePlan) lifePlan {
	n := len(d.report.Rounds) + 1
	plan.onEvent = func(_ drillEvent, l *life) {
		s := term.Snapshot{Phase: fmt.Sprintf("kill %d: %s", n, what), Batch: l.at, Rows: l.readBefore + l.read}
		if len(l.commits) > 0 {
			s.Batch = l.commits[len(l.commits)-1].batch
		}
		d.line.Update(s)
	}
	return plan
}

// logged sums up the batches of the copy's log that are prepared, after one.
func (d *drill) logged(after int64) (rows, batches int64, err error) {
	for e, err := range checkpointlog.Read(d.dir.logDir(), vfs.OS{}) {
		var torn *checkpointlog.TornTail
		if errors.As(err, &torn) {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		if p := e.Prepared; p != nil && p.Batch > after {
			rows += p.Counts.RowsIn + p.Counts.RowsLate + p.Counts.RowsBad
			batches++
		}
	}
	return rows, batches, nil
}

// unlogged counts the rows that a dead engine had read for batches which never happened.
func (d *drill) unlogged(dead *life) (int64, error) {
	if dead.opened == 0 {
		return dead.readBefore, nil
	}
	rows, _, err := d.logged(dead.at)
	return max(0, dead.read-rows), err
}

// prove verifies the copy's tables and returns the ledger's batch.
func (d *drill) prove(ctx context.Context) (batch int64, problem string, err error) {
	quiet := &app{streams: &term.Streams{In: d.o.streams.In, Out: term.Discard(), Err: term.Discard()}, env: d.o.env, log: d.o.log}
	v := &verifyOptions{app: quiet, postgres: d.url}
	r, err := v.verify(ctx, string(d.dir))
	switch {
	case errors.Is(err, postgres.ErrUnknownPipeline), errors.Is(err, filesink.ErrUnknownPipeline), errors.Is(err, kafkasink.ErrUnknownPipeline):
		return 0, "", nil // killed before it had opened its sinks
	case err != nil:
		return 0, "", err
	}
	d.report.Proofs++
	for _, view := range r.Views {
		if !view.Equal && view.NotProvable == "" {
			problem += fmt.Sprintf("%s: %d rows missing, %d too many; ", view.View, view.Missing, view.Extra)
		}
	}
	return r.Batch, strings.TrimSuffix(problem, "; "), nil
}

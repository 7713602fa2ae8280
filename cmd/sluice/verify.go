package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

type verifyOptions struct {
	*app
	postgres string
	state    string
	json     bool
}

func (a *app) verifyCommand() *cobra.Command {
	o := &verifyOptions{app: a}
	cmd := &cobra.Command{
		Use:     "verify NAME|DIR",
		GroupID: "prove",
		Short:   "Prove that the tables equal plain DuckDB over exactly the ledger's prefix",
		Long: `Check the one guarantee. In one snapshot of PostgreSQL, verify reads the pipeline's ledger row and its tables. Then
it reads from the sources exactly the prefix that the ledger names, runs the file's own SELECTs over it in a plain
DuckDB, in one shot, and compares every view as a multiset: floating-point numbers to a relative 1e-9, everything else
exactly. The pipeline may run meanwhile.

Rows that the engine refused are not part of the answer on either side: unreadable ones are refused again when they
are read, and late ones are those that sluice.dead_letter names.`,
		Example: `  sluice verify flights
  sluice verify flights --json | jq .ok`,
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
		ValidArgsFunction: a.pipelineNames(&o.state),
	}
	a.databaseFlags(cmd, &o.postgres, &o.state)
	jsonFlag(cmd, &o.json)
	return cmd
}

// verifyReport is what verify --json prints.
type verifyReport struct {
	Name      string          `json:"name"`
	OK        bool            `json:"ok"`
	Batch     int64           `json:"batch"`
	Offsets   json.RawMessage `json:"offsets"`
	RowsRead  int64           `json:"rows_read"`
	RowsLate  int64           `json:"rows_late"`
	RowsBad   int64           `json:"rows_bad"`
	ElapsedMS int64           `json:"elapsed_ms"`
	Views     []viewVerdict   `json:"views"`
}

// viewVerdict is one view's comparison. Rows counts the one-shot answer; Missing those of its rows that
// the table lacks, Extra the table's rows that the answer lacks.
type viewVerdict struct {
	View     string   `json:"view"`
	Rows     int64    `json:"rows"`
	Equal    bool     `json:"equal"`
	Missing  int64    `json:"missing"`
	Extra    int64    `json:"extra"`
	Examples []string `json:"examples,omitempty"`
}

func (o *verifyOptions) run(ctx context.Context, arg string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	r, err := o.verify(ctx, arg)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	if o.json {
		err = o.writeJSON(r)
	} else {
		err = o.print(r)
	}
	if err == nil && !r.OK {
		err = fmt.Errorf("the tables are not what one-shot DuckDB answers for the ledger's prefix\n"+
			"hint: were the tables or the input changed by hand? `sluice replay %s` tells whether the engine computes the same again", arg)
	}
	return err
}

func (o *verifyOptions) print(r *verifyReport) error {
	t := term.NewTable(o.streams.Out, "VIEW", "ROWS", "RESULT").AlignRight(1)
	for _, v := range r.Views {
		result := "equal"
		if !v.Equal {
			result = fmt.Sprintf("DIFFERENT: %d rows missing, %d too many", v.Missing, v.Extra)
		}
		t.Row(v.View, fmt.Sprint(v.Rows), result)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, v := range r.Views {
		for _, e := range v.Examples {
			fmt.Fprintf(o.streams.Err, "  %s: %s\n", v.View, e)
		}
	}
	switch {
	case r.Batch == 0:
		fmt.Fprintf(o.streams.Err, "%s: no batch is committed yet, so there is nothing to compare\n", r.Name)
	case r.OK:
		fmt.Fprintf(o.streams.Err, "%s: exactly once, proven up to batch %s: %s rows read again in %s", r.Name, term.Count(r.Batch),
			term.Count(r.RowsRead), term.Duration(time.Duration(r.ElapsedMS)*time.Millisecond))
		if r.RowsLate+r.RowsBad > 0 {
			fmt.Fprintf(o.streams.Err, ", less %s late and %s unreadable", term.Count(r.RowsLate), term.Count(r.RowsBad))
		}
		fmt.Fprintln(o.streams.Err)
	}
	return nil
}

func (o *verifyOptions) verify(ctx context.Context, arg string) (_ *verifyReport, err error) {
	start := time.Now()
	l, dir, rec, err := o.reload(ctx, o.state, arg)
	if err != nil {
		return nil, err
	}
	if !l.needsPostgres() {
		return nil, fmt.Errorf("no view of pipeline %s is in PostgreSQL, so there is nothing to verify\nhint: `sluice replay %s` executes its batches again", l.Name, arg)
	}
	db, err := o.recordedDatabase(ctx, o.postgres, dir, rec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	line := term.NewProgress(o.streams.Err)
	defer line.Done()
	shown, err := readTables(ctx, l, db)
	if err != nil {
		return nil, err
	}
	r := &verifyReport{Name: l.Name, OK: true, Batch: shown.ledger.Batch, Offsets: shown.ledger.Offsets, Views: []viewVerdict{}}
	if r.Batch == 0 {
		return r, nil
	}
	scratch, err := os.MkdirTemp("", "sluice-verify-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	one, err := oracle.New(ctx, l.plan, duck.Options{MemoryLimit: ddl.FormatBytes(l.settings.Bytes(ddl.MemoryLimit)), TempDir: scratch, Locked: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	one.SetWatermarks(shown.ledger.Watermarks)
	p := &prefix{l: l, one: one, late: shown.late, times: shown.times, report: r, steps: logSteps(dir.logDir()), line: line}
	if err := p.load(ctx, shown.ledger.Offsets); err != nil {
		return nil, err
	}
	for i, out := range shown.outputs {
		d, err := compare(ctx, one, out, shown.rows[i])
		if err != nil {
			return nil, err
		}
		r.OK = r.OK && d.Equal()
		r.Views = append(r.Views, viewVerdict{d.View, d.Rows, d.Equal(), d.Missing, d.Extra, d.Examples})
	}
	r.ElapsedMS = time.Since(start).Milliseconds()
	return r, nil
}

// compare lets the sink normalize the answer where Postgres does not keep every value as DuckDB has it.
func compare(ctx context.Context, one *oracle.OneShot, out planner.Output, rows []*vector.Chunk) (*oracle.Difference, error) {
	for _, c := range out.Columns {
		if changesInPostgres(c.Type) {
			return one.CompareNormalized(ctx, out.Name, rows, func(c *vector.Chunk) (*vector.Chunk, error) { return postgres.Normalize(out, c) })
		}
	}
	return one.Compare(ctx, out.Name, rows)
}

// changesInPostgres says that values of the type come back otherwise, as postgres.Normalize describes.
func changesInPostgres(t vector.Type) bool {
	return t.Kind == vector.Map || t.Kind == vector.TimestampNS || t.Kind == vector.TimeNS || slices.ContainsFunc(t.ChildTypes(), changesInPostgres)
}

// shownTables are a pipeline's tables as a reader of one instant sees them.
type shownTables struct {
	ledger  microbatch.Ledger
	outputs []planner.Output
	rows    [][]*vector.Chunk // by output, without weights
	late    map[lateRow]bool
	times   []postgres.BatchTime // of pipelines with a batch_time column
}

// lateRow identifies a dead letter.
type lateRow struct {
	source, partition string
	offset            int64
}

func readTables(ctx context.Context, l *loaded, db *database) (_ *shownTables, err error) {
	t := &shownTables{late: map[lateRow]bool{}}
	for _, target := range l.targets(toPostgres) {
		t.outputs = append(t.outputs, target.Output)
	}
	t.rows = make([][]*vector.Chunk, len(t.outputs))
	sink, err := postgres.New(postgres.Options{URL: db.url})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	err = sink.ReadSnapshot(ctx, l.Name, t.outputs, func(ledger microbatch.Ledger, i int, c *vector.Chunk) error {
		t.ledger = ledger
		t.rows[i] = append(t.rows[i], expand(c)...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tables: %w", err)
	}
	if slices.ContainsFunc(l.plan.Program.Sources, func(s planner.SourceInput) bool { return len(s.BatchTime) > 0 }) {
		if t.times, err = sink.ReadBatchTimes(ctx, l.Name, t.ledger.Batch); err != nil {
			return nil, err
		}
	}
	return t, t.readLate(ctx, l.Name, db.url)
}

// readLate lists the late rows up to the ledger's batch. It is a transaction of its own and yet of the same
// prefix: rows of a committed batch are never added to later.
func (t *shownTables) readLate(ctx context.Context, pipeline, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("read the dead letters: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT source, partition, "offset" FROM sluice.dead_letter
WHERE pipeline = $1 AND batch <= $2 AND starts_with(reason, 'late:')`, pipeline, t.ledger.Batch)
	if err != nil {
		return fmt.Errorf("read the dead letters: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r lateRow
		if err := rows.Scan(&r.source, &r.partition, &r.offset); err != nil {
			return fmt.Errorf("read the dead letters: %w", err)
		}
		t.late[r] = true
	}
	return rows.Err()
}

// expand turns the weight, the last column, into that many copies of each row.
func expand(c *vector.Chunk) []*vector.Chunk {
	last := len(c.Cols) - 1
	plain := &vector.Chunk{N: c.N, Cols: c.Cols[:last], Keep: c.Keep}
	once := true
	for i := range c.N {
		once = once && c.Cols[last].I64(i) == 1
	}
	if once {
		return []*vector.Chunk{plain}
	}
	var out []*vector.Chunk
	var sel []int32
	for i := range c.N {
		for range c.Cols[last].I64(i) {
			if sel = append(sel, int32(i)); len(sel) == vector.Size {
				out = append(out, vector.Gather(plain, sel))
				sel = sel[:0]
			}
		}
	}
	return append(out, vector.Gather(plain, sel))
}

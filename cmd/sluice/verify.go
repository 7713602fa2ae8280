package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
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
		Long: `Check the one guarantee. In one snapshot of PostgreSQL, verify reads the pipeline's ledger row and its tables, and
of every file sink its ledger and the directories of the batches up to there, and of every Kafka sink its ledger and
the topic's records up to there. Then it reads from the sources exactly
the prefix that each ledger names, runs the file's own SELECTs over it in a plain DuckDB, in one shot, and compares
every view as a multiset: floating-point numbers to a relative 1e-9, everything else exactly. The pipeline may run
meanwhile.

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

func (r *verifyReport) notProvable() (n int) {
	for _, v := range r.Views {
		if v.NotProvable != "" {
			n++
		}
	}
	return n
}

// viewVerdict is one view's comparison. Rows counts the one-shot answer; Missing those of its rows that
// the table lacks, Extra the table's rows that the answer lacks.
type viewVerdict struct {
	View string `json:"view"`
	// Directory is where a file sink has it; absent for a table.
	Directory string `json:"directory,omitempty"`
	// Topic is where a Kafka sink has it.
	Topic    string   `json:"topic,omitempty"`
	Rows     int64    `json:"rows"`
	Equal    bool     `json:"equal"`
	Missing  int64    `json:"missing"`
	Extra    int64    `json:"extra"`
	Examples []string `json:"examples,omitempty"`
	// NotProvable says why the view was not compared: its rows are not those of its query.
	NotProvable string `json:"not_provable,omitempty"`
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
		if v.NotProvable != "" {
			t.Row(v.View, "", "not provable: "+v.NotProvable)
			continue
		}
		if !v.Equal {
			result = fmt.Sprintf("DIFFERENT: %d rows missing, %d too many", v.Missing, v.Extra)
		}
		name := v.View
		if v.Directory != "" {
			name += " in " + filepath.Base(v.Directory) + "/"
		} else if v.Topic != "" {
			name += " in topic " + v.Topic
		}
		t.Row(name, fmt.Sprint(v.Rows), result)
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
		if n := r.notProvable(); n > 0 {
			fmt.Fprintf(o.streams.Err, "%s: not proven: %d views, which SET state_ttl lets differ from their queries\n", r.Name, n)
		}
	}
	return nil
}

func (o *verifyOptions) verify(ctx context.Context, arg string) (_ *verifyReport, err error) {
	start := time.Now()
	l, dir, rec, err := o.reload(ctx, o.state, arg)
	if err != nil {
		return nil, err
	}
	if !l.durable() {
		return nil, fmt.Errorf("no view of pipeline %s is in PostgreSQL, in files or in Kafka, so there is nothing to verify\nhint: `sluice replay %s` executes its batches again", l.Name, arg)
	}
	line := term.NewProgress(o.streams.Err)
	defer line.Done()
	scratch, err := os.MkdirTemp("", "sluice-verify-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	shown, err := o.readShown(ctx, l, dir, rec, scratch)
	if err != nil {
		return nil, err
	}
	newest := shown.parts[len(shown.parts)-1].ledger
	r := &verifyReport{Name: l.Name, OK: true, Batch: newest.Batch, Offsets: newest.Offsets, Views: []viewVerdict{}}
	if r.Batch == 0 {
		return r, nil
	}
	one, err := oracle.New(ctx, l.plan, duck.Options{MemoryLimit: ddl.FormatBytes(l.settings.Bytes(ddl.MemoryLimit)), TempDir: scratch, Locked: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	p := &prefix{l: l, dir: dir, one: one, late: shown.late, times: shown.times, report: r, steps: logSteps(dir.logDir()), line: line}
	for _, part := range shown.parts {
		if part.ledger.Batch == 0 {
			continue
		}
		if err := p.load(ctx, part.ledger.Offsets); err != nil {
			return nil, err
		}
		one.SetWatermarks(part.ledger.Watermarks)
		for i, out := range part.outputs {
			if loses := l.loses(out.Name); loses != "" {
				r.Views = append(r.Views, viewVerdict{View: out.Name, Directory: part.where, Topic: part.topic, NotProvable: "state_ttl: " + loses})
				continue
			}
			d, err := part.compare(ctx, one, out, part.rows[i])
			if err != nil {
				return nil, err
			}
			r.OK = r.OK && d.Equal()
			r.Views = append(r.Views, viewVerdict{View: d.View, Directory: part.where, Topic: part.topic, Rows: d.Rows, Equal: d.Equal(), Missing: d.Missing, Extra: d.Extra,
				Examples: d.Examples})
		}
	}
	r.ElapsedMS = time.Since(start).Milliseconds()
	return r, nil
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

// loses says what state_ttl may make wrong in a view.
func (l *loaded) loses(view string) string {
	for _, v := range l.plan.Views {
		if v.Name == view {
			return v.Loses
		}
	}
	return ""
}

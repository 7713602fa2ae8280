package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/term"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
)

type queryOptions struct {
	*app
	file      string
	view      string
	format    string
	limitRows int64
}

func (a *app) queryCommand() *cobra.Command {
	o := &queryOptions{app: a}
	cmd := &cobra.Command{
		Use:     "query FILE.sql",
		GroupID: "run",
		Short:   "Answer a pipeline's views once, in plain DuckDB, and print the rows",
		Long: `Read a pipeline's sources to their end, run its SELECTs once over all rows in a plain DuckDB, and print the
answers: the way to develop a query before it is run or submitted. No log is written, no sink is touched, no state
is kept and no PostgreSQL is needed. "-" reads the pipeline from standard input.

Printed are the file's SELECT without CREATE or, if it has none, every view that goes to a sink; --view chooses any
view or source instead. The ORDER BY of a query holds for its printed rows. On a terminal they are a table; in a pipe
they are tab-separated as PostgreSQL's COPY writes them, with \N for NULL. --format json prints an object a line, inside
{"view": …, "row": …} when there are several views.

The answer is what a pipeline's tables hold at the end of the input, with one difference: watermarks drop nothing
here. Late rows count; a running pipeline leaves them out. Rows that cannot be read are left out by both.`,
		Example: `  sluice query delays.sql --limit-rows 10
  sluice query delays.sql --view flight --format csv > flights.csv
  (cat delays.sql; echo "SELECT airport, max(mean_delay) FROM delays GROUP BY airport ORDER BY 2 DESC") |
    sluice query -                          # a question about the file's own views
  sluice query delays.sql --format json | jq .airport`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(cmd.Context())
		},
		ValidArgsFunction: sqlFiles,
	}
	f := cmd.Flags()
	f.StringVar(&o.view, "view", "", "print this view or source (default the SELECT without CREATE, or else what goes to sinks)")
	f.StringVar(&o.format, "format", "", "table, json or csv (default a table on a terminal and tab-separated rows elsewhere)")
	f.Int64Var(&o.limitRows, "limit-rows", 0, "print at most this many rows of each view (default all)")
	complete(cmd, "format", queryFormats...)
	if err := cmd.RegisterFlagCompletionFunc("view", o.completeView); err != nil {
		panic("sluice: completion of --view: " + err.Error())
	}
	return cmd
}

// completeView offers what the file on the command line declares.
func (o *queryOptions) completeView(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 || args[0] == "-" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	file, err := ddl.Parse(args[0], text, o.env)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return answerNames(answersOf(file)), cobra.ShellCompDirectiveNoFileComp
}

func (o *queryOptions) check() error {
	if o.format != "" && !slices.Contains(queryFormats, o.format) {
		return usagef("sluice query", "--format is %q, and must be one of %s", o.format, strings.Join(queryFormats, ", "))
	}
	if o.limitRows < 0 {
		return usagef("sluice query", "--limit-rows is %d, and must be positive", o.limitRows)
	}
	return nil
}

func (o *queryOptions) run(ctx context.Context) error {
	if err := o.check(); err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return orInterrupted(ctx, o.query(ctx))
}

func (o *queryOptions) query(ctx context.Context) (err error) {
	start := time.Now()
	s, err := o.readSpec(o.file, "")
	if err != nil {
		return err
	}
	s.UntilEnd = true
	l, err := o.load(ctx, s)
	if err != nil {
		return err
	}
	if err := l.refuseEndless(map[string]string{"file": "leave out the option mode: query reads what is there", "nexmark": "add events = 100000",
		"kafka": "leave out the option mode: query reads what is there"}); err != nil {
		return err
	}
	wanted, err := o.choose(l)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "sluice-query-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	one, err := oracle.New(ctx, l.plan, duck.Options{MemoryLimit: ddl.FormatBytes(l.settings.Bytes(ddl.MemoryLimit)), TempDir: scratch, Locked: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	in, err := o.read(ctx, l, one)
	if err != nil {
		return err
	}
	if err := one.WatchWatermarks(ctx, start); err != nil {
		return err
	}
	var counts []string
	for i, w := range wanted {
		n, more, err := o.print(ctx, one, w, i, len(wanted))
		if err != nil {
			return fmt.Errorf("answer view %q: %w", w.name, err)
		}
		counts = append(counts, w.name+": "+rowCount(n, more))
	}
	_, err = fmt.Fprintf(o.streams.Err, "%s\n", o.streams.Err.Styled(term.Dim, fmt.Sprintf("%s rows read in %s; %s",
		term.Count(in), term.Duration(time.Since(start)), strings.Join(counts, ", "))))
	return err
}

func rowCount(n int64, more bool) string {
	switch {
	case more:
		return "the first " + term.Count(n) + " rows"
	case n == 1:
		return "1 row"
	}
	return term.Count(n) + " rows"
}

// An answer is something in the file that can be printed.
type answer struct {
	name string
	// sql is the user's own query, not SELECT * FROM the view: only so is its ORDER BY the answer's.
	sql string
	// columns are the names that CREATE VIEW gives; empty if they are the query's.
	columns []string
	bare    bool // a SELECT without CREATE
	closes  bool // EMIT ON WINDOW CLOSE
}

// shown is the answer's query with what EMIT ON WINDOW CLOSE leaves out.
func (a answer) shown(one *oracle.OneShot) (string, error) {
	if !a.closes {
		return a.sql, nil
	}
	closed, err := one.Closed(a.name)
	if err != nil || closed == "" {
		return a.sql, err
	}
	columns := ""
	for i, name := range a.columns {
		if i > 0 {
			columns += ", "
		}
		columns += vector.QuoteIdent(name)
	}
	if columns != "" {
		columns = " (" + columns + ")"
	}
	// The line end: the query may end in a comment.
	return "SELECT * FROM (" + a.sql + "\n) AS q" + columns + " WHERE " + closed, nil
}

func answersOf(file *ddl.File) []answer {
	var out []answer
	for _, st := range file.Statements {
		a := answer{}
		switch st := st.(type) {
		case *ddl.Source:
			a.name, a.sql = st.Name.Name, "SELECT * FROM "+st.Name.SQL()
		case *ddl.Table:
			a.name, a.sql = st.Name.Name, "SELECT * FROM "+st.Name.SQL()
		case *ddl.View:
			a.name, a.sql, a.closes = st.Name.Name, st.Query.SQL, st.EmitOnWindowClose
			for _, c := range st.Columns {
				a.columns = append(a.columns, c.Name)
			}
		case *ddl.Query:
			a.name, a.sql, a.bare, a.closes = "query", st.Query.SQL, true, st.EmitOnWindowClose
		default:
			continue
		}
		out = append(out, a)
	}
	return out
}

func answerNames(answers []answer) []string {
	var out []string
	for _, a := range answers {
		out = append(out, a.name)
	}
	return out
}

// choose lists what is printed: the view that the user names, or the file's SELECT, or what goes to sinks.
func (o *queryOptions) choose(l *loaded) ([]answer, error) {
	var bare, sunk []answer
	all := answersOf(l.file)
	for _, a := range all {
		if o.view != "" && strings.EqualFold(a.name, o.view) {
			return []answer{a}, nil
		}
		if a.bare {
			bare = append(bare, a)
		}
		if slices.ContainsFunc(l.plan.Views, func(v planner.View) bool { return v.Name == a.name }) {
			sunk = append(sunk, a)
		}
	}
	if o.view != "" {
		hint := "it has " + strings.Join(answerNames(all), ", ")
		if best := ddl.Suggest(o.view, answerNames(all)); best != "" {
			hint = "did you mean " + best + "?"
		}
		return nil, &usageError{err: fmt.Errorf("%s has no view or source %q\nhint: %s", l.File, o.view, hint)}
	}
	if len(bare) > 0 {
		return bare, nil
	}
	if o.format == formatCSV && len(sunk) > 1 {
		return nil, &usageError{err: fmt.Errorf("a CSV file is one table, and %s has several views\nhint: choose one with --view %s", l.File,
			strings.Join(answerNames(sunk), " or --view "))}
	}
	return sunk, nil
}

// print writes one answer and says how many rows it printed, and whether there are more.
func (o *queryOptions) print(ctx context.Context, one *oracle.OneShot, a answer, index, of int) (n int64, more bool, err error) {
	sql, err := a.shown(one)
	if err != nil {
		return 0, false, err
	}
	rows, err := one.Rows(ctx, sql)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	fields := rows.Columns()
	for i, name := range a.columns {
		fields[i].Name = name
	}
	w := o.newRowWriter(a.name, fields, index, of)
	for !more && rows.Next() {
		c := rows.Chunk()
		for i := range c.N {
			if more = o.limitRows > 0 && n == o.limitRows; more {
				break
			}
			w.row(c, i)
			n++
		}
		if err := w.flush(); err != nil {
			return n, more, err
		}
	}
	if err := rows.Err(); err != nil {
		return n, more, err
	}
	return n, more, w.close()
}

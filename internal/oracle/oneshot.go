// Package oracle answers a pipeline's views in one shot with plain DuckDB and compares the answers with
// what the pipeline maintained. It is the other side of the one guarantee: the tests run it after every
// batch, `sluice verify` over the ledger's prefix.
package oracle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// OneShot is a DuckDB instance with a table for every source and the file's own views over them.
type OneShot struct {
	plan   *planner.Pipeline
	db     *duck.DB
	conn   *duck.Conn
	inputs map[string]*duck.Input
	got    map[string]*duck.Input
	// want holds normalized answers; see CompareNormalized.
	want       map[string]*duck.Input
	answers    map[string]planned // by view; see matches
	watermarks map[string]int64
}

// New makes the instance, with empty tables. It runs with one thread, so that aggregates without ORDER BY
// see rows in arrival order.
func New(ctx context.Context, plan *planner.Pipeline, o duck.Options) (_ *OneShot, err error) {
	o.Threads = 1
	s := &OneShot{plan: plan, inputs: map[string]*duck.Input{}, got: map[string]*duck.Input{}, want: map[string]*duck.Input{}, answers: map[string]planned{}}
	if s.db, err = duck.Open(o); err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.conn, err = s.db.Connect(); err != nil {
		return nil, fmt.Errorf("connect to DuckDB: %w", err)
	}
	for _, src := range plan.Sources {
		if err := s.addSource(ctx, src); err != nil {
			return nil, err
		}
	}
	for _, sql := range plan.Definitions {
		if err := s.conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("run the pipeline's definitions: %w", err)
		}
	}
	for _, v := range plan.Views {
		if s.got[v.Name], err = s.conn.RegisterInput("got_"+v.Name, v.Columns); err != nil {
			return nil, fmt.Errorf("register view %q: %w", v.Name, err)
		}
	}
	return s, nil
}

// addSource makes the table of all of a source's rows, with the hidden columns, and the view of the relation
// that they make.
func (s *OneShot) addSource(ctx context.Context, src planner.Source) (err error) {
	decl := s.Input(src.Name)
	cols := decl.Fields()
	if s.inputs[src.Name], err = s.conn.RegisterInput("in_"+src.Name, cols); err != nil {
		return fmt.Errorf("register source %q: %w", src.Name, err)
	}
	var defs []string
	for _, c := range cols {
		defs = append(defs, vector.QuoteIdent(c.Name)+" "+c.Type.String())
	}
	table := vector.QuoteIdent("_all_" + src.Name)
	for _, sql := range []string{
		"CREATE TABLE " + table + " (" + strings.Join(defs, ", ") + ")",
		"CREATE VIEW " + vector.QuoteIdent(src.Name) + " AS " + decl.RelationSQL(table),
	} {
		if err := s.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("create source %q: %w", src.Name, err)
		}
	}
	return nil
}

// Input is what the program knows of a source.
func (s *OneShot) Input(name string) *planner.SourceInput {
	for i := range s.plan.Program.Sources {
		if s.plan.Program.Sources[i].Name == name {
			return &s.plan.Program.Sources[i]
		}
	}
	panic("oracle: the program does not read source " + name)
}

// Close frees the instance.
func (s *OneShot) Close() error {
	var errs []error
	for _, p := range s.answers {
		errs = append(errs, p.stmt.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(append(errs, s.db.Close())...)
}

// Load appends a source's rows: the columns that a batch has, metadata included.
func (s *OneShot) Load(ctx context.Context, source string, chunks []*vector.Chunk) error {
	in, ok := s.inputs[source]
	if !ok {
		return fmt.Errorf("load rows of unknown source %q", source)
	}
	in.Set(chunks)
	defer in.Set(nil)
	sql := "INSERT INTO " + vector.QuoteIdent("_all_"+source) + " SELECT * FROM " + vector.QuoteIdent("in_"+source) + "()"
	if err := s.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("load rows of source %q: %w", source, err)
	}
	return nil
}

// Query runs a query over the pipeline's objects.
func (s *OneShot) Query(ctx context.Context, sql string) ([]*vector.Chunk, []vector.Field, error) {
	return s.conn.Collect(ctx, sql)
}

// Rows is Query for answers of any size: it streams. The caller closes the rows before the next call.
func (s *OneShot) Rows(ctx context.Context, sql string) (*duck.Rows, error) {
	return s.conn.Query(ctx, sql)
}

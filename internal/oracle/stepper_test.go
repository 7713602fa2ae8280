package oracle_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

// A stepper runs batches of a program by themselves, without log and loop, and compares with one-shot DuckDB.
type stepper struct {
	t      testing.TB
	p      *planner.Pipeline
	x      *microbatch.Executor
	one    *oracle.OneShot
	rows   *duck.Conn // makes chunks
	tables map[string]*oracle.Accumulator
}

func newStepper(t testing.TB, p *planner.Pipeline) *stepper {
	t.Helper()
	ctx := context.Background()
	s := &stepper{t: t, p: p, tables: map[string]*oracle.Accumulator{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := duck.Open(duck.Options{Threads: 1})
	must(err)
	s.rows, err = db.Connect()
	must(err)
	t.Cleanup(func() { s.rows.Close(); db.Close() })
	s.x, err = microbatch.NewExecutor(ctx, p.Program, microbatch.ExecutorOptions{})
	must(err)
	t.Cleanup(func() { s.x.Close() })
	s.one, err = oracle.New(ctx, p, duck.Options{})
	must(err)
	t.Cleanup(func() { s.one.Close() })
	for _, o := range p.Program.Outputs {
		s.tables[o.Name] = oracle.NewAccumulator(o)
	}
	return s
}

// chunks makes a source's rows of tuples of SQL values: the declared columns, _w, _seq.
func (s *stepper) chunks(source string, tuples []string) []*vector.Chunk {
	s.t.Helper()
	if len(tuples) == 0 {
		return nil
	}
	var fields []vector.Field
	for i := range s.p.Program.Sources {
		if s.p.Program.Sources[i].Name == source {
			fields = s.p.Program.Sources[i].Fields()
		}
	}
	var names, casts []string
	for i, f := range fields {
		names = append(names, fmt.Sprintf("c%d", i))
		casts = append(casts, fmt.Sprintf("c%d::%s", i, f.Type))
	}
	got, _, err := s.rows.Collect(context.Background(), "SELECT "+strings.Join(casts, ", ")+" FROM (VALUES "+strings.Join(tuples, ", ")+") t("+strings.Join(names, ", ")+")")
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// step runs a batch and applies its outputs.
func (s *stepper) step(in map[string][]*vector.Chunk) error {
	s.x.SetInput(in)
	out, err := s.x.Run(context.Background(), planner.Times{})
	if err != nil {
		s.x.Rollback()
		return err
	}
	s.x.Commit()
	for _, o := range out {
		if err := s.tables[o.Name].Apply(o.Chunks); err != nil {
			return err
		}
	}
	return nil
}

// batch runs a batch of tuples by source and compares every view with one-shot DuckDB over all batches.
func (s *stepper) batch(rows map[string][]string, what string) {
	s.t.Helper()
	in := map[string][]*vector.Chunk{}
	for source, tuples := range rows {
		in[source] = s.chunks(source, tuples)
	}
	if err := s.step(in); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	s.compare(in, what)
}

// compare adds the batch's rows to the one-shot instance and asks it.
func (s *stepper) compare(in map[string][]*vector.Chunk, what string) {
	s.t.Helper()
	ctx := context.Background()
	for source, chunks := range in {
		if err := s.one.Load(ctx, source, chunks); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, v := range s.p.Views {
		d, err := s.one.Compare(ctx, v.Name, s.tables[v.Name].Rows())
		if err != nil {
			s.t.Fatal(err)
		}
		if !d.Equal() {
			s.t.Errorf("view %s differs after %s: %d rows missing, %d extra of %d: %v\n%s", v.Name, what, d.Missing, d.Extra, d.Rows, d.Examples, v.Query)
		}
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// empty wants at most some rows in every state, but for the one of each total and the deleted keys of keyed
// sources, and in every view what one-shot DuckDB has over nothing.
func (s *stepper) empty(keyed bool, most int64) {
	s.t.Helper()
	for _, st := range s.p.Program.States {
		rows := s.x.StateRows(st.Name)
		switch {
		case keyed && strings.HasPrefix(st.Name, "_src"):
		case strings.HasPrefix(st.Bound, "one row") && rows == 1:
		case rows > most:
			s.t.Errorf("state %s has %d rows when everything is taken back", st.Name, rows)
		}
	}
	for _, v := range s.p.Views {
		n := 0
		for _, c := range s.tables[v.Name].Rows() {
			n += c.N
		}
		ctx := context.Background()
		text, _, err := s.one.Query(ctx, "SELECT count(*)::VARCHAR FROM "+vector.QuoteIdent(v.Name))
		if err != nil {
			s.t.Fatal(err)
		}
		// The answer over no rows at all: one row of a total, none of anything else.
		if want := string(text[0].Cols[0].Str(0)); fmt.Sprint(n) != want {
			s.t.Errorf("view %s has %d rows when everything is taken back, not %s", v.Name, n, want)
		}
	}
}

// texts are rows as text, sorted.
func texts(chunks []*vector.Chunk) []string {
	out := []string{}
	for _, c := range chunks {
		for i := range c.N {
			row := ""
			for j := range c.Cols {
				text := "NULL"
				if !c.Cols[j].IsNull(i) {
					text = vector.Text(&c.Cols[j], i)
				}
				row += text + "|"
			}
			out = append(out, row)
		}
	}
	slices.Sort(out)
	return out
}

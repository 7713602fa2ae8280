package postgres

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/internal/valuetext"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

func TestMain(m *testing.M) {
	// A check here is several transactions, not a function call. -rapid.checks overrides it.
	_ = flag.Set("rapid.checks", "15")
	pgtest.Main(m)
}

// engine is what microbatch does with a sink and a log, a call at a time.
type engine struct {
	t    testing.TB
	url  string
	sink *Sink
	*sinktest.Diary
	outputs []planner.Output
	ledger  microbatch.Ledger
}

func testOptions(url string) Options { return Options{URL: url, RetryFor: 10 * time.Second} }

func newEngine(t testing.TB, url string, outputs ...planner.Output) *engine {
	t.Helper()
	return newEngineWith(t, testOptions(url), outputs...)
}

func newEngineWith(t testing.TB, o Options, outputs ...planner.Output) *engine {
	t.Helper()
	e := &engine{t: t, url: o.URL, outputs: outputs, Diary: sinktest.NewDiary(t)}
	var err error
	if e.sink, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.sink.Close() })
	if e.ledger, err = e.sink.Open(t.Context(), "p", targetsOf(outputs)); err != nil {
		t.Fatal(err)
	}
	return e
}

func targetsOf(outputs []planner.Output) []microbatch.Target {
	var out []microbatch.Target
	for _, o := range outputs {
		out = append(out, microbatch.Target{Output: o})
	}
	return out
}

func info(b *microbatch.StagedBatch) microbatch.CommitInfo {
	return microbatch.CommitInfo{Offsets: json.RawMessage(fmt.Sprintf(`{"src": %d}`, b.Batch)), Plan: "f", PlannedAt: time.Now(), RowsIn: 7}
}

// run takes a batch through all phases.
func (e *engine) run(b *microbatch.StagedBatch) {
	e.t.Helper()
	if err := e.sink.Stage(e.t.Context(), b); err != nil {
		e.t.Fatal(err)
	}
	permit := e.Prepare(b)
	if err := e.sink.Commit(e.t.Context(), permit, info(b)); err != nil {
		e.t.Fatal(err)
	}
	e.Done(b.Batch)
}

// cell values: nil is NULL, anything else its text (nested values as JSON).
type row struct {
	w     int64
	cells []any
}

func r(w int64, cells ...any) row { return row{w, cells} }

// batchOf builds a batch from rows per output.
func batchOf(t testing.TB, n int64, outputs []planner.Output, rows ...[]row) *microbatch.StagedBatch {
	t.Helper()
	b := &microbatch.StagedBatch{Batch: n}
	for i, o := range outputs {
		chunks := chunksOf(t, o, rows[i])
		var text []string
		for _, r := range rows[i] {
			text = append(text, fmt.Sprint(r))
		}
		sort.Strings(text)
		b.Outputs = append(b.Outputs, microbatch.OutputDelta{Name: o.Name, Chunks: chunks, Rows: int64(len(rows[i])),
			Digest: checkpointlog.OutputDigest{Output: o.Name, Rows: int64(len(rows[i])), Sum: fmt.Sprintf("%x", xxh3.HashString(strings.Join(text, "\n")))}})
	}
	return b
}

func chunksOf(t testing.TB, o planner.Output, rows []row) []*vector.Chunk {
	t.Helper()
	var out []*vector.Chunk
	for part := range slices.Chunk(rows, vector.Size) {
		var types []vector.Type
		for _, c := range o.Columns {
			types = append(types, c.Type)
		}
		c := vector.NewChunk(append(types, vector.Of(vector.Int64)), len(part))
		rd := valuetext.Reader{Arena: &vector.Arena{}}
		c.Keep = append(c.Keep, rd.Arena)
		for i, r := range part {
			for k, cell := range r.cells {
				v := &c.Cols[k]
				var err error
				switch {
				case cell == nil:
					valuetext.SetNull(v, i, len(part))
				case v.Type.IsNested():
					err = rd.JSON(v, i, len(part), []byte(cell.(string)))
				default:
					err = rd.Text(v, i, []byte(fmt.Sprint(cell)))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			c.Cols[len(types)].PutI64(i, r.w)
		}
		out = append(out, c)
	}
	return out
}

// snapshot reads an output back as sorted rows of text, with the weight first.
func (e *engine) snapshot(output int) []string { return e.snapshots()[output] }

func (e *engine) snapshots() [][]string {
	e.t.Helper()
	out := make([][]string, len(e.outputs))
	var w valuetext.Writer
	err := e.sink.ReadSnapshot(e.t.Context(), "p", e.outputs, func(_ microbatch.Ledger, i int, c *vector.Chunk) error {
		out[i] = append(out[i], texts(&w, c)...)
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	for i := range out {
		sort.Strings(out[i])
	}
	return out
}

func texts(w *valuetext.Writer, c *vector.Chunk) []string {
	var out []string
	for i := range c.N {
		last := len(c.Cols) - 1
		line := fmt.Sprintf("%dx", c.Cols[last].I64(i))
		for k := range last {
			if c.Cols[k].IsNull(i) {
				line += "|∅"
				continue
			}
			line += "|" + string(w.Text(nil, &c.Cols[k], i))
		}
		out = append(out, line)
	}
	return out
}

func fields(spec ...any) []vector.Field {
	var out []vector.Field
	for i := 0; i < len(spec); i += 2 {
		typ, ok := spec[i+1].(vector.Type)
		if !ok {
			typ = vector.Of(spec[i+1].(vector.Kind))
		}
		out = append(out, vector.Field{Name: spec[i].(string), Type: typ})
	}
	return out
}

func wantErr(t testing.TB, err error, marks error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || marks != nil && !errors.Is(err, marks) {
		t.Errorf("got error %v, want one with %q", err, text)
	}
}

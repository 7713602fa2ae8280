package stdout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

func fields() []vector.Field {
	return []vector.Field{{Name: "id", Type: vector.Of(vector.Int64)}, {Name: "a \"name\"", Type: vector.Of(vector.Varchar)}}
}

// delta has three rows: an ordinary one, one with NULL, and one with characters that must be escaped.
func delta(name string, weights ...int64) microbatch.OutputDelta {
	c := vector.NewChunk([]vector.Type{vector.Of(vector.Int64), vector.Of(vector.Varchar), vector.Of(vector.Int64)}, len(weights))
	texts := [][]byte{[]byte("plain"), nil, []byte("tab\tnul\x00 and 日本 in more than forty columns of a terminal")}
	for i, w := range weights {
		c.Cols[0].PutI64(i, int64(i+9))
		if texts[i] == nil {
			c.Cols[1].SetNull(i, len(weights))
		} else {
			c.Cols[1].PutStr(i, texts[i])
		}
		c.Cols[2].PutI64(i, w)
	}
	c.Keep = append(c.Keep, texts)
	n := int64(len(weights))
	return microbatch.OutputDelta{Name: name, Chunks: []*vector.Chunk{c}, Rows: n, Digest: checkpointlog.OutputDigest{Output: name, Rows: n, Sum: "d1"}}
}

func TestPrint(t *testing.T) {
	for _, tt := range []struct {
		name    string
		format  string
		mode    planner.ChangeMode
		weights []int64
		want    string
	}{
		{"append", FormatJSON, planner.Append, []int64{2, 1, 1}, `{"id":9,"a \"name\"":"plain"}
{"id":9,"a \"name\"":"plain"}
{"id":10,"a \"name\"":null}
{"id":11,"a \"name\"":"tab\tnul\u0000 and 日本 in more than forty columns of a terminal"}
`},
		{"upsert", FormatJSON, planner.Upsert, []int64{1, -1}, `{"op":"upsert","output":"v","row":{"id":9,"a \"name\"":"plain"}}
{"op":"delete","output":"v","row":{"id":10,"a \"name\"":null}}
`},
		{"multiset", FormatJSON, planner.Multiset, []int64{3, -2}, `{"op":"+3","output":"v","row":{"id":9,"a \"name\"":"plain"}}
{"op":"-2","output":"v","row":{"id":10,"a \"name\"":null}}
`},
		{"table", FormatTable, planner.Upsert, []int64{1, -1, 1}, `v, batch 1:
op      id  a "name"
──────  ──  ────────────────────────────────────────
upsert   9  plain
delete  10  NULL
upsert  11  tab␉nul␀ and 日本 in more than forty co…

`},
		{"cut table", FormatTable, planner.Append, []int64{9, 1}, `v, batch 1:
id  a "name"
──  ────────
 9  plain
 9  plain
 9  plain
… 7 more

`},
		{"empty table", FormatTable, planner.Append, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			s, err := New(Options{Writer: &out, MaxTableRows: map[bool]int{true: 3}[tt.format == FormatTable]})
			if err != nil {
				t.Fatal(err)
			}
			l, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: planner.Output{Name: "v", Columns: fields(), Mode: tt.mode},
				Options: map[string]string{"format": tt.format}}})
			if err != nil || l.Found || l.Epoch != 1 {
				t.Fatal(l, err)
			}
			b := &microbatch.StagedBatch{Batch: 1, Outputs: []microbatch.OutputDelta{delta("v", tt.weights...)}}
			sinktest.NewDiary(t).Put(s, b)
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestErrors(t *testing.T) {
	if _, err := New(Options{Writer: &bytes.Buffer{}, Format: "xml"}); err == nil || !strings.Contains(err.Error(), "Hint: ") {
		t.Errorf("got %v", err)
	}
	s, err := New(Options{Writer: brokenPipe{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "p", []microbatch.Target{{Output: planner.Output{Name: "v", Columns: fields()}}}); err != nil {
		t.Fatal(err)
	}
	b := &microbatch.StagedBatch{Batch: 1, Outputs: []microbatch.OutputDelta{delta("v", 1)}}
	if err := s.Stage(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), sinktest.NewDiary(t).Prepare(b), microbatch.CommitInfo{}); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("got %v", err)
	}
}

// A printout is what a terminal shows.
type printout struct {
	mu   sync.Mutex
	text []byte
}

func (p *printout) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b...)
	return len(b), nil
}

func (p *printout) rows(context.Context) (out []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range bytes.Lines(p.text) {
		var row struct {
			ID int64
			S  *string
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, err
		}
		out = append(out, sinktest.Row(row.ID, row.S))
	}
	return out, nil
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, sinktest.Config{Volatile: true, New: func(testing.TB) *sinktest.Target {
		var p printout
		return &sinktest.Target{Rows: p.rows, Sink: func(t testing.TB) microbatch.Sink {
			s, err := New(Options{Writer: &p})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}}
	}})
}

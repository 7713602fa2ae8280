package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
)

var (
	appendOut = planner.Output{Name: "events", Columns: fields("id", vector.Int64, "note", vector.Varchar), Mode: planner.Append}
	upsertOut = planner.Output{Name: "counts", Columns: fields("k", vector.Varchar, "n", vector.Int64, "total", vector.Int128), Mode: planner.Upsert, Key: []int{0}}
	multiOut  = planner.Output{Name: "bag", Columns: fields("a", vector.Int32, "b", vector.Varchar), Mode: planner.Multiset}
	singleOut = planner.Output{Name: "grand", Columns: fields("n", vector.Int64), Mode: planner.Upsert}
	keysOut   = planner.Output{Name: "seen", Columns: fields("a", vector.Int32, "b", vector.Varchar), Mode: planner.Upsert, Key: []int{0, 1}}
)

func TestModes(t *testing.T) {
	url := pgtest.URL(t)
	outs := []planner.Output{appendOut, upsertOut, multiOut, singleOut, keysOut}
	e := newEngine(t, url, outs...)
	if e.ledger.Found || e.ledger.Epoch != 1 || e.ledger.Batch != 0 {
		t.Errorf("ledger of a new pipeline: %+v", e.ledger)
	}
	e.run(batchOf(t, 1, outs,
		[]row{r(1, 1, "a"), r(1, 1, "a"), r(2, 2, nil)},
		[]row{r(1, "x", 1, "170141183460469231731687303715884105727"), r(1, nil, 2, 20), r(1, "y", nil, nil)},
		[]row{r(3, 1, "p"), r(1, nil, nil)},
		[]row{r(1, 5)},
		[]row{r(1, 1, "s"), r(1, nil, "t"), r(1, nil, nil)}))
	e.run(batchOf(t, 2, outs,
		nil,
		[]row{r(-1, "x", nil, nil), r(1, nil, 3, 30), r(-1, "y", 0, 0), r(1, "z", 9, -9)},
		[]row{r(-2, 1, "p"), r(1, nil, nil), r(5, 7, "")},
		[]row{r(1, 6)},
		[]row{r(1, 1, "s"), r(-1, nil, "t"), r(-1, nil, nil), r(1, 4, nil)}))
	for i, want := range [][]string{
		{"1x|1|a", "1x|1|a", "1x|2|∅", "1x|2|∅"},
		{"1x|z|9|-9", "1x|∅|3|30"},
		{"1x|1|p", "2x|∅|∅", "5x|7|"},
		{"1x|6"},
		{"1x|1|s", "1x|4|∅"},
	} {
		if diff := cmp.Diff(want, e.snapshot(i)); diff != "" {
			t.Errorf("%s: %s", outs[i].Name, diff)
		}
	}
	got := pgtest.Rows(t, url, "SELECT pipeline, epoch, batch, offsets, rows_in FROM sluice.progress")
	if diff := cmp.Diff([]string{`p|1|2|{"src": 2}|7`}, got); diff != "" {
		t.Error(diff)
	}
	// A second engine takes over and sees all of it.
	l, err := e.sink.ReadLedger(t.Context(), "p")
	if err != nil || l.Batch != 2 {
		t.Errorf("%+v %v", l, err)
	}
	s2, _ := New(testOptions(url))
	defer s2.Close()
	l, err = s2.Open(t.Context(), "p", targetsOf(outs))
	want := microbatch.Ledger{Found: true, Epoch: 2, Batch: 2, Offsets: []byte(`{"src": 2}`), Plan: "f", ContentHash: l.ContentHash}
	if diff := cmp.Diff(want, l); diff != "" || err != nil || l.ContentHash == "" {
		t.Error(diff, err)
	}
}

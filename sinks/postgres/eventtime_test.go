package postgres

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/planner"
)

// A schema that the first version made is read as it is, by verify and drop, and migrated by the next engine;
// then the ledger has the watermarks, and every batch of a pipeline with a batch_time column its time.
func TestWatermarksAndBatchTimes(t *testing.T) {
	url := pgtest.URL(t)
	pgtest.Exec(t, url, migrations[0], "INSERT INTO sluice.meta VALUES ('schema_version', '1')",
		"INSERT INTO sluice.ledger (pipeline, epoch, batch, offsets, plan, content_hash) VALUES ('old', 3, 9, '{}', 'f00d', 'cafe')")
	reader, err := New(testOptions(url))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if l, err := reader.ReadLedger(t.Context(), "old"); err != nil || l.Batch != 9 || len(l.Watermarks) > 0 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := reader.Drop(t.Context(), "old", KeepTables); err != nil {
		t.Error(err)
	}

	outs := []planner.Output{appendOut}
	e := newEngine(t, url, outs...)
	at := time.Date(2026, 11, 22, 18, 0, 0, 123456000, time.UTC)
	want := map[string]int64{"click": 1577836821000000, "дата": -5}
	for n := int64(1); n <= 2; n++ {
		b := batchOf(t, n, outs, []row{r(1, n, "a")})
		if err := e.sink.Stage(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		c := info(b)
		c.Watermarks, c.KeepBatchTime, c.PlannedAt = want, true, at.Add(time.Duration(n)*time.Second)
		if err := e.sink.Commit(t.Context(), e.Prepare(b), c); err != nil {
			t.Fatal(err)
		}
		e.Done(n)
	}
	l, err := reader.ReadLedger(t.Context(), "p")
	if diff := cmp.Diff(want, l.Watermarks); diff != "" || err != nil {
		t.Error(diff, err)
	}
	got, err := reader.ReadBatchTimes(t.Context(), "p", 1)
	if err != nil || len(got) != 1 || !got[0].At.Equal(at.Add(time.Second)) || !json.Valid(got[0].Offsets) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := reader.Drop(t.Context(), "p", KeepTables); err != nil {
		t.Error(err)
	}
	if n := pgtest.Rows(t, url, "SELECT count(*) FROM sluice.batch_time"); n[0] != "0" {
		t.Errorf("%s batch times are left", n[0])
	}
}

package oracle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// TestStateTTL: rows that nothing was written to for the time are dropped by the batch's clock, which a replay
// has, too; views that do not depend on them still equal their queries at every commit; and nothing is taken
// back that was never there.
func TestStateTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := "SET state_ttl = '1 minute';\n" + fmt.Sprintf(sourceSQL, "") + strings.Replace(fmt.Sprintf(sourceSQL, ""), "SOURCE t ", "SOURCE u ", 1) + `
CREATE MATERIALIZED VIEW joined AS SELECT t.v, u.s FROM t JOIN u ON t.k = u.k;
CREATE MATERIALIZED VIEW counted AS SELECT v, count(*) AS c, max(s) AS m FROM t GROUP BY v HAVING count(*) < 4;
CREATE MATERIALIZED VIEW dropped_key AS SELECT count(*) AS c FROM t GROUP BY v;
CREATE MATERIALIZED VIEW over_join AS SELECT s, count(*) AS c FROM (SELECT t.s FROM t JOIN u ON t.v = u.v) GROUP BY s;
CREATE MATERIALIZED VIEW nested AS SELECT c, count(*) AS n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) GROUP BY c;
CREATE MATERIALIZED VIEW outer_joined AS SELECT t.v, u.s FROM t LEFT JOIN u ON t.k = u.k AND t.v = u.v;`
		p := plan(t, "ttl.sql", text)
		for _, v := range p.Views {
			if got, want := v.Loses != "", v.Name != "nested" && v.Name != "outer_joined"; got != want {
				t.Errorf("view %s loses %q", v.Name, v.Loses)
			}
		}
		// 40 rows of each source every 50 seconds, and a last batch of one row a minute and a half later.
		start := time.Now()
		paced := func(seed int64) *rowsSource {
			given := int64(0)
			return &rowsSource{rows: generate(t, rowsQuery(161, seed)), cut: func() int64 {
				due := min(40*(1+int64(time.Since(start)/(50*time.Second))), 160)
				if time.Since(start) > 5*time.Minute {
					due = 161
				}
				n := due - given
				given = due
				return n
			}}
		}
		sources := map[string]*rowsSource{"t": paced(1), "u": paced(2)}
		sink := newSink(t, p, sources)
		cfg := config(t, p, sources, sink)
		pl, err := microbatch.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- pl.Run(context.Background()) }()
		<-time.After(4 * time.Minute)
		synctest.Wait()
		full := pl.Progress()
		<-time.After(2 * time.Minute)
		synctest.Wait()
		last := pl.Progress()
		pl.Stop()
		if err := errors.Join(<-done, pl.Close()); err != nil {
			t.Fatal(err)
		}
		if full.RowsIn != 320 || last.RowsIn != 322 || last.StateRows >= full.StateRows {
			t.Errorf("after 4 minutes %+v, after 6 %+v", full, last)
		}
		chunks, _, err := sink.OneShot().Query(context.Background(), "SELECT count(*) FROM joined")
		if err != nil {
			t.Fatal(err)
		}
		if all := int(chunks[0].Cols[0].I64(0)); sink.Rows("joined") == 0 || sink.Rows("joined") >= all {
			t.Errorf("%d joined rows, %d without state_ttl", sink.Rows("joined"), all)
		}
		report, err := microbatch.Replay(context.Background(), cfg, microbatch.ReplayOptions{})
		if err != nil || report.Failed > 0 || report.Batches < 5 {
			t.Errorf("replay: %+v, %v", report, err)
		}
	})
}

package oracle_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// TestDeltaSnapshots runs views with snapshots that are mostly deltas, with updates, deletions and evictions in them, while the engine fails and starts again from them.
func TestDeltaSnapshots(t *testing.T) {
	sql := fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'") + `
CREATE MATERIALIZED VIEW per_row AS SELECT v, s, ts, count(*) AS n, sum(k) AS sk FROM t GROUP BY v, s, ts;
CREATE MATERIALIZED VIEW per_k AS SELECT k, count(*) AS n, max(s) AS ms FROM t GROUP BY k;
CREATE MATERIALIZED VIEW newest AS SELECT * FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY ts DESC, v, s, d, f, l) = 1;
CREATE MATERIALIZED VIEW windows AS SELECT window_start, k, count(*) AS n, sum(v) AS sv FROM tumble(t, ts, INTERVAL '3 seconds') GROUP BY window_start, k;
`
	p := plan(t, "deltas.sql", sql)
	for seed := int64(1); seed <= 3; seed++ {
		rng := rand.New(rand.NewSource(seed))
		sources := map[string]*rowsSource{"t": {rows: generate(t, rowsQuery(300, seed)), cut: func() int64 { return int64(rng.Intn(25)) }}}
		sink := newSink(t, p, sources)
		cfg := config(t, p, sources, sink)
		var deltas atomic.Int64
		cfg.SnapshotLogBytes, cfg.MaxDeltaShare = 1, 3
		cfg.Logger = slog.New(slog.NewTextHandler(countingWriter{&deltas}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		oracletest.Run(t, cfg, sink, oracletest.Options{Rand: rng, Fail: seed > 1, Replay: true})
		if deltas.Load() == 0 {
			t.Errorf("seed %d: no snapshot was a delta", seed)
		}
		report, err := checkpointlog.Verify(cfg.LogDir, vfs.OS{})
		if err != nil {
			t.Error(err)
		}
		t.Logf("seed %d: %d delta snapshots, %d are left, of batch %d", seed, deltas.Load(), len(report.Snapshots), report.LastPrepared.Batch)
	}
}

// countingWriter counts log lines that tell of a delta snapshot.
type countingWriter struct{ n *atomic.Int64 }

var _ io.Writer = countingWriter{}

func (w countingWriter) Write(p []byte) (int, error) {
	if s := string(p); strings.Contains(s, "snapshot published") && !strings.Contains(s, " base=0 ") {
		w.n.Add(1)
	}
	return len(p), nil
}

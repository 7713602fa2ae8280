package oracle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/microbatch"
)

// partitionedSource is a rowsSource whose partitions have watermarks of their own.
type partitionedSource struct {
	*rowsSource
	ordinals []int
}

func (s partitionedSource) Partitions(json.RawMessage) ([]int, error) { return s.ordinals, nil }

// apartQuery makes rows of two partitions that take turns, the second of them an hour ahead.
func apartQuery(rows, seed int) string {
	return fmt.Sprintf(`SELECT (i %% 5)::BIGINT AS k, 's' || (i %% 3) AS s, ((i * 7 + %[2]d) %% 31)::BIGINT AS v, 1.5::DECIMAL(10, 2) AS d, 0.5::DOUBLE AS f,
		TIMESTAMP '2026-01-01 00:00:00' + to_seconds(i + (i %% 2) * 3600) - to_seconds((hash(i + %[2]d) %% 4)::DOUBLE) AS ts, NULL::INTEGER[] AS l,
		((i %% 2) << 44) + i AS _seq
		FROM range(%[1]d) r(i) ORDER BY i`, rows, seed)
}

// TestPartitionWatermarks: the watermark of a source is the least of its partitions', so that one that is ahead
// makes no row of another late; straight, and with the engine failing and starting again. The first batches have
// rows of one partition only, which attest nothing.
func TestPartitionWatermarks(t *testing.T) {
	for _, fail := range []bool{false, true} {
		t.Run(fmt.Sprintf("fail=%v", fail), func(t *testing.T) {
			source := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts - INTERVAL '4 seconds'"), "'test'", "'test', max_future = 'none'", 1)
			p := plan(t, "apart.sql", source+"CREATE MATERIALIZED VIEW v AS "+closing["tumbling"]+" EMIT ON WINDOW CLOSE;\n")
			rng := rand.New(rand.NewSource(7))
			rows := &rowsSource{rows: generate(t, apartQuery(200, 1)), cut: func() int64 { return 1 + int64(rng.Intn(20)) }}
			sink := oracletest.NewSink(t, p, map[string]microbatch.Source{"t": rows})
			cfg := config(t, p, map[string]*rowsSource{"t": rows}, sink)
			cfg.Sources = map[string]microbatch.Source{"t": partitionedSource{rows, []int{0, 1}}}
			oracletest.Run(t, cfg, sink, oracletest.Options{Rand: rng, Fail: fail, Replay: true})
			if late := sink.Late(); late != 0 {
				t.Errorf("%d rows were late", late)
			}
			if n := sink.Rows("v"); n < 20 || n > 120 {
				t.Errorf("%d windows are closed: want those of the partition that is behind, and no more", n)
			}
		})
	}
}

// TestIdlePartition: a partition that delivers nothing for the idle timeout no longer holds its source's
// watermark back, and replay, which has no clock, decides the same.
func TestIdlePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := strings.Replace(fmt.Sprintf(sourceSQL, ", WATERMARK FOR ts AS ts"), "'test'", "'test', max_future = 'none', idle_timeout = '30 seconds'", 1)
		p := plan(t, "idle.sql", source+"CREATE MATERIALIZED VIEW v AS "+closing["tumbling"]+" EMIT ON WINDOW CLOSE;\n")
		start, polls := time.Now(), 0
		rows := &rowsSource{rows: generate(t, apartQuery(200, 2)), cut: func() int64 { // half at once, half later
			if polls++; polls > 1 && time.Since(start) < 20*time.Second {
				return 0
			}
			return 100
		}}
		sink := oracletest.NewSink(t, p, map[string]microbatch.Source{"t": rows})
		cfg := config(t, p, map[string]*rowsSource{"t": rows}, sink)
		cfg.Sources = map[string]microbatch.Source{"t": partitionedSource{rows, []int{0, 1, 2}}} // nothing comes from 2
		pl, err := microbatch.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- pl.Run(context.Background()) }()
		shown := func(after time.Duration) int {
			<-time.After(after)
			synctest.Wait()
			return sink.Rows("v")
		}
		if n := shown(25 * time.Second); n != 0 {
			t.Errorf("before the timeout: %d rows shown", n)
		}
		if n := shown(10 * time.Second); n < 80 {
			t.Errorf("after the timeout: %d rows shown", n)
		}
		pl.Stop()
		if err := errors.Join(<-done, pl.Close()); err != nil {
			t.Error(err)
		}
		report, err := microbatch.Replay(context.Background(), cfg, microbatch.ReplayOptions{})
		if err != nil || report.Failed > 0 || report.Batches < 2 {
			t.Errorf("replay: %+v, %v", report, err)
		}
	})
}

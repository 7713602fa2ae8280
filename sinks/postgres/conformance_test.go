package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/pgtest"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, sinktest.Config{New: database})
}

// database is a target whose sinks reach it through a proxy that breaks.
func database(t testing.TB) *sinktest.Target {
	url := pgtest.URL(t)
	proxy := pgtest.NewProxy(t, url)
	target := &sinktest.Target{
		Sink: func(t testing.TB) microbatch.Sink {
			s, err := New(Options{URL: proxy.URL(), RetryFor: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Rows: func(ctx context.Context) ([]string, error) {
			return query(ctx, url, "SELECT id, s FROM v", func(r pgx.CollectableRow) (string, error) {
				var id int64
				var s *string
				err := r.Scan(&id, &s)
				return sinktest.Row(id, s), err
			})
		},
		DeadLetters: func(ctx context.Context) ([]microbatch.DeadLetter, error) {
			return query(ctx, url, `SELECT source, partition, "offset", reason, raw FROM sluice.dead_letter`, pgx.RowToStructByPos[microbatch.DeadLetter])
		},
		Faults: map[string]func(int, func()) func(){},
		Slow:   func() func() { return proxy.Set(pgtest.Slow) },
	}
	for _, mode := range []string{pgtest.Broken, pgtest.Unanswered, pgtest.Stalled} {
		target.Faults[mode] = func(n int, hit func()) func() { return proxy.Break(mode, n, hit) }
	}
	return target
}

// query connects anew, because several goroutines read.
func query[T any](ctx context.Context, url, sql string, row pgx.RowToFunc[T]) ([]T, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/vector"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// refresher appends what has changed in the table. It belongs to one goroutine at a time.
type refresher struct {
	*Lookup
	v        *version
	failures int
	last     time.Time // when the version of the log was read; zero if by an earlier engine
}

// restore rebuilds the version from the log.
func (r *refresher) restore() error {
	r.v = newVersion(r.opt.Columns, r.opt.Key)
	types := r.types()
	for e, err := range r.log.Entries(r.log.First(), r.log.End()) {
		if err != nil {
			return err
		}
		c, _, err := vector.DecodeChunk(types, e.Body)
		if err != nil {
			return fmt.Errorf("decode rows %d to %d of %s (the columns may have other types than when they were read): %w\nHint: put the SQL file back as it was, or drop the pipeline", e.First, e.End(), r.opt.Dir, err)
		}
		r.v.apply(c)
	}
	return nil
}

// errBroken marks an error of the log, after which it takes nothing more.
var errBroken = errors.New("the table's log is broken")

// refresh reads the table as it is and appends the differences as one.
func (r *refresher) refresh(ctx context.Context) error {
	at := time.Now()
	d := r.v.diff()
	err := r.opt.snapshot(ctx, func(tx pgx.Tx) error {
		from, list, err := r.opt.resolve(ctx, tx)
		if err != nil {
			return err
		}
		return sink.CopyOut(ctx, tx.Conn().PgConn(), "SELECT "+list+" FROM "+from, r.opt.Columns, d.add)
	})
	if err != nil {
		return err
	}
	changes := d.changes()
	entries, err := r.v.entries(changes)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		if _, err := r.log.Append(entries...); err != nil {
			return fmt.Errorf("%w: %w", errBroken, err)
		}
	}
	d.done(changes)
	r.last, r.failures = at, 0
	return nil
}

// Retries of a failed refresh begin after firstRetry and double up to maxRetry.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
)

// run refreshes until ctx ends or the log fails.
func (r *refresher) run(ctx context.Context) {
	started := time.Now()
	for {
		wait := time.Until(started.Add(r.opt.Refresh))
		if r.failures > 0 {
			wait = min(firstRetry<<min(r.failures-1, 10), maxRetry)
		} else if r.opt.Refresh == 0 || r.opt.Bounded {
			return // it was only the first one that had to be tried again
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		started = time.Now()
		err := r.refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errBroken):
			err = fmt.Errorf("table %q: %w", r.opt.Name, err)
			r.broken.Store(&err)
			return
		case err != nil:
			r.warn(err)
		}
	}
}

// warn tells the operator that an older version goes on.
func (r *refresher) warn(err error) {
	r.failures++
	kept := "the one of an earlier run"
	if !r.last.IsZero() {
		kept = r.last.UTC().Format(time.RFC3339)
	}
	r.opt.Logger.Warn("a table could not be refreshed; its last version stays, and it is tried again", "table", r.opt.Name, "version", kept, "failures", r.failures, "error", err)
}

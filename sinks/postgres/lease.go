package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/microbatch"
)

// LeaseFor is how long a lease lasts without a renewal, and renewEvery how often its owner renews it.
//
// Why a lease beside the epoch: the epoch keeps an engine that was taken over from committing, whatever the
// lease says. The lease only tells a standby when to take over, so a wrong guess costs a restart and no row.
const (
	LeaseFor     = 3 * time.Second
	renewEvery   = time.Second
	renewTimeout = 2 * time.Second
)

// Lease is what sluice.lease says about a pipeline.
type Lease struct {
	Pipeline string
	Epoch    int64
	// Owner is Options.Owner of the engine that runs the pipeline or claims it, Directory where the newest log is.
	Owner, Directory string
	// Renewals counts; with Epoch and Owner it tells one renewal from the next.
	Renewals int64
	// Age is the time since the last renewal by the server's clock.
	Age time.Duration
	// Released: the owner ended in good order.
	Released bool
	// server tells one life of the server from the next.
	server string
}

// Fresh says that the owner renewed the lease a moment ago.
func (l Lease) Fresh() bool { return !l.Released && l.Age < LeaseFor }

// LeaseWatch judges a lease by what one observer sees of it, so that no two clocks are ever compared: the
// server's clock must say that the lease is old, and the observer must have seen no renewal for as long by its own.
type LeaseWatch struct {
	seen  Lease
	since time.Time
}

// Expired takes an observation in. It is true once nobody renews the lease any more.
func (w *LeaseWatch) Expired(l Lease, now time.Time) bool {
	same := !w.since.IsZero() && l.Epoch == w.seen.Epoch && l.Owner == w.seen.Owner && l.Renewals == w.seen.Renewals && l.server == w.seen.server
	if !same {
		w.seen, w.since = l, now
	}
	return l.Released || now.Sub(w.since) >= LeaseFor && l.Age >= LeaseFor
}

// Blind says that the server could not be asked. Its owner could not renew the lease then, either: the wait
// begins anew.
func (w *LeaseWatch) Blind() { *w = LeaseWatch{} }

// takeLease gives the engine the lease with the epoch, in one transaction.
func (s *Sink) takeLease(ctx context.Context, tx pgx.Tx, epoch int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO sluice.lease (pipeline, epoch, owner, directory, renewals, renewed_at, released)
VALUES ($1, $2, $3, $4, 0, clock_timestamp(), false) ON CONFLICT (pipeline) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner,
  directory = excluded.directory, renewals = 0, renewed_at = excluded.renewed_at, released = false`, s.pipeline, epoch, s.options.Owner, s.options.Directory)
	return err
}

// keeper renews an engine's lease until it is closed or the lease is another's.
type keeper struct {
	stop context.CancelFunc
	done chan struct{}
	lost chan error
}

// keepLease starts the renewals, on a connection of their own: the engine's may be busy for long.
func (s *Sink) keepLease() {
	if s.options.Owner == "" {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &keeper{stop: stop, done: make(chan struct{}), lost: make(chan error, 1)}
	s.keeper = k
	go func() {
		defer close(k.done)
		k.lost <- s.renewals(ctx, s.pipeline, s.epoch)
	}()
}

// Lost implements microbatch.Owned.
func (s *Sink) Lost() <-chan error {
	if s.keeper == nil {
		return nil
	}
	return s.keeper.lost
}

func (s *Sink) releaseLease() {
	if s.keeper == nil {
		return
	}
	s.keeper.stop()
	<-s.keeper.done
	s.keeper = nil
}

// renewals returns an error when the lease is lost, which wraps ErrFenced if another engine has it, and nil when it was released. A server
// that is away is no loss: nobody can take over meanwhile.
func (s *Sink) renewals(ctx context.Context, pipeline string, epoch int64) error {
	var ses *session
	defer func() {
		if ses != nil {
			ses.drop()
		}
	}()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if keep := s.options.KeepLease; ses != nil && (keep == nil || !keep()) {
				end, cancel := context.WithTimeout(context.Background(), renewTimeout)
				defer cancel()
				// When it fails the lease runs out by itself.
				_, _ = ses.Exec(end, "UPDATE sluice.lease SET released = true WHERE pipeline = $1 AND epoch = $2 AND owner = $3", pipeline, epoch, s.options.Owner)
			}
			return nil
		case <-tick.C:
		}
		held, err := s.renew(ctx, &ses, pipeline, epoch)
		if err != nil || held {
			continue
		}
		if why := s.lostLease(ctx, ses, epoch); why != nil {
			return why
		}
	}
}

// lostLease says why the lease is not this engine's any more; nil if the ledger cannot be asked now.
//
// Why ask the ledger: in a database that was put back to an older state the lease is an older engine's, but nobody has
// taken over.
func (s *Sink) lostLease(ctx context.Context, ses *session, epoch int64) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	var ledger int64
	err := ses.QueryRow(ctx, "SELECT epoch FROM sluice.ledger WHERE pipeline = $1", s.pipeline).Scan(&ledger)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if why := s.checkEpoch(ledger, err); why != nil {
		return why
	}
	return fmt.Errorf("pipeline %s: %w: its lease of epoch %d is another's", s.pipeline, microbatch.ErrFenced, epoch)
}

// renew is one renewal; a connection that failed is opened anew by the next.
func (s *Sink) renew(ctx context.Context, ses **session, pipeline string, epoch int64) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if *ses == nil {
		if *ses, err = s.connectAs(ctx, "sluice-lease/"+pipeline); err != nil {
			return false, err
		}
	}
	tag, err := (*ses).Exec(ctx, `UPDATE sluice.lease SET renewals = renewals + 1, renewed_at = clock_timestamp(), released = false
WHERE pipeline = $1 AND epoch = $2 AND owner = $3`, pipeline, epoch, s.options.Owner)
	if err != nil {
		(*ses).drop()
		*ses = nil
		return false, err
	}
	return tag.RowsAffected() == 1, nil
}

// Leases reads and claims the leases of a database, for one goroutine at a time.
type Leases struct {
	sink *Sink
	ses  *session
}

// NewLeases connects when it is first used. Options.Owner is who claims.
func NewLeases(o Options) (*Leases, error) {
	s, err := New(o)
	return &Leases{sink: s}, err
}

// Close ends the connection.
func (l *Leases) Close() {
	if l.ses != nil {
		l.ses.drop()
	}
	l.ses = nil
}

// with runs fn on a connection, which does not outlive an error.
func (l *Leases) with(ctx context.Context, fn func(*session) error) (err error) {
	if l.ses == nil {
		if l.ses, err = l.sink.connectAs(ctx, "sluice-lease"); err != nil {
			return err
		}
	}
	if err = fn(l.ses); err != nil {
		l.Close()
	}
	return err
}

// Read returns a pipeline's lease, and nil if it has none: it never ran in this database.
func (l *Leases) Read(ctx context.Context, pipeline string) (*Lease, error) {
	var out *Lease
	err := l.with(ctx, func(ses *session) error {
		have, err := readSchemaVersion(ctx, ses.Conn)
		if err != nil || have < leaseSchema {
			return err
		}
		r := Lease{Pipeline: pipeline}
		var age float64
		err = ses.QueryRow(ctx, `SELECT epoch, owner, directory, renewals, released, extract(epoch FROM clock_timestamp() - renewed_at)::float8, pg_postmaster_start_time()::text
FROM sluice.lease WHERE pipeline = $1`, pipeline).Scan(&r.Epoch, &r.Owner, &r.Directory, &r.Renewals, &r.Released, &age, &r.server)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		r.Age = time.Duration(age * float64(time.Second))
		out = &r
		return err
	})
	return out, explain("read the lease of pipeline "+pipeline, err)
}

// Claim makes a lease that has run out this owner's, if it is still as it was seen, and raises the epoch: from here
// on the engine before can commit nothing. Its sessions are ended, because a paused one may hold the ledger's row.
// It returns false when somebody was faster. The directory stays: that is where the newest log is.
func (l *Leases) Claim(ctx context.Context, seen Lease) (claimed bool, err error) {
	err = l.with(ctx, func(ses *session) error {
		return pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `UPDATE sluice.lease SET owner = $5, renewals = renewals + 1, renewed_at = clock_timestamp(), released = false
WHERE pipeline = $1 AND epoch = $2 AND owner = $3 AND renewals = $4
  AND (released OR clock_timestamp() - renewed_at >= make_interval(secs => $6))`,
				seen.Pipeline, seen.Epoch, seen.Owner, seen.Renewals, l.sink.options.Owner, LeaseFor.Seconds())
			if err != nil || tag.RowsAffected() == 0 {
				return err
			}
			l.sink.pipeline = seen.Pipeline
			if err := l.sink.endOlder(ctx, tx); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `WITH raised AS (UPDATE sluice.ledger SET epoch = epoch + 1 WHERE pipeline = $1 RETURNING epoch)
UPDATE sluice.lease SET epoch = raised.epoch FROM raised WHERE pipeline = $1`, seen.Pipeline)
			claimed = err == nil
			return err
		})
	})
	return claimed && err == nil, explain("claim the lease of pipeline "+seen.Pipeline, err)
}

// Retake renews a lease of this owner, whose engine has ended. It returns false when somebody else has it by now.
// Why no higher epoch, as Claim has it: the engine has ended, and was not merely paused.
func (l *Leases) Retake(ctx context.Context, pipeline string) (retaken bool, err error) {
	err = l.with(ctx, func(ses *session) error {
		tag, err := ses.Exec(ctx, `UPDATE sluice.lease SET renewals = renewals + 1, renewed_at = clock_timestamp(), released = false
WHERE pipeline = $1 AND owner = $2`, pipeline, l.sink.options.Owner)
		retaken = err == nil && tag.RowsAffected() == 1
		return err
	})
	return retaken, explain("take the lease of pipeline "+pipeline+" again", err)
}

// Hold renews a claim while fn runs, which ends when the claim is lost.
func (l *Leases) Hold(ctx context.Context, pipeline string, fn func(context.Context) error) error {
	held, err := l.Read(ctx, pipeline)
	if err != nil {
		return err
	}
	if held == nil || held.Owner != l.sink.options.Owner {
		return fmt.Errorf("pipeline %s: %w: somebody else claimed it", pipeline, microbatch.ErrFenced)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ok, err := l.sink.renew(ctx, &l.ses, pipeline, held.Epoch)
			if err == nil && !ok {
				cancel(fmt.Errorf("pipeline %s: %w: somebody else claimed it", pipeline, microbatch.ErrFenced))
			}
		}
	}()
	err = fn(ctx)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	cancel(nil)
	<-done
	return err
}

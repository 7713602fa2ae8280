package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

var fpOpenAfterEpoch = failpoint.New("sink.open.after_epoch")

// Options configure a sink.
type Options struct {
	// URL is a connection string, as a postgres:// URL or in keyword form. Required.
	URL string
	// ConnectTimeout bounds one connection attempt. Defaults to 10 s, or to the URL's connect_timeout.
	ConnectTimeout time.Duration
	// StatementTimeout bounds a statement. Defaults to 10 minutes.
	StatementTimeout time.Duration
	// LockTimeout bounds the wait for a lock that someone else holds. Defaults to 30 s.
	LockTimeout time.Duration
	// IdleTimeout ends a transaction whose engine has fallen silent, and so frees its locks. Defaults to 1 minute.
	IdleTimeout time.Duration
	// RetryFor bounds how long a phase is tried again after transient errors. Defaults to 1 minute.
	RetryFor time.Duration
	// Shadow makes it the sink of a rebuild: it fills tables of its own, until Swap. Defaults to the pipeline's own.
	Shadow bool
	// KeepBatches is how many rows of history sluice.batches keeps per pipeline. Defaults to 10,000.
	KeepBatches int64
	// Owner names the engine that holds the pipeline's lease, and Directory where its log is, for standbys. Defaults to
	// an engine that does not renew its lease.
	Owner, Directory string
	// KeepLease says, when the sink is closed, that the owner goes on with another engine at once, so that the lease is
	// not released. Defaults to releasing it.
	KeepLease func() bool
	// Notice is told what a phase waits for when it waits long: a lock and who holds it, a server that is away.
	// It is called from several goroutines. Defaults to nobody.
	Notice func(text string)
}

// validate reports all problems and fills in the defaults.
func (o *Options) validate() error {
	var errs []error
	if o.URL == "" {
		errs = append(errs, errors.New("the Postgres connection string is empty\nHint: set --postgres or SLUICE_POSTGRES"))
	} else if _, err := pgx.ParseConfig(o.URL); err != nil {
		errs = append(errs, fmt.Errorf("read the Postgres connection string: %w", err))
	}
	for _, d := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
	}{
		{"ConnectTimeout", &o.ConnectTimeout, 10 * time.Second},
		{"StatementTimeout", &o.StatementTimeout, 10 * time.Minute},
		{"LockTimeout", &o.LockTimeout, 30 * time.Second},
		{"IdleTimeout", &o.IdleTimeout, time.Minute},
		{"RetryFor", &o.RetryFor, time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.preset
		} else if *d.value < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s is %s, must be at least 1ms", d.name, *d.value))
		}
	}
	if o.KeepBatches == 0 {
		o.KeepBatches = 10_000
	} else if o.KeepBatches < 1 {
		errs = append(errs, fmt.Errorf("KeepBatches is %d, must be positive", o.KeepBatches))
	}
	return errors.Join(errs...)
}

// Sink writes a pipeline's outputs to one Postgres database. See the package comment. Its methods are
// for one goroutine at a time.
type Sink struct {
	options  Options
	pipeline string
	shadowOf string // the pipeline that this is a rebuild of; empty for others
	epoch    int64
	targets  []*target
	warnings []string
	conn     *session
	closed   bool
	keeper   *keeper // nil without an owner
	// head is the content hash that the ledger must have before the next commit: of the batch that the engine's
	// state builds on. Empty when the ledger knows none.
	head string

	// last is the batch that this process staged last, kept until it is committed: if the server crashes
	// in between, its staging is lost and Commit stages it again.
	last *microbatch.StagedBatch
	// deadLitter is how many old rows the dead letters' staging table may hold, -1 when unknown.
	deadLitter int64
}

var _ microbatch.Sink = (*Sink)(nil)

// New returns a sink that connects when it is first used.
func New(o Options) (*Sink, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Sink{options: o, deadLitter: -1}, nil
}

// Warnings tells, after Open, what about the targets can stop a batch in phase 2.
func (s *Sink) Warnings() []string { return s.warnings }

// Close ends the connection.
func (s *Sink) Close() error {
	s.closed = true
	s.releaseLease()
	if s.conn == nil {
		return nil
	}
	s.conn.drop()
	s.conn = nil
	return nil
}

// Open implements microbatch.Sink. Everything it does to the pipeline's tables is one transaction: a
// target that is refused leaves the epoch as it was.
func (s *Sink) Open(ctx context.Context, pipeline string, targets []microbatch.Target) (microbatch.Ledger, error) {
	if s.closed {
		return microbatch.Ledger{}, explain("open pipeline "+pipeline, microbatch.ErrSinkClosed)
	}
	s.pipeline = pipeline
	var err error
	if s.targets, err = newTargets(pipeline, targets); err != nil {
		return microbatch.Ledger{}, err
	}
	if s.options.Shadow {
		s.pipeline, s.shadowOf = ShadowName(pipeline), pipeline
		s.shadow()
	}
	// Why s.pipeline: what ends the sessions of an older engine must not end those of its rebuild, nor the other way round.
	ses, err := s.connectWaiting(ctx, s.pipeline, "open")
	if err != nil {
		return microbatch.Ledger{}, err
	}
	s.conn = ses
	ledger, err := s.takeOver(ctx, ses)
	if err != nil {
		ses.drop()
		s.conn = nil
		return microbatch.Ledger{}, err
	}
	s.epoch, s.head = ledger.Epoch, ledger.ContentHash
	s.keepLease()
	if _, err := ses.Exec(ctx, "SELECT set_config('application_name', $1, false)", applicationName(s.pipeline, fmt.Sprint(s.epoch))); err != nil {
		return microbatch.Ledger{}, explain("name the session", err)
	}
	return ledger, fpOpenAfterEpoch.Hit()
}

func newTargets(pipeline string, targets []microbatch.Target) ([]*target, error) {
	if pipeline == "" {
		return nil, errors.New("a pipeline needs a name")
	}
	var out []*target
	var errs []error
	writer := map[string]string{}
	for _, t := range targets {
		nt, err := newTarget(pipeline, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if other, taken := writer[nt.qualified()]; taken {
			errs = append(errs, fmt.Errorf("outputs %s and %s both write table %s\nHint: give one of them another table = '…'", other, nt.output.Name, nt.qualified()))
		}
		writer[nt.qualified()] = nt.output.Name
		out = append(out, nt)
	}
	return out, errors.Join(errs...)
}

// takeOverLockTimeout is how long Open waits for an older engine that holds the ledger row before it
// ends that engine's sessions. A live engine holds it for the length of a phase.
const takeOverLockTimeout = 3 * time.Second

// takeOver raises the epoch and prepares the targets.
func (s *Sink) takeOver(ctx context.Context, ses *session) (l microbatch.Ledger, err error) {
	if err := ensureSchema(ctx, ses.Conn); err != nil {
		return l, explain("prepare schema sluice", err)
	}
	doing := "open pipeline " + s.pipeline
	watch := s.watchLocks(ctx, doing, ses)
	defer func() {
		if by := watch.close(); by != "" && err != nil {
			err = fmt.Errorf("%w\nDetail: it %s", err, by)
		}
	}()
	deadline := time.Now().Add(s.options.RetryFor)
	for attempt := 0; ; attempt++ {
		l, err = s.tryTakeOver(ctx, ses)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			return l, nil
		case !errors.As(err, &pg) || attempt >= 3 && pg.Code != "55P03" || time.Now().After(deadline):
			return l, explain(doing, err)
		case pg.Code == "55P03":
			// An engine that was paused or cut off in the middle of a transaction leads here. It is
			// about to be fenced: end its sessions, which frees the row.
			if err := s.endOlder(ctx, ses); err != nil {
				return l, err
			}
		case pg.Code == "42P07" || pg.Code == "23505" || pg.Code == "42P06" || pg.Code == "40P01":
			// Another engine created the same table or schema at the same moment: look again.
		default:
			return l, explain("open pipeline "+s.pipeline, err)
		}
	}
}

func (s *Sink) tryTakeOver(ctx context.Context, ses *session) (l microbatch.Ledger, err error) {
	s.warnings = nil
	return l, pgx.BeginFunc(ctx, ses.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", takeOverLockTimeout.Milliseconds())); err != nil {
			return err
		}
		var offsets string
		// Why a rebuild's epochs begin above its pipeline's: one that was paused, and comes back when another daemon has
		// taken the pipeline over and rebuilds it, too, must not commit to the other's row.
		err := tx.QueryRow(ctx, `INSERT INTO sluice.ledger AS l (pipeline, epoch, batch, offsets, plan, content_hash)
VALUES ($1, 1 + coalesce((SELECT epoch FROM sluice.ledger WHERE pipeline = $2), 0), 0, '{}', '', '')
ON CONFLICT (pipeline) DO UPDATE SET epoch = l.epoch + 1
RETURNING l.xmax <> 0, l.epoch, l.batch, l.offsets::text, l.plan, l.content_hash`, s.pipeline, s.shadowOf).
			Scan(&l.Found, &l.Epoch, &l.Batch, &offsets, &l.Plan, &l.ContentHash)
		if err != nil {
			return err
		}
		if err := s.takeLease(ctx, tx, l.Epoch); err != nil {
			return err
		}
		if l.Found {
			l.Offsets = json.RawMessage(offsets)
		}
		if err := s.retire(ctx, tx); err != nil {
			return err
		}
		for _, t := range s.targets {
			if err := s.sameTable(ctx, tx, t, l.Batch); err != nil {
				return err
			}
			if err := s.prepareTarget(ctx, tx, ses.version, t); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`CREATE UNLOGGED TABLE IF NOT EXISTS %s (_sluice_epoch bigint NOT NULL, _sluice_batch bigint NOT NULL,
  source text NOT NULL, partition text NOT NULL, "offset" bigint NOT NULL, reason text NOT NULL, raw text NOT NULL) WITH (autovacuum_enabled = off)`, s.deadTable()))
		return err
	})
}

// deadTable is where the pipeline's dead letters wait for phase 2.
func (s *Sink) deadTable() string { return `sluice."stg_` + shortHash(s.pipeline) + `_dead"` }

func (s *Sink) endOlder(ctx context.Context, on interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}) error {
	_, err := on.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE starts_with(application_name, $1) AND datname = current_database() AND pid <> pg_backend_pid()`, applicationPrefix(s.pipeline))
	return explain("end the sessions of an older engine", err)
}

package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/microbatch"
)

// session is a connection and what it takes to find its server process again.
type session struct {
	*pgx.Conn
	pid     int32
	started string // backend_start: a pid alone may have been given to another session since
	version int    // server_version_num
}

// maxNameBytes is Postgres's limit for names (NAMEDATALEN less the final NUL).
const maxNameBytes = 63

// applicationName is sluice/<pipeline>/<role>, where role is the epoch of an engine; long pipeline names
// are cut and keep a hash.
func applicationName(pipeline, role string) string { return applicationPrefix(pipeline) + role }

func applicationPrefix(pipeline string) string {
	const room = 32
	if len(pipeline) > room {
		pipeline = strings.ToValidUTF8(pipeline[:room-9], "") + "-" + shortHash(pipeline)[:8]
	}
	return "sluice/" + pipeline + "/"
}

// shortHash names things whose own names may be too long: 16 hex digits.
func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// connect opens a session with every setting pinned that the sink's statements depend on.
func (s *Sink) connect(ctx context.Context, pipeline, role string) (*session, error) {
	return s.connectAs(ctx, applicationName(pipeline, role))
}

func (s *Sink) connectAs(ctx context.Context, name string) (*session, error) {
	cfg, err := pgx.ParseConfig(s.options.URL)
	if err != nil {
		return nil, fmt.Errorf("read the Postgres connection string: %w", err)
	}
	cfg.RuntimeParams["application_name"] = name
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = s.options.ConnectTimeout
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(cfg, err)
	}
	ses := &session{Conn: conn}
	// By SET and not as start-up parameters, which connection poolers refuse.
	settings := fmt.Sprintf(`SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres';
SET extra_float_digits = 1; SET standard_conforming_strings = on; SET search_path = pg_catalog; SET jit = off;
SET default_transaction_isolation = 'read committed'; SET work_mem = '64MB'; SET statement_timeout = %d; SET lock_timeout = %d;
SET idle_in_transaction_session_timeout = %d; SET client_min_messages = warning;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`,
		s.options.StatementTimeout.Milliseconds(), s.options.LockTimeout.Milliseconds(), s.options.IdleTimeout.Milliseconds())
	if _, err = conn.Exec(ctx, settings); err == nil {
		err = conn.QueryRow(ctx, `SELECT pid, backend_start::text, current_setting('server_version_num')::int
FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&ses.pid, &ses.started, &ses.version)
	}
	if err == nil {
		err = s.checkServer(ctx, ses)
	}
	if err != nil {
		ses.drop()
		return nil, explain("set up a Postgres session", err)
	}
	return ses, nil
}

// connectWaiting is connect for the start of a command: it waits for a server that is starting up, which a
// server is that crashed a moment ago, and one that was started together with sluice; and for one that has no
// connection left. A server that is not there at all fails at once.
func (s *Sink) connectWaiting(ctx context.Context, pipeline, role string) (*session, error) {
	deadline := time.Now().Add(s.options.RetryFor)
	wait := s.patient("connect to Postgres")
	for {
		ses, err := s.connect(ctx, pipeline, role)
		if !busy(err) || time.Now().After(deadline) {
			return ses, err
		}
		wait.trying(err)
		if err := pause(ctx, startupPoll); err != nil {
			return nil, fmt.Errorf("wait for the Postgres server to start: %w", err)
		}
	}
}

const (
	cannotConnectNow = "57P03"
	startupPoll      = 100 * time.Millisecond
)

func connectError(cfg *pgx.ConnConfig, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return explain("connect to Postgres", err)
	}
	return fmt.Errorf("connect to Postgres at %s, port %d: %w\nHint: is the server running, and does --postgres or SLUICE_POSTGRES name it?", cfg.Host, cfg.Port, err)
}

const minVersion = 130000 // gen_random_uuid, WITH (FORCE) and the columns of pg_stat_activity that we read

func (s *Sink) checkServer(ctx context.Context, ses *session) error {
	if ses.version < minVersion {
		return fmt.Errorf("the server's version is %d\nHint: sluice needs PostgreSQL 13 or newer", ses.version)
	}
	var encoding string
	var replica bool
	err := ses.QueryRow(ctx, "SELECT current_setting('server_encoding'), pg_is_in_recovery()").Scan(&encoding, &replica)
	switch {
	case err != nil:
		return err
	case encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s\nHint: sluice needs a database created with ENCODING 'UTF8'", encoding)
	case replica:
		return errReplica
	}
	return nil
}

// errReplica is transient: a failover leads here, and the replica may be promoted at any moment.
var errReplica = errors.New("the server is a read-only replica\nHint: connect to the primary")

// drop closes the connection without waiting for the server.
func (ses *session) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = ses.Close(ctx) // nothing to do about it: the server ends the session by itself
}

// session returns the engine's connection, opening it anew when it was lost.
func (s *Sink) session(ctx context.Context) (*session, error) {
	if s.closed {
		return nil, microbatch.ErrSinkClosed
	}
	if s.conn != nil && !s.conn.IsClosed() {
		return s.conn, nil
	}
	old := s.conn
	ses, err := s.connect(ctx, s.pipeline, fmt.Sprint(s.epoch))
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := ses.endOther(ctx, old); err != nil {
			ses.drop()
			return nil, err
		}
	}
	s.conn = ses
	return ses, nil
}

// endOther ends the server's side of a lost session and waits until it is gone, so that what it left
// undecided (a COMMIT on its way) is decided.
func (ses *session) endOther(ctx context.Context, old *session) error {
	for {
		var left int
		err := ses.QueryRow(ctx, `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid) IS NOT NULL)
FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2`, old.pid, old.started).Scan(&left)
		if err != nil {
			return explain("end the session of a lost connection", err)
		}
		if left == 0 {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the session of a lost connection (server process %d) to end: %w", old.pid, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

const (
	firstBackoff = 20 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// retry runs fn until it succeeds, fails for good, or has failed for RetryFor. Each attempt gets a live
// connection; one whose predecessor's connection was lost begins only after the old session is gone, so a
// COMMIT whose outcome was unknown has an outcome by then, and fn can read it in the ledger.
func (s *Sink) retry(ctx context.Context, doing string, fn func(*session) error) error {
	deadline := time.Now().Add(s.options.RetryFor)
	backoff := firstBackoff
	wait := s.patient(doing)
	for {
		ses, err := s.session(ctx)
		again := transient(err)
		if err == nil {
			watch := s.watchLocks(ctx, doing, ses)
			err = fn(ses)
			by := watch.close()
			if err == nil {
				return nil
			}
			err = blockedBy(err, by)
			again = transient(err) || ses.IsClosed() && !final(err)
			// Whatever state the transaction is in, it must not leak into the next attempt.
			if ses.PgConn().TxStatus() != 'I' {
				ses.drop()
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		}
		if !again {
			return explain(doing, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: gave up after %s: %w", doing, s.options.RetryFor, explain("last attempt", err))
		}
		wait.trying(err)
		// Jitter keeps engines that lost the same server from coming back in step.
		if err := pause(ctx, backoff/2+rand.N(backoff/2)); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

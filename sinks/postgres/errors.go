package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-sql/sluice/internal/failpoint"
	"github.com/sluice-sql/sluice/microbatch"
)

// ErrStagingLost marks (errors.Is) a commit whose staged rows are gone (the server crashed) in a process
// that did not stage them: the batch must be executed and staged again.
var ErrStagingLost = errors.New("staged rows are gone")

// ErrUnknownPipeline marks (errors.Is) a pipeline that has no ledger row in this database.
var ErrUnknownPipeline = errors.New("the database does not know the pipeline")

// transient reports whether trying again can help: by SQLSTATE class where the server answered, and
// any broken connection otherwise.
func transient(err error) bool {
	if err == nil || final(err) {
		return false
	}
	if errors.Is(err, errReplica) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "55P03", // lock not available
			"25P03", // idle in transaction timeout
			"25006", // read-only transaction: a failover
			"55006": // object in use
			return true
		case "57014": // statement timeout: the same statement would take as long again
			return false
		}
		switch pg.Code[:2] {
		case "08", // connection
			"40", // serialization, deadlock
			"53", // out of memory, disk, connections
			"57", // shutdown, starting up
			"58": // system error
			return true
		}
		return false
	}
	var ne net.Error
	var ce *pgconn.ConnectError
	return errors.As(err, &ne) || errors.As(err, &ce) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// final reports errors that no other connection would change.
func final(err error) bool {
	return errors.Is(err, microbatch.ErrFenced) || errors.Is(err, failpoint.ErrInjected) ||
		errors.Is(err, context.Canceled) || errors.Is(err, ErrStagingLost) || errors.Is(err, errDisagree)
}

// errDisagree marks a ledger, log and staging area that contradict each other: never to be papered over.
var errDisagree = errors.New("log and database disagree")

// explain wraps an error of the server in house style: what was attempted, the message, the failing row
// where the server names it, and the next step.
func explain(doing string, err error) error {
	var pg *pgconn.PgError
	if err == nil || !errors.As(err, &pg) {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", doing, err)
	}
	return &serverError{doing: doing, err: err, pg: pg}
}

type serverError struct {
	doing string
	err   error
	pg    *pgconn.PgError
}

func (e *serverError) Unwrap() error { return e.err }

func (e *serverError) Error() string {
	var b strings.Builder
	// Outer wrapping text stays; the server's own is replaced by a tidier form.
	outer := strings.TrimSuffix(e.err.Error(), e.pg.Error())
	fmt.Fprintf(&b, "%s: %s%s (SQLSTATE %s)", e.doing, outer, e.pg.Message, e.pg.Code)
	if e.pg.Detail != "" {
		fmt.Fprintf(&b, "\nDetail: %s", e.pg.Detail)
	}
	if e.pg.Where != "" {
		fmt.Fprintf(&b, "\nContext: %s", e.pg.Where)
	}
	if hint := e.hint(); hint != "" {
		fmt.Fprintf(&b, "\nHint: %s", hint)
	}
	return b.String()
}

func (e *serverError) hint() string {
	if e.pg.Hint != "" {
		return e.pg.Hint
	}
	table := e.pg.TableName
	switch e.pg.Code {
	case "23502":
		return fmt.Sprintf("column %s of the target may not be NULL, but a row of the query has NULL there: filter it with WHERE … IS NOT NULL, or ALTER TABLE … ALTER COLUMN … DROP NOT NULL", e.pg.ColumnName)
	case "23503":
		return fmt.Sprintf("nothing was lost: add the row that foreign key %s wants, or drop the constraint, then resume the pipeline", e.pg.ConstraintName)
	case "23505", "23P01":
		return fmt.Sprintf("nothing was lost: index or constraint %s of table %s is not the query's key; drop it or remove the row in its way, then resume the pipeline", e.pg.ConstraintName, table)
	case "23514":
		return fmt.Sprintf("a row of the query violates constraint %s: filter it in the query, or drop the constraint", e.pg.ConstraintName)
	case "22003", "22008", "22021":
		return "a value does not fit the target's type: filter it or cast the column in the query"
	case "42501":
		return "grant the missing privilege to the user of the connection string, or use another user"
	case "54000":
		return "nothing was lost: if a key is too long for an index (about 2,700 bytes), group by a hash such as md5(column) instead"
	case "57014":
		return "the statement took longer than the statement timeout: use smaller batches (max_batch_rows)"
	case "42P01", "42703", "42804", "42P10":
		return "a table was changed while the pipeline ran: restart it, and it will check its targets"
	case "28P01", "28000":
		return "check user and password of the connection string, and the server's pg_hba.conf"
	case "0A000":
		return "a table was changed while the pipeline ran: restart it, and it will check its targets"
	case "53100":
		return "nothing was lost: the server's disk is full; make room, and the pipeline goes on or can be started again"
	case "55P03":
		return "nothing was lost: another session holds a lock on one of the pipeline's tables; SELECT * FROM pg_locks WHERE granted shows which"
	case tooManyConnections:
		return "nothing was lost: the server has no connection left; raise max_connections or end idle sessions, then start the pipeline again (an engine needs two)"
	case cannotConnectNow:
		return "the server is starting up or shutting down: start the pipeline again when it is ready"
	case "3D000":
		return "create the database first, e.g. with createdb"
	}
	return ""
}

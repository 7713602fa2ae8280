package postgrescdc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// minServer is the oldest server that has all that is used: TRUNCATE in the stream, a parameter for the
// walsender's timeout.
const minServer = 120000

// settings pin all that texts of values depend on, for both kinds of connection: a row of the snapshot must
// have the same texts as its later deletion.
var settings = map[string]string{"client_encoding": "UTF8", "timezone": "UTC", "datestyle": "ISO, YMD", "intervalstyle": "iso_8601",
	"extra_float_digits": "1", "bytea_output": "hex", "search_path": ""}

func (o Options) config() (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("read the connection string: %w", err)
	}
	cfg.RuntimeParams["application_name"] = o.applicationName()
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	return cfg, nil
}

// applicationName is what the pipeline's sessions are called on the server.
func (o Options) applicationName() string {
	name := "sluice/cdc/" + o.Pipeline
	return name[:min(len(name), 63)]
}

func unreachableHint(cfg *pgx.ConnConfig, err error) error {
	return fmt.Errorf("connect to Postgres at %s, port %d: %w\nHint: is the server running, and does the option url name it?", cfg.Host, cfg.Port, err)
}

// connect opens an ordinary session.
func (o Options) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, unreachableHint(cfg, err)
	}
	return conn, nil
}

// withSession runs fn in an ordinary session.
func (o Options) withSession(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error {
	conn, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn.PgConn())
	return fn(ctx, conn)
}

// hangUp ends a session; there is nothing to do if that fails, the server ends it by itself.
func hangUp(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// A wire is a replication connection, which says how much it has received that was not looked at.
type wire struct {
	*pgconn.PgConn
	buffer *bufio.Reader
}

// connectReplication opens a connection that replication commands can be sent over.
func (o Options) connectReplication(ctx context.Context) (*wire, error) {
	full, err := o.config()
	if err != nil {
		return nil, err
	}
	cfg := &full.Config
	cfg.RuntimeParams["replication"] = "database"
	for name, value := range settings {
		cfg.RuntimeParams[name] = value
	}
	// Why: looking up a TRUNCATE's rows may take longer than the default minute.
	cfg.RuntimeParams["wal_sender_timeout"] = "10min"
	w := &wire{}
	cfg.BuildFrontend = func(r io.Reader, out io.Writer) *pgproto3.Frontend {
		w.buffer = bufio.NewReaderSize(r, 256<<10)
		return pgproto3.NewFrontend(w.buffer, out)
	}
	if w.PgConn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		return nil, unreachableHint(full, err)
	}
	return w, nil
}

// idle says that nothing more has been received.
func (w *wire) idle() bool { return w.buffer.Buffered() == 0 && w.Frontend().ReadBufferLen() == 0 }

// command runs a replication command and returns its only row.
func (w *wire) command(ctx context.Context, doing, sql string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	results, err := w.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, sink.Explain(doing, err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, fmt.Errorf("%s: the server's answer is not one row", doing)
	}
	var out []string
	for _, v := range results[0].Rows[0] {
		out = append(out, string(v))
	}
	return out, nil
}

// code is the SQLSTATE of an error of the server, empty of any other.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// unreachable says that an error is the network's or the server's, and may pass.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	if c := code(err); c != "" {
		switch c[:2] {
		case "08", "53", "57", "58": // connection, resources, shutdown, system error
			return true
		}
		return false
	}
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
)

// Options say which table is read and where its versions are kept.
type Options struct {
	// Name is the declared name, for messages. Required.
	Name string
	// Columns are the declared columns. Required.
	Columns []vector.Field
	// Key holds the indexes of the PRIMARY KEY's columns. Defaults to none: rows are a multiset.
	Key []int
	// URL is the connection string. Required but for NewReader.
	URL string
	// Table is the table's name, with or without a schema, as in SQL. Defaults to Name.
	Table string
	// Query is a SELECT to read instead of a table. Defaults to the table.
	Query string
	// Refresh is the time from the start of one refresh to the next. Defaults to none: the table is read once
	// when the engine starts.
	Refresh time.Duration
	// Bounded ends the source after one refresh. Defaults to false.
	Bounded bool
	// Dir holds the ingest log. Required.
	Dir string
	// FS holds Dir. Defaults to the machine's.
	FS vfs.FS
	// Logger is told about refreshes that failed. Defaults to slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Table == "" && o.Query == "" {
		o.Table = o.Name
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Validate returns all that is wrong with the options without a look at the server.
func (o Options) Validate() error {
	var errs []error
	if o.Table != "" && o.Query != "" {
		errs = append(errs, errors.New("query = a SELECT and a table are both given\nHint: remove one"))
	}
	if o.Refresh < 0 || o.Refresh > 0 && o.Refresh < MinRefresh {
		errs = append(errs, fmt.Errorf("refresh = %s is less than %s\nHint: every refresh reads the whole table", o.Refresh, MinRefresh))
	}
	if o.URL != "" {
		if _, err := pgx.ParseConfig(o.URL); err != nil {
			errs = append(errs, errors.New("url = a connection string that Postgres cannot read\nHint: write postgres://user@host/database, or host=… dbname=…"))
		}
	}
	for _, c := range o.Columns {
		if _, err := sink.TypeName(c.Type); err != nil {
			errs = append(errs, fmt.Errorf("column %s: %w", c.Name, err))
		}
	}
	return errors.Join(errs...)
}

// MinRefresh is the shortest time between two refreshes.
const MinRefresh = 100 * time.Millisecond

// connectTimeout bounds a connection attempt, refreshTimeout one whole refresh.
const (
	connectTimeout = 10 * time.Second
	refreshTimeout = 10 * time.Minute
)

// connect opens a session with every setting pinned that texts of values depend on.
func (o Options) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("read the connection string: %w", err)
	}
	cfg.RuntimeParams["application_name"] = "sluice/lookup/" + o.Name[:min(len(o.Name), 40)]
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to Postgres at %s, port %d: %w\nHint: is the server running, and does the option url name it?", cfg.Host, cfg.Port, err)
	}
	// By SET and not as start-up parameters, which connection poolers refuse.
	_, err = conn.Exec(ctx, "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'")
	if err != nil {
		return nil, errors.Join(sink.Explain("set up a Postgres session", err), conn.Close(ctx))
	}
	return conn, nil
}

// snapshot runs fn in one transaction that sees one instant and changes nothing.
func (o Options) snapshot(ctx context.Context, fn func(pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	conn, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // nothing to do about it: the server ends the session by itself
	}()
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, fn)
}

// Check connects and compares the columns, and says what was found.
func Check(ctx context.Context, o Options) (string, error) {
	o = o.withDefaults()
	var rows int64
	err := o.snapshot(ctx, func(tx pgx.Tx) error {
		from, _, err := o.resolve(ctx, tx)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM "+from+" LIMIT 1000) q").Scan(&rows)
	})
	if err != nil {
		return "", fmt.Errorf("table %q: %w", o.Name, err)
	}
	more := ""
	if rows == 1000 {
		more = "at least "
	}
	return fmt.Sprintf("its columns fit; it has %s%d rows", more, rows), nil
}

func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/pgcluster"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// A database is the Postgres that a command uses: one that the user names, or the embedded cluster, which
// is started for as long as it is needed.
type database struct {
	url string
	// state is where the embedded cluster lies; cluster is nil for a server of the user's own.
	state   stateDir
	cluster *pgcluster.Cluster
}

// postgresURL picks the connection string: the flag, then SLUICE_POSTGRES; empty means embedded.
func (a *app) postgresURL(flag string) string {
	if flag != "" {
		return flag
	}
	u, _ := a.env("SLUICE_POSTGRES")
	return u
}

// openDatabase starts the embedded cluster if there is no URL.
func openDatabase(ctx context.Context, url string, state stateDir) (*database, error) {
	d := &database{url: url, state: state}
	if url != "" {
		return d, nil
	}
	c, err := pgcluster.Start(ctx, string(state))
	if err != nil {
		return nil, fmt.Errorf("start the embedded PostgreSQL: %w", err)
	}
	d.cluster, d.url = c, c.URL()
	return d, nil
}

// recordedDatabase opens the Postgres that a pipeline's record names. The flag goes first; SLUICE_POSTGRES
// is taken if it is the same server, because it may have the password that the record leaves out.
func (a *app) recordedDatabase(ctx context.Context, flag string, dir pipelineDir, r record) (*database, error) {
	switch env := a.postgresURL(""); {
	case flag != "":
		return openDatabase(ctx, flag, dir.state())
	case r.Embedded:
		return openDatabase(ctx, "", dir.state())
	case r.Postgres == "":
		return nil, fmt.Errorf("no view of pipeline %s is in PostgreSQL", r.Name)
	case withoutPassword(env) == r.Postgres:
		return openDatabase(ctx, env, dir.state())
	}
	return openDatabase(ctx, r.Postgres, dir.state())
}

// stopTimeout bounds the shutdown of the embedded cluster. What it cannot finish it finishes alone.
const stopTimeout = 30 * time.Second

// Close ends the embedded cluster, unless another sluice uses it.
func (d *database) Close() error {
	if d == nil || d.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return d.cluster.Stop(ctx)
}

// display is the database as it may be printed.
func (d *database) display() string {
	if d.cluster != nil {
		return "embedded in " + filepath.Join(string(d.state), "postgres")
	}
	return ddl.RedactURL(d.url)
}

// psqlNow is a shell command that reads the database while this process runs; empty if it would have to
// show a password.
func (d *database) psqlNow() string {
	if d.cluster != nil {
		return d.cluster.PsqlCommand()
	}
	if withoutPassword(d.url) != d.url {
		return ""
	}
	return "psql " + shellQuote(d.url)
}

var dsnPassword = regexp.MustCompile(`(?i)\s*\b(ssl)?password\s*=\s*('(?:[^'\\]|\\.)*'?|\S+)`)

// withoutPassword is a connection string as it may be kept on disk.
func withoutPassword(dsn string) string {
	if !strings.Contains(dsn, "://") {
		return dsnPassword.ReplaceAllString(dsn, "")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return ""
	}
	if _, has := u.User.Password(); has {
		u.User = url.User(u.User.Username())
	}
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		q.Del("password")
		q.Del("sslpassword")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:@=+,%-]+$`)

// shellQuote writes a word as a POSIX shell reads it back.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// pgReserved are the words that Postgres does not take as a table's name without quotes.
const pgReserved = ` all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
column concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp
current_user default deferrable desc distinct do else end except false fetch for foreign freeze from full grant group having ilike in
initially inner intersect into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null offset
on only or order outer overlaps placing primary references returning right select session_user similar some symmetric system_user
table tablesample then to trailing true union unique user using variadic verbose when where window with `

var plainIdent = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// psqlIdent quotes a name where Postgres needs it.
func psqlIdent(name string) string {
	if plainIdent.MatchString(name) && !slices.Contains(strings.Fields(pgReserved), name) {
		return name
	}
	return vector.QuoteIdent(name)
}

// maxStdinBytes bounds a pipeline file on standard input.
const maxStdinBytes = 16 << 20

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxStdinBytes+1))
	if err == nil && len(b) > maxStdinBytes {
		err = errors.New("it has more than 16 MiB")
	}
	return b, err
}
